"use strict";
// Charts: SVG drawn from plain values (chart.py), redrawn when their width changes.

const SVG = "http://www.w3.org/2000/svg";
// Width of a letter of a chart's labels, and height of a line of them, in pixels.
const LETTER = 6.5;
const LINE = 14;

/** Make an HTML element; its children are elements or text. */
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

const formats = new Map([
  ["fixed", (value) => trimmed(value, 4)],
  ["percent", (value) => value.toFixed(2)],
  ["thousands", (value) => Math.round(value).toLocaleString("en")],
  ["power", (value) => (value === 0 ? "0" : value.toExponential(2).replace(/\.?0+e/, "e"))],
]);

/** Format a number with so many significant digits and no trailing zeros. */
function trimmed(value, digits) {
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e5 || size < 1e-3) return value.toExponential(2).replace(/\.?0+e/, "e");
  const text = value.toPrecision(digits);
  return text.includes(".") ? text.replace(/\.?0+$/, "") : text;
}

/** Return about so many round numbers between two bounds. */
function roundTicks(low, high, about) {
  const rough = (high - low) / about;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough * 0.999);
  const ticks = [];
  for (let at = Math.ceil(low / step - 1e-9); at * step <= high + step * 1e-9; at += 1) ticks.push(Number((at * step).toPrecision(12)));
  return ticks;
}

/** Return powers of ten between two bounds; with few of them, also multiples. */
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

/** Return minimum and maximum of all numbers in some lists; null without any. */
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

/** Return the index of the value nearest to a target in an ascending list. */
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

/** Put neighbours that are closer than a distance into groups; a group's first one has its position. */
function together(marks, distance) {
  const groups = [];
  for (const mark of marks.toSorted((a, b) => a.x - b.x)) {
    const group = groups.at(-1);
    if (group && mark.x - group[0].x < distance) group.push(mark);
    else groups.push([mark]);
  }
  return groups;
}

/** Return whether two boxes ([left, right, top, bottom]) overlap. */
function overlap(one, other) {
  return one[0] < other[1] && other[0] < one[1] && one[2] < other[3] && other[2] < one[3];
}

class ChartView {
  constructor(figure, chart) {
    this.figure = figure;
    this.chart = chart;
    this.series = chart.series.filter((one) => one.x.length);
    this.off = new Set();
    this.format = formats.get(chart.style);
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
      return `${one.name}: from ${this.format(known[0])} to ${this.format(known.at(-1))}`;
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

  /** Show the values at one position of the horizontal axis. */
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
      this.tip.append(make("div", { class: "row" }, sample, name, make("b", {}, this.format(value))));
      lines.push(`${name} ${this.format(value)}`);
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

  /** Choose the bounds of both axes from the lines that are shown. */
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
    const height = this.figure.parentElement.classList.contains("pair") ? 232 : 292;
    const square = this.chart.diagonal ? Math.min(width, 460) : width;
    this.top = 34;
    this.bottom = height - 38;
    const ticks = this.chart.log ? logTicks(...this.y) : roundTicks(...this.y, 5);
    const labels = ticks.map((tick) => (this.chart.style === "percent" ? trimmed(tick, 4) : this.format(tick)));
    const ends = this.endLabels();
    this.left = 14 + LETTER * Math.max(...labels.map((label) => label.length), 2);
    this.right = square - 12 - LETTER * Math.max(...ends.map((end) => end.text.length), 0);
    this.boxes = [];
    this.svg.replaceChildren();
    this.svg.setAttribute("height", height);
    this.svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.drawAxes(ticks, labels);
    this.drawMarks();
    this.drawLines();
    this.drawEndLabels(ends);
    this.drawMarkLabels();
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
    this.svg.append(draw("text", { x: 0, y: 11 }, this.chart.y_label));
  }

  get verticals() {
    return this.chart.verticals.filter((mark) => mark.at >= this.x[0] && mark.at <= this.x[1]);
  }

  get horizontals() {
    return this.chart.horizontals.filter((mark) => mark.at >= this.y[0] && mark.at <= this.y[1]);
  }

  /** Draw the lines of the marks, and a triangle for the findings at a step. */
  drawMarks() {
    if (this.chart.diagonal) {
      this.svg.append(draw("line", { class: "reference", x1: this.across(0), y1: this.down(0), x2: this.across(1), y2: this.down(1) }));
    }
    for (const mark of this.horizontals) {
      const y = this.down(mark.at);
      this.svg.append(draw("line", { class: "reference", x1: this.left, x2: this.right, y1: y, y2: y }));
    }
    const findings = [];
    for (const mark of this.verticals) {
      const x = this.across(mark.at);
      const isFinding = !["epoch", "best"].includes(mark.kind);
      const line = isFinding ? `finding-line finding-${mark.kind}` : mark.kind;
      this.svg.append(draw("line", { class: line, x1: x, x2: x, y1: this.top, y2: this.bottom }));
      if (isFinding) findings.push({ x, ...mark });
    }
    for (const group of together(findings, 18)) {
      const { x } = group[0];
      const kind = group.some((one) => one.kind === "error") ? "error" : "warning";
      const shape = draw("path", { class: `finding-${kind}`, d: `M${x - 5} ${this.top - 9}h10l-5 9z` });
      shape.append(draw("title", {}, group.map((one) => one.label).join("\n")));
      this.svg.append(shape);
      this.boxes.push([x - 6, x + 6, this.top - 10, this.top]);
      if (group.length > 1) this.writeLabel(String(group.length), [[x + 8, this.top - 1, "start"], [x - 8, this.top - 1, "end"]]);
    }
  }

