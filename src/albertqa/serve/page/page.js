// The page: a text, questions, and their answers marked in it. What answers them is a backend (see backend.js), so the
// same page serves a server and a model in the browser. Texts and answers are somebody's data: only ever set as text.

const MAX_LINK = 60_000;
const CANDIDATES_SHOWN = 5;
const EXAMPLE = {
  text: "The lighthouse on Norra Holmen was lit for the first time on 4 October 1868. It replaced a coal fire that fishermen from the village of Sund had kept burning since the 1790s.\n\n" +
    "Its keeper, Ingrid Aspholm, lived on the island for thirty-one years and wrote down the weather every morning. Her notebooks, 43 in all, are kept in the museum in Sund and are still used to study storms. " +
    "The lamp has run without a keeper since 1957.",
  question: "Who wrote down the weather?",
};

/** A problem in words, and after how many seconds to try again. */
class Problem extends Error {
  constructor(message, { retryAfter = null, wantsKey = false } = {}) {
    super(message);
    this.retryAfter = retryAfter;
    this.wantsKey = wantsKey;
  }
}

/** Make an element with attributes and children; text is set as text. */
function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (value !== false && value !== null) element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children);
  return element;
}

/** Draw a share from 0 to 1 as a bar. */
function bar(share) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  for (const [name, value] of [["width", 64], ["height", 6], ["aria-hidden", "true"]]) svg.setAttribute(name, value);
  for (const width of [64, Math.round(64 * share)]) {
    const rect = document.createElementNS("http://www.w3.org/2000/svg", "rect");
    for (const [name, value] of [["width", width], ["height", 6], ["rx", 3]]) rect.setAttribute(name, value);
    svg.append(rect);
  }
  return svg;
}

function percent(share) {
  const value = share * 100;
  if (value > 0 && value < 1) return "under 1 %";
  return value > 99 && value < 100 ? "over 99 %" : `${Math.round(value)} %`;
}

function number(value) {
  return value.toLocaleString("en");
}

/** Let the reader choose the theme; the choice is kept where the browser allows it. */
function startTheme() {
  const themes = ["", "light", "dark"];
  const button = document.getElementById("theme");
  const apply = (theme) => {
    if (theme) document.documentElement.dataset.theme = theme;
    else delete document.documentElement.dataset.theme;
    button.lastElementChild.textContent = theme || "system";
  };
  let chosen = "";
  try { chosen = localStorage.getItem("albertqa-theme") ?? ""; } catch { /* the browser keeps nothing */ }
  button.addEventListener("click", () => {
    chosen = themes[(themes.indexOf(chosen) + 1) % themes.length];
    apply(chosen);
    try { localStorage.setItem("albertqa-theme", chosen); } catch { /* the browser keeps nothing */ }
  });
  apply(themes.includes(chosen) ? chosen : "");
}

// Links: text and questions, deflated, behind the "#", which browsers send to nobody.

async function pack(value) {
  const stream = new Blob([JSON.stringify(value)]).stream().pipeThrough(new CompressionStream("deflate-raw"));
  const bytes = new Uint8Array(await new Response(stream).arrayBuffer());
  let text = "";
  for (let at = 0; at < bytes.length; at += 8192) text += String.fromCharCode(...bytes.subarray(at, at + 8192));
  return btoa(text).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

/** Unpack what `pack` made; null where it is something else, or longer than `maxBytes`. */
async function unpack(text, maxBytes) {
  try {
    const bytes = Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (one) => one.charCodeAt(0));
    const reader = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate-raw")).getReader();
    const chunks = [];
    let size = 0;
    for (let step = await reader.read(); !step.done; step = await reader.read()) {
      size += step.value.length;
      if (size > maxBytes) return null;
      chunks.push(step.value);
    }
    const value = JSON.parse(await new Blob(chunks).text());
    const isFit = typeof value?.text === "string" && Array.isArray(value.questions) && value.questions.every((one) => typeof one === "string");
    return isFit ? value : null;
  } catch {
    return null;
  }
}

