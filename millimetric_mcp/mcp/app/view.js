// The view in a chat: shows a tool's result, and asks for other ranges. It talks to its host only.

import { bar, lineChart } from "./chart.js";
import { choice, compact, el, field, nameOf, number, share, table } from "./elements.js";

const PROTOCOL = "2026-01-26";
const RANGES = { "": "As asked", today: "Today", "7d": "7 days", "30d": "30 days", "90d": "90 days" };
const MOST_ROWS = 20;
const METRICS = { count: "events", uniques: "visitors", sessions: "sessions" };

const view = document.getElementById("view");
const waiting = new Map();
let host = {};
let tool = "";
let given = {};
let range = "";

function send(message) {
  parent.postMessage({ jsonrpc: "2.0", ...message }, "*");
}

function request(method, params) {
  const id = waiting.size + 1;
  send({ id, method, params });
  return new Promise((resolve, reject) => waiting.set(id, { resolve, reject }));
}

const when = ({ from, to, timezone }) => {
  const format = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short", timeZone: timezone });
  return `${format.format(Date.parse(from))} to ${format.format(Date.parse(to))}, ${timezone}`;
};
const say = (count, all) => `The first ${count} of ${all}`;
const shareOrNone = (value) => (value == null ? "–" : share(value));

function drawSources({ rows, splits }) {
  const outer = rows.filter(({ source }) => source !== "internal"); // which the tool puts last
  const all = outer.reduce((count, row) => count + row.events, 0) || 1;
  const paid = outer.reduce((count, row) => count + row.events * row.paid_share, 0);
  const most = Math.max(1, ...outer.map(({ events }) => events));
  const withMedium = rows.some((row) => row.medium !== undefined);
  const heads = ["Source", ...(withMedium ? ["Medium"] : []), "Visitors", "Events", "Paid"];
  const cells = rows.slice(0, MOST_ROWS).map((row) => [
    nameOf(row.source), ...(withMedium ? [nameOf(row.medium)] : []), number(row.uniques), number(row.events), share(row.paid_share),
  ]);
  return [
    el("p", {}, `Clicks within your site aside, ${share(paid / all)} of these events are paid, the others are not.`),
    bar(paid / all, "split"),
    ...(splits ?? []).map((sentence) => el("p", {}, sentence)),
    table(`${say(cells.length, rows.length)}, by events`, heads, cells, { bars: rows.map((row) => (row.source === "internal" ? 0 : row.events / most)), texts: withMedium ? [0, 1] : [0] }),
  ];
}

function drawFunnel({ rows }) {
  const isGrouped = rows.some((row) => row.group !== undefined);
  const cells = rows.map((row) => [
    nameOf(row.event), ...(isGrouped ? [nameOf(row.group || "not known")] : []), number(row.people),
    shareOrNone(row.from_first), shareOrNone(row.from_previous),
  ]);
  return [table("People who took the steps in this order", ["Step", ...(isGrouped ? ["Group"] : []), "People", "Of first", "Of previous"],
    cells, { bars: rows.map((row) => row.from_first ?? 0), texts: isGrouped ? [0, 1] : [0] })];
}

/** Return whether there is a row for each bucket between the first and the last: a line would hide empty ones. */
function isWhole(rows) {
  const steps = rows.slice(1).map((row, index) => Date.parse(row.bucket) - Date.parse(rows[index].bucket));
  return steps.length > 0 && Math.max(...steps) < 1.5 * Math.min(...steps);
}

function drawLine(rows, metric, zone) {
  const format = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: given.interval === "hour" ? "short" : undefined, timeZone: zone });
  const labels = rows.map((row) => format.format(Date.parse(row.bucket)));
  const values = rows.map((row) => row.value ?? 0);
  const sayPoint = (index) => `${labels[index]}: ${number(values[index])} ${metric}`;
  const read = el("p", {}, sayPoint(labels.length - 1));
  return [
    read,
    lineChart({ width: Math.max(280, view.clientWidth), label: metric, labels, series: [values], format: compact, describePoint: (index) => (read.textContent = sayPoint(index)) }),
    el("details", {}, el("summary", {}, "As a table"), table(metric, ["Time", metric], labels.map((label, index) => [label, number(values[index])]))),
  ];
}

