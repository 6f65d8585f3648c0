// The page: sign-in, controls, filters, and the panels, which it fills with answers of the API.

import { choice, el, field, nameOf } from "./elements.js";
import { NAMED_TURN, offer, PAGEVIEW, PANELS } from "./panels.js";
import { addressOf, ask, MODELS, RANGES, readState, writeCurl, writeState, writeToolCall } from "./questions.js";
import { isZone, windowOf, writeDay, dayOf } from "./times.js";

const STORED = "millimetric_rk";
const LIVE_EVERY_MS = 5000;
const LAST_TURN = Math.max(...PANELS.flatMap(({ turns }) => turns));
const NAMES_MS = 7 * 86_400_000;
const byId = (id) => document.getElementById(id);

let key = "";
let state = readState(location.search);
let view = null;
let loading = new AbortController();

/** An answer of the API that is an error. */
class ApiError extends Error {
  constructor(status, { error, details } = {}) {
    const fields = details ? ` ${JSON.stringify(details)}` : "";
    super(`The API answered ${status} ${error ?? ""}.${fields}`);
    this.status = status;
  }
}

async function get(question, signal) {
  const response = await fetch(addressOf(question), { headers: { Authorization: `Bearer ${key}` }, signal });
  const body = await response.json().catch(() => ({}));
  if (!response.ok) throw new ApiError(response.status, body);
  return body;
}

function say(error) {
  return error instanceof ApiError ? error.message : "The API can't be reached. Check that it runs, then load this page again.";
}

// Sign-in

/** Return the tab's storage; undefined if the browser blocks it. */
function storage() {
  try {
    return sessionStorage;
  } catch {
    return undefined;
  }
}

function refuse(given) {
  const kind = given.slice(0, 3);
  if (kind === "pk_") return "This is a browser key (pk_): it can only write. Paste a read key, which begins with rk_.";
  if (kind === "sk_") return "This is a server key (sk_): it can write and delete, so it does not belong on a page. Paste a read key, which begins with rk_.";
  return /^rk_(live|test)_[!-~]+$/.test(given) ? "" : "A read key begins with rk_live_ or rk_test_. Copy the whole key.";
}

async function signIn(event) {
  event.preventDefault();
  const given = byId("key").value.trim();
  const refused = refuse(given);
  byId("key-error").textContent = refused;
  if (refused) return;
  key = given;
  const now = Date.now();
  try {
    await get({ endpoint: "query", params: { from: new Date(now - 1000).toISOString(), to: new Date(now).toISOString(), limit: "1" } });
  } catch (error) {
    key = "";
    byId("key-error").textContent =
      error.status === 401 || error.status === 403 ? "The API does not know this key. Copy a read key of this API." : say(error);
    return;
  }
  byId("key").value = "";
  if (byId("keep").checked) storage()?.setItem(STORED, key);
  start();
  byId("main").focus();
}

/** Exchange the code of a one-time link for a key. It leaves the address and the history first. */
async function signInByLink(code) {
  history.replaceState(null, "", location.pathname + location.search);
  try {
    const response = await fetch("page/sign-in", { method: "POST", headers: { Authorization: `Bearer ${code}` } });
    const body = await response.json().catch(() => ({}));
    if (!response.ok) throw new ApiError(response.status, body);
    key = body.key;
    start();
  } catch (error) {
    signOut(error.status === 401
      ? "This link was used, or is older than a minute. Run millimetric-mcp open again, or paste a read key."
      : say(error));
  }
}

/** Sign in by the link in the address; return whether there is one. */
function openLink() {
  const code = new URLSearchParams(location.hash.slice(1)).get("code");
  if (code) signInByLink(code);
  return Boolean(code);
}

function signOut(message = "") {
  loading.abort();
  key = "";
  view = null;
  storage()?.removeItem(STORED);
  byId("panels").replaceChildren();
  byId("key-error").textContent = message;
  show(false);
  byId("key").focus();
}

function show(isSignedIn) {
  byId("sign-in").hidden = isSignedIn;
  byId("view").hidden = !isSignedIn;
  byId("sign-out").hidden = !isSignedIn;
}

// Controls and filters

function set(changes) {
  state = { ...state, ...changes };
  history.pushState(null, "", writeState(state));
  load();
}

function pick(name, value) {
  set({ filters: [...state.filters.filter(([other]) => other !== name), [name, value]] });
  byId(`filter-${name}`)?.focus();
}

function dayField(id, label) {
  const input = el("input", { id, type: "date", value: state[id], required: true, onchange: () => set({ [id]: input.value }) });
  return field(label, input);
}

