"""The page in a real browser, against a real server: asking, marks, files, links, keyboard, both themes, a phone."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from albertqa.answer.answerer import Answerer
from albertqa.answer.collection import index_folder
from contrast import POOR_CONTRAST
from decode.cases import starter_examples
from serve.conftest import Server

pytestmark = pytest.mark.usefixtures("one_thread")

TEXT = "😀😀 The first river is wide.\n\n𐐀lfred swam in the second river in 1066, and Rollo walked."
HOSTILE = '<img src=x onerror="window.hacked=1"> <script>window.hacked=1</script> Rollo & Emma swam.'


class Asked:
    """The page of a server, with all that it says on the console and asks for."""

    def __init__(self, browser: Any, server: Server, *, fragment: str = "", **options: Any) -> None:
        options = {"viewport": {"width": 1280, "height": 800}, "reduced_motion": "reduce", **options}
        self.context = browser.new_context(**options)
        self.page = self.context.new_page()
        self.page.set_default_timeout(120_000)
        self.said: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(f"{server.url}/{fragment}")
        self.page.locator("#facts", has_text="not calibrated").wait_for(state="attached")

    def __enter__(self) -> "Asked":
        return self

    def __exit__(self, *_: object) -> None:
        self.context.close()

    def ask(self, question: str, text: str | None = None) -> None:
        if text is not None:
            self.page.fill("#source", text)
        self.page.fill("#question", question)
        self.page.press("#question", "Enter")
        self.page.locator("#answers .waiting").wait_for(state="detached")

    def texts(self, selector: str) -> list[str]:
        return [str(text) for text in self.page.locator(selector).all_text_contents()]

    def marked(self) -> tuple[str, str]:
        """Return the text before the mark, and the marked text."""
        return tuple(self.page.eval_on_selector("mark", "mark => [mark.previousSibling?.data ?? '', mark.textContent]"))


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("documents") / "texts"
    folder.mkdir()
    (folder / "rivers.txt").write_text(TEXT, encoding="utf-8")
    (folder / "hostile <b>.txt").write_text(HOSTILE, encoding="utf-8")
    index_folder(folder, folder.parent / "docs.sqlite")
    return folder.parent / "docs.sqlite"


@pytest.fixture(scope="module")
def server(reader_folder: Path, documents: Path) -> Iterator[Server]:
    running = Server(reader_folder, "--documents", str(documents), "--max-body-bytes", "400000")
    yield running
    running.stop()


def test_the_answer_is_marked_where_it_is_and_nothing_else_is_asked(
    browser: Any, server: Server, answerer: Answerer
) -> None:
    with Asked(browser, server) as asked:
        for question in ("Who swam?", "Where?", "When did 𐐀lfred swim?"):
            asked.ask(question, TEXT if question == "Who swam?" else None)
            expected = answerer.answer(question, TEXT)
            assert asked.marked() == (TEXT[: expected.start_char], expected.text)
            assert asked.texts("#reading") == [TEXT]
            assert asked.texts("#answers > li:first-child > .found") == [expected.text]
            assert asked.texts("#answers > li:first-child .sure")[0] == f"{expected.probability * 100:.0f} % confident"
        assert asked.texts("#answers h3") == ["When did 𐐀lfred swim?", "Where?", "Who swam?"]
        assert asked.texts("#status")[0].startswith(f"Answer: {expected.text}.")
        assert asked.said == []
        assert {url.partition("#")[0] for url in asked.asked} == {
            f"{server.url}/",
            f"{server.url}/v1/model",
            f"{server.url}/v1/answer",
        }


def test_candidates_move_the_mark(browser: Any, server: Server, answerer: Answerer) -> None:
    with Asked(browser, server) as asked:
        asked.ask("Who swam?", TEXT)
        candidates = answerer.answer("Who swam?", TEXT, n_best=6).n_best[1:]
        asked.page.click("#answers summary")
        buttons = asked.page.locator("#answers details .found")
        assert buttons.all_text_contents() == [one.text for one in candidates]
        for index, one in enumerate(candidates):
            buttons.nth(index).press("Enter")
            assert asked.marked() == (TEXT[: one.start_char], one.text)
            assert asked.texts("#answers [aria-pressed=true]") == [one.text]
        asked.page.click("#answers .best")
        assert asked.marked()[1] == answerer.answer("Who swam?", TEXT).text


def test_the_answer_of_a_text_of_fifty_pages_is_scrolled_to(browser: Any, server: Server, answerer: Answerer) -> None:
    paragraphs = list(dict.fromkeys(one.context for one in starter_examples(555)))
    book = "\n\n".join((paragraphs * 4)[:220])
    assert len(book) > 150_000
    expected = answerer.answer("Who swam?", book)
    with Asked(browser, server) as asked:
        asked.ask("Who swam?", book)
        assert asked.marked() == (book[: expected.start_char], expected.text)
        assert expected.start_char > 5000
        mark, part = (asked.page.locator(selector).bounding_box() for selector in ("mark", "#reading"))
        assert part["y"] <= mark["y"] <= part["y"] + part["height"] - mark["height"]
        assert asked.page.evaluate("scrollY") == 0


def test_no_answer_is_a_state_of_its_own(browser: Any, start_server: Callable[..., Server]) -> None:
    options = ("--version-2-with-negative", "True", "--null-score-diff-threshold", "-1000000")
    with Asked(browser, start_server(*options)) as asked:
        asked.ask("Who swam?", TEXT)
        assert asked.texts("#answers .nothing") == ["No answer in this text"]
        assert re.fullmatch(r"(under )?\d+ % sure of that", asked.texts("#answers .sure")[0])
        assert asked.page.locator("mark").count() == 0
        assert asked.texts("#status")[0].startswith("No answer in this text.")
        assert asked.texts("#answers summary") == ["What comes closest"]
        asked.page.click("#answers summary")
        asked.page.locator("#answers details .found").first.click()
        assert asked.page.locator("mark").count() == 1


def drop(asked: Asked, name: str, content: bytes) -> None:
    """Drop a file on the page."""
    transfer = asked.page.evaluate_handle(
        """([name, bytes]) => {
          const transfer = new DataTransfer();
          transfer.items.add(new File([new Uint8Array(bytes)], name));
          return transfer;
        }""",
        [name, list(content)],
    )
    asked.page.dispatch_event("body", "dragover", {"dataTransfer": transfer})
    assert asked.page.is_visible("#drop")
    asked.page.dispatch_event("body", "drop", {"dataTransfer": transfer})
    assert not asked.page.is_visible("#drop")


def test_a_dropped_file_is_read(browser: Any, server: Server, tmp_path: Path) -> None:
    with Asked(browser, server) as asked:
        drop(asked, "notes.txt", TEXT.replace("\n", "\r\n").encode("utf-8-sig"))
        asked.page.locator("#reading", has_text="first river").wait_for()
        assert asked.texts("#reading") == [TEXT]
        assert asked.page.evaluate("document.activeElement.id") == "question"
        asked.ask("Who swam?")
        assert TEXT.startswith("".join(asked.marked()))
        drop(asked, "page.html", b"<h1>Rivers</h1><script>window.hacked = 1</script><p>The <b>Seine</b> is long.</p>")
        asked.page.locator("#reading", has_text="Seine is long.").wait_for()
        assert asked.texts("#reading") == ["RiversThe Seine is long."]
        path = tmp_path / "chosen.md"
        path.write_text("# Chosen", encoding="utf-8")
        asked.page.set_input_files("#file", path)
        asked.page.locator("#reading", has_text="# Chosen").wait_for()
        for name, content, problem in (
            (
                "latin.txt",
                "Müller".encode("latin-1"),
                "latin.txt: is not UTF-8 text. Save it as UTF-8, or copy its text and paste it.",
            ),
            ("paper.pdf", b"%PDF-1.7", "paper.pdf: is not a text file. Copy its text and paste it."),
            ("empty.txt", b" \n", "empty.txt: has no text."),
            ("long.txt", b"a" * 400_001, "long.txt: the file has 400,001 bytes, and at most 400,000 can be read here."),
        ):
            drop(asked, name, content)
            asked.page.locator("#problem", has_text=problem).wait_for()
        assert asked.texts("#reading") == ["# Chosen"]
        assert asked.page.evaluate("window.hacked") is None


def test_an_earlier_answer_brings_its_text_back(browser: Any, server: Server) -> None:
    with Asked(browser, server) as asked:
        asked.ask("Who swam?", TEXT)
        first = asked.marked()
        asked.page.click("#edit")
        asked.ask("Who walked?", "Somebody else walked here.")
        assert asked.texts("#reading") == ["Somebody else walked here."]
        asked.page.locator("#answers .best").nth(1).click()
        assert asked.marked() == first
        assert "an earlier text" in asked.texts("#size")[0]
        asked.page.click("#edit")
        assert asked.page.input_value("#source") == "Somebody else walked here."


def test_a_link_holds_text_and_questions_and_sends_them_to_nobody(browser: Any, server: Server) -> None:
    with Asked(browser, server, permissions=["clipboard-read", "clipboard-write"]) as asked:
        asked.ask("Who swam?", TEXT)
        asked.ask("Where?")
        asked.page.click("#share")
        asked.page.locator("#share", has_text="Link copied").wait_for()
        link = asked.page.evaluate("navigator.clipboard.readText()")
        answers = asked.texts("#answers .best")
    assert link.startswith(f"{server.url}/#")
    with Asked(browser, server, fragment=f"#{link.partition('#')[2]}") as opened:
        opened.page.locator("#answers .best").nth(1).wait_for()
        assert opened.texts("#reading") == [TEXT]
        assert opened.texts("#answers h3") == ["Where?", "Who swam?"]
        assert opened.texts("#answers .best") == answers
        assert "swam" not in "".join(opened.asked)
    with Asked(browser, server, fragment="#bm9uc2Vuc2U") as damaged:
        damaged.page.locator("#problem", has_text="This link is incomplete or damaged").wait_for()
        damaged.ask("Who swam?", TEXT)
        assert damaged.page.locator("mark").count() == 1


def test_an_indexed_document_can_be_picked(browser: Any, server: Server) -> None:
    with Asked(browser, server) as asked:
        asked.page.focus("#document")
        asked.page.locator("#document-list option").nth(1).wait_for(state="attached")
        assert asked.page.eval_on_selector_all("option", "all => all.map(one => one.value)") == [
            "hostile <b>.txt",
            "rivers.txt",
        ]
        asked.page.fill("#document", "rivers.txt")
        asked.page.locator("#reading", has_text="first river").wait_for()
        asked.ask("Who swam?")
        assert asked.texts("#reading") == [TEXT]


def test_hostile_text_is_shown_and_never_run(browser: Any, server: Server) -> None:
    with Asked(browser, server) as asked:
        asked.ask(HOSTILE, HOSTILE)
        assert asked.texts("#reading") == [HOSTILE]
        assert asked.texts("#answers h3") == [HOSTILE]
        asked.page.click("#answers summary")
        assert asked.page.locator("main img, main script").count() == 0
        assert asked.page.evaluate("window.hacked") is None
        assert asked.said == []


def test_problems_are_said_in_words(browser: Any, start_server: Callable[..., Server]) -> None:
    server = start_server("--api-key", "s3cret", "--max-queue-tokens", "400")
    with Asked(browser, server) as asked:
        asked.page.press("#question", "Enter")
        assert asked.texts("#problem") == ["There is no text yet. Paste one, or open a file."]
        asked.page.fill("#source", TEXT)
        asked.page.press("#question", "Enter")
        assert asked.texts("#problem") == ["Type a question first."]
        asked.ask("Who swam?")
        assert asked.texts("#answers [role=alert]") == ["This server wants an API key. Enter it below the question."]
        asked.page.fill("#key", "s3cret")
        asked.page.click("#answers .failed button")
        asked.page.locator("#answers .best").wait_for()
        asked.page.click("#edit")
        asked.ask("Who swam?", TEXT * 40)
        assert re.match(
            r"The text is too long for this server: the request has [\d,]+ tokens to read, expected at most 400\.",
            asked.texts("#answers [role=alert]")[0],
        )
        busy = {"error": "the server is busy: 400 tokens are waiting, which takes about 7 seconds; try again later"}
        asked.page.route(
            "**/v1/answer", lambda route: route.fulfill(status=429, json=busy, headers={"retry-after": "7"})
        )
        asked.ask("Who swam?")
        assert asked.texts("#answers > li:first-child [role=alert]") == [
            "The server is busy with other questions. Try again in about 7 s."
        ]
        asked.page.unroute("**/v1/answer")
        server.stop()
        asked.ask("Who swam?")
        assert asked.texts("#answers > li:first-child [role=alert]") == [
            "The server does not answer. Is it still running?"
        ]


def test_escape_stops_a_question(browser: Any, server: Server) -> None:
    with Asked(browser, server) as asked:
        asked.page.route("**/v1/answer", lambda _: None)
        asked.page.fill("#source", TEXT)
        asked.page.fill("#question", "Who swam?")
        asked.page.press("#question", "Enter")
        asked.page.locator("#answers .waiting").wait_for()
        asked.page.keyboard.press("Escape")
        asked.page.locator("#answers li").wait_for(state="detached")
        assert asked.texts("#status") == ["Stopped."]


def test_keyboard_alone_is_enough(browser: Any, server: Server) -> None:
    with Asked(browser, server) as asked:
        asked.page.keyboard.press("Tab")
        asked.page.keyboard.press("Enter")
        assert asked.page.evaluate("document.activeElement.id") == "question"
        asked.page.focus("#source")
        asked.page.keyboard.insert_text(TEXT)
        asked.page.keyboard.press("Tab")
        assert asked.page.evaluate("document.activeElement.id") == "question"
        asked.page.keyboard.insert_text("Who swam?")
        asked.page.keyboard.press("Enter")
        asked.page.locator("#answers .best").wait_for()
        # The next question replaces this one as soon as it is typed.
        assert asked.page.evaluate("[document.activeElement.id, getSelection().toString()]") == [
            "question",
            "Who swam?",
        ]
        asked.page.keyboard.press("Tab")
        asked.page.keyboard.press("Tab")
        assert asked.page.evaluate("document.activeElement.className") == "found best"


def test_names_and_roles_say_what_everything_is(browser: Any, server: Server) -> None:
    with Asked(browser, server) as asked:
        asked.ask("Who swam?", TEXT)
        page = asked.page
        for role, name in (
            ("heading", "Ask a text"), ("textbox", "Question"), ("button", "Ask"), ("button", "Edit"),
            ("button", "Copy link"), ("region", "Text with the answer marked"), ("region", "Text"),
            ("list", "Questions and answers, newest first"), ("combobox", "Indexed document"),
            ("heading", "Who swam?"), ("status", None), ("main", None), ("banner", None),
        ):  # fmt: skip
            assert page.get_by_role(role, name=name, exact=True).count() == 1, (role, name)
        unnamed = page.eval_on_selector_all(
            "button, input, textarea, a",
            "all => all.filter(one => one.checkVisibility() && !(one.textContent.trim() || one.labels?.length || "
            "one.ariaLabel || one.getAttribute('aria-labelledby'))).map(one => one.outerHTML)",
        )
        assert unnamed == []
        assert page.evaluate("document.documentElement.lang") == "en"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_contrast(browser: Any, server: Server, scheme: str) -> None:
    with Asked(browser, server, color_scheme=scheme) as asked:
        asked.ask("Who swam?", TEXT)
        asked.page.click("#answers summary")
        asked.page.route("**/v1/answer", lambda route: route.fulfill(status=413, json={"error": "too long"}))
        asked.ask("Where?")
        assert asked.page.evaluate(POOR_CONTRAST) == []
        asked.page.goto(f"{server.url}/docs")
        assert asked.page.evaluate(POOR_CONTRAST) == []


def test_theme_follows_the_system_until_it_is_chosen(browser: Any, server: Server) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    with Asked(browser, server, color_scheme="dark") as asked:
        dark = asked.page.evaluate(ground)
        asked.page.click("#theme")
        light = asked.page.evaluate(ground)
        assert (dark, light) == ("rgb(21, 23, 26)", "rgb(252, 252, 250)")
        asked.page.reload()
        assert asked.page.evaluate(ground) == light
        assert asked.texts("#theme") == ["Theme: light"]


def test_a_phone_shows_mark_and_answer_together(browser: Any, server: Server) -> None:
    phone = {"viewport": {"width": 360, "height": 780}, "has_touch": True, "is_mobile": True}
    with Asked(browser, server, **phone) as asked:
        asked.ask("Who swam?", "\n\n".join([TEXT] * 30))
        asked.ask("Where?")
        for selector in ("mark", "#question", "#answers > li:first-child .best"):
            box = asked.page.locator(selector).bounding_box()
            assert box["y"] >= 0
            assert box["y"] + box["height"] <= 780
        assert asked.page.evaluate("document.documentElement.scrollWidth") == 360
        asked.page.goto(f"{server.url}/docs")
        assert asked.page.evaluate("document.documentElement.scrollWidth") == 360


def test_the_example_shows_how_it_works(browser: Any, server: Server) -> None:
    with Asked(browser, server) as asked:
        asked.page.click("#example")
        asked.page.locator("#answers .best").wait_for()
        assert asked.page.locator("mark").count() == 1
        assert not asked.page.is_visible("#example")


def test_the_page_keeps_apart_what_answers(browser: Any, tmp_path: Path) -> None:
    """The same page works from a file with another backend, as a reader in the browser will have it."""
    from albertqa.serve.ask_page import page_html

    answer = {
        "answer": {"text": "Rollo", "start": 0, "end": 5, "probability": 0.5},
        "probability": 0.5,
        "candidates": [],
    }
    backend = (
        "function createBackend() { return {"
        " facts: async () => ({ model: 'own', isCalibrated: true, maxBytes: 1000 }),"
        f" ask: async () => ({json.dumps(answer)}) }}; }}"
    )
    html, _ = page_html(backend)
    (tmp_path / "index.html").write_text(html, encoding="utf-8")
    page = browser.new_page()
    page.goto((tmp_path / "index.html").as_uri())
    page.fill("#source", "Rollo swam.")
    page.fill("#question", "Who?")
    page.press("#question", "Enter")
    assert page.locator("mark").text_content() == "Rollo"
    assert page.text_content("#facts") == "own"
    page.close()