  /** Write the labels of the marks where they cover no other label and as little as possible of the lines. */
  drawMarkLabels() {
    for (const { at, label } of this.horizontals) {
      const y = this.down(at);
      const [left, right] = [this.left + 4, this.right - 4];
      this.writeLabel(label, [[left, y - 5, "start"], [right, y - 5, "end"], [left, y + 13, "start"], [right, y + 13, "end"]]);
    }
    for (const { at, label } of this.verticals.filter((one) => one.kind === "best")) {
      const x = this.across(at);
      const [low, high] = [this.bottom - 6, this.top + 10];
      this.writeLabel(label, [[x + 4, low, "start"], [x - 4, low, "end"], [x + 4, high, "start"], [x - 4, high, "end"]]);
    }
    for (const { at, label } of this.verticals.filter((one) => one.kind === "epoch")) {
      const x = this.across(at);
      this.writeLabel(label, [[x - 4, this.top - 1, "end"], [x + 4, this.top - 1, "start"]], { optional: true });
    }
  }

  /** Write a label at the best of some positions ([x, y, anchor]); an optional one only where it covers no other. */
  writeLabel(text, positions, { optional = false, style = "" } = {}) {
    const points = this.series.flatMap((one, index) => (this.off.has(index) ? [] : one.x.map((x, at) => [this.across(x), one.y[at]])));
    const candidates = positions.map(([x, y, anchor]) => {
      const width = LETTER * text.length;
      const first = anchor === "end" ? x - width : x;
      const box = [first, first + width, y - 10, y + 3];
      const isOutside = box[0] < 0 || box[1] > this.width;
      const covered = this.boxes.filter((other) => overlap(box, other)).length;
      const hidden = points.filter(([px, value]) => value !== null && px > box[0] && px < box[1] && Math.abs(this.down(value) - y + 4) < 9).length;
      return { x, y, anchor, box, labels: covered + isOutside, cost: 1000 * (covered + isOutside) + hidden };
    });
    const best = candidates.reduce((one, other) => (other.cost < one.cost ? other : one));
    if (optional && best.labels) return;
    this.boxes.push(best.box);
    this.svg.append(draw("text", { class: style, x: best.x, y: best.y, "text-anchor": best.anchor }, text));
  }

  /** Return the last value of every line of evaluations; with its name where there is room for it. */
  endLabels() {
    if (!this.chart.end_labels) return [];
    const lines = this.series.filter((one, index) => one.points && !this.off.has(index));
    const isNamed = this.width >= 560 && lines.every((one) => one.name.length <= 12);
    return lines.flatMap((one) => {
      const last = one.y.findLastIndex((value) => value !== null);
      if (last < 0) return [];
      const value = this.format(one.y[last]);
      return [{ text: isNamed ? `${one.name} ${value}` : value, x: one.x[last], value: one.y[last] }];
    });
  }

  /** Write the end labels beside their points, moved apart where they would overlap. */
  drawEndLabels(ends) {
    const placed = ends.map((end) => ({ ...end, left: this.across(end.x) + 8, y: this.down(end.value) + 4 })).sort((a, b) => a.y - b.y);
    for (const [at, end] of placed.entries()) end.y = Math.max(end.y, at ? placed[at - 1].y + LINE : this.top + 4);
    for (const [at, end] of [...placed.entries()].reverse()) {
      end.y = Math.min(end.y, at + 1 < placed.length ? placed[at + 1].y - LINE : this.bottom);
      this.writeLabel(end.text, [[end.left, end.y, "start"]], { style: "end" });
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
      if (this.chart.end_labels && one.x.length === 1 && one.y[0] !== null) {
        // A single evaluation has no line; a guide connects it with the axis.
        this.svg.append(draw("line", { class: `guide c${colour}`, x1: this.left, x2: this.across(one.x[0]), y1: this.down(one.y[0]), y2: this.down(one.y[0]) }));
      }
      for (const place of one.x.keys()) {
        if (one.y[place] !== null) this.svg.append(draw("circle", { class: `knob fill${colour}`, cx: this.across(one.x[place]), cy: this.down(one.y[place]), r: one.x.length > 40 ? "2.5" : "4" }));
      }
    }
  }
}

/** Draw every chart that has an element on the page. */
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
  // Paper is narrower than most windows; the observer may be called too late.
  window.addEventListener("beforeprint", () => views.forEach((view) => view.redraw(660)));
  window.addEventListener("afterprint", () => views.forEach((view) => view.redraw(Math.round(view.figure.clientWidth))));
}