function zoneField() {
  const input = el("input", { id: "zone", list: "zones", value: state.zone, autocomplete: "off", spellcheck: "false" });
  input.addEventListener("change", () => {
    if (input.value && isZone(input.value)) return set({ zone: input.value });
    byId("message").textContent = "Your browser does not know this time zone. Choose one such as Europe/Berlin.";
  });
  const zones = Intl.supportedValuesOf("timeZone").map((name) => el("option", { value: name }));
  return [field("Time zone", input), el("datalist", { id: "zones" }, ...zones)];
}

function chooseRange(range) {
  const today = dayOf(Date.now(), state.zone);
  const dates = state.from && state.to ? {} : { from: writeDay(today - 6 * 86_400_000), to: writeDay(today) };
  set({ range, ...(range === "custom" ? dates : {}) });
}

function namedFields({ names, values, goal }) {
  const chosen = state.goal ?? goal;
  const goals = [...new Set([...names, chosen])].filter((name) => name !== PAGEVIEW).map((name) => [name, name]);
  const value = state.value ?? values[0];
  const pairs = new Map([...values, ...(value ? [value] : [])].map((pair) => [JSON.stringify(pair), `${pair[1]} of ${pair[0]}`]));
  const fields = [];
  if (chosen === PAGEVIEW) goals.unshift(["", "(none)"]);
  if (goals.length > 1 || chosen !== PAGEVIEW) fields.push(field("Event", choice("goal", goals, chosen, (name) => set({ goal: name || null }))));
  if (value) {
    fields.push(field("Revenue", choice("value", [...pairs], JSON.stringify(value), (text) => set({ value: JSON.parse(text) }))));
  }
  return fields;
}

function drawControls(offered) {
  refill(byId("controls"), [
    field("Range", choice("range", Object.entries(RANGES), state.range, chooseRange)),
    ...(state.range === "custom" ? [dayField("from", "First day"), dayField("to", "Last day")] : []),
    ...zoneField(),
    field("Source counts by", choice("model", Object.entries(MODELS), state.model, (model) => set({ model }))),
    ...(offered ? namedFields(offered) : []),
  ]);
}

function drawFilters() {
  byId("filters").replaceChildren(...state.filters.map(([name, value]) => {
    const remove = () => {
      set({ filters: state.filters.filter(([other]) => other !== name) });
      (byId("filters").querySelector("button") ?? byId("main")).focus();
    };
    return el("button", { type: "button", class: "chip", id: `filter-${name}`, "aria-description": "Removes this filter", onclick: remove },
      `${name.replace("_", " ")}: `, nameOf(value), el("span", { "aria-hidden": "true" }, "×"));
  }));
}

/** Replace an element's children, and keep the focus on the child with the same id. Tables stay where they are scrolled to. */
function refill(element, children) {
  const focused = element.contains(document.activeElement) ? document.activeElement : null;
  const tables = [...element.querySelectorAll(".scroll")];
  const lefts = tables.map(({ scrollLeft }) => scrollLeft);
  element.replaceChildren(...children.filter(Boolean));
  if (focused?.id) byId(focused.id)?.focus();
  element.querySelectorAll(".scroll").forEach((table, index) => {
    table.scrollLeft = lefts[index] ?? 0;
    if (focused && focused === tables[index]) table.focus({ preventScroll: true });
  });
}

// Panels

function makeSection(panel, index) {
  const title = el("h2", { id: `panel-${index}` }, typeof panel.title === "string" ? panel.title : "");
  const parts = { title, choices: el("div", { class: "choices", hidden: true }), body: el("div"), how: el("div") };
  const section = el("section", { class: panel.isWide ? "panel wide" : "panel", "aria-labelledby": `panel-${index}` },
    title, parts.choices, parts.body,
    el("details", {}, el("summary", {}, "How was this asked?"), parts.how));
  return { panel, section, ...parts };
}

function explain(questions) {
  return questions.flatMap((question) => [
    el("p", {}, "With curl:"),
    el("pre", { tabindex: "0", dir: "ltr" }, writeCurl(question)),
    el("p", {}, "As a call of the MCP server's tool:"),
    el("pre", { tabindex: "0", dir: "ltr" }, writeToolCall(question)),
  ]);
}

/** Make a panel ready for another load. */
function prepare({ panel, section, title }) {
  section.hidden = panel.isShown ? !panel.isShown(view) : false;
  if (typeof panel.title === "function") title.textContent = panel.title(view);
  if (!section.hidden && !panel.isLive) section.setAttribute("aria-busy", "true");
}

