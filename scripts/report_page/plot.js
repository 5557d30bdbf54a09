// Draws a chart for a part of its horizontal axis, as axes.py and charts.py draw it for the whole, with the same constants.
// Lines come from the chart's data; what else has a place moves to where its attribute data-at says.
"use strict";
const RIGHT = 14, TOP = 14, BOTTOM = 34, GAP = 9, CHARACTER = 8, MOST_TICKS = 8, FARTHEST = 20000;
const MINUS = "\u2212";

const exponent = (value) => Math.floor(Math.log10(Math.abs(value)) + 1e-9);

const ticks = (low, high, count, smallest = 0) => {
  const raw = Math.max((high - low) / Math.max(1, count), smallest);
  const size = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((factor) => size * factor).find((one) => one >= raw * 0.999);
  const first = Math.ceil(low / step - 1e-9), last = Math.floor(high / step + 1e-9);
  return [Array.from({ length: last - first + 1 }, (_, i) => (first + i) * step), step];
};

const grouped = (value, digits) => {
  const [whole, part] = value.toFixed(digits).split(".");
  const text = whole.replace(/\B(?=(\d{3})+$)/g, ",") + (part ? `.${part}` : "");
  return text.replace("-", MINUS);
};

const number = (value, step) => grouped(value, Math.max(0, -exponent(step)));

const scientific = (value, digits) => value === 0 ? "0" : value.toExponential(digits).replace("+", "").replaceAll("-", MINUS);

const valueTicks = (low, high, count) => {
  const [values, step] = ticks(low, high, count);
  const largest = Math.max(0, ...values.map(Math.abs));
  const far = largest >= 1e6 || (largest > 0 && largest < 1e-4);
  const text = (value) =>
    far ? scientific(value, value === 0 ? 0 : Math.max(0, exponent(value) - exponent(step))) : number(value, step);
  return values.map((value) => [value, text(value)]);
};

// How many labels like `text` fit.
const ticksThatFit = (text, width) => Math.max(1, Math.min(MOST_TICKS, Math.floor(width / (CHARACTER * text.length + 24))));

const stepTicks = (axis, low, high, width) => {
  const [values, step] = ticks(low, high, ticksThatFit(grouped(high, 0), width), 1);
  return values.filter((value) => axis.least === null || value >= axis.least).map((value) => [value, number(value, step)]);
};

// Places are logarithms to base 2: powers of two; if there are fewer than two, the measured places, or else round numbers.
const contextTicks = (data, low, high, width) => {
  const powers = [];
  for (let power = Math.ceil(low); power <= Math.floor(high); ++power) powers.push(power);
  const text = (power) => grouped(2 ** power, 0);
  if (powers.length > 1) {
    const every = Math.ceil(powers.length / ticksThatFit(text(powers.at(-1)), width));
    return powers.filter((power) => power % every === 0).map((power) => [power, text(power)]);
  }
  const measured = data.steps.map((place, i) => [place, data.names[i]]).filter(([place]) => place >= low && place <= high);
  if (measured.length) return measured;
  const [values, step] = ticks(2 ** low, 2 ** high, ticksThatFit(text(high), width), 1);
  return values.filter((value) => value >= 1).map((value) => [Math.log2(value), number(value, step)]);
};

// How a value is read out: signed where the chart shows differences, and never as a negative zero.
const valueText = (data, value, digits) => {
  if (Math.abs(value) >= 1e6) return (data.signed && value > 0 ? "+" : "") + scientific(value, 4);
  const text = grouped(value, digits);
  if (!/[1-9]/.test(text)) return text.replace(MINUS, "");
  return (data.signed && value > 0 ? "+" : "") + text;
};

// Decimals for values of a size: 4, or enough for two digits of it.
const digitsFor = (size) => size === 0 || size >= 1e-3 ? 4 : Math.min(12, 1 - Math.floor(Math.log10(size)));

const placeName = (data, index) =>
  data.names ? data.names[index] : `${data.axis.name} ${grouped(data.steps[index], 0)}`;

// The indices of rising steps within a view, with one beyond each end.
const within = (steps, [low, high]) => {
  const first = steps.findIndex((step) => step >= low);
  if (first < 0) return [Math.max(0, steps.length - 1), steps.length];
  const after = steps.findIndex((step) => step > high);
  return [Math.max(0, first - 1), after < 0 ? steps.length : after + 1];
};

