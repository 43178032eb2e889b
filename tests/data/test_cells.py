"""Printed values are read back exactly, whoever printed them, and nothing of a cell is ever evaluated."""

import contextlib
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from albertqa.data.cells import CellError, parse_cell

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
TEXTS = st.lists(TEXT, max_size=4)
STARTS = st.lists(st.integers(-1, 10**6), max_size=4)
VALUE = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=12,
)


@given(VALUE)
def test_what_json_and_python_print_is_read_back(value: Any) -> None:
    assert parse_cell(json.dumps(value)) == value
    assert parse_cell(json.dumps(value, ensure_ascii=False, indent=1)) == value
    assert parse_cell(repr(value)) == value
    assert parse_cell(f" {value!r}\n") == value


@given(TEXTS, STARTS, st.sampled_from([object, None]))
def test_what_numpy_prints_is_read_back(texts: list[str], starts: list[int], dtype: Any) -> None:
    arrays = {"text": np.array(texts, dtype=dtype), "answer_start": np.array(starts, dtype=int)}
    plain = {"text": [text.rstrip("\0") for text in texts] if dtype is None else texts, "answer_start": starts}
    with np.printoptions(legacy=False):
        assert parse_cell(repr(arrays)) == plain
        assert parse_cell(str(arrays["answer_start"])) == starts
        if dtype is object:  # printed without commas, each as Python prints it
            assert parse_cell(str(arrays["text"])) == texts


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        ("{'text': ['Rollo'], 'answer_start': [np.int64(45)]}", {"text": ["Rollo"], "answer_start": [45]}),
        ("{'text': np.str_('Rollo'), 'answer_start': numpy.int32(45)}", {"text": "Rollo", "answer_start": 45}),
        ("array([{'text': 'a', 'answer_start': 1}, {'text': 'b', 'answer_start': 2}], dtype=object)",
         [{"text": "a", "answer_start": 1}, {"text": "b", "answer_start": 2}]),
        ("['a' \"b's\"\n 'c']", ["a", "b's", "c"]),
        ("[41.  50. ]", [41.0, 50.0]),
        ("('Rollo', None, nan, True)", ["Rollo", None, None, True]),
        ("array([], dtype=float64)", []),
        ("array(['l', 'd'], dtype='<U5')", ["l", "d"]),
    ],
)  # fmt: skip
def test_forms_that_pandas_and_datasets_leave_in_cells(cell: str, value: object) -> None:
    assert parse_cell(cell) == value


@pytest.mark.parametrize(
    ("cell", "why"),
    [
        ("['a', ..., 'b']", "shortened"),
        ("['a' ... 'b']", "shortened"),
        ("Rollo", "no literal"),
        ("__import__('os').system('true')", "no literal"),
        ("open('x')", "no literal"),
        ("[1, 2", "cut off"),
        ("{'a'}", "no literal"),
        ("[1] [2]", "no literal"),
        ("b'bytes'", "bytes"),
        (r"'\x'", "broken escape"),
        ("[" * 5000, "cut off"),
        ("[1)", "no literal"),
        ("(" * 5000 + ")" * 5000, "nested too deeply"),
        ("", "cut off"),
        ("array(", "cut off"),
    ],
)
def test_what_is_no_literal_is_refused_with_the_reason(cell: str, why: str) -> None:
    with pytest.raises(CellError, match=why):
        parse_cell(cell)


@given(
    st.text("[](){}'\",:=.0-1eaNnp_\\ \n\u00e9", max_size=60)
    | st.binary(max_size=40).map(lambda one: one.decode("latin-1"))
)
def test_no_cell_gives_a_traceback(cell: str) -> None:
    with contextlib.suppress(CellError):
        json.dumps(parse_cell(cell))
