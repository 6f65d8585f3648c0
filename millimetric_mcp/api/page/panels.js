// The panels: what each asks, and how it shows the answers. `turns` says when a panel asks: one turn
// begins when the one before it has its answers. What the reader sees first, and cheap questions,
// come first; what takes the API longest comes last.

import { bar, lineChart } from "./chart.js";
import { choice, compact, count, el, field, nameOf, number, pickable, share, table } from "./elements.js";
import { ask, MODELS } from "./questions.js";
import { bucketsOf, intervalOf, windowOf } from "./times.js";

/** From this turn on the names of events are known. */
export const NAMED_TURN = 4;
export const PAGEVIEW = "$pageview";
const MOST_ROWS = 10;
const LIVE_MS = 30 * 60_000;
const numeric = /int|float|double|number|decimal/i;
const sale = /purchase|order|payment|paid|sale|checkout|invoice/i;
const signUp = /sign.?up|regist|subscri|trial|lead/i;
const amount = /revenue|amount|total|value|price/i;

const likeness = ([name, key]) => 2 * sale.test(name) + amount.test(key);

/** Return what the schema's rows offer to choose from, and the default choices. */
export function offer({ rows }) {
  const names = rows.map((row) => row.event_name);
  const own = names.filter((name) => !name.startsWith("$"));
  const values = rows.flatMap(({ event_name, properties }) =>
    properties.filter(({ key, types }) => !key.startsWith("$") && types.some((type) => numeric.test(type)))
      .map(({ key }) => [event_name, key]))
    // What reads most like a sale and its amount comes first.
    .sort((one, other) => likeness(other) - likeness(one));
  const goal = own.find((name) => signUp.test(name)) ?? own.find((name) => sale.test(name)) ?? own[0] ?? names[0] ?? PAGEVIEW;
  return { names, values, goal };
}

const goalOf = ({ state, offered }) => state.goal ?? offered.goal;
/** Return the chosen event in a list; empty for page views, which are shown anyway. */
const goalsOf = (view) => [goalOf(view)].filter((name) => name !== PAGEVIEW);
const valueOf = ({ state, offered }) => state.value ?? offered.values[0] ?? null;
const stepsOf = ({ state, offered }) => (state.steps.length > 1 ? state.steps : [PAGEVIEW, offered.goal]);

function figures(view, window, turn) {
  const stats = (params) => ask("stats", view.state, window, params);
  const unnamed = [stats({ metric: "uniques" }), stats({ metric: "count", event: PAGEVIEW })];
  if (turn < NAMED_TURN) return unnamed;
  const value = valueOf(view);
  return [
    ...unnamed,
    ...goalsOf(view).map((event) => stats({ metric: "count", event })),
    ...(value ? [stats({ metric: "sum", property: value[1], event: value[0] })] : []),
  ];
}

const total = (answer) => answer.rows[0]?.value ?? 0;

function change(now, before) {
  if (!before) return el("span", { class: "quiet" }, `before: ${number(before)}`);
  const grown = now / before - 1;
  const arrow = Math.abs(grown) < 0.005 ? "=" : grown > 0 ? "▲" : "▼";
  const tone = { "▲": "up", "▼": "down", "=": "quiet" }[arrow];
  return el("span", {},
    el("span", { class: tone }, `${arrow} ${share(Math.abs(grown))}`),
    el("span", { class: "quiet" }, ` before: ${number(before)}`));
}

function drawFigures(view, answers) {
  const value = view.offered && valueOf(view);
  const named = view.offered ? [...goalsOf(view), ...(value ? [`Sum of ${value[1]} of ${value[0]}`] : [])] : [];
  const labels = ["Visitors", "Page views", ...named];
  const half = answers.length / 2;
  return el("dl", { class: "cards" }, ...labels.map((label, index) => {
    const [now, before] = index < half ? [answers[index], answers[index + half]].map(total) : [];
    const shown = index < half ? number(now) : "…";
    const value = el("dd", { class: "number" }, shown);
    value.style.setProperty("--chars", shown.length); // a long one is smaller
    return el("div", {},
      el("dt", {}, nameOf(label)),
      value,
      el("dd", {}, index < half ? change(now, before) : ""));
  }));
}

