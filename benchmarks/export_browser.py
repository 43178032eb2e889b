"""How large is the browser's reader, how long until its first answer, and how long does each next one take?

    python -m benchmarks.export_browser [--rounds 10]

albert-base's shape with random weights, exported as `albertqa export --format browser` does (int8, one thread, as a
plain server cannot give pages more), on `python -m http.server` of the loopback interface, in Chromium. Questions have
a window of about 197 tokens, each on a text of its own; a question's time is from the key press to the answer on the
page. Needs Chromium, npm or its cache, and the `dev` extra (playwright).
"""

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from albertqa.data.example import Example
from albertqa.export.exporting import export
from albertqa.serve.ask_page import static_page_html
from benchmarks.answering import near_questions
from benchmarks.data import real_questions
from benchmarks.models import SHAPES, save_random
from benchmarks.provenance import command_line, spread, write_result
from benchmarks.screenshots import CHROMIUM_FLAGS


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and write the result."""
    parser = command_line(__doc__, rounds=10)
    parser.add_argument("--shape", choices=SHAPES, default="base", help="the model's shape (base)")
    parser.add_argument("--questions", type=int, metavar="N", help="choose among the first so many questions")
    options = parser.parse_args(arguments)
    questions = real_questions(options.questions)
    examples, windows = near_questions(questions, options.rounds)
    with tempfile.TemporaryDirectory() as folder:
        model, site = Path(folder) / "model", Path(folder) / "site"
        model.mkdir()
        save_random(options.shape, model, vocab_size=questions.tokenizer.vocab_size)
        questions.tokenizer.save(model)
        # A model with random weights answers at random: there is nothing to lose.
        no_limits: dict[str, Any] = {"max_f1_loss": 100.0, "least_same_percent": 0.0}
        data = ["starter:validation"]
        export(model, site, form="browser", page_html=static_page_html, data=data, limit=5, **no_limits)
        sizes = {str(path.relative_to(site)): path.stat().st_size for path in site.rglob("*") if path.is_file()}
        with _plain_server(site) as url:
            found = _measure(url, examples[: options.rounds + 1])
    write_result(
        "export-browser",
        {
            "n": options.rounds,
            "shape": options.shape,
            "windows": questions.source,
            "tokens_of_a_question": spread(windows.lengths[: options.rounds + 1].tolist()),
            "megabytes": {name: round(size / 1e6, 2) for name, size in sorted(sizes.items()) if size >= 10_000},
            "megabytes_of_the_folder": round(sum(sizes.values()) / 1e6, 2),
            **found,
        },
        options.output,
    )


@contextmanager
def _plain_server(folder: Path) -> Iterator[str]:
    command = [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1", "--directory", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        assert server.stdout is not None
        port = server.stdout.readline().partition(" port ")[2].partition(" ")[0]
        try:
            yield f"http://127.0.0.1:{port}/"
        finally:
            server.kill()


def _measure(url: str, examples: Sequence[Example]) -> dict[str, Any]:
    """Open the page and ask the questions, one after the other."""
    from playwright.sync_api import sync_playwright

    executable = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=list(CHROMIUM_FLAGS))
        page = browser.new_page()
        page.set_default_timeout(120_000)
        begun = time.perf_counter()
        page.goto(url)
        page.locator("#facts", has_text="confidence").wait_for(state="attached")
        loaded = time.perf_counter() - begun
        taken = []
        for one in examples:
            if page.locator("#source").is_hidden():
                page.click("#edit")
            page.fill("#source", one.context)
            page.fill("#question", one.question)
            asked = time.perf_counter()
            page.press("#question", "Enter")
            page.locator("#answers .waiting").wait_for(state="detached")
            page.locator("#answers > li").first.wait_for()
            taken.append(time.perf_counter() - asked)
        version = browser.version
        browser.close()
    return {
        "chromium": version,
        "seconds_until_loaded": round(loaded, 2),
        "seconds_until_the_first_answer": round(loaded + taken[0], 2),
        "seconds_of_a_question": spread(taken[1:]),
    }


if __name__ == "__main__":
    main()
