"""The page in a real browser: it works from the disk, makes no requests, and runs nothing of the data."""

import itertools
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from albertqa.report import write_report
from albertqa.rundir.directory import load_run
from contrast import POOR_CONTRAST

from . import cases


class Opened:
    """An opened page with its console messages and requests."""

    def __init__(self, browser: Any, path: Path, **options: Any) -> None:
        self.context = browser.new_context(viewport={"width": 1280, "height": 900}, **options)
        self.page = self.context.new_page()
        self.page.set_default_timeout(60_000)
        self.messages: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.messages.append(message.text))
        self.page.on("pageerror", lambda error: self.messages.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(path.as_uri())
        self.page.locator("#browser-status").wait_for(state="detached")

    def __enter__(self) -> "Opened":
        return self

    def __exit__(self, *_: object) -> None:
        self.context.close()

    def wait_until(self, script: str) -> None:
        """Wait for a condition; the page's policy forbids Playwright's own way, which calls `eval`."""
        for _ in range(200):
            if self.page.evaluate(script):
                return
            self.page.wait_for_timeout(50)
        raise AssertionError(script)

    def texts(self, selector: str) -> list[str]:
        return [str(text) for text in self.page.locator(selector).all_text_contents()]


@pytest.fixture(scope="module")
def plain_page(tmp_path_factory: pytest.TempPathFactory, plain_run: Path) -> Path:
    return write_report([plain_run], tmp_path_factory.mktemp("page") / "report.html")


@pytest.fixture(scope="module")
def many_page(tmp_path_factory: pytest.TempPathFactory, plain_run: Path, other_seeds: tuple[Path, Path]) -> Path:
    return write_report([plain_run, *other_seeds], tmp_path_factory.mktemp("page") / "many.html")


def test_page_has_no_console_messages_and_makes_no_requests(browser: Any, plain_page: Path) -> None:
    with Opened(browser, plain_page) as opened:
        assert opened.messages == []
        assert opened.requests == [plain_page.as_uri()]


def test_every_chart_is_drawn_with_its_lines(browser: Any, plain_page: Path) -> None:
    with Opened(browser, plain_page) as opened:
        keys = [str(key) for key in opened.page.eval_on_selector_all(".chart", "all => all.map(one => one.id)")]
        assert keys == [
            f"chart-{key}" for key in ("loss", "scores", "rate", "norm", "speed", "reliability", "coverage")
        ]
        for key in keys:
            assert opened.page.locator(f"#{key} path.line").count() >= 1


def test_a_finding_is_marked_at_its_step(browser: Any, plain_page: Path) -> None:
    with Opened(browser, plain_page) as opened:
        marks = opened.texts("#chart-loss path.finding-warning title")
        assert marks == ["loss-spike: loss rose <b>fast</b>"]
        assert "lower it" in opened.texts(".findings")[0]


def test_hovering_shows_the_values(browser: Any, plain_page: Path) -> None:
    with Opened(browser, plain_page) as opened:
        plot = opened.page.locator("#chart-scores svg.plot")
        plot.scroll_into_view_if_needed()
        box = plot.bounding_box()
        opened.page.mouse.move(box["x"] + box["width"] - 14, box["y"] + 80)
        tip = opened.texts("#chart-scores .tip")[0]
        assert tip.startswith("step 60")
        assert re.search(r"F1\d", tip)
        assert re.search(r"exact\d", tip)


def test_arrow_keys_read_a_chart_aloud(browser: Any, plain_page: Path) -> None:
    with Opened(browser, plain_page) as opened:
        opened.page.focus("#chart-loss svg.plot")
        opened.page.keyboard.press("End")
        assert opened.texts("#chart-loss [aria-live]")[0].startswith("step 60, training 0.")
        opened.page.keyboard.press("ArrowLeft")
        assert opened.texts("#chart-loss [aria-live]")[0].startswith("step 59, training")


def test_filtering_by_kind_shows_that_kind_only(browser: Any, plain_page: Path) -> None:
    with Opened(browser, plain_page) as opened:
        opened.page.select_option("#browser [name=kind]", value="wrong")
        kinds = opened.texts("#browser-list .measures span:first-child")
        assert kinds
        assert not any("Right" in kind for kind in kinds)
        summary = opened.texts("#browser-summary")[0]
        assert re.match(r"\d+ of 160 questions . exact 0\.00, F1 ", summary)


def test_a_row_of_the_tables_shows_its_questions(browser: Any, plain_page: Path) -> None:
    with Opened(browser, plain_page) as opened:
        row = opened.page.locator(".facet tr", has=opened.page.locator("th", has_text=re.compile("^when$")))
        number = row.locator("td").first.text_content()
        row.get_by_role("button").click()
        assert opened.texts("#browser-summary")[0].startswith(f"{number} of 160 questions")
        assert all(text.startswith("When") for text in opened.texts("#browser-list .asked"))


def test_search_finds_questions_answers_and_on_demand_contexts(browser: Any, plain_page: Path) -> None:
    with Opened(browser, plain_page) as opened:
        opened.page.fill("#browser [name=text]", "PERSON 3-1")
        opened.page.locator("#browser-summary", has_text=re.compile(r"^2 of 160")).wait_for()
        assert opened.texts("#browser-list .asked") == [example.question for example in cases.examples_of(20)[26:28]]
        opened.page.check("#browser [name=contexts]")
        assert opened.texts("#browser-summary")[0].startswith("8 of 160 questions")


def test_sorting_by_f1_and_by_probability(browser: Any, plain_page: Path) -> None:
    with Opened(browser, plain_page) as opened:

        def column(name: str) -> list[float]:
            rows = opened.texts("#browser-list .measures")
            return [float(re.findall(rf"{name} ([\d.]+)", text)[0]) for text in rows]

        opened.page.select_option("#browser [name=kind]", "1")
        opened.page.select_option("#browser [name=order]", "highest-f1")
        assert column("F1") == sorted(column("F1"), reverse=True)
        opened.page.select_option("#browser [name=order]", "lowest-f1")
        assert column("F1") == sorted(column("F1"))
        opened.page.select_option("#browser [name=order]", "least-confident")
        assert column("probability") == sorted(column("probability"))
        opened.page.select_option("#browser [name=order]", "most-confident")
        assert column("probability") == sorted(column("probability"), reverse=True)


def test_pages_turn_and_show_every_question_once(browser: Any, plain_page: Path) -> None:
    with Opened(browser, plain_page) as opened:
        opened.page.select_option("#browser [name=order]", "file")
        seen = opened.texts("#browser-list .asked")
        while opened.page.is_enabled("#page-next"):
            opened.page.click("#page-next")
            seen += opened.texts("#browser-list .asked")
        assert seen == [example.question for example in cases.examples_of(20)]


def test_gold_and_answer_are_marked_at_their_positions(browser: Any, plain_page: Path) -> None:
    with Opened(browser, plain_page) as opened:
        opened.page.select_option("#browser [name=order]", "file")
        example = cases.examples_of(20)[1]
        opened.page.locator("#browser-list button.question").nth(1).click()
        before = opened.page.eval_on_selector(
            "#browser-list .context mark.gold",
            "mark => { let text = ''; for (let at = mark.previousSibling; at; at = at.previousSibling)"
            " text = at.textContent + text; return text; }",
        )
        assert before == example.context[: example.golds[0].answer_start]
        assert opened.texts("#browser-list .context mark.gold") == [example.golds[0].text]
        assert opened.texts("#browser-list .context")[0] == example.context
        assert len(opened.texts("#browser-list .n-best tr")) == 5


def test_hostile_text_is_shown_and_never_run(browser: Any, tmp_path: Path, hostile_run: Path) -> None:
    with Opened(browser, write_report([hostile_run], tmp_path / "hostile.html")) as opened:
        opened.page.select_option("#browser [name=order]", "file")
        for button in opened.page.locator("#browser-list button.question").all():
            button.click()
        shown = opened.texts("#browser-list .asked")
        assert shown[:-1] == [f"What is {text}?" for text in cases.HOSTILE]
        # The answers lie behind an emoji, which counts as two in the browser: a wrong unit would cut them elsewhere.
        marked = opened.texts("#browser-list .context mark.gold.answer")
        assert marked == [*(f"the answer {text}" for text in cases.HOSTILE), "w" * 100_000]
        assert opened.page.evaluate("window.hacked") is None
        assert opened.page.locator("main script, main img, #browser-list svg[onload]").count() == 0
        assert opened.messages == []
        assert len(opened.requests) == 1
        assert opened.page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_policy_stops_scripts_that_are_not_the_pages_own(browser: Any, tmp_path: Path, plain_page: Path) -> None:
    injected = tmp_path / "injected.html"
    text = plain_page.read_text(encoding="utf-8")
    injected.write_text(text.replace("<main", "<script>window.hacked = 1</script><main"), encoding="utf-8")
    with Opened(browser, injected) as opened:
        assert opened.page.evaluate("window.hacked") is None
        assert any("Content Security Policy" in line for line in opened.messages)


def test_theme_follows_the_system_until_it_is_chosen(browser: Any, plain_page: Path) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    with Opened(browser, plain_page, color_scheme="dark") as opened:
        dark = opened.page.evaluate(ground)
        opened.page.click("#theme")
        light = opened.page.evaluate(ground)
        assert (dark, light) == ("rgb(21, 23, 26)", "rgb(252, 252, 250)")
        opened.page.click("#theme")
        assert opened.page.evaluate(ground) == dark
    with Opened(browser, plain_page, color_scheme="light") as opened:
        assert opened.page.evaluate(ground) == light


@pytest.mark.parametrize("width", [360, 768, 1600])
def test_nothing_is_wider_than_the_window(browser: Any, plain_page: Path, many_page: Path, width: int) -> None:
    for path in (plain_page, many_page):
        with Opened(browser, path) as opened:
            opened.page.set_viewport_size({"width": width, "height": 780})
            opened.page.locator("#browser-list button.question").first.click()
            assert opened.page.evaluate("document.documentElement.scrollWidth") <= width


def test_text_has_contrast_in_both_themes(browser: Any, plain_page: Path) -> None:
    for scheme in ("light", "dark"):
        with Opened(browser, plain_page, color_scheme=scheme) as opened:
            opened.page.locator("#browser-list button.question").first.click()
            assert opened.page.evaluate(POOR_CONTRAST) == []


def test_keyboard_alone_reaches_and_opens_a_question(browser: Any, plain_page: Path) -> None:
    with Opened(browser, plain_page) as opened:
        opened.page.focus("#browser [name=text]")
        for _ in range(4):
            opened.page.keyboard.press("Tab")
            if opened.page.evaluate("document.activeElement.className") == "question":
                break
        opened.page.keyboard.press("Enter")
        assert opened.page.get_attribute("#browser-list button.question >> nth=0", "aria-expanded") == "true"
        assert len(opened.texts("#browser-list .detail")) == 1


def test_runs_can_be_compared_question_by_question(browser: Any, many_page: Path) -> None:
    with Opened(browser, many_page) as opened:
        worse = opened.texts("#comparison tbody tr")[1]
        assert "worse than run" in worse
        opened.page.select_option("#browser [name=versus]", label="high-rate, lower F1")
        better = int(opened.texts("#browser-summary")[0].split()[0])
        assert f"{better}" in worse
        for row in opened.page.locator("#browser-list button.question").all():
            mine = float(re.findall(r"F1 (\d+)", row.locator(".measures").text_content())[0])
            theirs = float(re.findall(r"F1 (\d+)\)", row.locator(".labelled").last.text_content())[0])
            assert mine > theirs


def test_print_has_the_charts_in_light_colours_and_no_list_of_questions(browser: Any, plain_page: Path) -> None:
    with Opened(browser, plain_page, color_scheme="dark") as opened:
        opened.page.click("#theme")
        opened.page.click("#theme")
        opened.page.emulate_media(media="print")
        assert opened.page.evaluate("getComputedStyle(document.documentElement).colorScheme") == "light"
        assert not opened.page.is_visible("#questions")
        assert opened.page.is_visible("#chart-loss svg.plot")


def test_the_last_scores_are_written_beside_their_lines(browser: Any, plain_page: Path, plain_run: Path) -> None:
    last = load_run(plain_run).evaluations[-1]
    with Opened(browser, plain_page) as opened:
        assert sorted(opened.texts("#chart-scores text.end")) == [f"F1 {last.f1:.2f}", f"exact {last.exact:.2f}"]
        opened.page.set_viewport_size({"width": 390, "height": 780})
        opened.wait_until("document.querySelector('#chart-scores text.end').textContent.length < 6")
        assert sorted(opened.texts("#chart-scores text.end")) == sorted([f"{last.f1:.2f}", f"{last.exact:.2f}"])


def test_one_evaluation_is_more_than_a_lone_dot(browser: Any, plain_run: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(plain_run, tmp_path / "run"))
    rows = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    kept = [row for row in rows if "validation_loss" not in row or row is rows[-1]]
    (run / "metrics.jsonl").write_text("\n".join(kept) + "\n", encoding="utf-8")
    with Opened(browser, write_report([run])) as opened:
        assert opened.page.locator("#chart-scores .guide").count() == 2
        assert len(opened.texts("#chart-scores text.end")) == 2


def test_labels_of_a_chart_do_not_overlap(browser: Any, plain_run: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(plain_run, tmp_path / "run"))
    findings = [
        {"name": f"finding-{at}", "severity": severity, "step": step, "message": "it is so", "remedy": ""}
        for at, (step, severity) in enumerate([(30, "warning"), (30, "error"), (31, "warning"), (40, "warning")])
    ]
    (run / "health.json").write_text(json.dumps({"findings": findings}), encoding="utf-8")
    boxes = """all => all.map(one => { const box = one.getBoundingClientRect();
      return [one.textContent, box.left, box.right, box.top, box.bottom]; })"""
    with Opened(browser, write_report([run])) as opened:
        titles = opened.texts("#chart-loss path title")
        assert [title.count("\n") + 1 for title in titles] == [3, 1]
        for width in (1280, 390):
            opened.page.set_viewport_size({"width": width, "height": 900})
            opened.wait_until(f"document.querySelector('#chart-loss svg.plot').clientWidth < {width}")
            for chart in ("loss", "scores", "norm"):
                found = opened.page.eval_on_selector_all(f"#chart-{chart} svg.plot text", boxes)
                for (one, *a), (other, *b) in itertools.combinations(found, 2):
                    overlap = min(a[1], b[1]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[2], b[2])
                    # A box is taller than its letters.
                    assert overlap[0] <= 1 or overlap[1] <= 4, (chart, width, one, other)


def test_wide_tables_say_that_they_can_be_scrolled(browser: Any, many_page: Path) -> None:
    with Opened(browser, many_page) as opened:
        opened.page.set_viewport_size({"width": 390, "height": 780})
        visible = "[...document.querySelectorAll('{}')].filter(one => one.checkVisibility())"
        wide = f"{visible.format('.scroll')}.filter(one => one.scrollWidth > one.clientWidth + 1)"
        hints = visible.format(".hint")
        opened.wait_until(f"{wide}.length > 0 && {hints}.length === {wide}.length")
        assert opened.page.evaluate(f"{wide}.every(one => !one.previousElementSibling.hidden)")