/** The text: typed, read from a file or an index, and shown with a mark. */
class TextPart {
  constructor(page) {
    this.page = page;
    this.source = document.getElementById("source");
    this.reading = document.getElementById("reading");
    this.edit = document.getElementById("edit");
    this.clear = document.getElementById("clear");
    this.size = document.getElementById("size");
    this.source.addEventListener("input", () => this.tell(this.value));
    this.edit.addEventListener("click", () => this.write());
    this.clear.addEventListener("click", () => this.set(""));
    const file = document.getElementById("file");
    file.addEventListener("change", () => { this.open(file.files[0]); file.value = ""; });
    this.listenForDrops();
  }

  get value() {
    return this.source.value;
  }

  /** Whether somebody is typing in it. */
  get isEdited() {
    return document.activeElement === this.source;
  }

  /** Take a text. */
  set(text) {
    this.source.value = text.toWellFormed ? text.toWellFormed() : text;
    this.page.problem("");
    this.page.unchoose();
    if (text) this.read();
    else this.write();
  }

  tell(text) {
    const words = text.match(/\S+/g)?.length ?? 0;
    const earlier = text === this.value ? "" : " · an earlier text";
    this.size.textContent = words ? `${number(words)} ${words === 1 ? "word" : "words"}${earlier}` : "";
    this.clear.hidden = !this.value;
    this.page.offerExample(!this.value);
  }

  /** Show the text to be edited. */
  write() {
    this.source.hidden = false;
    this.reading.hidden = true;
    this.edit.hidden = true;
    this.tell(this.value);
    this.source.focus();
  }

  /** Show the text, or an earlier one, to be read, with a span marked where there is one. */
  read(span = null, text = this.value) {
    const stays = this.reading.hidden ? this.source.scrollTop : this.reading.scrollTop;
    this.source.hidden = true;
    this.reading.hidden = false;
    this.edit.hidden = false;
    this.tell(text);
    if (!span) {
      this.reading.replaceChildren(text);
      this.reading.scrollTop = stays;
      return;
    }
    const mark = make("mark", {}, text.slice(span.start, span.end));
    this.reading.replaceChildren(text.slice(0, span.start), mark, text.slice(span.end));
    const isCalm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    this.reading.scrollTop = stays;
    this.reading.scrollTo({ top: mark.offsetTop - this.reading.clientHeight / 3, behavior: isCalm ? "instant" : "smooth" });
  }

  async open(file) {
    if (!file) return;
    const refuse = (why) => this.page.problem(`${file.name}: ${why}`);
    if (file.size > this.page.facts.maxBytes) {
      refuse(`the file has ${number(file.size)} bytes, and at most ${number(this.page.facts.maxBytes)} can be read here.`);
      return;
    }
    let text;
    try {
      text = new TextDecoder("utf-8", { fatal: true }).decode(await file.arrayBuffer());
    } catch {
      refuse("is not UTF-8 text. Save it as UTF-8, or copy its text and paste it.");
      return;
    }
    if (text.includes("\0") || text.startsWith("%PDF-")) {
      refuse("is not a text file. Copy its text and paste it.");
      return;
    }
    if (/\.html?$/i.test(file.name)) {
      const parsed = new DOMParser().parseFromString(text, "text/html");
      for (const one of parsed.querySelectorAll("script, style, template, noscript")) one.remove();
      text = parsed.body.textContent.replace(/[ \t]+\n/g, "\n").replace(/\n{3,}/g, "\n\n").trim();
    }
    if (!text.trim()) {
      refuse("has no text.");
      return;
    }
    this.set(text);
    this.page.question.focus();
  }

  listenForDrops() {
    const drop = document.getElementById("drop");
    const isFile = (event) => event.dataTransfer?.types.includes("Files");
    addEventListener("dragover", (event) => {
      if (!isFile(event)) return;
      event.preventDefault();
      drop.hidden = false;
    });
    addEventListener("dragleave", (event) => { if (!event.relatedTarget) drop.hidden = true; });
    addEventListener("drop", (event) => {
      drop.hidden = true;
      if (!isFile(event)) return;
      event.preventDefault();
      this.open(event.dataTransfer.files[0]);
    });
  }
}

