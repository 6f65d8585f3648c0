// The page that the API serves, in Chromium, against a running API.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { after, before, test } from "node:test";
import puppeteer from "puppeteer-core";
import { LAUNCH, until, type Browser, type Tab, type Visitor } from "./drivers.ts";
import { Api } from "./world.ts";

const MARKUP = '<img src=x onerror="window.hit=1"><script>window.hit=1</script>';
const HOSTILE = [MARKUP, "\u202eevil\u202c שלום", `long-${"x".repeat(1990)}`];
const BROWSER = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0";

const api = new Api();
let browser: Browser;
let visitor: Visitor;
let tab: Tab;
let readKey: string;

async function send(events: object[], userAgent = BROWSER): Promise<void> {
  const headers = { Authorization: `Bearer ${api.createKey("sk")}`, "Content-Type": "application/json" };
  const body = JSON.stringify({ events: events.map((event) => ({ user_agent: userAgent, ...event })) });
  const response = await fetch(`${api.url}/v1/batch`, { method: "POST", headers: { ...headers, "User-Agent": userAgent }, body });
  assert.equal(response.status, 202, await response.text());
}

const ago = (hours: number) => new Date(Date.now() - hours * 3_600_000).toISOString();

/** 12 visitors with 2 views each, of whom 4 buy for 10; three names that no page should trust. */
function shopEvents(): object[] {
  const visitors = Array.from({ length: 12 }, (_, n) => n);
  return visitors.flatMap((n) => {
    const url = `https://shop.example/?utm_source=${n % 3 ? "google" : "facebook"}&utm_medium=${n % 2 ? "cpc" : "organic"}`;
    const common = { anonymous_id: `v${n}`, timestamp: ago(30 * n + 1) };
    const views = [{ ...common, event: "$pageview", url, path: "/" }, { ...common, event: "$pageview", path: "/prices" }];
    return n % 3 === 0 ? [...views, { ...common, event: "purchase", properties: { amount: 10 } }] : views;
  });
}

before(async () => {
  await api.start();
  readKey = api.createKey("rk");
  await send(shopEvents());
  await send(HOSTILE.map((path) => ({ event: "$pageview", anonymous_id: "v0", timestamp: ago(1), path })));
  await send([{ event: MARKUP, anonymous_id: "v0", timestamp: ago(1) }]);
  browser = await LAUNCH.Chromium();
  visitor = await browser.newVisitor();
  tab = await visitor.newTab();
});

after(async () => {
  await visitor?.leave();
  await browser?.close();
  await api.stop();
});

const textOf = (selector: string) => tab.run<string>(`return document.querySelector(${JSON.stringify(selector)})?.innerText ?? ""`);
const signIn = (key: string) =>
  tab.run(`document.getElementById("key").value = ${JSON.stringify(key)}; document.querySelector("#sign-in button").click()`);

/** Wait until no panel is waiting for an answer. */
async function filled(): Promise<void> {
  const check = `return document.querySelectorAll("#panels section").length > 0 && !document.querySelector("[aria-busy]") && !!document.getElementById("goal")`;
  assert.ok(await until(() => tab.run<boolean>(check)), "the panels are filled");
}

const panel = (title: string) =>
  tab.run<string>(`return [...document.querySelectorAll("section")].find((one) => one.querySelector("h2").textContent.startsWith(${JSON.stringify(title)})).innerText`);

for (const kind of ["pk", "sk"]) {
  test(`the page refuses a ${kind}_ key with a sentence, and sends it nowhere`, async () => {
    await tab.open(`${api.url}/`);
    await signIn(`${kind}_live_abcdefgh_secret`);
    assert.match(await textOf("#key-error"), /Paste a read key/);
    const asked = await tab.run<string[]>(`return performance.getEntriesByType("resource").map(({ name }) => name)`);
    assert.deepEqual(asked.filter((address) => address.includes("/v1/")), []);
  });
}

