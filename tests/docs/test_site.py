"""The site: built without a warning, whole, and alone."""

import re
from pathlib import Path
from urllib.parse import unquote

import pytest

from .blocks import PAGES, ROOT

LINK = re.compile(r'(?:href|src)="([^"]*)"')


def pages(site: Path) -> list[Path]:
    return sorted(site.rglob("*.html"))


def test_every_document_is_a_page(site: Path) -> None:
    for source in (ROOT / "docs").rglob("*.md"):
        if "_build" not in source.parts:
            assert (site / source.relative_to(ROOT / "docs").with_suffix(".html")).is_file()


def test_internal_links_lead_somewhere(site: Path) -> None:
    anchors = {page: set(re.findall(r'id="([^"]+)"', page.read_text(encoding="utf-8"))) for page in pages(site)}
    checked = 0
    for page in pages(site):
        for link in LINK.findall(page.read_text(encoding="utf-8")):
            if re.match(r"[a-z]+:|//", link):
                continue
            path, _, anchor = unquote(link).partition("#")
            target = (page.parent / path.partition("?")[0]).resolve() if path else page
            assert target.exists(), f"{page.relative_to(site)}: {link}"
            if anchor and target in anchors:
                assert anchor in anchors[target], f"{page.relative_to(site)}: {link}"
            checked += 1
    assert checked > 1000


def test_files_that_documents_link_to_exist() -> None:
    for document in ("README.md", "CONTRIBUTING.md"):
        text = (ROOT / document).read_text(encoding="utf-8")
        for target in re.findall(r"\]\((?!http)([^)#]+)\)", text):
            assert (ROOT / target).exists(), f"{document} links to {target}"


def test_source_files_that_documents_name_exist() -> None:
    named = [
        (document, path)
        for document in PAGES
        for path in re.findall(r"`((?:\w+/)+\w+\.py)`", (ROOT / document).read_text(encoding="utf-8"))
    ]
    assert named
    for document, path in named:
        assert any((folder / path).is_file() for folder in (ROOT, ROOT / "src/albertqa")), f"{document} names {path}"


def test_no_page_loads_anything_from_elsewhere(site: Path) -> None:
    loads = re.compile(r'<(?:script|link|img|iframe)\b[^>]*?(?:src|href)="((?:https?:)?//[^"]*)"')
    for page in pages(site):
        found = loads.findall(page.read_text(encoding="utf-8"))
        assert not found, f"{page.relative_to(site)}: {found}"
    for style in site.rglob("*.css"):
        assert not re.search(r"url\(['\"]?(https?:)?//", style.read_text(encoding="utf-8")), style


@pytest.mark.parametrize("picture", sorted(path.name for path in (ROOT / "docs" / "screenshots").iterdir()))
def test_every_picture_is_on_a_page(picture: str) -> None:
    texts = [path.read_text(encoding="utf-8") for path in (ROOT / "docs").rglob("*.md")]
    assert any(f"screenshots/{picture}" in text for text in texts)
