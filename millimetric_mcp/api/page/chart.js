// A line chart as plain SVG: read with the pointer, with arrow keys, or from the table beside it.

const SVG = "http://www.w3.org/2000/svg";
const HEIGHT = 240;
const RIGHT = 12;

/** Return an SVG element with attributes and text. */
export function svg(name, attributes = {}, text = "") {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.textContent = text;
  return element;
}

/** Return a horizontal bar: `share` of its width, from 0 to 1. */
export function bar(share, className = "") {
  const element = svg("svg", { class: `bar ${className}`, "aria-hidden": "true" });
  if (className) element.append(svg("rect", { class: "rest", width: "100%", height: "100%" }));
  element.append(svg("rect", { width: `${Math.max(0, Math.min(1, share)) * 100}%`, height: "100%" }));
  return element;
}

/** Return a number with at most two digits that is not much above, and not below, the number. */
function roundUp(number) {
  const power = 10 ** Math.floor(Math.log10(Math.max(number, 1)));
  return [1, 1.2, 1.6, 2, 3, 4, 5, 6, 8, 10].map((factor) => factor * power).find((step) => step >= number);
}

/** Return the sizes of a chart `width` pixels wide. They follow the reader's text size and the texts' lengths. */
function measure(width, labels, ticks) {
  const text = 13 / 16 * parseFloat(getComputedStyle(document.documentElement).fontSize);
  const widest = (texts) => 0.75 * text * Math.max(...texts.map(({ length }) => length));
  const left = widest(ticks.map(([, tick]) => tick)) + 8;
  const inner = width - left - RIGHT;
  return { width, text, left, top: text, bottom: HEIGHT - 2.2 * text, step: inner / Math.max(1, labels.length - 1), widest: widest(labels) };
}

/** Return the labels below the chart, as many of the first, the middle and the last as fit. */
function drawLabels({ text, left, step, widest }, labels) {
  const last = labels.length - 1;
  const middle = Math.floor(last / 2);
  const places = [[0, "start"]];
  if (last * step > 2 * widest) places.push([last, "end"]);
  if (middle * step > 1.5 * widest) places.push([middle, "middle"]);
  return places.map(([index, anchor]) =>
    svg("text", { x: left + index * step, y: HEIGHT - 0.6 * text, "text-anchor": anchor }, labels[index]));
}

/** Draw the lines of the series, and those of `ticks`, pairs of a value and its text; the last one is the top. */
function drawLines({ width, text, left, top, bottom, step }, series, ticks) {
  const y = (value) => bottom - (value / ticks.at(-1)[0]) * (bottom - top);
  const grid = ticks.flatMap(([value, tick]) => [
    svg("line", { class: "grid", x1: left, x2: width - RIGHT, y1: y(value), y2: y(value) }),
    svg("text", { x: left - 8, y: y(value) + 0.3 * text, "text-anchor": "end" }, tick),
  ]);
  const lines = series.map((values, number) => {
    if (values.length === 1) return svg("circle", { class: `s${number}`, cx: left, cy: y(values[0]), r: 4 });
    const points = values.map((value, index) => `${(left + index * step).toFixed(1)},${y(value).toFixed(1)}`);
    return svg("path", { class: `s${number}`, d: `M${points.join("L")}` });
  });
  return [...grid, ...lines];
}

/**
 * Return a chart of several series over the same labels. `describePoint` returns the text of the
 * point that the reader looks at, by its index. `width` is in pixels, until the page lays it out.
 */
export function lineChart({ width, label, labels, series, format, describePoint }) {
  const root = svg("svg", {
    class: "chart", role: "slider", tabindex: "0",
    "aria-label": label, "aria-valuemin": 0, "aria-valuemax": labels.length - 1,
  });
  const cursor = svg("line", { class: "cursor", visibility: "hidden" });
  const top = Math.max(4, roundUp(Math.max(...series.flat())));
  const ticks = [0, top / 2, top].map((value) => [value, format(value)]);
  let size;
  let at = labels.length - 1;

  const place = () => {
    const x = size.left + at * size.step;
    for (const [name, value] of [["x1", x], ["x2", x], ["y1", size.top], ["y2", size.bottom]]) cursor.setAttribute(name, value);
    root.setAttribute("aria-valuenow", at);
    root.setAttribute("aria-valuetext", describePoint(at));
  };
  const draw = (drawnWidth) => {
    size = measure(drawnWidth, labels, ticks);
    root.setAttribute("viewBox", `0 0 ${drawnWidth} ${HEIGHT}`);
    root.setAttribute("font-size", size.text);
    root.replaceChildren(...drawLines(size, series, ticks), ...drawLabels(size, labels), cursor);
    place();
  };
  const look = (index) => {
    at = Math.max(0, Math.min(labels.length - 1, index));
    cursor.setAttribute("visibility", "visible");
    place();
  };

  draw(width);
  const fit = () => {
    const { width: shown } = root.getBoundingClientRect();
    if (shown && Math.abs(shown - size.width) > 1) draw(shown);
  };
  new ResizeObserver(() => requestAnimationFrame(fit)).observe(root); // to draw now would resize it again
  root.addEventListener("pointermove", (event) => {
    const box = root.getBoundingClientRect();
    look(Math.round((((event.clientX - box.left) / box.width) * size.width - size.left) / size.step));
  });
  root.addEventListener("keydown", (event) => {
    const moved = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: labels.length - 1 }[event.key];
    if (moved === undefined) return;
    event.preventDefault();
    look(moved);
  });
  return root;
}
