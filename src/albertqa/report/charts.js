"use strict";
// Charts: drawn as SVG from plain values (chart.py), redrawn when their width changes. Text is only ever set as text.

const SVG = "http://www.w3.org/2000/svg";

/** Make an element; attributes by name, children as elements or text. */
function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

/** Make an SVG element. */
function draw(name, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

const written = new Map([
  ["fixed", (value) => trimmed(value, 4)],
  ["percent", (value) => value.toFixed(2)],
  ["thousands", (value) => Math.round(value).toLocaleString("en")],
  ["power", (value) => (value === 0 ? "0" : value.toExponential(2).replace(/\.?0+e/, "e"))],
]);

/** Write a number with so many significant digits and no trailing zeros. */
function trimmed(value, digits) {
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e5 || size < 1e-3) return value.toExponential(2).replace(/\.?0+e/, "e");
  const text = value.toPrecision(digits);
  return text.includes(".") ? text.replace(/\.?0+$/, "") : text;
}

/** Give about so many round numbers between two bounds. */
function roundTicks(low, high, about) {
  const rough = (high - low) / about;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough * 0.999);
  const ticks = [];
  for (let at = Math.ceil(low / step - 1e-9); at * step <= high + step * 1e-9; at += 1) ticks.push(Number((at * step).toPrecision(12)));
  return ticks;
}

/** Give powers of ten, with their doubles and fives where there are few, between two bounds. */
function logTicks(low, high) {
  const decades = Math.log10(high / low);
  const factors = decades > 4 ? [1] : decades > 1.5 ? [1, 3] : [1, 2, 5];
  const ticks = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power += 1) {
    for (const factor of factors) {
      const tick = factor * 10 ** power;
      if (tick >= low && tick <= high) ticks.push(tick);
    }
  }
  return ticks;
}

/** Give the bounds of all numbers in some lists; null where there are none. */
function boundsOf(lists) {
  let low = Infinity;
  let high = -Infinity;
  for (const list of lists) {
    for (const value of list) {
      if (value === null) continue;
      if (value < low) low = value;
      if (value > high) high = value;
    }
  }
  return low > high ? null : [low, high];
}

/** Find the index of the value nearest to a target in an ascending list. */
function nearest(values, target) {
  let low = 0;
  let high = values.length - 1;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (values[middle] < target) low = middle;
    else high = middle;
  }
  return Math.abs(values[low] - target) <= Math.abs(values[high] - target) ? low : high;
}

class ChartView {
  constructor(figure, chart) {
    this.figure = figure;
    this.chart = chart;
    // Reliability's points are means of bins: ascending already, as every other line's.
    this.series = chart.series.filter((one) => one.x.length);
    this.off = new Set();
    this.write = written.get(chart.style);
    this.legend = make("ul", { class: "legend" });
    this.svg = draw("svg", { class: "plot", tabindex: "0", role: "img", "aria-label": this.described() });
    this.tip = make("div", { class: "tip" });
    this.tip.hidden = true;
    this.spoken = make("p", { class: "hidden", "aria-live": "polite" });
    figure.append(this.legend, this.svg, this.tip, this.spoken);
    this.drawLegend();
    this.places = [...new Set(this.series.flatMap((one) => one.x))].sort((a, b) => a - b);
    this.place = -1;
    this.listen();
  }

  described() {
    const lines = this.series.map((one) => {
      const known = one.y.filter((value) => value !== null);
      if (!known.length) return `${one.name}: no values`;
      return `${one.name}: from ${this.write(known[0])} to ${this.write(known.at(-1))}`;
    });
    return `${this.chart.title}. ${lines.join("; ")}. Arrow keys read the values.`;
  }

