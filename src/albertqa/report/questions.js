// The list of questions: filters, search, order, and pages of twenty-five, so that it is fast with any number.
// Questions and contexts are only ever set as text, never as HTML.

const PER_PAGE = 25;

/** Return the JSON value in base64 of a zlib stream. */
async function decompress(text) {
  const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return JSON.parse(await new Response(stream).text());
}

class QuestionBrowser {
  constructor(data) {
    this.data = data;
    this.form = document.getElementById("browser");
    this.fields = this.form.elements;
    this.list = document.getElementById("browser-list");
    this.summary = document.getElementById("browser-summary");
    this.pages = document.getElementById("browser-pages");
    this.page = 0;
    this.lowered = new Map();
    fill(this.fields.run, this.data.runs.map((run, index) => [index, run.name]));
    this.chooseRun();
    this.listen();
    this.form.hidden = false;
    this.fields.run.parentElement.hidden = data.runs.length < 2;
    this.update();
  }

  get run() {
    return this.data.runs[Number(this.fields.run.value)];
  }

  get set() {
    return this.data.sets[this.run.set];
  }

  /** Fill the filters with what the chosen run has. */
  chooseRun() {
    const kinds = this.data.kinds.map((kind, index) => [index, kind.label, this.run.kind.filter((one) => one === index).length]);
    const present = kinds.filter(([, , count]) => count).map(([index, label, count]) => [index, `${label} (${count.toLocaleString("en")})`]);
    fill(this.fields.kind, [["", "all"], ["wrong", "all wrong answers"], ...present], this.fields.kind.value);
    const group = this.fields.group;
    const before = group.value;
    fill(group, [["", "all"]]);
    for (const facet of this.facets()) {
      const choices = make("optgroup", { label: facet.title });
      for (const [index, name] of facet.groups.entries()) {
        if (facet.of.includes(index)) choices.append(make("option", { value: `${facet.key}:${index}` }, name));
      }
      group.append(choices);
    }
    group.value = before;
    if (group.selectedIndex < 0) group.value = "";
    const others = this.data.runs.map((run, index) => [index, run]).filter(([, run]) => run !== this.run && run.set === this.run.set);
    const choices = others.flatMap(([index, run]) => [
      [`${index}:all`, run.name],
      [`${index}:lower`, `${run.name}, lower F1`],
      [`${index}:higher`, `${run.name}, higher F1`],
    ]);
    fill(this.fields.versus, [["", "no other run"], ...choices], this.fields.versus.value);
    this.fields.versus.parentElement.hidden = others.length === 0;
  }

  facets() {
    const rank = { key: "rank", title: "Rank of the first right candidate", groups: this.data.ranks, of: this.run.rank };
    return this.run.rank.some((one) => one >= 0) ? [...this.set.facets, rank] : this.set.facets;
  }

  listen() {
    let waiting = 0;
    this.form.addEventListener("submit", (event) => event.preventDefault());
    this.form.addEventListener("change", (event) => {
      if (event.target === this.fields.run) this.chooseRun();
      if (event.target !== this.fields.text) this.update();
    });
    this.fields.text.addEventListener("input", () => {
      clearTimeout(waiting);
      waiting = setTimeout(() => this.update(), 120);
    });
    this.form.addEventListener("reset", () => setTimeout(() => { this.chooseRun(); this.update(); }));
    document.getElementById("page-previous").addEventListener("click", () => this.turn(-1));
    document.getElementById("page-next").addEventListener("click", () => this.turn(1));
    for (const button of document.querySelectorAll("button.show")) {
      button.hidden = false;
      button.addEventListener("click", () => this.showGroup(button.dataset));
    }
  }

  /** Show the questions of a row of the tables above. */
  showGroup({ run, kind, facet, group }) {
    const index = this.data.runs.findIndex((one) => one.name === run);
    // Among runs on the same questions, keep the one that is shown.
    if (this.run.set !== this.data.runs[index].set) this.fields.run.value = String(index);
    this.chooseRun();
    this.fields.kind.value = kind ?? "";
    if (this.fields.kind.selectedIndex < 0) this.fields.kind.value = "";
    this.fields.group.value = facet ? `${facet}:${group}` : "";
    if (this.fields.group.selectedIndex < 0) this.fields.group.value = "";
    this.fields.text.value = "";
    this.fields.versus.value = "";
    this.update();
    document.getElementById("questions").scrollIntoView();
    document.getElementById("questions-title").focus({ preventScroll: true });
  }

  turn(by) {
    this.page += by;
    this.showPage();
    document.getElementById("browser").scrollIntoView({ block: "start" });
  }

  /** Return texts in lower case, computed when first needed. */
  lower(what, values) {
    const key = `${this.run.set}:${what}`;
    if (!this.lowered.has(key)) this.lowered.set(key, values.map((value) => value.toLowerCase()));
    return this.lowered.get(key);
  }

