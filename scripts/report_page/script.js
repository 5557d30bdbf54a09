// Read-outs, zoom and legends of the charts that plot.js draws. The page is complete without scripts.
"use strict";
const FEWEST_PIXELS = 8; // a shorter drag is a click

// The index of the value nearest to `wanted` among rising ones.
const nearest = (values, wanted) => {
  let low = 0, high = values.length - 1;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (values[middle] < wanted) low = middle; else high = middle;
  }
  return wanted - values[low] < values[high] - wanted ? low : Math.max(0, high);
};

const add = (parent, tag, css, content = "") => {
  const element = document.createElement(tag);
  element.className = css;
  element.textContent = content;
  parent.append(element);
  return element;
};

// A chart with its two pictures, one of which is shown: wide or narrow.
class InteractiveChart {
  constructor(figure, id) {
    this.figure = figure;
    this.data = JSON.parse(figure.querySelector("script").textContent);
    this.lines = this.data.lines.map((line) => lineOf(this.data, line));
    this.plots = [...figure.querySelectorAll("svg[data-plot]")].map((svg) => new Plot(svg, this.data, this.lines));
    this.bars = this.plots[0].bars();
    this.view = this.data.x;
    this.hidden = new Set(); // names of series
    this.index = -1; // of the place that is read out
    this.fingers = new Map(); // on the picture: the screen's x by the pointer's id
    this.begin = null; // the screen's x where a drag of the mouse began
    this.addParts(id);
    this.listen();
    const { steps } = this.data;
    const gaps = steps.slice(1).map((step, i) => step - steps[i]);
    this.smallest = Math.min(2 * Math.min(...gaps), this.data.x[1] - this.data.x[0]);
    new ResizeObserver(() => this.fit()).observe(figure);
  }

  addParts(id) {
    this.tip = add(this.figure, "div", "tip");
    this.tip.setAttribute("aria-hidden", "true");
    this.spoken = add(this.figure, "div", "spoken");
    this.spoken.setAttribute("role", "status");
    this.spoken.setAttribute("aria-live", "polite");
    const below = add(this.figure, "div", "below");
    this.whole = add(below, "button", "whole", "Show all");
    this.whole.type = "button";
    this.whole.hidden = true;
    this.hint = add(below, "div", "hint");
    this.hint.id = `hint-${id}`;
    add(this.hint, "span", "with-mouse", "Drag to zoom, double-click to show all. Keys: ← → read values, + − zoom, 0 shows all.");
    add(this.hint, "span", "with-finger", "Tap to read, spread to zoom, double-tap for all.");
    for (const { svg } of this.plots) {
      svg.setAttribute("tabindex", "0");
      // A screen reader passes the arrow keys on to an application, not to a picture.
      svg.setAttribute("role", "application");
      svg.setAttribute("aria-roledescription", "chart");
      svg.setAttribute("aria-describedby", this.hint.id);
    }
  }

  listen() {
    this.whole.addEventListener("click", () => this.showAll());
    for (const button of this.figure.querySelectorAll(".legend button")) {
      button.addEventListener("click", () => this.toggle(button));
    }
    document.addEventListener("pointerdown", (event) => {
      if (!this.figure.contains(event.target)) this.hide();
    });
    for (const plot of this.plots) {
      const { svg } = plot;
      svg.addEventListener("pointerdown", (event) => this.press(plot, event));
      svg.addEventListener("pointermove", (event) => this.move(plot, event));
      svg.addEventListener("pointerup", (event) => this.release(plot, event));
      svg.addEventListener("pointercancel", (event) => this.release(null, event));
      svg.addEventListener("pointerleave", (event) => {
        if (event.pointerType !== "touch") this.hide();
      });
      svg.addEventListener("dblclick", () => this.showAll());
      svg.addEventListener("wheel", (event) => this.turn(plot, event), { passive: false });
      svg.addEventListener("keydown", (event) => this.type(event));
      svg.addEventListener("blur", () => this.hide());
    }
  }

  shown() { return this.plots.find((plot) => plot.isShown()); }

  isZoomed() { return this.view !== this.data.x; }

  // Draws again if the picture's width has changed, or the other picture is shown.
  fit() {
    const plot = this.shown();
    if (plot && (plot !== this.drawn || plot.width !== Math.round(plot.svg.getBoundingClientRect().width))) this.draw();
  }

  draw() {
    const plot = this.drawn = this.shown();
    if (!plot) return;
    this.limits = (this.isZoomed() && limitsOf(this.lines, this.bars, this.view, this.hidden)) || this.data.y;
    plot.draw(this.view, this.limits);
    this.whole.hidden = !this.isZoomed();
    this.hint.hidden = this.isZoomed();
    if (this.index >= 0) this.read(this.index);
  }