  drawLegend() {
    for (const [index, one] of this.series.entries()) {
      const sample = draw("svg", { width: "26", height: "10", "aria-hidden": "true" });
      sample.append(draw("line", { class: `line c${one.colour % 8} dash${one.dash}`, x1: "1", y1: "5", x2: "25", y2: "5" }));
      if (one.points) sample.append(draw("circle", { class: `fill${one.colour % 8}`, cx: "13", cy: "5", r: "3.5" }));
      const button = make("button", { type: "button", "aria-pressed": "true" }, sample, one.name);
      button.addEventListener("click", () => {
        if (this.off.delete(index)) button.setAttribute("aria-pressed", "true");
        else if (this.off.size < this.series.length - 1) {
          this.off.add(index);
          button.setAttribute("aria-pressed", "false");
        }
        this.redraw(this.width);
      });
      this.legend.append(make("li", {}, button));
    }
  }

  listen() {
    this.svg.addEventListener("pointermove", (event) => this.point(event));
    this.svg.addEventListener("pointerdown", (event) => this.point(event));
    this.svg.addEventListener("pointerleave", () => this.hide());
    this.svg.addEventListener("blur", () => this.hide());
    this.svg.addEventListener("keydown", (event) => {
      const last = this.places.length - 1;
      const big = Math.max(1, Math.round(last / 20));
      const moves = { ArrowLeft: -1, ArrowRight: 1, PageUp: -big, PageDown: big, Home: -Infinity, End: Infinity };
      if (event.key === "Escape") this.hide();
      if (!(event.key in moves) || last < 0) return;
      event.preventDefault();
      this.show(Math.min(last, Math.max(0, (this.place < 0 ? 0 : this.place) + moves[event.key])), true);
    });
  }

  point(event) {
    if (!this.places.length) return;
    const left = this.svg.getBoundingClientRect().left;
    const share = (event.clientX - left - this.left) / (this.right - this.left);
    const target = this.x[0] + share * (this.x[1] - this.x[0]);
    this.show(nearest(this.places, target), false);
  }

  hide() {
    this.place = -1;
    this.tip.hidden = true;
    this.cursor?.replaceChildren();
  }

  /** Show the values at one place of the horizontal axis. */
  show(place, speak) {
    this.place = place;
    const at = this.places[place];
    const slack = (this.x[1] - this.x[0]) * 0.02;
    const lines = [`${this.chart.x_label.split(",")[0].split(":")[0]} ${trimmed(at, 6)}`];
    this.tip.replaceChildren(make("p", {}, lines[0]));
    this.cursor.replaceChildren(draw("line", { class: "cursor", x1: this.across(at), x2: this.across(at), y1: this.top, y2: this.bottom }));
    for (const [index, one] of this.series.entries()) {
      if (this.off.has(index)) continue;
      const near = nearest(one.x, at);
      const value = one.y[near];
      if (value === null || Math.abs(one.x[near] - at) > slack) continue;
      this.cursor.append(draw("circle", { class: `knob fill${one.colour % 8}`, cx: this.across(one.x[near]), cy: this.down(value), r: "4" }));
      const sample = draw("svg", { width: "18", height: "8", "aria-hidden": "true" });
      sample.append(draw("line", { class: `line c${one.colour % 8} dash${one.dash}`, x1: "1", y1: "4", x2: "17", y2: "4" }));
      const name = one.x[near] === at ? one.name : `${one.name} at ${trimmed(one.x[near], 6)}`;
      this.tip.append(make("div", { class: "row" }, sample, name, make("b", {}, this.write(value))));
      lines.push(`${name} ${this.write(value)}`);
    }
    for (const mark of this.chart.verticals) {
      if (mark.kind === "epoch" || Math.abs(mark.at - at) > slack) continue;
      this.tip.append(make("p", {}, mark.label));
      lines.push(mark.label);
    }
    this.tip.hidden = false;
    const room = this.figure.clientWidth - this.tip.offsetWidth;
    const beside = this.across(at) + 12 > room ? this.across(at) - this.tip.offsetWidth - 12 : this.across(at) + 12;
    this.tip.style.left = `${Math.max(0, Math.min(room, beside))}px`;
    this.tip.style.top = `${this.svg.getBoundingClientRect().top - this.figure.getBoundingClientRect().top + this.top + 4}px`;
    if (speak) this.spoken.textContent = lines.join(", ");
  }

