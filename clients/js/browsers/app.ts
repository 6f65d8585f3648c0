// The view of MCP Apps in a real browser: a host of ours, with a real API and its MCP server behind it.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { LAUNCH, until, type Browser, type Tab, type Visitor } from "./drivers.ts";
import { Api, Site } from "./world.ts";

const MIME_TYPE = "text/html;profile=mcp-app";
// What a host has to enforce where a view declares no domains.
const POLICY =
  "default-src 'none'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; media-src 'self' data:; connect-src 'none'";
const MARKUP = '<img src=x onerror="parent.hit=1">';

const api = new Api();
const host = new Site("127.0.0.1");
const views = new Site("127.0.0.2");
let browser: Browser;
let visitor: Visitor;
let tab: Tab;
let readKey: string;

async function ask<T>(method: string, params: object): Promise<T> {
  const meta = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientInfo": { name: "host", version: "1" },
    "io.modelcontextprotocol/clientCapabilities": { extensions: { "io.modelcontextprotocol/ui": { mimeTypes: [MIME_TYPE] } } },
  };
  const response = await fetch(`${api.url}/mcp`, {
    method: "POST",
    headers: {
      Authorization: `Bearer ${readKey}`, "Content-Type": "application/json", Accept: "application/json, text/event-stream",
      "MCP-Protocol-Version": "2026-07-28", "Mcp-Method": method, ..."name" in params ? { "Mcp-Name": String(params.name) } : "uri" in params ? { "Mcp-Name": String(params.uri) } : {},
    },
    body: JSON.stringify({ jsonrpc: "2.0", id: 1, method, params: { ...params, _meta: meta } }),
  });
  const body = (await response.json()) as { result?: T; error?: object };
  assert.ok(body.result, JSON.stringify(body));
  return body.result;
}

/** The host's page: it answers the view, and keeps what the view said. */
const HOST = `<script>
  const said = []; const asked = [];
  const send = (message) => document.getElementById("view").contentWindow.postMessage({ jsonrpc: "2.0", ...message }, "*");
  addEventListener("message", ({ data }) => {
    said.push(data);
    if (data.method === "ui/initialize") send({ id: data.id, result: {
      protocolVersion: "2026-01-26", hostInfo: { name: "test", version: "1" },
      hostCapabilities: { serverTools: {} }, hostContext: { theme: "dark", toolInfo: { tool: { name: window.toolName, inputSchema: {} } } } } });
    if (data.method === "tools/call") asked.push(data);
  });
  function show(address, name) {
    window.toolName = name;
    const frame = Object.assign(document.createElement("iframe"), { id: "view", src: address });
    frame.setAttribute("sandbox", "allow-scripts");
    document.body.append(frame);
  }
</script>`;

const inView = <T>(body: string) => tab.runInFrame<T>(body);
const textOf = () => inView<string>("return document.body.innerText");

/** Show the view of a tool's result, as the host of a chat does. */
async function show(name: string, given: object): Promise<void> {
  const { tools } = await ask<{ tools: { name: string; _meta?: { ui: { resourceUri: string } } }[] }>("tools/list", {});
  const uri = tools.find((tool) => tool.name === name)!._meta!.ui.resourceUri;
  const { contents } = await ask<{ contents: { text: string; mimeType: string }[] }>("resources/read", { uri });
  assert.equal(contents[0].mimeType, MIME_TYPE);
  Object.assign(views, { page: contents[0].text, headers: { "Content-Security-Policy": POLICY } });
  Object.assign(host, { head: HOST });
  visitor = await browser.newVisitor();
  tab = await visitor.newTab();
  await tab.open(host.url);
  await tab.run(`show(${JSON.stringify(views.url)}, ${JSON.stringify(name)})`);
  assert.ok(await until(() => tab.run(`return said.some(({ method }) => method === "ui/notifications/initialized")`)), "the view initialises");
  const result = await ask<object>("tools/call", { name, arguments: given });
  await tab.run(`send({ method: "ui/notifications/tool-input", params: { arguments: ${JSON.stringify(given)} } });
    send({ method: "ui/notifications/tool-result", params: ${JSON.stringify(result)} })`);
  assert.ok(await until(async () => !(await textOf()).includes("Waiting for")), "the view shows the result");
}

