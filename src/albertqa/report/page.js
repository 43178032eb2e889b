// Start of the page: theme, navigation, wide tables, charts, and the questions once they are decompressed.

/** Let the reader choose the theme; the choice is saved if the browser allows it. */
function startTheme() {
  const themes = [["", "System theme"], ["light", "Light theme"], ["dark", "Dark theme"]];
  const button = document.getElementById("theme");
  const save = (theme) => { try { localStorage.setItem("albertqa-theme", theme); } catch { /* not allowed for this file */ } };
  const saved = () => { try { return localStorage.getItem("albertqa-theme") ?? ""; } catch { return ""; } };
  const apply = (theme) => {
    if (theme) document.documentElement.dataset.theme = theme;
    else delete document.documentElement.dataset.theme;
    button.textContent = themes.find(([name]) => name === theme)?.[1] ?? themes[0][1];
  };
  button.addEventListener("click", () => {
    const now = themes.findIndex(([name]) => name === (document.documentElement.dataset.theme ?? ""));
    const next = themes[(now + 1) % themes.length][0];
    apply(next);
    save(next);
  });
  apply(saved());
  button.hidden = false;
}

/** Mark the section that is being read in the navigation. */
function startNavigation() {
  const links = new Map([...document.querySelectorAll("nav a")].map((link) => [link.hash.slice(1), link]));
  const sections = [...links.keys()].map((id) => document.getElementById(id));
  const mark = () => {
    const read = sections.filter((section) => section.getBoundingClientRect().top < innerHeight * 0.4).at(-1) ?? sections[0];
    for (const [id, link] of links) {
      if (id === read.id) link.setAttribute("aria-current", "true");
      else link.removeAttribute("aria-current");
    }
  };
  let waiting = false;
  addEventListener("scroll", () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; mark(); });
  }, { passive: true });
  mark();
}

/** Show a hint above every table that is too wide and can be scrolled. */
function startWideTables() {
  for (const box of document.querySelectorAll(".scroll")) {
    const hint = make("p", { class: "hint", "aria-hidden": "true" }, "Scroll sideways for more columns →");
    hint.hidden = true;
    box.before(hint);
    const update = () => { hint.hidden = box.scrollWidth <= box.clientWidth + 1; };
    const observer = new ResizeObserver(update);
    observer.observe(box);
    observer.observe(box.firstElementChild);
  }
}

async function startQuestions() {
  const data = document.getElementById("questions-data");
  if (!data) return;
  const status = document.getElementById("browser-status");
  if (!("DecompressionStream" in window)) {
    status.textContent = "This browser is too old to show the questions (it lacks DecompressionStream).";
    return;
  }
  new QuestionBrowser(await decompress(data.textContent));
  status.remove();
}

startTheme();
startNavigation();
startWideTables();
startCharts(JSON.parse(document.getElementById("charts-data").textContent));
startQuestions();
