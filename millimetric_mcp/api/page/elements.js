// Elements. Names that visitors sent get into the page as text only, isolated from what stands around them.

import { bar } from "./chart.js";

/** Return an element; properties that start with `on` are listeners, texts become text nodes. */
export function el(name, properties = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (value === true) element.setAttribute(key, "");
    else if (value !== false && value != null) element.setAttribute(key, value);
  }
  element.append(...children.filter((child) => child != null));
  return element;
}

const whole = new Intl.NumberFormat(undefined, { maximumFractionDigits: 2 });
const short = new Intl.NumberFormat(undefined, { notation: "compact", maximumFractionDigits: 1 });
const percent = new Intl.NumberFormat(undefined, { style: "percent", maximumFractionDigits: 0 });

export const number = (value) => whole.format(value ?? 0);
/** Return a number with its noun, in the plural unless it is 1. */
export const count = (value, noun) => `${number(value)} ${noun}${value === 1 ? "" : "s"}`;
export const compact = (value) => short.format(value);
export const share = (value) => percent.format(value);

const direction = /[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;

/** Return a name as a visitor sent it, at most two lines of it. What turns the order of letters shows as "�". */
export function nameOf(text) {
  const shown = text.replace(direction, "\ufffd");
  return el("bdi", { class: "name", dir: "auto", title: shown }, shown);
}

/** Return a name; a click on it filters by it. An unknown one can't be filtered by. */
export function pickable(filter, value, pick) {
  if (!value) return el("span", { class: "quiet" }, "not known");
  if (value.length > 2048) return nameOf(value);
  const effect = `Shows only this ${filter.replace("_", " ")}`;
  return el("button", { type: "button", class: "pick", "aria-description": effect, onclick: () => pick(filter, value) }, nameOf(value));
}

/** Return a labelled field. */
export const field = (label, control) => el("div", { class: "field" }, el("label", { for: control.id }, label), control);

/** Return a choice between options `[value, text]`. */
export function choice(id, options, chosen, onchange) {
  const select = el("select", { id, onchange: () => onchange(select.value) });
  for (const [value, text] of options) {
    const label = text.length > 60 ? `${text.slice(0, 60)}…` : text;
    select.append(el("option", { value, dir: "auto", selected: value === chosen }, label));
  }
  return select;
}

/**
 * Return a table. The first cell of a row is its heading, with a share of `bars` below it. The
 * columns of `texts` hold names, all others numbers.
 */
export function table(caption, heads, rows, { bars = [], texts = [0] } = {}) {
  const classOf = (index) => (texts.includes(index) ? null : "n");
  const head = el("tr", {}, ...heads.map((text, index) => el("th", { scope: "col", class: classOf(index) }, text)));
  const body = rows.map(([first, ...rest], index) =>
    el("tr", {},
      el("th", { scope: "row" }, first, bars[index] === undefined ? null : bar(bars[index])),
      ...rest.map((cell, place) => el("td", { class: classOf(place + 1) }, cell))));
  const made = el("table", {}, el("caption", {}, caption), el("thead", {}, head), el("tbody", {}, ...body));
  return el("div", { class: "scroll", role: "group", tabindex: "0", "aria-label": caption }, made);
}
