// The page in Chromium: also its commands and tool calls, and what axe says.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import puppeteer from "puppeteer-core";
import { until } from "./drivers.ts";
import { testPageIn } from "./page.ts";
import { Gate } from "./world.ts";

const world = testPageIn("Chromium");

/** What the panels say of how they asked: texts that start so. */
const explained = (start: string) =>
  world.tab.run<string[]>(`return [...document.querySelectorAll("details pre")].map((one) => one.textContent).filter((text) => text.startsWith(${JSON.stringify(start)}))`);

test("the curl command of each panel gives an answer of the API", async () => {
  await world.signIn();
  const commands = await explained("curl");
  for (const command of new Set(commands)) {
    const answer = execFileSync("sh", ["-c", `${command.replace("curl", "curl -sS")}`], {
      encoding: "utf8", env: { ...process.env, MILLIMETRIC_RK: world.readKey },
    });
    assert.ok(JSON.parse(answer).rows, `${command}\n${answer}`);
  }
  assert.ok(commands.length >= 12);
});

test("the tool call of each panel gives an answer of the MCP server", async () => {
  const calls = await explained("{");
  for (const call of new Set(calls)) {
    const response = await fetch(`${world.api.url}/mcp`, {
      method: "POST",
      headers: { Authorization: `Bearer ${world.readKey}`, "Content-Type": "application/json" },
      body: JSON.stringify({ jsonrpc: "2.0", id: 1, method: "tools/call", params: JSON.parse(call) }),
    });
    const { result } = (await response.json()) as { result: { isError?: boolean } };
    assert.ok(!result.isError, `${call}\n${JSON.stringify(result)}`);
  }
  assert.ok(calls.length >= 12);
});

test("the focus and the place of the live table stay when it is drawn again", async () => {
  const find = `const table = [...document.querySelectorAll("section")].find((one) => one.innerText.startsWith("Live")).querySelector(".scroll");`;
  await world.signIn(world.api.createKeyOf("one", "rk"));
  await world.tab.setWidth(200);
  const left = await world.tab.run<number>(`${find} table.focus(); table.scrollLeft = 20; table.dataset.isOld = "1"; return table.scrollLeft`);
  assert.equal(left, 20);
  assert.ok(await until(() => world.tab.run<boolean>(`${find} return !table.dataset.isOld`)), "the table is drawn again");

  assert.deepEqual(await world.tab.run(`${find} return [document.activeElement === table, table.scrollLeft]`), [true, 20]);
  await world.tab.setWidth(1280);
});

test("the page works below a path of another server, and the tag names that address", async (t) => {
  const gate = new Gate(world.api, "/stats");
  await gate.start();
  t.after(() => gate.stop());
  await world.tab.open(`${gate.url}/stats/`);
  assert.ok(await until(() => world.tab.run<boolean>("return document.getElementById('sign-in')?.hidden === false")));
  await world.type(world.api.createKeyOf("empty", "rk"));
  await world.filled();

  const tag = `<script async src="${gate.url}/stats/v1/a.js" data-key="pk_live_..." data-host="${gate.url}/stats"></script>`;
  assert.ok((await world.textOf("#message")).includes(tag));
});

test("a browser that blocks its storage shows the sign-in and the numbers", async (t) => {
  const chromium = await puppeteer.launch({ executablePath: process.env.CHROMIUM, args: ["--no-sandbox"] });
  t.after(() => chromium.close());
  const page = await chromium.newPage();
  await page.evaluateOnNewDocument("Object.defineProperty(window, 'sessionStorage', { get() { throw new DOMException('no', 'SecurityError') } })");
  await page.goto(world.api.url);
  await page.type("#key", world.readKey);
  await page.click("#keep");
  await page.click("#sign-in button");
  await page.waitForFunction(`document.querySelector("#panels .number")`);
  await page.click("#sign-out");

  assert.equal(await page.evaluate("document.getElementById('panels').childElementCount"), 0);
});

for (const colors of ["light", "dark"]) {
  test(`axe finds nothing wrong before and after the sign-in, with all details open, in ${colors} colors`, async (t) => {
    const axe = readFileSync(new URL(import.meta.resolve("axe-core/axe.min.js")), "utf8");
    const chromium = await puppeteer.launch({ executablePath: process.env.CHROMIUM, args: ["--no-sandbox"] });
    t.after(() => chromium.close());
    const page = await chromium.newPage();
    const check = async () => (await page.evaluate("axe.run()") as { violations: { id: string; nodes: { html: string }[] }[] }).violations.map(({ id, nodes }) => [id, nodes[0].html]);
    await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: colors }, { name: "prefers-reduced-motion", value: "reduce" }]);
    await page.goto(`${world.api.url}/?device_type=desktop`);
    await page.evaluate(axe);
    assert.deepEqual(await check(), []);
    await page.type("#key", world.readKey);
    await page.keyboard.press("Enter");
    await page.waitForFunction(`document.getElementById("goal") && !document.querySelector("[aria-busy]")`);
    await page.evaluate(`document.querySelectorAll("details").forEach((one) => { one.open = true; })`);
    assert.deepEqual(await check(), []);
  });
}
