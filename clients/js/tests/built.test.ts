// What is built: the script in the Python package, and the npm packages.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { buildPackages, buildScript, SCRIPT } from "../build.ts";

const root = join(import.meta.dirname, "..");
const directory = mkdtempSync(join(tmpdir(), "millimetric-"));
after(() => rmSync(directory, { recursive: true }));

test("the script in the Python package is what the source builds", () => {
  assert.equal(readFileSync(SCRIPT, "utf8"), buildScript(), "run npm run build, and commit a.js");
});

/** Install the packed files of both packages where a project has its dependencies. */
function installPackages(): void {
  buildPackages();
  for (const name of ["track", "track-node"]) {
    const [{ files }] = JSON.parse(execFileSync("npm", ["pack", "--dry-run", "--json"], { cwd: join(root, name), encoding: "utf8" }));
    const target = join(directory, "node_modules", "@millimetric", name);
    for (const { path } of files) {
      mkdirSync(join(target, path, ".."), { recursive: true });
      cpSync(join(root, name, path), join(target, path));
    }
  }
  writeFileSync(join(directory, "package.json"), '{"type": "module"}');
}

test("the packages work, with their types, in a project that installs them", () => {
  installPackages();
  writeFileSync(
    join(directory, "project.ts"),
    `import { init, track, identify, page, flush, getAnonymousId } from "@millimetric/track";
    import * as server from "@millimetric/track-node";
    init({ key: "pk_live_x", host: "http://localhost:1" });
    track("signup", { plan: "free" });
    identify("user_42", { plan: "free" });
    page("home");
    const id: string | undefined = getAnonymousId();
    const sent: Promise<void> = flush();
    // @ts-expect-error the name of the event is required
    track();
    // @ts-expect-error so is the key
    const make = () => server.init({ host: "http://localhost:1" });
    export { id, sent, make };
    `,
  );
  const options = ["--strict", "--module", "nodenext", "--lib", "es2022,dom", "--typeRoots", join(root, "node_modules/@types")];
  execFileSync(join(root, "node_modules/.bin/tsc"), [...options, "project.ts"], { cwd: directory, encoding: "utf8" });

  const output = execFileSync("node", ["project.js"], { cwd: directory, encoding: "utf8" });

  assert.equal(output, "", "a page that is rendered on a server imports it, and nothing happens");
});