  across(value) {
    const span = this.x[1] - this.x[0] || 1;
    return this.left + ((value - this.x[0]) / span) * (this.right - this.left);
  }

  down(value) {
    const [low, high] = this.y;
    const share = this.chart.log ? Math.log(Math.max(value, low) / low) / Math.log(high / low) : (value - low) / (high - low);
    return this.bottom - share * (this.bottom - this.top);
  }

  /** Choose the bounds of both axes from what is shown. */
  scale() {
    const chart = this.chart;
    const seen = this.series.filter((_, index) => !this.off.has(index));
    const across = boundsOf(seen.map((one) => one.x)) ?? [0, 1];
    this.x = chart.x_range ?? (across[0] === across[1] ? [across[0] - 1, across[1] + 1] : across);
    let range = chart.y_range;
    if (!range) {
      const lists = seen.flatMap((one) => [one.y, one.low, one.high]);
      lists.push(chart.horizontals.map((mark) => mark.at));
      range = boundsOf(lists) ?? [0, 1];
      if (chart.log) range = [range[0] / 1.15, range[1] * 1.15];
      else {
        const room = (range[1] - range[0] || Math.abs(range[1]) || 1) * 0.05;
        range = [range[0] >= 0 ? Math.max(0, range[0] - room) : range[0] - room, range[1] + room];
      }
    }
    this.y = range;
  }

  redraw(width) {
    this.width = width;
    this.scale();
    const height = this.figure.parentElement.classList.contains("pair") ? 220 : 280;
    const square = this.chart.diagonal ? Math.min(width, 460) : width;
    this.top = 22;
    this.bottom = height - 38;
    const ticks = this.chart.log ? logTicks(...this.y) : roundTicks(...this.y, 5);
    const labels = ticks.map((tick) => (this.chart.style === "power" ? this.write(tick) : this.chart.style === "thousands" ? tick.toLocaleString("en") : trimmed(tick, 4)));
    this.left = 14 + 7 * Math.max(...labels.map((label) => label.length), 2);
    this.right = square - 12;
    this.svg.replaceChildren();
    this.svg.setAttribute("height", height);
    this.svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.drawAxes(ticks, labels);
    this.drawMarks();
    this.drawLines();
    this.cursor = draw("g", { "aria-hidden": "true" });
    this.svg.append(this.cursor);
    if (this.place >= 0) this.show(this.place, false);
  }

  drawAxes(ticks, labels) {
    for (const [index, tick] of ticks.entries()) {
      const y = this.down(tick);
      this.svg.append(draw("line", { class: "grid", x1: this.left, x2: this.right, y1: y, y2: y }));
      this.svg.append(draw("text", { x: this.left - 8, y: y + 4, "text-anchor": "end" }, labels[index]));
    }
    this.svg.append(draw("line", { class: "axis", x1: this.left, x2: this.right, y1: this.bottom, y2: this.bottom }));
    for (const tick of roundTicks(...this.x, Math.max(2, Math.min(8, (this.right - this.left) / 80)))) {
      this.svg.append(draw("text", { x: this.across(tick), y: this.bottom + 17, "text-anchor": "middle" }, Number.isInteger(tick) ? tick.toLocaleString("en") : String(tick)));
    }
    this.svg.append(draw("text", { x: (this.left + this.right) / 2, y: this.bottom + 34, "text-anchor": "middle" }, this.chart.x_label));
    this.svg.append(draw("text", { x: 0, y: 12 }, this.chart.y_label));
  }