// The lowest, the highest and the first absent value of each stretch: few points that look like all of them.
const picked = (values, first, end, most) => {
  if (end - first <= most) return Array.from({ length: end - first }, (_, i) => first + i);
  const found = [];
  const stretches = Math.max(1, Math.floor(most / 2));
  for (let k = 0; k < stretches; ++k) {
    const last = first + Math.floor((end - first) * (k + 1) / stretches);
    let low = -1, high = -1, absent = -1;
    for (let i = first + Math.floor((end - first) * k / stretches); i < last; ++i) {
      if (values[i] === null) absent = absent < 0 ? i : absent;
      else if (low < 0) low = high = i;
      else if (values[i] < values[low]) low = i;
      else if (values[i] > values[high]) high = i;
    }
    found.push(...[...new Set([low, high, absent])].filter((i) => i >= 0).sort((a, b) => a - b));
  }
  return found;
};

// The steps and values of a line, whose own steps are distances from the step before.
const lineOf = (data, line) => {
  if (line.of !== undefined) return { ...line, steps: data.steps, values: data.series[line.of].values };
  let step = 0;
  return { ...line, steps: line.steps ? line.steps.map((distance) => step += distance) : data.steps };
};

const padded = (low, high) => {
  const size = Math.max(Math.abs(low), Math.abs(high));
  let room = 0.06 * (high - low);
  if (room <= 1e-12 * size) room = Math.max(0.1 ** digitsFor(size), 1e-9 * size);
  return [low - room, high + room];
};

// Limits for the values within a view: all of bold lines, marks and bars, and nearly all of each faint line, in which
// single points may be far away; null without values.
const limitsOf = (lines, bars, view, hidden) => {
  let low = Infinity, high = -Infinity;
  const include = (...values) => {
    for (const value of values) {
      low = Math.min(low, value);
      high = Math.max(high, value);
    }
  };
  for (const line of lines) {
    if (hidden.has(line.series)) continue;
    const inside = line.values.filter((v, i) => v !== null && line.steps[i] >= view[0] && line.steps[i] <= view[1]);
    inside.sort((a, b) => a - b);
    const left = line.kind === "raw" ? Math.floor(inside.length / 50) : 0;
    if (inside.length) include(inside[left], inside[inside.length - 1 - left]);
  }
  for (const { series, corners } of bars) {
    if (hidden.has(series) || corners[0] < view[0] || corners[0] > view[1]) continue;
    include(corners[1], corners.at(-1));
  }
  return low <= high ? padded(low, high) : null;
};

// One of the two pictures of a chart, with the frame it was last drawn in.
class Plot {
  // `lines` are those of lineOf().
  constructor(svg, data, lines) {
    this.svg = svg;
    this.data = data;
    this.lines = lines;
    this.area = svg.querySelector(".area");
    this.axes = svg.querySelector(".axes");
    [, , this.width, this.height] = svg.getAttribute("viewBox").split(" ").map(Number);
    this.placed = [...this.area.querySelectorAll("[data-at]")].map((element) => ({
      element,
      corners: element.dataset.at.split(" ").map((place) => /^[a-z]/.test(place) ? place : Number(place)),
    }));
    this.cursor = this.create(svg, "line", { class: "cursor", x1: 0, x2: 0 });
    this.chosen = this.create(svg, "rect", { class: "chosen", x: 0, width: 0 });
  }