const today = {
  title: "Today, against yesterday until this time",
  isWide: true,
  turns: [0, NAMED_TURN],
  isShown: ({ state }) => state.range !== "today",
  questions(view, turn) {
    const window = windowOf({ ...view.state, range: "today" }, view.now);
    return [...figures(view, window, turn), ...figures(view, window.before, turn)];
  },
  draw: (view, answers) => [drawFigures(view, answers)],
};

const DAY_MS = 86_400_000;

function nameRange({ state, window: { from, to } }) {
  if (state.range === "today") return today.title;
  const days = { "7d": 7, "30d": 30, "90d": 90 }[state.range] ?? Math.max(1, Math.round((to - from) / DAY_MS));
  const format = new Intl.DateTimeFormat(undefined, { timeZone: state.zone, dateStyle: "medium" });
  const name = state.range === "custom" ? `${format.format(from)} to ${format.format(to - 1)}` : `The last ${days} days`;
  return `${name}, against ${days === 1 ? "the day" : `the ${days} days`} before`;
}

const range = {
  title: nameRange,
  isWide: true,
  turns: [0, NAMED_TURN],
  questions: (view, turn) => [...figures(view, view.window, turn), ...figures(view, view.window.before, turn)],
  draw(view, answers) {
    // The first question is about every event of the window.
    const bots = answers[0].bots_left_out ?? 0;
    const leftOut = `${count(bots, "event")} of automated clients ${bots === 1 ? "is" : "are"} left out, here and below.`;
    return [drawFigures(view, answers), el("p", { class: "quiet" }, leftOut)];
  },
};

const overTime = {
  title: "Over time",
  isWide: true,
  turns: [1],
  questions(view) {
    const interval = intervalOf(view.window);
    const common = { interval, timezone: view.state.zone, limit: "1000" };
    return [
      ask("stats", view.state, view.window, { metric: "uniques", ...common }),
      ask("stats", view.state, view.window, { metric: "count", event: PAGEVIEW, ...common }),
    ];
  },
  draw(view, answers) {
    const interval = intervalOf(view.window);
    const zone = view.state.zone;
    const buckets = bucketsOf(view.window, interval, zone);
    const series = answers.map(({ rows }) => {
      const found = new Map(rows.map((row) => [Date.parse(row.bucket), row.value]));
      return buckets.map((at) => found.get(at) ?? 0);
    });
    const form = { hour: { weekday: "short", hour: "2-digit", minute: "2-digit" }, month: { year: "numeric", month: "short" } };
    const format = new Intl.DateTimeFormat(undefined, { timeZone: zone, ...(form[interval] ?? { day: "numeric", month: "short" }) });
    const labels = buckets.map((at) => format.format(at));
    const say = (index) => `${labels[index]}: ${count(series[0][index], "visitor")}, ${count(series[1][index], "page view")}`;
    const read = el("span", {}, say(labels.length - 1));
    const describePoint = (index) => (read.textContent = say(index));
    const rows = labels.map((label, index) => [label, number(series[0][index]), number(series[1][index])]);
    const every = `Each ${interval}, ${zone}`;
    return [
      el("p", { class: "quiet" }, el("span", { class: "key" }), "Visitors", el("span", { class: "key s1" }), "Page views"),
      el("p", {}, read),
      lineChart({ width: view.width(), label: `Visitors and page views, ${every}`, labels, series, format: compact, describePoint }),
      el("details", {}, el("summary", {}, "As a table"), table(every, [interval, "Visitors", "Page views"], rows)),
    ];
  },
};

const isFacebook = ({ source }) => source === "facebook";
const isInternal = (row) => row.source === "internal" || row.channel === "internal";
const sum = (rows) => rows.reduce((count, row) => count + row.events, 0);
const paidOf = (rows) => rows.reduce((count, row) => count + Math.round(row.events * row.paid_share), 0);

/** Return the largest rows; internal clicks, which no campaign brought, come last. */
function internalLast(rows) {
  const shown = rows.slice(0, MOST_ROWS);
  return [...shown.filter((row) => !isInternal(row)), ...shown.filter(isInternal)];
}

/** Return the lengths of the rows' bars, from 0 to 1; internal clicks have none. */
function barsOf(rows, valueOf) {
  const most = Math.max(1, ...rows.filter((row) => !isInternal(row)).map(valueOf));
  return rows.map((row) => (isInternal(row) ? 0 : valueOf(row) / most));
}

