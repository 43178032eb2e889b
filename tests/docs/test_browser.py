"""The site in a browser, opened as a file."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.usefixtures("browser")


PHONE_PAGES = ["index.html", "guides/first-hour.html", "reference/commands.html", "guides/read-a-report.html"]


class Visit:
    """A page of the site, and what went wrong on it."""

    def __init__(self, browser: Any, site: Path, **options: Any) -> None:
        self._site, self.problems = site, []
        self._context = browser.new_context(offline=True, **options)
        self.page = self._context.new_page()
        self.page.on("request", self._look_at)
        self.page.on("console", lambda message: message.type == "error" and self.problems.append(message.text))
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))

    def open(self, name: str) -> Any:
        self.page.goto((self._site / name).as_uri())
        return self.page

    def close(self) -> None:
        self._context.close()

    def _look_at(self, request: Any) -> None:
        if not request.url.startswith(("file:", "data:", "blob:")):
            self.problems.append(request.url)


@pytest.fixture
def visit(browser: Any, site: Path) -> Iterator[Visit]:
    opened = Visit(browser, site)
    yield opened
    opened.close()
    assert not opened.problems


@pytest.mark.parametrize(
    ("searched", "found"),
    [
        ("doc_stride", "explanation/windows.html"),
        ("--gradient-checkpointing", "reference/commands.html"),
        ("data-leakage", "reference/findings.html"),
        ("Answerer", "reference/python.html"),
        ("another process is training there", "reference/errors.html"),
        ("haystack", "guides/migrate.html"),
    ],
)
def test_the_search_finds_pages_from_files(visit: Visit, searched: str, found: str) -> None:
    page = visit.open("index.html")
    page.fill("input[name=q]", searched)
    page.press("input[name=q]", "Enter")
    page.locator("#search-results", has_text="found").wait_for()
    targets = page.eval_on_selector_all("#search-results li a", "links => links.map(link => link.href)")
    assert any(found in target for target in targets), targets[:10]


@pytest.mark.parametrize("name", PHONE_PAGES)
def test_a_page_fits_a_phone(browser: Any, site: Path, name: str) -> None:
    phone = Visit(browser, site, viewport={"width": 390, "height": 844})
    page = phone.open(name)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    phone.close()
    assert not phone.problems