  create(parent, tag, attributes, text = "") {
    const element = document.createElementNS(this.svg.namespaceURI, tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.textContent = text;
    parent.append(element);
    return element;
  }

  // For limitsOf().
  bars() {
    const bars = this.placed.filter(({ element }) => element.matches(".bar"));
    return bars.map(({ element, corners }) => ({ corners, series: element.dataset.series }));
  }

  isShown() { return this.svg.getBoundingClientRect().width > 0; }

  x(place) {
    if (typeof place === "string") return this[place];
    const pixel = this.left + (place - this.view[0]) / (this.view[1] - this.view[0]) * (this.right - this.left);
    return Math.min(Math.max(pixel, -FARTHEST), FARTHEST);
  }

  y(place) {
    if (typeof place === "string") return this[place];
    const pixel = this.bottom - (place - this.limits[0]) / (this.limits[1] - this.limits[0]) * (this.bottom - this.top);
    return Math.min(Math.max(pixel, -FARTHEST), FARTHEST);
  }

  // The place on the axis below a pixel of the screen.
  placeAt(clientX) {
    const pixel = clientX - this.svg.getBoundingClientRect().left;
    return this.view[0] + (pixel - this.left) / (this.right - this.left) * (this.view[1] - this.view[0]);
  }

  // A pixel of the picture is one of the screen, so that text has the same size on every screen.
  draw(view, limits) {
    if (!this.isShown()) return;
    this.width = Math.round(this.svg.getBoundingClientRect().width);
    this.svg.setAttribute("viewBox", `0 0 ${this.width} ${this.height}`);
    this.view = view;
    this.limits = limits;
    const values = valueTicks(...limits, MOST_TICKS);
    const { axis } = this.data;
    this.left = GAP + 4 + CHARACTER * Math.max(axis.name.length, ...values.map(([, text]) => text.length));
    this.right = this.width - RIGHT;
    this.top = TOP;
    this.bottom = this.height - BOTTOM;
    const across = (axis.logarithmic ? contextTicks.bind(null, this.data) : stepTicks.bind(null, axis));
    this.drawAxes(values, across(...view, this.right - this.left));
    const area = [this.left, this.top, this.right - this.left, this.bottom - this.top];
    ["x", "y", "width", "height"].forEach((side, i) => this.area.setAttribute(side, area[i]));
    this.area.setAttribute("viewBox", area.join(" "));
    this.faintPoints = 0;
    for (const element of this.area.querySelectorAll("[data-line]")) {
      const line = this.lines[element.dataset.line];
      if (line.kind === "dots") this.placeMarks(element, line);
      else element.setAttribute("d", this.pathOf(line));
    }
    // Fainter where the faint lines have more points than pixels, so that they hide nothing.
    const faint = Math.max(0.05, 0.4 / Math.sqrt(Math.max(1, this.faintPoints / (this.right - this.left))));
    this.area.style.setProperty("--faint", faint.toFixed(3));
    this.placed.forEach((one) => this.place(one));
    for (const [name, value] of [["y1", this.top], ["y2", this.bottom]]) this.cursor.setAttribute(name, value);
    this.chosen.setAttribute("y", this.top);
    this.chosen.setAttribute("height", this.bottom - this.top);
  }

  drawAxes(values, across) {
    this.axes.replaceChildren();
    const line = (css, x1, x2, y1, y2) => this.create(this.axes, "line", { class: css, x1, x2, y1, y2 });
    const text = (x, y, anchor, content) => this.create(this.axes, "text", { x, y, "text-anchor": anchor }, content);
    const { left, right, bottom } = this;
    for (const [value, label] of values) {
      line("grid", left, right, this.y(value).toFixed(1), this.y(value).toFixed(1));
      text(left - GAP, (this.y(value) + 4).toFixed(1), "end", label);
    }
    let end = left - GAP; // of the axis' name
    for (const [value, label] of across) {
      const half = CHARACTER * label.length / 2, x = this.x(value);
      const middle = Math.min(Math.max(x, end + 6 + half), this.width - 2 - half);
      line("axis", x.toFixed(1), x.toFixed(1), bottom, bottom + 5);
      if (middle - half < end + 5.9 || Math.abs(middle - x) > half) continue; // it would touch the label before it
      text(middle.toFixed(1), bottom + 20, "middle", label);
      end = middle + half;
    }
    line("axis", left, right, bottom, bottom);
    text(left - GAP, bottom + 20, "end", this.data.axis.name);
  }

  pathOf({ kind, steps, values }) {
    const [first, end] = within(steps, this.view);
    const points = picked(values, first, Math.min(end, values.length), 2 * (this.right - this.left));
    if (kind === "raw") this.faintPoints += points.length;
    let path = "", before = 0; // the number of points since the last gap
    for (const i of points) {
      if (values[i] === null) {
        path += before === 1 ? "h0" : "";
        before = 0;
        continue;
      }
      path += `${before ? "L" : "M"}${this.x(steps[i]).toFixed(1)} ${this.y(values[i]).toFixed(1)}`;
      before += 1;
    }
    return path + (before === 1 ? "h0" : "");
  }

  // A group of marks has one for each value that is present.
  placeMarks(group, { steps, values }) {
    const present = [...values.keys()].filter((i) => values[i] !== null);
    present.forEach((i, k) => {
      const mark = group.children[k], x = this.x(steps[i]).toFixed(1), y = this.y(values[i]).toFixed(1);
      if (mark.tagName === "circle") {
        mark.setAttribute("cx", x);
        mark.setAttribute("cy", y);
        return;
      }
      const outline = mark.getAttribute("d");
      mark.setAttribute("d", `M${x} ${y}${outline.slice(outline.indexOf("m"))}`);
    });
  }

  place({ element, corners }) {
    const pixels = corners.map((place, i) => (i % 2 ? this.y(place) : this.x(place)).toFixed(1));
    const set = (names) => names.forEach((name, i) => element.setAttribute(name, pixels[i]));
    if (element.tagName === "line") {
      set(["x1", "y1", "x2", "y2"]);
      return;
    }
    set(["x", "y"]);
    if (element.tagName === "rect") {
      element.setAttribute("width", (pixels[2] - pixels[0]).toFixed(1));
      element.setAttribute("height", Math.max(1, pixels[3] - pixels[1]).toFixed(1));
      return;
    }
    const isLast = Number(pixels[0]) + 5 + CHARACTER * element.textContent.length > this.right;
    element.setAttribute("dx", isLast ? -5 : 5);
    element.setAttribute("text-anchor", isLast ? "end" : "start");
  }
}