/** Declare the tests of one browser. */
export function testAppIn(name: keyof typeof LAUNCH): void {
  before(async () => {
    await Promise.all([api.start(), host.start(), views.start()]);
    readKey = api.createKey("rk");
    const events = Array.from({ length: 12 }, (_, n) => [
      { event: "$pageview", anonymous_id: `v${n}`, url: `https://shop.example/?utm_source=${n % 3 ? "google" : "facebook"}&utm_medium=${n % 2 ? "cpc" : "organic"}` },
      ...(n % 3 ? [] : [{ event: MARKUP, anonymous_id: `v${n}` }]),
    ]).flat();
    const headers = { Authorization: `Bearer ${api.createKey("sk")}`, "Content-Type": "application/json" };
    const response = await fetch(`${api.url}/v1/batch`, { method: "POST", headers, body: JSON.stringify({ events }) });
    assert.equal(response.status, 202);
    browser = await LAUNCH[name]();
  });

  after(async () => {
    await browser?.close();
    for (const site of [host, views]) site.stop();
    await api.stop();
  });

  test("the sources of a chat's answer are shown as a table with the paid share", async () => {
    await show("top_sources", { from: "7d" });
    const text = await textOf();

    assert.match(text, /Clicks within your site aside, 38\s?% of these events are paid/);
    assert.match(text, /google\s+cpc|google\s+paid/);
    assert.match(text, /facebook/);
    assert.equal(await inView("return document.querySelectorAll('tbody tr').length > 2"), true);
    assert.equal(await inView("return getComputedStyle(document.body).backgroundColor"), "rgb(29, 31, 35)", "the host's theme is dark");
    assert.equal(await tab.run(`return said.some(({ method, params }) => method === "ui/notifications/size-changed" && params.height > 100)`), true);
    await visitor.leave();
  });

  test("statistics by event run no name as markup, and their line is read by keys", async () => {
    await show("stats", { from: "7d", group_by: ["event_name"] });
    assert.match(await textOf(), /<img src=x onerror/);
    assert.equal(await tab.run("return window.hit ?? null"), null);
    assert.equal(await inView("return document.images.length"), 0);
    await visitor.leave();
    await show("stats", { from: "2d", group_by: ["hour_of_day"], timezone: "UTC" });
    const hour = String(new Date().getUTCHours());
    assert.ok((await inView<string[]>("return [...document.querySelectorAll('tbody th')].map((one) => one.textContent)")).includes(hour));
    await visitor.leave();
    await show("stats", { from: "3d", interval: "day", fill_empty: true });
    assert.match(await inView<string>("return document.querySelector('.chart').getAttribute('aria-valuetext')"), /: \d+ events$/);
    await visitor.leave();
  });

  test("a funnel is shown step by step, and another range is asked of the host", async () => {
    const given = { from: "7d", steps: [{ event: "$pageview" }, { event: MARKUP }] };
    await show("funnel", given);
    assert.match(await textOf(), /\$pageview\s+12\s+100\s?%/);
    await inView(`const range = document.getElementById("range"); range.value = "30d"; range.dispatchEvent(new Event("change"))`);
    assert.ok(await until(() => tab.run<boolean>("return asked.length === 1")));
    const [{ id, params }] = await tab.run<{ id: number; params: { name: string; arguments: object } }[]>("return asked");
    assert.deepEqual(params, { name: "funnel", arguments: { ...given, from: "30d" } });
    const result = await ask<object>("tools/call", params);
    await tab.run(`send({ id: ${id}, result: ${JSON.stringify(result)} })`);
    assert.ok(await until(() => inView<boolean>("return !document.querySelector('[aria-busy]')")));
    assert.equal(await inView("return document.getElementById('range').value"), "30d");
    await visitor.leave();
  });

  test("a failed call is shown as its text, and the view answers the host's requests", async () => {
    await show("stats", { from: "never" });
    assert.match(await textOf(), /from: must be/);
    await tab.run(`send({ id: "a", method: "ui/resource-teardown", params: {} }); send({ id: "b", method: "ui/other" })`);
    const answers = () => tab.run<{ result?: object; error?: { code: number } }[]>("return said.filter(({ id }) => id === 'a' || id === 'b')");
    assert.ok(await until(async () => (await answers()).length === 2));
    const [down, other] = await answers();
    assert.deepEqual([down.result, other.error?.code], [{}, -32601]);
    assert.deepEqual(await tab.readErrors(), []);
    await visitor.leave();
  });
}