/** Show a panel's answers. `known` has those that this load got before, by their addresses. */
async function fill({ panel, section, choices, body, how }, turn, { names, known, signal }) {
  if (section.hidden || signal.aborted) return;
  try {
    await names;
    if (signal.aborted) return;
    if (panel.choices) {
      choices.hidden = false;
      refill(choices, panel.choices(view));
    }
    const questions = panel.questions(view, turn);
    if (!how.parentElement.open || !panel.isLive) how.replaceChildren(...explain(questions));
    const answers = await Promise.all(questions.map((question) => {
      const address = addressOf(question);
      if (!known.has(address)) known.set(address, get(question, signal));
      return known.get(address);
    }));
    if (signal.aborted) return;
    refill(body, panel.draw(view, answers) ?? [el("p", { class: "quiet" }, "Nothing in this range.")]);
  } catch (error) {
    if (signal.aborted) return;
    if (error.status === 401) return signOut("The API no longer knows this key. Paste another read key.");
    const shown = turn === panel.turns[0] ? [] : body.children;
    refill(body, [...shown, el("p", { class: "error", role: "alert" }, say(error))]);
  }
  if (turn === panel.turns.at(-1)) section.removeAttribute("aria-busy");
}

let sections = [];

function sayEmpty() {
  const base = new URL(".", location.href.split(/[?#]/)[0]);
  const host = base.pathname === "/" ? "" : ` data-host="${base.href.slice(0, -1)}"`; // the script finds its origin by itself
  const tag = `<script async src="${base}v1/a.js" data-key="pk_live_..."${host}></script>`;
  byId("message").replaceChildren(
    "There are no events in this range. To count a website, paste this into its pages, with your browser key (pk_):",
    el("pre", { tabindex: "0" }, tag));
}

function sayHowToSend() {
  byId("message").replaceChildren(
    "There are no events of your own yet. To count sign-ups or sales here too, call this in your pages when one happens:",
    el("pre", { tabindex: "0" }, `window.mm?.track("signup", { plan: "free" })`));
}

/** Show what the schema offers to choose from. */
async function learnNames(signal) {
  const schema = await findNames(view.window, signal);
  if (signal.aborted) return;
  view.offered = offer(schema);
  drawControls(view.offered);
  if (!schema.rows.length) sayEmpty();
  else if (schema.rows.every(({ event_name }) => event_name.startsWith("$"))) sayHowToSend();
}

/** Return the schema of the window's last days; of the whole window, which takes longer, if they have no events. */
async function findNames(window, signal) {
  const last = { from: Math.max(window.from, window.to - NAMES_MS), to: window.to };
  const found = await get(ask("schema", state, last, {}), signal);
  return found.rows.length || last.from === window.from ? found : get(ask("schema", state, window, {}), signal);
}

/** Ask everything again, for the state as it is now. */
function load() {
  loading.abort();
  loading = new AbortController();
  const { signal } = loading;
  const now = Date.now();
  const window = windowOf(state, now);
  drawControls(view?.offered);
  drawFilters();
  byId("message").textContent = window ? "" : "The last day must not be before the first, and the first not in the future.";
  byId("panels").hidden = !window;
  if (!window) return;
  const previous = view?.offered;
  view = { state, now, window, offered: previous, set, pick, width: () => byId("panels").clientWidth - 36 };
  fillInTurns(signal);
}

async function fillInTurns(signal) {
  const known = new Map();
  let names = null;
  for (const section of sections) prepare(section);
  for (let turn = 0; turn <= LAST_TURN && !signal.aborted; turn += 1) {
    if (turn === NAMED_TURN) names = learnNames(signal);
    const asking = sections.filter(({ panel }) => panel.turns.includes(turn));
    await Promise.all(asking.map((section) => fill(section, turn, { names, known, signal })));
  }
}

function refresh() {
  if (!view || document.hidden || byId("panels").hidden) return;
  const asked = { names: null, known: new Map(), signal: loading.signal };
  for (const section of sections) if (section.panel.isLive) fill(section, section.panel.turns[0], asked);
}

function start() {
  history.replaceState(null, "", writeState(state)); // a bookmark shows the same elsewhere
  show(true);
  sections = PANELS.map(makeSection);
  byId("panels").replaceChildren(...sections.map(({ section }) => section));
  load();
}

byId("sign-in").addEventListener("submit", signIn);
byId("controls").addEventListener("submit", (event) => event.preventDefault());
byId("sign-out").addEventListener("click", () => signOut());
addEventListener("popstate", () => {
  const shown = writeState(state);
  state = readState(location.search);
  if (view && writeState(state) !== shown) load(); // the link to the numbers changes the fragment only
});
setInterval(refresh, LIVE_EVERY_MS);

addEventListener("hashchange", openLink);

key = storage()?.getItem(STORED) ?? "";
if (!openLink()) {
  if (key) start();
  else show(false);
}
