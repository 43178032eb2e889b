// The start of the page: theme, navigation, charts, and the questions once they are unpacked.

/** Let the reader choose the theme; the choice is kept where the browser allows it. */
function startTheme() {
  const themes = [["", "as the system"], ["light", "light"], ["dark", "dark"]];
  const button = document.getElementById("theme");
  const keep = (theme) => { try { localStorage.setItem("albertqa-theme", theme); } catch { /* a file may not be allowed to keep anything */ } };
  const kept = () => { try { return localStorage.getItem("albertqa-theme") ?? ""; } catch { return ""; } };
  const apply = (theme) => {
    if (theme) document.documentElement.dataset.theme = theme;
    else delete document.documentElement.dataset.theme;
    button.lastElementChild.textContent = themes.find(([name]) => name === theme)?.[1] ?? themes[0][1];
  };
  button.addEventListener("click", () => {
    const now = themes.findIndex(([name]) => name === (document.documentElement.dataset.theme ?? ""));
    const next = themes[(now + 1) % themes.length][0];
    apply(next);
    keep(next);
  });
  apply(kept());
  button.hidden = false;
}

/** Mark the part of the page that is being read in the navigation. */
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

async function startQuestions() {
  const data = document.getElementById("questions-data");
  if (!data) return;
  const status = document.getElementById("browser-status");
  if (!("DecompressionStream" in window)) {
    status.textContent = "This browser cannot unpack the questions (it lacks DecompressionStream); a current one can.";
    return;
  }
  new QuestionBrowser(await unpack(data.textContent));
  status.remove();
}

startTheme();
startNavigation();
startCharts(JSON.parse(document.getElementById("charts-data").textContent));
startQuestions();
