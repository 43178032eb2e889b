"""A data frame's questions are answered as `Answerer` answers them, in pandas and in Dask."""

from pathlib import Path

import pandas as pd
import pytest

from albertqa.answer.answerer import Answerer
from albertqa.bulk.frames import answer_frame
from albertqa.data.reading import load_examples
from albertqa.errors import DataError

from .cases import OPTIONS


@pytest.fixture
def frame() -> pd.DataFrame:
    examples = load_examples("starter:train", limit=12)
    rows = [{"key": one.id, "question": one.question, "context": one.context} for one in examples]
    return pd.DataFrame(rows, index=range(100, 112))


def test_a_frame_is_answered_and_keeps_its_other_columns(frame: pd.DataFrame, tiny_weights: Path) -> None:
    found = answer_frame(frame, str(tiny_weights), **OPTIONS)
    pairs = list(zip(frame["question"], frame["context"], strict=True))
    expected = Answerer(tiny_weights, **OPTIONS).answer_batch(pairs)
    assert list(found["text"]) == [one.text for one in expected]
    assert list(found["start_char"]) == [one.start_char for one in expected]
    assert list(found["key"]) == list(frame["key"])
    assert list(found.index) == list(frame.index)
    assert "context" not in found.columns


def test_a_missing_column_is_one_line(frame: pd.DataFrame, tiny_weights: Path) -> None:
    with pytest.raises(DataError, match=r"^expected the column context, found key, question$"):
        answer_frame(frame.drop(columns="context"), str(tiny_weights), **OPTIONS)


def test_dask_answers_its_partitions(frame: pd.DataFrame, tiny_weights: Path) -> None:
    dask = pytest.importorskip("dask.dataframe", reason="needs Dask: pip install 'dask[dataframe]'")
    expected = answer_frame(frame, str(tiny_weights), **OPTIONS)
    table = dask.from_pandas(frame, npartitions=3)
    found = table.map_partitions(answer_frame, str(tiny_weights), **OPTIONS, meta=expected.head(0))
    pd.testing.assert_frame_equal(
        found.compute(scheduler="single-threaded"), expected, check_exact=False, atol=1e-4, check_dtype=False
    )