/** The whole page. */
class Page {
  constructor(backend) {
    this.backend = backend;
    this.facts = { maxBytes: Infinity };
    this.form = document.getElementById("ask");
    this.question = document.getElementById("question");
    this.key = document.getElementById("key");
    this.list = document.getElementById("answers");
    this.status = document.getElementById("status");
    this.running = new Set();
    this.text = new TextPart(this);
    this.form.addEventListener("submit", (event) => { event.preventDefault(); this.submit(); });
    this.text.source.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) this.submit();
    });
    addEventListener("keydown", (event) => { if (event.key === "Escape") this.stop(); });
    document.getElementById("forget").addEventListener("click", () => { this.forget(); this.text.read(); this.question.focus(); });
    document.getElementById("share").addEventListener("click", () => this.share());
    document.getElementById("example").addEventListener("click", () => {
      this.text.set(EXAMPLE.text);
      this.question.value = EXAMPLE.question;
      this.submit();
    });
    this.showLists();
  }

  async start() {
    try {
      this.facts = { ...this.facts, ...(await this.backend.facts()) };
    } catch (error) {
      this.problem(error.message);
      return;
    }
    const says = this.facts.isCalibrated ? "" : " · confidence not calibrated";
    document.getElementById("facts").textContent = `${this.facts.model}${says}`;
    document.getElementById("key-part").hidden = !this.facts.needsKey;
    document.getElementById("api").hidden = !this.facts.hasApi;
    if (this.facts.hasDocuments) this.offerDocuments();
    await this.openLink();
  }

  problem(text) {
    document.getElementById("problem").textContent = text;
  }

  say(text) {
    this.status.textContent = text;
  }

  /** Ask the question in the form. */
  submit() {
    const question = this.question.value.trim();
    if (!this.text.value.trim()) {
      this.problem("There is no text yet. Paste one, or open a file.");
      this.text.write();
      return;
    }
    if (!question) {
      this.problem("Type a question first.");
      this.question.focus();
      return;
    }
    this.question.select();
    this.ask(question);
  }

  /** Ask, and list the answer. */
  async ask(question) {
    this.problem("");
    const item = make("li", { class: "waiting" }, make("h3", { dir: "auto" }, question));
    const text = this.text.value;
    Object.assign(item, { question, text });
    const stopper = new AbortController();
    item.append(make("div", { class: "row-end" }, make("p", {}, "Reading…"), make("button", { type: "button", onclick: () => stopper.abort() }, "Stop")));
    this.list.prepend(item);
    item.scrollIntoView({ block: "nearest" });
    this.showLists();
    this.running.add(stopper);
    this.text.read();
    this.say("Reading the text.");
    try {
      const result = await this.backend.ask({ question, text, key: this.key.value, signal: stopper.signal });
      if (item.isConnected) this.show(item, result);
    } catch (error) {
      if (item.isConnected) this.fail(item, error);
    } finally {
      this.running.delete(stopper);
    }
  }

  show(item, { answer, probability, candidates }) {
    item.className = "";
    const title = item.firstElementChild;
    const confidence = make("p", { class: "sure" }, bar(probability), `${percent(probability)} ${answer ? "confident" : "sure of that"}`);
    const others = candidates.filter((one) => one.start !== answer?.start || one.end !== answer?.end).slice(0, CANDIDATES_SHOWN);
    const best = answer
      ? this.button(answer, item.text, "found best")
      : make("p", { class: "nothing" }, "No answer in this text");
    item.replaceChildren(title, best, confidence);
    if (others.length) {
      const list = make("ul", {}, ...others.map((one) => make("li", {}, this.button(one, item.text, "found"), make("small", {}, percent(one.probability)))));
      item.append(make("details", {}, make("summary", {}, answer ? "Other candidates" : "What comes closest"), list));
    }
    if (!this.text.isEdited) {
      this.unchoose();
      if (answer) this.choose(best, answer, item.text);
      else this.text.read(null, item.text);
    }
    this.say(answer ? `Answer: ${answer.text}. ${percent(probability)} confident. It is marked in the text.` : `No answer in this text. ${percent(probability)} sure of that.`);
  }

  /** Make a button that marks a span in its text. */
  button(span, text, style) {
    return make("button", {
      type: "button", class: style, dir: "auto", "aria-pressed": "false",
      onclick: (event) => { this.choose(event.currentTarget, span, text); this.say(`Marked in the text: ${span.text}`); },
    }, span.text);
  }

  choose(button, span, text) {
    this.unchoose();
    button.setAttribute("aria-pressed", "true");
    this.text.read(span, text);
  }

  unchoose() {
    for (const one of this.list.querySelectorAll("[aria-pressed=true]")) one.setAttribute("aria-pressed", "false");
  }

  fail(item, error) {
    if (error.name === "AbortError") {
      item.remove();
      this.showLists();
      this.say("Stopped.");
      return;
    }
    if (error.wantsKey) {
      document.getElementById("key-part").hidden = false;
      this.key.focus();
    }
    item.className = "failed";
    const again = make("button", { type: "button", onclick: () => { item.remove(); this.ask(item.question); } }, "Ask again");
    item.replaceChildren(item.firstElementChild, make("p", { role: "alert" }, error.message), make("div", { class: "row-end" }, again));
  }

  stop() {
    for (const one of this.running) one.abort();
  }

  /** Drop the questions asked so far. */
  forget() {
    this.stop();
    this.list.replaceChildren();
    this.showLists();
  }

  offerExample(isWanted) {
    document.getElementById("example").hidden = !isWanted;
  }

  showLists() {
    const isEmpty = !this.list.children.length;
    document.getElementById("empty").hidden = !isEmpty;
    document.getElementById("share-part").hidden = isEmpty;
    document.getElementById("link-part").hidden = true;
  }

  async share() {
    const { value: text } = this.text;
    const questions = [...this.list.children].filter((item) => item.text === text).map((item) => item.question).reverse();
    const packed = await pack({ text, questions });
    if (packed.length > MAX_LINK) {
      this.problem("The text is too long for a link. Share it as a file.");
      return;
    }
    const link = `${location.href.split("#")[0]}#${packed}`;
    const field = document.getElementById("link");
    field.value = link;
    try {
      await navigator.clipboard.writeText(link);
      this.say("Link copied.");
      document.getElementById("share").textContent = "Link copied";
      setTimeout(() => { document.getElementById("share").textContent = "Copy link"; }, 2000);
    } catch {
      document.getElementById("link-part").hidden = false;
      field.focus();
      field.select();
    }
  }

  /** Open what a link holds: its text, and its questions one after the other. */
  async openLink() {
    if (location.hash.length < 2) return;
    const value = await unpack(location.hash.slice(1), this.facts.maxBytes);
    if (!value) {
      this.problem("This link is incomplete or damaged. Ask for it again.");
      return;
    }
    this.text.set(value.text);
    for (const question of value.questions.slice(0, 20)) await this.ask(question);
  }

  /** Let the reader pick an indexed document. */
  offerDocuments() {
    document.getElementById("documents").hidden = false;
    const field = document.getElementById("document");
    const list = document.getElementById("document-list");
    let names = new Set();
    const offer = async () => {
      try {
        names = new Set(await this.backend.documents({ contains: field.value, key: this.key.value }));
        list.replaceChildren(...[...names].map((name) => make("option", { value: name })));
      } catch (error) {
        this.problem(error.message);
      }
    };
    field.addEventListener("focus", offer);
    field.addEventListener("input", async () => {
      if (!names.has(field.value)) {
        await offer();
        return;
      }
      try {
        this.text.set(await this.backend.document({ name: field.value, key: this.key.value }));
        this.question.focus();
      } catch (error) {
        this.problem(error.message);
      }
    });
  }
}

function start(backend) {
  startTheme();
  new Page(backend).start();
}