  drawMarks() {
    if (this.chart.diagonal) {
      this.svg.append(draw("line", { class: "reference", x1: this.across(0), y1: this.down(0), x2: this.across(1), y2: this.down(1) }));
    }
    const inside = (value, [low, high]) => value >= low && value <= high;
    for (const mark of this.chart.horizontals.filter((one) => inside(one.at, this.y))) {
      const y = this.down(mark.at);
      this.svg.append(draw("line", { class: "reference", x1: this.left, x2: this.right, y1: y, y2: y }));
      this.svg.append(draw("text", { x: this.left + 4, y: y - 5 }, mark.label));
    }
    let written = -Infinity;
    for (const mark of this.chart.verticals.filter((one) => inside(one.at, this.x))) {
      const x = this.across(mark.at);
      const finding = !["epoch", "best"].includes(mark.kind);
      const line = finding ? `finding-line finding-${mark.kind}` : mark.kind;
      this.svg.append(draw("line", { class: line, x1: x, x2: x, y1: this.top, y2: this.bottom }));
      if (finding) {
        const shape = draw("path", { class: `finding-${mark.kind}`, d: `M${x - 5} ${this.top - 9}h10l-5 9z` });
        shape.append(draw("title", {}, mark.label));
        this.svg.append(shape);
        continue;
      }
      // The best step's label stands low, so that an epoch's label at the same place stays legible.
      const low = mark.kind === "best";
      const anchor = x > (this.left + this.right) / 2 ? "end" : "start";
      const [first, last] = anchor === "end" ? [x - 7 * mark.label.length, x] : [x, x + 7 * mark.label.length];
      if (low || first > written) {
        if (!low) written = last;
        this.svg.append(draw("text", { x: x + (anchor === "end" ? -4 : 4), y: low ? this.bottom - 6 : this.top - 6, "text-anchor": anchor }, mark.label));
      }
    }
  }

  drawLines() {
    for (const [index, one] of this.series.entries()) {
      if (this.off.has(index)) continue;
      const colour = one.colour % 8;
      const at = (place, values) => `${this.across(one.x[place]).toFixed(1)} ${this.down(values[place]).toFixed(1)}`;
      if (one.low.length && one.points) {
        for (const place of one.x.keys()) {
          const x = this.across(one.x[place]);
          this.svg.append(draw("line", { class: `c${colour}`, x1: x, x2: x, y1: this.down(one.low[place]), y2: this.down(one.high[place]), "stroke-opacity": "0.5", "stroke-width": "1.5" }));
        }
      } else if (one.low.length) {
        const known = [...one.x.keys()].filter((place) => one.low[place] !== null);
        const up = known.map((place) => at(place, one.high));
        const back = known.reverse().map((place) => at(place, one.low));
        if (up.length) this.svg.append(draw("path", { class: `band c${colour} fill${colour}`, d: `M${up.join("L")}L${back.join("L")}Z` }));
      }
      let path = "";
      for (const place of one.x.keys()) {
        if (one.y[place] === null) continue;
        path += `${place > 0 && one.y[place - 1] !== null ? "L" : "M"}${at(place, one.y)}`;
      }
      if (path) this.svg.append(draw("path", { class: `line c${colour} dash${one.dash}`, d: path }));
      if (!one.points && one.x.length > 1) continue;
      for (const place of one.x.keys()) {
        if (one.y[place] !== null) this.svg.append(draw("circle", { class: `knob fill${colour}`, cx: this.across(one.x[place]), cy: this.down(one.y[place]), r: one.x.length > 40 ? "2.5" : "4" }));
      }
    }
  }
}

/** Draw every chart that has a place on the page. */
function startCharts(charts) {
  const views = [];
  for (const chart of Object.values(charts)) {
    const figure = document.getElementById(`chart-${chart.key}`);
    if (!figure) continue;
    const view = new ChartView(figure, chart);
    views.push(view);
    new ResizeObserver(() => {
      const width = Math.round(figure.clientWidth);
      if (width && width !== view.width) view.redraw(width);
    }).observe(figure);
  }
  // Paper is narrower than most windows; the observer may not be asked in time.
  window.addEventListener("beforeprint", () => views.forEach((view) => view.redraw(660)));
  window.addEventListener("afterprint", () => views.forEach((view) => view.redraw(Math.round(view.figure.clientWidth))));
}