  answerText(run, index) {
    const answer = run.answer[index];
    return typeof answer === "string" ? answer : this.slice(index, answer[0], answer[1]);
  }

  slice(index, start, length) {
    return this.set.contexts[this.set.context[index]].slice(start, start + length);
  }

  golds(index) {
    const numbers = this.set.golds[index];
    const spans = [];
    for (let at = 0; at < numbers.length; at += 2) spans.push([numbers[at], numbers[at] + numbers[at + 1]]);
    return spans;
  }

  /** Select the questions that match the filters, in order, and show the first page. */
  update() {
    const { run, set } = this;
    const kind = this.fields.kind.value;
    const [key, group] = this.fields.group.value.split(":");
    const facet = this.facets().find((one) => one.key === key);
    const [other, change] = this.fields.versus.value.split(":");
    const beside = other ? this.data.runs[Number(other)] : null;
    const matches = this.matcher();
    const found = [];
    for (let index = 0; index < set.ids.length; index += 1) {
      if (kind === "wrong" ? run.kind[index] === 0 : kind !== "" && run.kind[index] !== Number(kind)) continue;
      if (facet && facet.of[index] !== Number(group)) continue;
      if (beside && change === "lower" && run.f1[index] <= beside.f1[index]) continue;
      if (beside && change === "higher" && run.f1[index] >= beside.f1[index]) continue;
      if (matches(index)) found.push(index);
    }
    this.found = this.ordered(found);
    this.page = 0;
    this.showPage();
    const count = found.length.toLocaleString("en");
    const mean = (values) => (found.reduce((sum, index) => sum + values[index], 0) / found.length).toFixed(2);
    const scores = found.length ? ` – exact ${mean(run.exact.map((one) => 100 * one))}, F1 ${mean(run.f1)}` : "";
    this.summary.textContent = `${count} of ${set.ids.length.toLocaleString("en")} questions${scores}`;
  }

  matcher() {
    const wanted = this.fields.text.value.trim().toLowerCase();
    if (!wanted) return () => true;
    const { run, set } = this;
    const questions = this.lower("questions", set.questions);
    const titles = this.lower("titles", set.titles);
    const contexts = this.lower("contexts", set.contexts);
    const inContexts = this.fields.contexts.checked ? contexts.map((text) => text.includes(wanted)) : null;
    return (index) =>
      questions[index].includes(wanted) ||
      set.ids[index].toLowerCase() === wanted ||
      titles[set.context[index]].includes(wanted) ||
      this.answerText(run, index).toLowerCase().includes(wanted) ||
      this.golds(index).some(([start, end]) => this.slice(index, start, end - start).toLowerCase().includes(wanted)) ||
      (inContexts !== null && inContexts[set.context[index]]);
  }

  ordered(found) {
    const { f1, probability, exact } = this.run;
    const confidence = (index) => probability[index] ?? 0;
    // From 1, a wrong answer with probability 1, to -1, a right answer with probability 1.
    const mistake = (index) => confidence(index) * (1 - (f1[index] + 100 * exact[index]) / 100);
    const orders = {
      file: null,
      mistakes: (a, b) => mistake(b) - mistake(a),
      "lowest-f1": (a, b) => f1[a] - f1[b] || confidence(b) - confidence(a),
      "highest-f1": (a, b) => f1[b] - f1[a] || confidence(b) - confidence(a),
      "least-confident": (a, b) => confidence(a) - confidence(b),
      "most-confident": (a, b) => confidence(b) - confidence(a),
    };
    const order = orders[this.fields.order.value];
    return order ? found.sort((a, b) => order(a, b) || a - b) : found;
  }

  showPage() {
    const first = this.page * PER_PAGE;
    const last = Math.min(first + PER_PAGE, this.found.length);
    this.list.replaceChildren(...this.found.slice(first, last).map((index) => this.row(index)));
    this.list.start = first + 1;
    document.getElementById("page-place").textContent = `${(first + 1).toLocaleString("en")}–${last.toLocaleString("en")} of ${this.found.length.toLocaleString("en")}`;
    document.getElementById("page-previous").disabled = first === 0;
    document.getElementById("page-next").disabled = last >= this.found.length;
    this.pages.hidden = this.found.length <= PER_PAGE;
  }