/** ``proofs`` are what shows that paid events were paid for; null with a touch's attribution. */
function sayFacebook(rows, proofs) {
  const all = sum(rows.filter(isFacebook));
  if (!all) return null;
  const paid = paidOf(rows.filter(isFacebook));
  const proven = proofs?.rows.find((row) => row.paid_proof === "utm_medium")?.value ?? 0;
  const split = `Facebook: ${share(paid / all)} paid (${number(paid)} of ${number(all)} events). `;
  const proof = `A paid utm_medium proves ${number(proven)} of them. The others rest on fbclid, which Facebook also adds to links in posts.`;
  return el("p", {}, split + (paid && proofs ? proof : ""));
}

const sources = {
  title: "Sources",
  isWide: true,
  turns: [2],
  questions: (view) => [
    ask("sources", view.state, view.window, { breakdown: "source_medium", limit: "200" }),
    ask("stats", view.state, view.window, { metric: "count", group_by: "paid_proof", attribution: "event", source: "facebook", medium: "paid" }),
  ],
  draw(view, [{ rows }, proofs]) {
    if (!rows.length) return null;
    const outer = rows.filter((row) => !isInternal(row));
    const all = sum(outer) || 1;
    const paid = paidOf(outer);
    const shown = internalLast(rows);
    const cells = shown.map((row) => [
      pickable("source", row.source, view.pick), pickable("medium", row.medium, view.pick),
      number(row.uniques), number(row.events), share(row.paid_share),
    ]);
    return [
      el("p", {}, `Clicks within your site aside, ${share(paid / all)} of the events are paid, the others are not.`),
      bar(paid / all, "split"),
      sayFacebook(rows, view.state.model === "event" ? proofs : null),
      table(`The first ${shown.length} of ${rows.length === 200 ? "at least 200" : rows.length}, by events`,
        ["Source", "Medium", "Visitors", "Events", "Paid"], cells,
        { bars: barsOf(shown, (row) => row.events), texts: [0, 1] }),
    ];
  },
};

/** Return a panel that lists the largest groups of one column. */
function list(title, one, column, { metric = "uniques", event, unit = "Visitors" } = {}) {
  return {
    title,
    turns: [3],
    questions: (view) => [
      ask("stats", view.state, view.window, { metric, group_by: column, limit: "200", ...(event ? { event } : {}) }),
    ],
    draw(view, [{ rows }]) {
      const known = rows.filter((row) => column !== "campaign" || row.campaign !== null);
      if (!known.length) return null;
      const shown = internalLast(known);
      const cells = shown.map((row) => [pickable(column, row[column], view.pick), number(row.value)]);
      const caption = `The first ${shown.length} of ${rows.length === 200 ? "at least 200" : known.length}`;
      return [table(caption, [one, unit], cells, { bars: barsOf(shown, (row) => row.value) })];
    },
  };
}

/** A sale that a server sends has no source: the visit that brought the person counts, unless another model is chosen. */
const modelOfSales = ({ state }) => (state.model === "event" ? "last_touch" : state.model);

const salesByChannel = {
  title: "Revenue by channel",
  turns: [5],
  questions(view) {
    const value = valueOf(view);
    const asked = value && { metric: "sum", property: value[1], event: value[0], group_by: "channel", attribution: modelOfSales(view) };
    return asked ? [ask("stats", view.state, view.window, asked)] : [];
  },
  draw(view, [answer]) {
    if (!answer) return [el("p", { class: "quiet" }, "No event has a number, such as the amount of a sale, as a property.")];
    if (!answer.rows.length) return null;
    const [event, key] = valueOf(view);
    const model = modelOfSales(view);
    const shown = internalLast(answer.rows);
    const cells = shown.map((row) => [model === view.state.model ? pickable("channel", row.channel, view.pick) : nameOf(row.channel), number(row.value)]);
    return [
      el("p", { class: "quiet" }, nameOf(`Sum of ${key} of ${event}, by the ${MODELS[model].toLowerCase()}`)),
      table("Largest first", ["Channel", "Sum"], cells, { bars: barsOf(shown, (row) => row.value ?? 0) }),
    ];
  },
};

