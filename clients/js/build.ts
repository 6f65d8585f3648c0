// Builds the browser script into the Python package, and the two npm packages.

import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { buildSync } from "esbuild";

export const SCRIPT = fileURLToPath(new URL("../../millimetric_mcp/api/page/a.js", import.meta.url));

const SOURCE = "github.com/millimetric/millimetric-mcp/tree/main/clients/js";
const path = (name: string) => fileURLToPath(new URL(name, import.meta.url));

/** Return the text of /v1/a.js. Names stay, so that a formatter makes it readable again. */
export function buildScript(): string {
  const { outputFiles } = buildSync({
    entryPoints: [path("src/a.ts")],
    bundle: true,
    format: "iife",
    target: "es2021",
    minifySyntax: true,
    minifyWhitespace: true,
    banner: { js: `/* Millimetric. Source: ${SOURCE} */` },
    write: false,
  });
  return outputFiles[0].text;
}

/** Compile the npm packages: modules and types in `dist`. */
export function buildPackages(): void {
  for (const name of ["track", "track-node"]) {
    execFileSync("npx", ["tsc", "-p", `${name}/tsconfig.json`], { cwd: path("."), stdio: "inherit" });
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  writeFileSync(SCRIPT, buildScript());
  buildPackages();
}
