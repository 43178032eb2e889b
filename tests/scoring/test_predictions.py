import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from albertqa.data.example import Example
from albertqa.errors import DataError
from albertqa.scoring.predictions import compare_ids, read_null_odds, read_predictions


def write(folder: Path, content: bytes) -> Path:
    path = folder / "file.json"
    path.write_bytes(content)
    return path


def test_predictions_keep_text_and_order(tmp_path: Path) -> None:
    path = write(tmp_path, '{"b": " Émigré\\n", "a": "", "c": "\\u00e9"}'.encode())
    assert list(read_predictions(path).items()) == [("b", " Émigré\n"), ("a", ""), ("c", "é")]


def test_null_odds_keep_order_and_are_floats(tmp_path: Path) -> None:
    path = write(tmp_path, b'{"b": 2, "a": -1.25, "c": 1e3, "d": Infinity}')
    null_odds = read_null_odds(path)
    assert list(null_odds.items()) == [("b", 2.0), ("a", -1.25), ("c", 1000.0), ("d", float("inf"))]
    assert all(type(value) is float for value in null_odds.values())


def test_an_integer_of_any_length_is_a_number(tmp_path: Path) -> None:
    assert read_null_odds(write(tmp_path, b'{"a": -1' + b"0" * 5000 + b"}")) == {"a": float("-inf")}


def test_a_byte_order_mark_is_no_content(tmp_path: Path) -> None:
    assert read_predictions(write(tmp_path, b'\xef\xbb\xbf{"a": "x"}')) == {"a": "x"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b'{"a": "x",\n "b" "y"}',
            "broken JSON at line 2 column 6: expecting ':' delimiter; write one answer",
        ),
        (b"", "broken JSON at line 1 column 1"),
        (b'["x"]', 'expected an object of question id to answer text, found ["x"] at the top'),
        (b'"x"', 'expected an object of question id to answer text, found "x" at the top'),
        (b'{"a": "x", "b": 5}', "question b: expected one answer text, found 5.0"),
        (b'{"a": null}', "question a: expected one answer text, found null"),
        (b'{"a": true}', "question a: expected one answer text, found true"),
        (b'{"a": [{"text": "x"}]}', 'question a: expected one answer text, found [{"text": "x"}]'),
        (b'{"a": {"text": "x"}}', 'question a: expected one answer text, found {"text": "x"}'),
        (b'{"a": "x", "b": "y", "a": "x"}', "'a' is there twice; write one answer text for each question id"),
        (b'{"a": "\xe9"}', "expected UTF-8, found other bytes at offset 7"),
        (b"\xff\xfe{\x00}\x00", "expected UTF-8, found other bytes at offset 0"),
        (b"[" * 200_000, "JSON nested too deeply"),
    ],
)
def test_a_bad_predictions_file_gets_one_line_that_says_where_and_what(
    tmp_path: Path, content: bytes, message: str
) -> None:
    path = write(tmp_path, content)
    with pytest.raises(DataError, match="^" + re.escape(f"{path}: {message}")) as caught:
        read_predictions(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"a": 1.0, "b": "x"}', 'question b: expected one number, found "x"'),
        (b'{"a": false}', "question a: expected one number, found false"),
        (b'{"a": NaN}', "question a: expected one number, found NaN"),
        (b'{"a": 1, "a": 2}', "'a' is there twice; write one number for each question id"),
        (b"3", "expected an object of question id to number, found 3.0 at the top"),
    ],
)
def test_a_bad_null_odds_file_gets_one_line_that_says_where_and_what(
    tmp_path: Path, content: bytes, message: str
) -> None:
    path = write(tmp_path, content)
    with pytest.raises(DataError, match="^" + re.escape(f"{path}: {message}")):
        read_null_odds(path)


def test_a_file_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"absent\.json: cannot be read: No such file or directory"):
        read_predictions(tmp_path / "absent.json")
    with pytest.raises(DataError, match=r"cannot be read: not a regular file"):
        read_null_odds(tmp_path)


@given(st.lists(st.sampled_from("abcdef"), unique=True), st.lists(st.sampled_from("cdefgh"), unique=True))
def test_ids_on_one_side_only_are_named_in_order(question_ids: list[str], predicted_ids: list[str]) -> None:
    examples = [Example(question_id, "?", "") for question_id in question_ids]
    missing, unknown = compare_ids(examples, dict.fromkeys(predicted_ids, ""))
    assert missing == [name for name in question_ids if name not in predicted_ids]
    assert unknown == [name for name in predicted_ids if name not in question_ids]
