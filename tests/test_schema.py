"""One boundary for JSON and TOML: a value or one line, however deep, long or large the text is."""

import contextlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from albertqa.errors import RunError
from albertqa.schema import (
    LFS_POINTER,
    MAX_DEPTH,
    MAX_MEMORY_BYTES,
    ParseError,
    TooLargeError,
    memory_needed,
    parse_json,
    parse_toml,
    read_object,
    read_text,
    read_toml,
)

VALUE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
)


@given(VALUE)
def test_json_is_parsed_as_by_pythons_own_parser(value: Any) -> None:
    assert parse_json(json.dumps(value)) == value


@given(st.text('{}[]",:0123456789.eE+-truefalsnN \n\\u"', max_size=60) | st.text(max_size=30))
def test_no_text_gives_anything_but_a_value_or_one_line(text: str) -> None:
    for parse in (parse_json, parse_toml):
        with contextlib.suppress(ParseError):
            parse(text)


@pytest.mark.parametrize("opening", ["[", '{"a":', '[{"b":'])
def test_deep_nesting_is_one_line(opening: str) -> None:
    for depth in (MAX_DEPTH + 1, 1_000, 100_000):
        for text in (
            opening * depth,
            opening * depth + "1" + {"[": "]", '{"a":': "}", '[{"b":': "}]"}[opening] * depth,
        ):
            with pytest.raises(ParseError, match=r"nested too deeply|broken JSON"):
                parse_json(text)
    closed = "[" * MAX_DEPTH + "]" * MAX_DEPTH
    assert parse_json(closed) is not None
    with pytest.raises(ParseError, match=r"nested too deeply \(more than 100 levels\)"):
        parse_json(f"[{closed}]")


def test_deep_toml_is_one_line(real_data: Path) -> None:
    with pytest.raises(ParseError, match="TOML nested too deeply"):
        parse_toml((real_data.parent / "cases/attack/deep.toml").read_text())
    for text in ("a = " + "[" * 500 + "]" * 500, "a = " + "{b = " * 5000, "[" + "a." * 300 + "a]\nb = 1"):
        with pytest.raises(ParseError, match=r"nested too deeply|broken TOML"):
            parse_toml(text)


@pytest.mark.parametrize("name", ["NaN", "Infinity", "-Infinity"])
def test_nan_is_refused_or_read_as_null(name: str) -> None:
    with pytest.raises(ParseError, match=f"{name} is no JSON value"):
        parse_json(f'{{"a": {name}}}')
    assert parse_json('{"a": NaN}', nan_as_null=True) == {"a": None}


def test_infinite_numbers_are_refused() -> None:
    for number in ("1e999", "-1e400", "1" + "0" * 400 + ".0"):
        with pytest.raises(ParseError, match="is too large a number"):
            parse_json(f'{{"a": {number}}}')
    assert parse_json('{"a": 1e308, "b": 1e-999}') == {"a": 1e308, "b": 0.0}


def test_long_numbers_are_one_line_with_their_place() -> None:
    with pytest.raises(ParseError, match="a number of absurd length at line 7") as caught:
        parse_json('{"a":\n\n' + "7" * 5000 + "}", first_line=5)
    assert caught.value.line == 7
    with pytest.raises(ParseError, match="a number of absurd length"):
        parse_toml("a = " + "7" * 5000)


@pytest.mark.parametrize("piece", ["[],", "{},", '"a",', '"ab",', "0.5,", "[[]],", '{"a":1},', '[{"k":[1]}],', "null,"])
def test_the_memory_estimate_is_never_below_what_parsing_takes(piece: str) -> None:
    import tracemalloc

    text = "[" + piece * (2**20 // len(piece) + 1) + "0]"
    tracemalloc.start()
    parse_json(text)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak + sys.getsizeof(text) <= memory_needed(text)


def test_a_text_that_would_take_too_much_memory_is_refused_before_it_is_parsed() -> None:
    text = "[" + "[]," * (MAX_MEMORY_BYTES // 120) + "0]"
    with pytest.raises(
        TooLargeError, match=r"would take about .* GiB of memory, more than the limit of 1 GiB; split it"
    ):
        parse_json(text)


def test_files_are_read_with_the_callers_error_and_remedy(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    with pytest.raises(RunError, match=r"no run\.json there, expected a run directory"):
        read_object(path)
    cases = [
        (b"", "broken JSON at line 1 column 1: expecting value"),
        (b'{"a": 1', "broken JSON at line 1 column 8"),
        (b'{"a": NaN}', "NaN is no JSON value"),
        (b"\xff\xfe", "expected UTF-8, found other bytes at offset 0"),
        (b"[" * 10_000, "JSON nested too deeply"),
    ]
    for data, message in cases:
        path.write_bytes(data)
        with pytest.raises(RunError) as caught:
            read_object(path, remedy="Train anew")
        assert str(caught.value).startswith(f"{path}: {message}")
        assert str(caught.value).endswith(". Train anew")
    path.write_bytes(b"\xef\xbb\xbf" + b'{"a": 1}')
    assert read_object(path) == {"a": 1}
    (tmp_path / "c.toml").write_text("a = 1\n")
    assert read_toml(tmp_path / "c.toml", RunError) == {"a": 1}
    (tmp_path / "c.toml").write_text("a = \n")
    with pytest.raises(RunError, match="broken TOML: Invalid value"):
        read_toml(tmp_path / "c.toml", RunError)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no FIFOs")
def test_a_pipe_in_a_files_place_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "run.json")
    with pytest.raises(RunError, match=r"run\.json: cannot be read: not a regular file"):
        read_object(tmp_path / "run.json")


def test_a_git_lfs_pointer_is_called_by_its_name(tmp_path: Path) -> None:
    path = tmp_path / "any.json"
    path.write_bytes(LFS_POINTER + b"v1\noid sha256:00\nsize 9\n")
    for read in (read_object, lambda one: read_toml(one, RunError), lambda one: read_text(one, RunError)):
        with pytest.raises(RunError, match="a Git LFS pointer instead of the file; run 'git lfs pull' in its repo"):
            read(path)