  // Shows a range of the axis: at least a few points of it, and nothing beyond its ends.
  zoom(low, high) {
    const [first, last] = this.data.x;
    const size = Math.min(Math.max(high - low, this.smallest), last - first);
    const begin = Math.min(Math.max((low + high - size) / 2, first), last - size);
    this.view = size < 0.999 * (last - first) ? [begin, begin + size] : this.data.x;
    this.draw();
  }

  // Makes the range `factor` times as large around a place, which stays where it is.
  scale(factor, place) {
    const [low, high] = this.view;
    this.zoom(place - (place - low) * factor, place + (high - place) * factor);
  }

  showAll() {
    this.view = this.data.x;
    this.draw();
  }

  toggle(button) {
    const name = button.dataset.series;
    const off = !this.hidden.delete(name);
    if (off) this.hidden.add(name);
    button.setAttribute("aria-pressed", String(!off));
    for (const part of this.figure.querySelectorAll("svg [data-series]")) {
      if (part.dataset.series === name) part.classList.toggle("off", off);
    }
    this.draw();
  }

  // [series, text] of what is read out at a place.
  values(index) {
    const digits = Math.max(this.data.digits, this.isZoomed() ? digitsFor((this.limits[1] - this.limits[0]) / 2) : 0);
    const present = this.data.series.filter((one) => one.values[index] !== null && !this.hidden.has(one.hiddenBy ?? one.name));
    return present.map((one) => [one, valueText(this.data, one.values[index], digits)]);
  }

  // Shows the values at a place, beside a vertical line.
  read(index) {
    const plot = this.drawn;
    this.index = index;
    const at = plot.x(this.data.steps[index]);
    const isInside = at >= plot.left - 0.5 && at <= plot.right + 0.5;
    plot.cursor.setAttribute("x1", at);
    plot.cursor.setAttribute("x2", at);
    plot.cursor.style.visibility = isInside ? "visible" : "hidden";
    this.tip.replaceChildren();
    add(this.tip, "div", "place", placeName(this.data, index));
    for (const [series, text] of this.values(index)) {
      const row = add(this.tip, "div", "row");
      add(row, "i", "").style.background = `var(--c${series.color})`;
      add(row, "span", "", series.name);
      add(row, "b", "", text);
    }
    this.placeTip(plot, at, index);
  }

  // Beside the line; where there is little room, in the half of the picture in which the values are not.
  placeTip(plot, at, index) {
    const box = plot.svg.getBoundingClientRect(), width = this.tip.offsetWidth;
    const beside = at + 14 + width > box.width ? at - 14 - width : at + 14;
    this.tip.style.left = `${Math.max(0, Math.min(beside, box.width - width))}px`;
    const pixels = this.values(index).map(([series]) => plot.y(series.values[index]));
    const middle = pixels.reduce((sum, one) => sum + one, 0) / pixels.length;
    const isBelow = width > 0.3 * box.width && middle < (plot.top + plot.bottom) / 2;
    const inside = isBelow ? plot.bottom - 8 - this.tip.offsetHeight : 8;
    this.tip.style.top = `${box.top - this.figure.getBoundingClientRect().top + inside}px`;
    this.tip.style.visibility = "visible";
  }

  hide() {
    this.index = -1;
    for (const { cursor } of this.plots) cursor.style.visibility = "hidden";
    this.tip.style.visibility = "hidden";
  }

  readAt(plot, clientX) {
    if (this.data.steps.length) this.read(nearest(this.data.steps, plot.placeAt(clientX)));
  }

  press(plot, event) {
    if (event.pointerType !== "touch") {
      if (event.button !== 0) return;
      this.begin = event.clientX;
      plot.svg.setPointerCapture(event.pointerId);
      return;
    }
    this.fingers.set(event.pointerId, event.clientX);
    if (this.fingers.size === 1) this.readAt(plot, event.clientX);
    else this.hide();
  }

  move(plot, event) {
    if (this.fingers.size > 1) this.pinch(plot, event);
    else if (this.begin === null || event.pointerType === "touch") this.readAt(plot, event.clientX);
    else this.choose(plot, event.clientX);
    if (this.fingers.has(event.pointerId)) this.fingers.set(event.pointerId, event.clientX);
  }