test("the page shows the numbers of the events, and runs no name as markup", async () => {
  await tab.open(`${api.url}/`);
  await signIn(readKey);
  await filled();
  const range = await panel("The range");
  assert.match(range, /Visitors\s+12\b/);
  assert.match(range, /Page views\s+27\b/);
  assert.match(range, /Sum of amount of purchase\s+40\b/);
  assert.match(await panel("Sources"), /Facebook: \d+\s?% paid/);
  assert.match(await panel("Pages"), /<img src=x onerror=/);
  assert.equal(await tab.run("return window.hit ?? null"), null);
  assert.equal(await tab.run("return document.querySelectorAll('#view img, #view script').length"), 0);
  assert.equal(await tab.run("return document.documentElement.scrollWidth <= innerWidth"), true);
  assert.deepEqual(tab.errors, []);
});

test("a click on a row filters, and the chip takes the filter back", async () => {
  await tab.run(`[...document.querySelectorAll("button.pick")].find((one) => one.textContent === "facebook").click()`);
  await filled();
  assert.match(await textOf("#filters"), /source: ?\s*facebook/);
  assert.match(await tab.run<string>("return location.search"), /source=facebook/);
  assert.match(await panel("The range"), /Page views\s+4\b/);
  await tab.run(`document.querySelector("#filters button").click()`);
  await filled();
  assert.equal(await textOf("#filters"), "");
  assert.match(await panel("The range"), /Page views\s+27\b/);
});

test("the key stands in no address and in no storage", async () => {
  const found = await tab.run<string>("return location.href + JSON.stringify(sessionStorage) + JSON.stringify(localStorage) + document.cookie");
  assert.ok(!found.includes(readKey));
  const asked = await tab.run<string>(`return JSON.stringify(performance.getEntriesByType("resource").map(({ name }) => name))`);
  assert.ok(!asked.includes(readKey));
});

/** What the panels say of how they asked: texts that start so. */
const explained = (start: string) =>
  tab.run<string[]>(`return [...document.querySelectorAll("details pre")].map((one) => one.textContent).filter((text) => text.startsWith(${JSON.stringify(start)}))`);

test("the curl command of each panel gives an answer of the API", async () => {
  const commands = await explained("curl");
  for (const command of new Set(commands)) {
    const answer = execFileSync("sh", ["-c", `${command.replace("curl", "curl -sS")}`], {
      encoding: "utf8", env: { ...process.env, MILLIMETRIC_RK: readKey },
    });
    assert.ok(JSON.parse(answer).rows, `${command}\n${answer}`);
  }
  assert.ok(commands.length >= 12);
});

test("the tool call of each panel gives an answer of the MCP server", async () => {
  const calls = await explained("{");
  for (const call of new Set(calls)) {
    const response = await fetch(`${api.url}/mcp`, {
      method: "POST",
      headers: { Authorization: `Bearer ${readKey}`, "Content-Type": "application/json" },
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
    await page.goto(`${api.url}/?device_type=desktop`);
    await page.evaluate(axe);
    assert.deepEqual(await check(), []);
    await page.type("#key", readKey);
    await page.keyboard.press("Enter");
    await page.waitForFunction(`document.getElementById("goal") && !document.querySelector("[aria-busy]")`);
    await page.evaluate(`document.querySelectorAll("details").forEach((one) => { one.open = true; })`);
    assert.deepEqual(await check(), []);
  });
}

test("the arrow keys read the values of the chart", async () => {
  const press = (name: string) =>
    tab.run<string>(`const chart = document.querySelector(".chart"); chart.focus();
      chart.dispatchEvent(new KeyboardEvent("keydown", { key: "${name}" })); return chart.getAttribute("aria-valuetext")`);
  const rows = await tab.run<string[][]>(
    `return [...document.querySelectorAll(".chart + details tbody tr")].map((row) => [...row.cells].map((cell) => cell.textContent))`,
  );
  const say = ([label, visitors, views]: string[]) => `${label}: ${visitors} visitors, ${views} page views`;
  assert.equal(rows.length, 30);
  assert.equal(await press("End"), say(rows[29]));
  assert.equal(await press("ArrowLeft"), say(rows[28]));
  assert.equal(await press("Home"), say(rows[0]));
});

test("an empty project gets the tag to paste", async () => {
  await tab.open(`${api.url}/?range=custom&from=2026-01-01&to=2026-01-02`);
  await signIn(readKey);
  await filled();
  assert.match(await textOf("#message"), /<script async src="http:.+\/v1\/a\.js" data-key="pk_live_\.\.\."><\/script>/);
  assert.deepEqual(tab.errors, []);
});