function drawStats({ rows, metric: name, total, window }) {
  const metric = METRICS[name] ?? `${name} of ${given.property}`;
  const columns = Object.keys(Object.assign({}, ...rows)).filter((name) => !["value", "share"].includes(name));
  const sum = total == null ? [] : [el("p", {}, el("span", { class: "number" }, number(total)), ` ${metric} in all`)];
  if (columns.length === 1 && columns[0] === "bucket" && isWhole(rows)) return [...sum, ...drawLine(rows, metric, window.timezone)];
  if (!columns.length) return sum;
  const most = Math.max(...rows.map((row) => row.value ?? 0), 1);
  const shares = rows.some((row) => row.share !== undefined);
  const cells = rows.slice(0, MOST_ROWS).map((row) => [
    ...columns.map((name) => nameOf(String(row[name] ?? "") || "not known")), row.value == null ? "–" : number(row.value), ...(shares ? [shareOrNone(row.share)] : []),
  ]);
  const heads = [...columns.map((name) => name.replaceAll("_", " ")), metric, ...(shares ? ["Share"] : [])];
  return [...sum, table(say(cells.length, rows.length), heads, cells,
    { bars: rows.map((row) => (row.value ?? 0) / most), texts: columns.map((_, index) => index) })];
}

function drawData(data) {
  if (!data.rows.length && data.total == null) return [el("p", { class: "quiet" }, "Nothing in this range.")];
  if (data.breakdown) return data.rows.length ? drawSources(data) : [el("p", { class: "quiet" }, "Nothing in this range.")];
  return data.metric ? drawStats(data) : drawFunnel(data);
}

function drawRange() {
  if (!host.hostCapabilities?.serverTools || !tool) return [];
  return [el("form", { class: "choices" }, field("Range", choice("range", Object.entries(RANGES), range, ask)))];
}

function show({ content, structuredContent: data, isError }) {
  const texts = (content ?? []).flatMap(({ type, text }) => (type === "text" ? [el("p", { class: "text" }, text)] : []));
  const notes = (data?.notes ?? []).map((note) => el("p", { class: "quiet" }, note));
  const shown = isError || !data?.rows ? texts : [el("p", { class: "quiet" }, when(data.window)), ...drawData(data), ...notes];
  view.replaceChildren(...drawRange(), ...shown);
}

async function ask(chosen) {
  range = chosen;
  const { to, ...others } = given;
  view.setAttribute("aria-busy", "true");
  try {
    show(await request("tools/call", { name: tool, arguments: chosen ? { ...others, from: chosen } : given }));
  } catch (error) {
    show({ isError: true, content: [{ type: "text", text: `The host did not answer: ${error.message ?? ""}` }] });
  }
  view.removeAttribute("aria-busy");
  document.getElementById("range")?.focus();
}

function dress({ theme, toolInfo } = {}) {
  if (theme === "light" || theme === "dark") document.documentElement.style.colorScheme = theme;
  tool = toolInfo?.tool?.name ?? tool;
}

const HANDLERS = {
  "ui/notifications/tool-input": (params) => (given = params.arguments ?? {}),
  "ui/notifications/tool-result": show,
  "ui/notifications/tool-cancelled": () => view.replaceChildren(el("p", { class: "quiet" }, "The question was cancelled.")),
  "ui/notifications/host-context-changed": dress,
  "ui/resource-teardown": () => {},
  ping: () => {},
};

addEventListener("message", ({ source, data }) => {
  if (source !== parent || data?.jsonrpc !== "2.0") return;
  const handler = HANDLERS[data.method];
  if (handler) {
    handler(data.params ?? {});
    if (data.id !== undefined) send({ id: data.id, result: {} });
  } else if (data.method === undefined && waiting.has(data.id)) {
    const { resolve, reject } = waiting.get(data.id);
    if (data.error) reject(data.error);
    else resolve(data.result);
  } else if (data.method !== undefined && data.id !== undefined) {
    send({ id: data.id, error: { code: -32601, message: "Unknown method" } });
  }
});

new ResizeObserver(() => {
  const { width, height } = document.body.getBoundingClientRect();
  send({ method: "ui/notifications/size-changed", params: { width: Math.ceil(width), height: Math.ceil(height) } });
}).observe(document.body);

host = await request("ui/initialize", {
  protocolVersion: PROTOCOL,
  appInfo: { name: "millimetric", version: "1" },
  appCapabilities: { availableDisplayModes: ["inline", "fullscreen"] },
});
dress(host.hostContext);
send({ method: "ui/notifications/initialized" });
