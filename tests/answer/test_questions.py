"""Questions from standard input are read row by row, and a bad row is named by its line."""

import io
import json
import sys
from collections.abc import Callable

import pytest

from albertqa.answer.question_files import read_pairs
from albertqa.errors import DataError

ROWS = [{"id": 7, "question": "Who?", "context": "Rollo\u2028swam."}, {"question": "Where?", "context": "Here."}]


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes], None]:
    """Put bytes on standard input."""
    return lambda content: monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))


@pytest.mark.parametrize("start", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\n\n"])
def test_rows_come_as_written(given: Callable[[bytes], None], start: str, end: str) -> None:
    given((start + "".join(json.dumps(row, ensure_ascii=False) + end for row in ROWS)).encode())
    assert read_pairs() == ROWS


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "has no questions, expected JSONL rows with 'question' and 'context'"),
        (b" \n\n", "has no questions, expected JSONL rows with 'question' and 'context'"),
        (b'{"question": "\xe9"}', "not UTF-8 text (byte 14). Save it as UTF-8"),
        (
            b'\n{"question": "Who?", "context": "Rollo"',
            "broken JSON at line 2 column 40: expecting ',' delimiter; expected one object a line",
        ),
        (b"[1]", "line 1: expected an object with a text 'question', found [1]"),
        (b'{"question": " "}', 'line 1: expected an object with a text \'question\', found {"question": " "}'),
        (b'{"question": "W"}', 'line 1: expected an object with a text \'context\', found {"question": "W"}'),
        (
            b'{"question": "W", "context": ["a"]}',
            'line 1: expected an object with a text \'context\', found {"question": "W", "context": ["a"]}',
        ),
        (b'{"id": [1], "question": "W", "context": "a"}', "line 1: expected 'id' as a text, found [1]"),
        (b'{"id": true, "question": "W", "context": "a"}', "line 1: expected 'id' as a text, found true"),
        (b'{"id": " ", "question": "W", "context": "a"}', "line 1: expected 'id' as a text, found \" \""),
        (b'{"id": "\\ud800", "question": "W", "context": "a"}', "line 1: expected 'id' as a text, found \"\\ud800\""),
    ],
)
def test_what_is_no_row_is_named(given: Callable[[bytes], None], content: bytes, expected: str) -> None:
    given(content)
    with pytest.raises(DataError) as error:
        read_pairs()
    assert str(error.value) == f"standard input: {expected}"
