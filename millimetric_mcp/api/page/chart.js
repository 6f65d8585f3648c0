// A line chart as plain SVG: read with the pointer, with arrow keys, or from the table beside it.

const SVG = "http://www.w3.org/2000/svg";
const HEIGHT = 240;
const LEFT = 56;
const BOTTOM = 28;
const TOP = 12;

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

/**
 * Return a chart of several series over the same labels. `describePoint` returns the text of the
 * point that the reader looks at, by its index. `width` is in pixels.
 */
export function lineChart({ width, label, labels, series, format, describePoint }) {
  const top = Math.max(4, roundUp(Math.max(...series.flat())));
  const step = (width - LEFT - 12) / Math.max(1, labels.length - 1);
  const x = (index) => LEFT + index * step;
  const y = (value) => HEIGHT - BOTTOM - (value / top) * (HEIGHT - BOTTOM - TOP);
  const root = svg("svg", {
    class: "chart", viewBox: `0 0 ${width} ${HEIGHT}`, role: "slider", tabindex: "0",
    "aria-label": label, "aria-valuemin": 0, "aria-valuemax": labels.length - 1,
  });
  for (const share of [0, 0.5, 1]) {
    root.append(svg("line", { class: "grid", x1: LEFT, x2: width - 12, y1: y(top * share), y2: y(top * share) }));
    root.append(svg("text", { x: LEFT - 8, y: y(top * share) + 4, "text-anchor": "end" }, format(top * share)));
  }
  const shown = labels.length > 1 ? [0, Math.floor((labels.length - 1) / 2), labels.length - 1] : [0];
  for (const [place, index] of [...new Set(shown)].entries()) {
    const anchor = ["start", "middle", "end"][place];
    root.append(svg("text", { x: x(index), y: HEIGHT - 8, "text-anchor": anchor }, labels[index]));
  }
  series.forEach((values, number) => {
    const points = values.map((value, index) => `${x(index).toFixed(1)},${y(value).toFixed(1)}`);
    root.append(svg("path", { class: `s${number}`, d: `M${points.join("L")}` }));
    if (values.length === 1) root.append(svg("circle", { class: `s${number}`, cx: x(0), cy: y(values[0]), r: 4 }));
  });
  const cursor = svg("line", { class: "cursor", y1: TOP, y2: HEIGHT - BOTTOM, visibility: "hidden" });
  root.append(cursor);

  let at = labels.length - 1;
  const look = (index) => {
    at = Math.max(0, Math.min(labels.length - 1, index));
    cursor.setAttribute("x1", x(at));
    cursor.setAttribute("x2", x(at));
    cursor.setAttribute("visibility", "visible");
    root.setAttribute("aria-valuenow", at);
    root.setAttribute("aria-valuetext", describePoint(at));
  };
  root.setAttribute("aria-valuenow", at);
  root.setAttribute("aria-valuetext", describePoint(at));
  root.addEventListener("pointermove", (event) => {
    const box = root.getBoundingClientRect();
    look(Math.round((((event.clientX - box.left) / box.width) * width - LEFT) / step));
  });
  root.addEventListener("keydown", (event) => {
    const moved = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: labels.length - 1 }[event.key];
    if (moved === undefined) return;
    event.preventDefault();
    look(moved);
  });
  return root;
}
