"""Take the pictures of the page that `albertqa serve` has, for the documents.

    python -m benchmarks.serve_screenshots RUN

RUN is a trained reader, for example the quickstart's. The pictures go to docs/screenshots/. Loopback only; it needs
Chromium and the `dev` extra (playwright).
"""

import argparse
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from albertqa.data.reading import load_examples
from benchmarks.screenshots import CHROMIUM_FLAGS, PICTURES
from benchmarks.serving import Server

QUESTIONS = 3


def take_pictures(url: str, text: str, questions: Sequence[str], folder: Path) -> list[Path]:
    """Ask, and take every picture.

    Args:
        url: Address of the server.
        text: The text to ask.
        questions: What to ask, one after the other.
        folder: Where the pictures go.

    Returns:
        The pictures.
    """
    from playwright.sync_api import sync_playwright

    executable = shutil.which("chromium") or shutil.which("google-chrome")
    taken: list[Path] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=list(CHROMIUM_FLAGS))

        def take(name: str, size: tuple[int, int], theme: str, prepare: Callable[[Any], None]) -> None:
            viewport = {"width": size[0], "height": size[1]}
            context = browser.new_context(viewport=viewport, color_scheme=theme, reduced_motion="reduce")
            page = context.new_page()
            page.set_default_timeout(180_000)
            page.goto(url)
            page.fill("#source", text)
            for question in questions:
                page.fill("#question", question)
                page.press("#question", "Enter")
                page.locator("#answers .waiting").wait_for(state="detached")
            prepare(page)
            page.screenshot(path=folder / name)
            context.close()
            taken.append(folder / name)

        def with_candidates(page: Any) -> None:
            page.locator("#answers summary").first.click()

        wide, phone = (1280, 800), (390, 844)
        take("serve-light.png", wide, "light", lambda _: None)
        take("serve-dark.png", wide, "dark", with_candidates)
        take("serve-phone.png", phone, "light", lambda _: None)
        take("serve-phone-dark.png", phone, "dark", with_candidates)
        take("serve-docs.png", wide, "light", lambda page: page.goto(f"{url}/docs"))
        browser.close()
    return taken


def main(arguments: Sequence[str] | None = None) -> None:
    """Start a server, take the pictures, stop it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="run directory or model folder of a trained reader")
    parser.add_argument("--output", type=Path, default=PICTURES, metavar="FOLDER", help="docs/screenshots")
    options = parser.parse_args(arguments)
    examples = load_examples("starter:validation")
    title = examples[0].title
    of_article = [one for one in examples if one.title == title]
    text = "\n\n".join(dict.fromkeys(one.context for one in of_article))
    questions = [one.question for one in of_article[:: len(of_article) // QUESTIONS]][:QUESTIONS]
    options.output.mkdir(parents=True, exist_ok=True)
    server = Server(options.model)
    try:
        for path in take_pictures(f"http://127.0.0.1:{server.port}", text, questions, options.output):
            print(path)
    finally:
        server.stop()


if __name__ == "__main__":
    main()
