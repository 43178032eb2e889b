"""Text comes out of files as a reader sees it, paragraph by paragraph."""

from pathlib import Path

import pytest

from albertqa.answer.extract import read_text
from albertqa.errors import DataError

PAGE = """<!doctype html><html><head><title>T</title><style>p {}</style></head><body>
<nav><a href="/">Home</a></nav>
<h1>The  Normans</h1>
<p>They came
from <b>Norse</b> raiders<sup>1</sup>.<br>Rollo &amp; his men.</p>
<script>alert("no")</script><!-- nor this -->
<table><tr><td>911</td><td>Treaty</td></tr></table>
<ul><li>One</li><li>Two</li></ul>
</body></html>"""


@pytest.mark.parametrize("name", ["a.html", "a.HTM"])
def test_html_is_what_the_page_shows(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(PAGE, encoding="utf-8")
    assert read_text(tmp_path / name).split("\n\n") == [
        "The Normans",
        "They came from Norse raiders1. Rollo & his men.",
        "911 Treaty",
        "One",
        "Two",
    ]


def test_html_in_another_encoding_says_so_itself(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_bytes('<meta charset="iso-8859-1"><p>Café</p>'.encode("latin-1"))
    assert read_text(tmp_path / "a.html") == "Café"


def test_markdown_is_its_text_without_marks(tmp_path: Path) -> None:
    text = (
        "# The Normans\n\nThey *came*\nfrom [Norse](https://example.org) raiders.\n\n- One\n- Two\n\n```\ncode 1\n```\n"
    )
    (tmp_path / "a.md").write_text(text, encoding="utf-8")
    assert read_text(tmp_path / "a.md").split("\n\n") == [
        "The Normans",
        "They came from Norse raiders.",
        "One",
        "Two",
        "code 1",
    ]


def test_plain_text_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfOne <b>\r\n\r\nTwo\n")
    assert read_text(tmp_path / "a.txt") == "One <b>\n\nTwo\n"


def pdf_of(*pages: list[str]) -> bytes:
    """A PDF of lines of ASCII text, written by hand."""
    objects: list[bytes] = [b"<< /Type /Catalog /Pages 2 0 R >>", b""]
    kids = []
    for lines in pages:
        drawn = " T* ".join(f"({line}) Tj" for line in lines)
        stream = f"BT /F1 12 Tf 14 TL 72 700 Td {drawn} ET".encode()
        kids.append(f"{len(objects) + 1} 0 R")
        objects.append(
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Resources << /Font << /F1 << /Type /Font "
            b"/Subtype /Type1 /BaseFont /Helvetica >> >> >> /Contents %d 0 R >>" % (len(objects) + 2)
        )
        objects.append(b"<< /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream))
    objects[1] = f"<< /Type /Pages /Kids [{' '.join(kids)}] /Count {len(kids)} >>".encode()
    written, places = b"%PDF-1.4\n", []
    for number, content in enumerate(objects, 1):
        places.append(len(written))
        written += b"%d 0 obj\n%s\nendobj\n" % (number, content)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    trailer = b"trailer << /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF" % (len(objects) + 1, len(written))
    return written + b"xref\n0 %d\n0000000000 65535 f \n%s" % (len(objects) + 1, table) + trailer


def test_the_lines_of_a_pdf_are_joined_and_its_pages_are_not(tmp_path: Path) -> None:
    (tmp_path / "a.pdf").write_bytes(pdf_of(["Rollo was the first", "ruler of Normandy."], ["Page two."]))
    assert read_text(tmp_path / "a.pdf").strip() == "Rollo was the first ruler of Normandy.\n\nPage two."


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.pdf", b"", "cannot be read as PDF ("),
        ("a.pdf", b"<html>", "cannot be read as PDF ("),
        ("a.pdf", pdf_of([]), "has no text; scanned pages need character recognition first"),
        ("a.txt", b"caf\xe9", "not UTF-8 text (byte 3). Save it as UTF-8"),
        ("a.md", b"\xff", "not UTF-8 text (byte 0). Save it as UTF-8"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_line(tmp_path: Path, name: str, content: bytes, expected: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError) as error:
        read_text(tmp_path / name)
    assert str(error.value).startswith(f"{tmp_path / name}: {expected}")
    assert "\n" not in str(error.value)


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a\.txt: cannot be read \(No such file or directory\)$"):
        read_text(tmp_path / "a.txt")
