// What the page asks: its state in the URL, the parameters of each question, and how to ask it elsewhere.

import { isZone } from "./times.js";

export const FILTERS = ["source", "medium", "channel", "campaign", "path", "country", "device_type"];
export const RANGES = { today: "Today", "7d": "7 days", "30d": "30 days", "90d": "90 days", custom: "Own dates" };
export const MODELS = {
  event: "Each event's own source",
  session: "First source of the session",
  first_touch: "First source of the person",
  last_touch: "Last source of the person",
};
// What a touch decides. A question without them has the same answer by each model, and a quicker one by its own source.
const TOUCHED = ["source", "medium", "channel", "campaign"];
const TOOLS = { sources: "top_sources", query: "raw_events" };

/** Return the state that a query string describes; what it leaves out has its default. */
export function readState(search) {
  const given = new URLSearchParams(search);
  const own = Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC";
  const zone = given.get("zone");
  return {
    range: given.get("range") in RANGES ? given.get("range") : "30d",
    from: given.get("from") ?? "",
    to: given.get("to") ?? "",
    zone: zone && isZone(zone) ? zone : own,
    model: given.get("model") in MODELS ? given.get("model") : "event",
    goal: given.get("goal"),
    value: given.has("value") ? [given.get("value_event") ?? "", given.get("value")] : null,
    steps: given.getAll("step").slice(0, 4),
    first: given.get("first"),
    again: given.get("again"),
    filters: FILTERS.flatMap((name) => given.getAll(name).filter(Boolean).slice(0, 1).map((value) => [name, value])),
  };
}

/** Return the query string of a state. */
export function writeState(state) {
  const written = new URLSearchParams({ range: state.range, zone: state.zone });
  const set = (name, value) => value && written.set(name, value);
  if (state.range === "custom") {
    set("from", state.from);
    set("to", state.to);
  }
  if (state.model !== "event") set("model", state.model);
  set("goal", state.goal);
  if (state.value) {
    set("value_event", state.value[0]);
    set("value", state.value[1]);
  }
  for (const step of state.steps) written.append("step", step);
  set("first", state.first);
  set("again", state.again);
  for (const [name, value] of state.filters) written.append(name, value);
  return `?${written}`;
}

/** Return a question about a window: an endpoint's name and its parameters. */
export function ask(endpoint, state, { from, to }, params) {
  const filters = endpoint === "schema" ? {} : Object.fromEntries(state.filters);
  const isTouched = endpoint === "sources" || TOUCHED.some((name) => name in filters || name === params.group_by);
  const isAttributed = state.model !== "event" && isTouched && ["sources", "stats", "funnel"].includes(endpoint);
  const attribution = isAttributed ? { attribution: state.model } : {};
  const moments = { from: new Date(from).toISOString(), to: new Date(to).toISOString() };
  return { endpoint, params: { ...moments, bots: "exclude", ...attribution, ...filters, ...params } };
}

/** Return the address of a question, relative to the page. */
export const addressOf = ({ endpoint, params }) => `v1/${endpoint}?${new URLSearchParams(params)}`;

const quote = (text) => `'${text.replaceAll("'", `'\\''`)}'`;

/** Return the `curl` command of a question; the key stays a variable. */
export function writeCurl({ endpoint, params }) {
  const address = new URL(`v1/${endpoint}`, location.href.split("?")[0]);
  const lines = Object.entries(params).map(([name, value]) => `  --data-urlencode ${quote(`${name}=${value}`)}`);
  return [`curl -G ${quote(address.href)}`, '  -H "Authorization: Bearer $MILLIMETRIC_RK"', ...lines].join(" \\\n");
}

/** Return the call of an MCP tool that asks the same, as JSON. */
export function writeToolCall({ endpoint, params }) {
  const filters = Object.fromEntries(Object.entries(params).filter(([name]) => FILTERS.includes(name)));
  const given = Object.fromEntries(Object.entries(params).filter(([name]) => !FILTERS.includes(name)));
  if (given.group_by) given.group_by = given.group_by.split(",");
  if (given.steps) given.steps = JSON.parse(given.steps);
  if (given.limit) given.limit = Number(given.limit);
  if (Object.keys(filters).length) given.filters = filters;
  return JSON.stringify({ name: TOOLS[endpoint] ?? endpoint, arguments: given }, null, 2);
}