  // What was below two fingers stays below them.
  pinch(plot, event) {
    const before = [...this.fingers.values()].slice(0, 2);
    const after = [...this.fingers].slice(0, 2).map(([id, x]) => (id === event.pointerId ? event.clientX : x));
    if (Math.abs(after[1] - after[0]) < 1) return;
    const places = before.map((x) => plot.placeAt(x));
    const perPixel = (places[1] - places[0]) / (after[1] - after[0]);
    if (!(perPixel > 0)) return; // the fingers have crossed
    const box = plot.svg.getBoundingClientRect();
    const low = places[0] - (after[0] - box.left - plot.left) * perPixel;
    this.zoom(low, low + (plot.right - plot.left) * perPixel);
  }

  // The ends, in the picture, of the range between the beginning of a drag and where it is now.
  dragged(plot, clientX) {
    const { left } = plot.svg.getBoundingClientRect();
    const ends = [this.begin - left, clientX - left].map((x) => Math.min(Math.max(x, plot.left), plot.right));
    return ends.sort((a, b) => a - b);
  }

  choose(plot, clientX) {
    const [low, high] = this.dragged(plot, clientX);
    if (high - low >= FEWEST_PIXELS) this.hide();
    plot.chosen.setAttribute("x", low);
    plot.chosen.setAttribute("width", high - low);
  }

  // The end of a press; without a plot it was interrupted.
  release(plot, event) {
    this.fingers.delete(event.pointerId);
    if (this.begin === null || event.pointerType === "touch") return;
    const [low, high] = plot ? this.dragged(plot, event.clientX) : [0, 0];
    this.stopDragging();
    if (high - low < FEWEST_PIXELS) return;
    const { left } = plot.svg.getBoundingClientRect();
    this.zoom(plot.placeAt(low + left), plot.placeAt(high + left));
  }

  stopDragging() {
    this.begin = null;
    for (const { chosen } of this.plots) chosen.setAttribute("width", 0);
  }

  // The wheel alone scrolls the page; with Ctrl, or spreading two fingers on a touchpad, it zooms.
  turn(plot, event) {
    if (!event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    const pixels = event.deltaY * (event.deltaMode ? 16 : 1);
    this.scale(Math.exp(Math.min(Math.max(pixels * 0.005, -1), 1)), plot.placeAt(event.clientX));
  }

  type(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const many = event.shiftKey ? 10 : 1, last = this.data.steps.length - 1;
    const actions = {
      ArrowLeft: () => this.go(this.index < 0 ? this.ends()[1] : this.index - many),
      ArrowRight: () => this.go(this.index < 0 ? this.ends()[0] : this.index + many),
      Home: () => this.go(0),
      End: () => this.go(last),
      "+": () => this.zoomByKey(0.5),
      "=": () => this.zoomByKey(0.5),
      "-": () => this.zoomByKey(2),
      0: () => this.zoomByKey(Infinity),
      Escape: () => this.escape(),
    };
    if (!Object.hasOwn(actions, event.key)) return;
    event.preventDefault();
    actions[event.key]();
  }

  // The indices of the first and the last place in view.
  ends() {
    const { steps } = this.data, [low, high] = this.view;
    const inside = [...steps.keys()].filter((i) => steps[i] >= low && steps[i] <= high);
    return inside.length ? [inside[0], inside.at(-1)] : Array(2).fill(nearest(steps, low));
  }

  // Reads out a place, also aloud, and moves the range so that it is in view.
  go(index) {
    const { steps } = this.data;
    if (!steps.length) return;
    const wanted = Math.min(Math.max(index, 0), steps.length - 1), [low, high] = this.view;
    if (steps[wanted] < low || steps[wanted] > high) {
      const half = (high - low) / 2;
      this.zoom(steps[wanted] - half, steps[wanted] + half);
    }
    this.read(wanted);
    const values = this.values(wanted).map(([series, text]) => `${series.name} ${text}`);
    this.spoken.textContent = `${placeName(this.data, wanted)}: ${values.join("; ") || "no value"}`;
  }

  zoomByKey(factor) {
    const [low, high] = this.view;
    if (factor === Infinity) this.showAll();
    else this.scale(factor, this.index < 0 ? (low + high) / 2 : this.data.steps[this.index]);
    const ends = this.view.map((end) => grouped(this.data.axis.logarithmic ? 2 ** end : end, 0));
    this.spoken.textContent = this.isZoomed() ? `${this.data.axis.name} ${ends[0]} to ${ends[1]}` : "all";
  }

  escape() {
    if (this.begin !== null) this.stopDragging();
    else if (this.isZoomed()) this.zoomByKey(Infinity);
    else this.hide();
  }
}

document.querySelectorAll("figure[data-chart]").forEach((figure, id) => new InteractiveChart(figure, id));
