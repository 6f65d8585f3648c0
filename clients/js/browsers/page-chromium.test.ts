// The page in Chromium: also its commands and tool calls, and what axe says.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import puppeteer from "puppeteer-core";
import { testPageIn } from "./page.ts";

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
