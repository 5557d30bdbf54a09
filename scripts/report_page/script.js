// Hover read-outs and legend toggles. The page is complete without it.
"use strict";
for (const figure of document.querySelectorAll("figure[data-chart]")) {
  const data = JSON.parse(figure.querySelector("script").textContent);
  const tip = figure.querySelector(".tip");
  const hidden = new Set();

  for (const button of figure.querySelectorAll(".legend button")) {
    button.addEventListener("click", () => {
      const name = button.dataset.series;
      const off = !hidden.delete(name) && Boolean(hidden.add(name));
      button.setAttribute("aria-pressed", String(!off));
      for (const part of figure.querySelectorAll("svg [data-series]")) {
        if (part.dataset.series === name) part.classList.toggle("off", off);
      }
    });
  }

  const nearest = (steps, step) => {
    let low = 0, high = steps.length - 1;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (steps[middle] < step) low = middle; else high = middle;
    }
    return step - steps[low] < steps[high] - step ? low : high;
  };

  const text = (parent, tag, content) => {
    const element = document.createElement(tag);
    element.textContent = content;
    parent.append(element);
    return element;
  };

  for (const svg of figure.querySelectorAll("svg[data-plot]")) {
    const [left, right, first, last] = svg.dataset.plot.split(",").map(Number);
    const cursor = svg.querySelector(".cursor");
    svg.addEventListener("pointermove", (event) => {
      const box = svg.getBoundingClientRect();
      const x = (event.clientX - box.left) * svg.viewBox.baseVal.width / box.width;
      const step = first + (x - left) / (right - left) * (last - first);
      const index = nearest(data.steps, step);
      const at = left + (data.steps[index] - first) / (last - first) * (right - left);
      cursor.setAttribute("x1", at);
      cursor.setAttribute("x2", at);
      cursor.style.visibility = "visible";
      tip.replaceChildren();
      text(tip, "div", data.names[index]);
      for (const series of data.series) {
        const value = series.values[index];
        if (value === null || hidden.has(series.name)) continue;
        const row = text(tip, "div", series.name);
        const dot = document.createElement("i");
        dot.style.background = `var(--c${series.color})`;
        row.prepend(dot);
        const sign = data.signed && value > 0 ? "+" : "";
        text(row, "b", sign + value.toFixed(4).replace("-", "\u2212"));
      }
      const pixels = at * box.width / svg.viewBox.baseVal.width;
      const width = tip.offsetWidth;
      const place = pixels + 14 + width > box.width ? pixels - 14 - width : pixels + 14;
      tip.style.left = `${Math.max(0, place)}px`;
      tip.style.top = `${box.top - figure.getBoundingClientRect().top + 8}px`;
      tip.style.visibility = "visible";
    });
    svg.addEventListener("pointerleave", () => {
      cursor.style.visibility = tip.style.visibility = "hidden";
    });
  }
}
