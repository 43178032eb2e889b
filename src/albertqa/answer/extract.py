"""Text of files: plain text, Markdown, HTML and PDF (extra ``index``)."""

import logging
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from albertqa.errors import DataError
from albertqa.files import first_line
from albertqa.schema import require_fetched

if TYPE_CHECKING:
    from bs4 import Tag

SUFFIXES = (".txt", ".md", ".markdown", ".html", ".htm", ".pdf")

_HIDDEN = ["script", "style", "template", "noscript", "head", "nav", "svg"]
_INLINE = re.compile(
    "a|abbr|b|bdi|bdo|cite|code|data|del|dfn|em|font|i|img|ins|kbd|label|mark|q|rp|rt|ruby|s|samp|small|span|strong"
    "|sub|sup|time|tt|u|var|wbr"
)
_BROKEN_LINE = re.compile(r"(?<=\S)[ \t]*\n[ \t]*(?=\S)")


def read_text(path: Path) -> str:
    """Read the text of a file with one of `SUFFIXES`; paragraphs are separated by blank lines.

    What a page does not show (scripts, styles, navigation) is left out.

    Raises:
        DataError: The file cannot be read, is damaged or encrypted, or its library is not installed.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    require_fetched(content, path, DataError)
    try:
        return _text(content, path)
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 text (byte {error.start}). Save it as UTF-8") from error
    except ImportError as error:
        raise DataError(f"{path}: {error.name} is not installed. Run: pip install 'albertqa[index]'") from error


def _text(content: bytes, path: Path) -> str:
    suffix = path.suffix.lower()
    if suffix == ".pdf":
        return _pdf_text(path)
    if suffix in {".html", ".htm"}:
        return _html_text(content, path)
    text = content.decode("utf-8-sig")
    if suffix not in {".md", ".markdown"}:
        return text.replace("\r\n", "\n")
    from markdown_it import MarkdownIt

    return _html_text(MarkdownIt("commonmark").enable("table").render(text).encode(), path)


def _pdf_text(path: Path) -> str:
    from pypdf import PdfReader
    from pypdf.errors import PyPdfError

    # What is wrong with a file is said in one line of ours.
    logging.getLogger("pypdf").setLevel(logging.CRITICAL)
    try:
        reader = PdfReader(path)
        pages = [page.extract_text() for page in reader.pages]
    except (PyPdfError, OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        # pypdf lets a damaged file's own mistakes through.
        raise DataError(f"{path}: cannot be read as PDF ({first_line(error)})") from error
    if not any(page.strip() for page in pages):
        raise DataError(f"{path}: has no text; scanned pages need character recognition first")
    # A line ends where the page does and says nothing about paragraphs.
    return "\n\n".join(_BROKEN_LINE.sub(" ", page) for page in pages)


def _html_text(content: bytes, path: Path) -> str:
    from bs4 import BeautifulSoup, XMLParsedAsHTMLWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", XMLParsedAsHTMLWarning)
        soup = BeautifulSoup(content, "html.parser")
    for hidden in soup.find_all(_HIDDEN):
        hidden.decompose()
    try:
        blocks = "".join(_pieces(soup)).split("\n\n")
    except RecursionError as error:
        raise DataError(f"{path}: cannot be read as HTML (its elements are nested too deeply)") from error
    return "\n\n".join(filter(None, (" ".join(block.split()) for block in blocks)))


def _pieces(tag: "Tag") -> Iterator[str]:
    """Yield the text below a tag, blank lines around every block; line breaks of the source are spaces."""
    from bs4.element import NavigableString, PreformattedString, Tag

    for child in tag.children:
        if isinstance(child, Tag):
            if child.name == "br":
                yield " "
            elif _INLINE.fullmatch(child.name):
                yield from _pieces(child)
            elif child.name in {"td", "th"}:
                yield from _pieces(child)
                yield " "
            else:
                yield "\n\n"
                yield from _pieces(child)
                yield "\n\n"
        elif isinstance(child, NavigableString) and not isinstance(child, PreformattedString):
            yield re.sub(r"\s+", " ", child)