const live = {
  title: "Live: the last 30 minutes",
  isWide: true,
  isLive: true,
  turns: [1],
  questions: (view) => [ask("query", view.state, { from: Date.now() - LIVE_MS, to: Date.now() + 1000 }, { limit: "20" })],
  draw(view, [{ rows }]) {
    if (!rows.length) return [el("p", { class: "quiet" }, "No events. New ones appear by themselves.")];
    const format = new Intl.DateTimeFormat(undefined, { timeZone: view.state.zone, timeStyle: "medium" });
    const cells = rows.map((row) => [
      format.format(Date.parse(row.timestamp)), nameOf(row.event_name), nameOf(row.path ?? ""),
      nameOf(`${row.source} / ${row.medium}`), row.country || "–",
    ]);
    return [table("Newest first", ["Time", "Event", "Page", "Source", "Country"], cells, { texts: [0, 1, 2, 3, 4] })];
  },
};

const options = ({ offered }, chosen) =>
  [...new Set([...offered.names, ...chosen])].map((name) => [name, name]);

const funnel = {
  title: "Funnel",
  isWide: true,
  turns: [5],
  questions: (view) => [
    ask("funnel", view.state, view.window, { steps: JSON.stringify(stepsOf(view).map((event) => ({ event }))), within: "7d" }),
  ],
  choices(view) {
    const steps = stepsOf(view);
    return [0, 1, 2, 3].slice(0, steps.length + 1).map((index) => {
      const none = index > 1 ? [["", "(none)"]] : [];
      return field(`Step ${index + 1}`, choice(`step-${index}`, [...none, ...options(view, steps)], steps[index] ?? "", (name) => {
        const changed = [...steps];
        changed[index] = name;
        view.set({ steps: changed.filter(Boolean) });
      }));
    });
  },
  draw(view, [{ rows }]) {
    if (!rows.length) return null;
    const cells = rows.map((row) => [
      nameOf(row.event), number(row.people), row.from_first === null ? "–" : share(row.from_first),
      row.from_previous === null ? "–" : share(row.from_previous),
    ]);
    return [table("People who took the steps in this order, within 7 days", ["Step", "People", "Of first", "Of previous"],
      cells, { bars: rows.map((row) => row.from_first ?? 0) })];
  },
};

const firstOf = (view) => view.state.first ?? PAGEVIEW;
const againOf = (view) => view.state.again ?? firstOf(view);

const retention = {
  title: "Who comes back",
  isWide: true,
  turns: [5],
  questions: (view) => [
    ask("retention", view.state, view.window,
      { event: firstOf(view), return: againOf(view), interval: "week", timezone: view.state.zone }),
  ],
  choices: (view) => [
    field("First", choice("first", options(view, [firstOf(view)]), firstOf(view), (first) => view.set({ first }))),
    field("Then again", choice("again", options(view, [againOf(view)]), againOf(view), (again) => view.set({ again }))),
  ],
  draw(view, [{ rows }]) {
    if (!rows.length) return null;
    const format = new Intl.DateTimeFormat(undefined, { timeZone: view.state.zone, day: "numeric", month: "short" });
    const most = Math.max(...rows.map((row) => row.returned.length));
    const weeks = Array.from({ length: most }, (_, index) => `+${index}`);
    const cells = rows.map((row) => [
      format.format(Date.parse(row.cohort)), number(row.people),
      ...weeks.map((_, index) => {
        if (row.returned[index] === undefined) return "";
        const isRunning = row.is_running && index === row.returned.length - 1;
        return `${share(row.people ? row.returned[index] / row.people : 0)}${isRunning ? "*" : ""}`;
      }),
    ]);
    return [
      table("People by the week of their first event, and the share that came back so many weeks later", ["Week of", "People", ...weeks], cells),
      el("p", { class: "quiet" }, "* This week is not over. +0 is the first week itself."),
    ];
  },
};

export const PANELS = [
  today,
  range,
  overTime,
  sources,
  list("Channels", "Channel", "channel"),
  salesByChannel,
  list("Pages", "Page", "path", { metric: "count", event: PAGEVIEW, unit: "Page views" }),
  list("Campaigns", "Campaign", "campaign"),
  list("Countries", "Country", "country"),
  list("Devices", "Device", "device_type"),
  funnel,
  retention,
  live,
];
