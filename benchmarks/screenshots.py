"""Take the screenshots of the report for the documents.

    python -m benchmarks.screenshots                       # trains two small runs first, some minutes on 2 cores
    python -m benchmarks.screenshots --runs RUN OTHER_RUN  # from existing runs

They are written to docs/screenshots/. Offline; needs Chromium and the `dev` extra (playwright).
"""

import argparse
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from albertqa.config import Settings
from albertqa.report import write_report

PICTURES = Path(__file__).resolve().parents[1] / "docs" / "screenshots"
RUNS = Path("runs/screenshots")

CHROMIUM_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def train_runs(folder: Path) -> list[Path]:
    """Train two runs that differ in the learning rate; return them if they exist."""
    from rich.console import Console

    from albertqa.run.display import TerminalDisplay
    from albertqa.run.recipe import train

    runs = []
    for rate in (2e-4, 5e-5):
        run = folder / f"rate-{rate:g}"
        runs.append(run)
        if (run / "final" / "config.json").is_file():
            continue
        settings = Settings(
            model="starter",
            train_file=("starter:train",),
            validation_file=("starter:validation",),
            output_dir=run,
            learning_rate=rate,
            train_batch_size=4,
            warmup_ratio=0.1,
            epochs=1.0,
            eval_steps=0.2,
            save_steps=1000.0,
        )
        train(settings, resume=(run / "config.toml").is_file(), callbacks=[TerminalDisplay(Console(), 50)])
    return runs


def take_pictures(pages: dict[str, Path], folder: Path) -> list[Path]:
    """Take every screenshot of the pages ``one`` and ``many``."""
    from playwright.sync_api import sync_playwright

    executable = shutil.which("chromium") or shutil.which("google-chrome")
    taken: list[Path] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=list(CHROMIUM_FLAGS))

        def take(name: str, page: str, width: int, height: int, theme: str, prepare: Callable[[Any], None]) -> None:
            context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=theme)
            opened = context.new_page()
            opened.goto(pages[page].resolve().as_uri())
            opened.locator("#browser-status").wait_for(state="detached")
            prepare(opened)
            opened.screenshot(path=folder / name)
            context.close()
            taken.append(folder / name)

        take("report-light.png", "one", 1280, 960, "light", lambda _: None)
        take("report-dark.png", "one", 1280, 960, "dark", _at("curves"))
        take("report-errors.png", "one", 1280, 960, "light", _at("errors"))
        take("report-questions.png", "one", 1280, 960, "light", _open_question)
        take("report-calibration.png", "one", 1280, 960, "dark", _at("calibration"))
        take("report-compare.png", "many", 1280, 960, "light", _at("comparison"))
        take("report-phone.png", "one", 390, 844, "light", lambda _: None)
        take("report-phone-questions.png", "one", 390, 844, "dark", _open_question)
        browser.close()
    return taken


def _at(part: str) -> Callable[[Any], None]:
    """Scroll to a section of the page."""

    def scroll(opened: Any) -> None:
        opened.evaluate("part => document.getElementById(part).scrollIntoView({behavior: 'instant'})", part)
        opened.wait_for_timeout(200)

    return scroll


def _open_question(opened: Any) -> None:
    opened.select_option("#browser [name=kind]", label=_wrong_place(opened))
    opened.locator("#browser-list button.question").first.click()
    _at("questions")(opened)


def _wrong_place(opened: Any) -> str:
    labels: list[str] = opened.locator("#browser [name=kind] option").all_text_contents()
    return next(label for label in labels if label.startswith("Wrong place"))


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the pages and take the screenshots."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", nargs="+", type=Path, metavar="RUN", help="runs to show; the first also alone")
    parser.add_argument("--output", type=Path, default=PICTURES, metavar="FOLDER", help="(docs/screenshots)")
    options = parser.parse_args(arguments)
    runs = options.runs or train_runs(RUNS)
    options.output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        pages = {
            "one": write_report(runs[:1], Path(folder) / "one.html"),
            "many": write_report(runs, Path(folder) / "many.html"),
        }
        for path in take_pictures(pages, options.output):
            print(path)


if __name__ == "__main__":
    main()