  /** Make the row of one question; its details are made when it is opened. */
  row(index) {
    const { run, set } = this;
    const kind = this.data.kinds[run.kind[index]];
    const probability = run.probability[index];
    const golds = [...new Set(this.golds(index).map(([start, end]) => this.slice(index, start, end - start)))];
    const button = make(
      "button",
      { type: "button", class: "question", "aria-expanded": "false" },
      make("span", { class: "asked", dir: "auto" }, shortened(set.questions[index])),
      make(
        "span",
        { class: "measures" },
        make("span", { class: kind.key === "right" ? "kind-right" : "kind-wrong" }, `${kind.key === "right" ? "✓" : "✗"} ${kind.label}`),
        make("br"),
        make("span", {}, "F1 ", make("b", {}, run.f1[index].toFixed(0))),
        make("br"),
        make("span", {}, "probability ", make("b", {}, probability === null ? "–" : probability.toFixed(2))),
      ),
      labelled("Gold", golds.length ? golds.map(shortened).join(" · ") : "no answer"),
      labelled("Answer", shortened(this.answerText(run, index)) || "no answer"),
    );
    const other = this.fields.versus.value ? this.data.runs[Number(this.fields.versus.value.split(":")[0])] : null;
    if (other) button.append(labelled(other.name, `${shortened(this.answerText(other, index)) || "no answer"} (F1 ${other.f1[index].toFixed(0)})`));
    const item = make("li", {}, button);
    button.addEventListener("click", () => {
      const open = button.getAttribute("aria-expanded") === "true";
      button.setAttribute("aria-expanded", String(!open));
      if (open) item.lastElementChild.remove();
      else item.append(this.detail(index));
    });
    return item;
  }

  /** Make the details of a question: its context with gold and answer marked, and its candidates. */
  detail(index) {
    const { run, set } = this;
    const place = set.context[index];
    const answer = run.answer[index];
    const span = typeof answer === "string" ? null : [answer[0], answer[0] + answer[1]];
    const context = make("div", { class: "context", dir: "auto", tabindex: "0", role: "region", "aria-label": "Context" });
    context.append(...marked(set.contexts[place], this.golds(index), span));
    const left = make(
      "div",
      {},
      make("p", { class: "keys" }, make("mark", { class: "gold" }, "gold"), make("mark", { class: "answer" }, "answer"), make("mark", { class: "gold answer" }, "both")),
      context,
      make("p", { class: "keys", dir: "auto" }, `${set.titles[place] ? `${set.titles[place]} · ` : ""}${set.ids[index]}`),
    );
    if (set.questions[index].length > shortened(set.questions[index]).length) {
      left.prepend(make("p", { dir: "auto" }, set.questions[index]));
    }
    return make("div", { class: "detail" }, left, make("div", {}, ...this.candidates(index), ...this.groupsOf(index)));
  }

  candidates(index) {
    const numbers = this.run.n_best[index];
    if (!numbers.length) return [];
    const rows = make("tbody");
    for (let at = 0; at < numbers.length; at += 3) {
      const text = this.slice(index, numbers[at], numbers[at + 1]);
      const bar = draw("svg", { width: "80", height: "8", "aria-hidden": "true" });
      bar.append(draw("rect", { class: "rail", width: "80", height: "8" }), draw("rect", { width: 80 * numbers[at + 2], height: "8" }));
      const cell = make("td", { dir: "auto" }, shortened(text) || "no answer");
      rows.append(make("tr", {}, cell, make("td", { class: "number" }, numbers[at + 2].toFixed(3)), make("td", { class: "bar" }, bar)));
    }
    return [make("h4", {}, "Candidates and their probabilities"), make("table", { class: "n-best" }, rows)];
  }

  groupsOf(index) {
    const names = this.facets().filter((facet) => facet.of[index] >= 0).map((facet) => `${facet.title}: ${facet.groups[facet.of[index]]}`);
    return [make("h4", {}, "Groups"), make("p", { class: "note" }, names.join(" · "))];
  }
}

/** Fill a select with choices; keep the chosen one if it is still there. */
function fill(select, choices, chosen = "") {
  select.replaceChildren(...choices.map(([value, label]) => make("option", { value }, label)));
  select.value = chosen;
  if (select.selectedIndex < 0) select.selectedIndex = 0;
}

function labelled(label, text) {
  return make("span", { class: "labelled" }, `${label}: `, make("b", { dir: "auto" }, text));
}

/** Cut a text that would fill the screen. */
function shortened(text) {
  return text.length > 400 ? `${text.slice(0, 400)}…` : text;
}

/** Return a context as text nodes and marks for golds and answer. */
function marked(context, golds, answer) {
  const cuts = new Set([0, context.length]);
  for (const span of answer ? [...golds, answer] : golds) span.forEach((cut) => cuts.add(cut));
  const places = [...cuts].sort((a, b) => a - b);
  const parts = [];
  for (const [at, start] of places.slice(0, -1).entries()) {
    const end = places[at + 1];
    const inside = (span) => span[0] <= start && end <= span[1];
    const names = [golds.some(inside) ? "gold" : "", answer && inside(answer) ? "answer" : ""].filter(Boolean);
    const text = context.slice(start, end);
    parts.push(names.length ? make("mark", { class: names.join(" ") }, text) : text);
  }
  return parts;
}
