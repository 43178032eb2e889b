"""The lines of ``metrics.jsonl`` are typed: what is written is read, and what is damaged is named."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from albertqa import files
from albertqa.errors import RunError
from albertqa.rundir.rows import EvaluationRow, Row, RowWriter, StepRow, read_rows

FINITE = st.floats(allow_nan=False, allow_infinity=False)


def step(number: int, **changes: Any) -> StepRow:
    return StepRow(**{"step": number, "train_loss": 1.5, "learning_rate": 1e-4, "tokens": 10, **changes})


def evaluation(number: int, **changes: Any) -> EvaluationRow:
    return EvaluationRow(**{"step": number, "epoch": 0.5, "validation_loss": 2.0, "f1": 12.5, **changes})


ROWS = st.one_of(
    st.builds(
        step,
        st.integers(1, 10**6),
        train_loss=st.none() | FINITE,
        grad_norm=st.none() | FINITE,
        skipped=st.just(True),
        non_finite_windows=st.lists(st.text(st.characters(codec="utf-8")), min_size=1),
    ),
    st.builds(evaluation, st.integers(1, 10**6), validation_loss=st.none() | FINITE, is_best=st.booleans()),
)


@given(rows=st.lists(ROWS, max_size=5))
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, rows: list[Row]) -> None:
    run = tmp_path_factory.mktemp("rows")
    writer = RowWriter(run)
    for row in rows:
        writer.add(row)
    writer.close()
    assert list(read_rows(run)) == rows


def test_a_step_without_faults_has_no_words_of_faults(tmp_path: Path) -> None:
    writer = RowWriter(tmp_path)
    writer.add(step(1))
    writer.close()
    assert {"out_of_memory", "skipped", "non_finite_windows"} & lines_of(tmp_path)[0].keys() == set()


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_nan_and_infinity_are_written_as_null(tmp_path: Path, value: float) -> None:
    writer = RowWriter(tmp_path)
    writer.add(step(1, train_loss=value))
    writer.close()
    assert lines_of(tmp_path)[0]["train_loss"] is None


def metrics(run: Path, text: str) -> Path:
    (run / files.METRICS_JSONL).write_text(text)
    return run


def lines_of(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / files.METRICS_JSONL).read_text().splitlines()]


LINE = '{"step": 1, "train_loss": 2.0, "learning_rate": 0.1, "tokens": 5}'


def test_what_earlier_versions_lack_is_none(tmp_path: Path) -> None:
    assert list(read_rows(metrics(tmp_path, LINE))) == [step(1, train_loss=2.0, learning_rate=0.1, tokens=5)]
    assert list(read_rows(metrics(tmp_path, ""))) == []


def test_a_last_line_cut_short_is_left_out(tmp_path: Path) -> None:
    assert len(list(read_rows(metrics(tmp_path, LINE + '\n{"step": 2, "train_lo')))) == 1


@pytest.mark.parametrize("cut", ['{"st', "{" * 100_000])
def test_a_damaged_line_before_the_last_is_named(tmp_path: Path, cut: str) -> None:
    run = metrics(tmp_path, f"{LINE}\n{cut}\n{LINE}\n")
    with pytest.raises(RunError, match=r"metrics\.jsonl: line 2 is damaged \("):
        list(read_rows(run))


@pytest.mark.parametrize("line", ["5", "null", "[]", '"step"'])
def test_a_line_that_is_no_object_is_named(tmp_path: Path, line: str) -> None:
    run = metrics(tmp_path, f"{LINE}\n{line}\n")
    with pytest.raises(RunError, match=r"metrics\.jsonl: line 2: expected an object, found "):
        list(read_rows(run))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ('"step": 0', "expected a number of 1 or more as 'step', found 0"),
        ('"step": "one"', "expected a number as 'step', found \"one\""),
        ('"train_loss": "low"', "expected a number or null as 'train_loss', found \"low\""),
        ('"learning_rate": -1.0', "expected a number of 0"),
        ('"tokens": null', "expected a number as 'tokens', found null"),
    ],
)
def test_a_value_that_is_none_of_its_kind_is_named(tmp_path: Path, change: str, message: str) -> None:
    run = metrics(tmp_path, f"{LINE[:-1]}, {change}}}\n{LINE}\n")
    with pytest.raises(RunError) as caught:
        list(read_rows(run))
    assert str(caught.value).startswith(f"{run / files.METRICS_JSONL}: line 1: {message}")


def test_bytes_that_are_no_text_are_a_damaged_line(tmp_path: Path) -> None:
    (tmp_path / files.METRICS_JSONL).write_bytes(LINE.encode() + b'\n{"step\xff": 2}\n' + LINE.encode() + b"\n")
    with pytest.raises(RunError, match=r"metrics\.jsonl: line 2 is damaged \('utf-8' codec"):
        list(read_rows(tmp_path))


def test_a_folder_without_the_file_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(RunError) as caught:
        list(read_rows(tmp_path))
    assert str(caught.value) == f"{tmp_path}: no metrics.jsonl there, expected a run directory of 'albertqa train'"


def test_a_row_can_be_read_as_soon_as_it_is_added(tmp_path: Path) -> None:
    writer = RowWriter(tmp_path)
    for number in (1, 2):
        writer.add(step(number))
        assert [row["step"] for row in lines_of(tmp_path)] == list(range(1, number + 1))
    writer.close()


def test_rows_are_on_the_disk_after_sync(tmp_path: Path) -> None:
    writer = RowWriter(tmp_path)
    writer.add(step(1))
    assert writer.sync() == (tmp_path / files.METRICS_JSONL).stat().st_size
    assert len(lines_of(tmp_path)) == 1
    writer.add(step(2))
    writer.close()
    assert len(lines_of(tmp_path)) == 2


def test_steps_that_are_done_again_are_cut_off(tmp_path: Path) -> None:
    writer = RowWriter(tmp_path)
    writer.add(step(1))
    length_bytes = writer.sync()
    writer.add(step(2))
    writer.add(step(3))
    writer.close()
    again = RowWriter(tmp_path, length_bytes)
    assert again.sync() == length_bytes == (tmp_path / files.METRICS_JSONL).stat().st_size
    again.add(step(2, train_loss=9.0))
    again.close()
    assert [row["train_loss"] for row in lines_of(tmp_path)] == [1.5, 9.0]


def test_a_file_that_lost_lines_is_not_filled_up(tmp_path: Path) -> None:
    metrics(tmp_path, '{"step": 1}\n')
    with pytest.raises(RunError, match=r"metrics\.jsonl: has 12 bytes, the checkpoint was written when it had 400"):
        RowWriter(tmp_path, 400)
    assert lines_of(tmp_path) == [{"step": 1}]
