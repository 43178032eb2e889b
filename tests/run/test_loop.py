"""The loop does the planned things at the planned steps, and does not train a model that is broken."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from albertqa.errors import RunError
from albertqa.run.checkpoint import TrainState
from albertqa.run.loop import Record, plan_steps
from albertqa.windows.store import WindowStore

from .cases import Listener, go_on, open_model
from .reference import Course

COURSE = Course(total_steps=7, micro_batch=4, accumulation=2)
FRACTIONS = st.floats(0.001, 0.999)


@given(st.integers(1, 100_000), st.integers(1, 64), st.floats(0.01, 10))
def test_the_epochs_steps_hold_every_window_once(num_windows: int, step_windows: int, epochs: float) -> None:
    plan = plan_steps(num_windows, step_windows=step_windows, epochs=epochs)
    assert (plan.steps_per_epoch - 1) * step_windows < num_windows <= plan.steps_per_epoch * step_windows
    assert plan.total_steps == max(1, math.ceil(epochs * plan.steps_per_epoch))
    assert plan.eval_every_steps == plan.save_every_steps == plan.steps_per_epoch
    assert plan.warmup_steps == 0


def test_the_recipes_plan_is_the_published_one() -> None:
    plan = plan_steps(88_640, step_windows=16, epochs=3.0)
    assert (plan.steps_per_epoch, plan.total_steps) == (5540, 16_620)


@given(st.integers(1, 10_000), st.integers(1, 10_000), st.floats(0, 1), st.integers(0, 100))
def test_warm_up_steps_override_the_ratio_and_max_steps_the_epochs(
    num_windows: int, max_steps: int, ratio: float, warmup_steps: int
) -> None:
    plan = plan_steps(
        num_windows, step_windows=8, epochs=2, max_steps=max_steps, warmup_ratio=ratio, warmup_steps=warmup_steps
    )
    assert plan.total_steps == max_steps
    assert plan.warmup_steps == (warmup_steps or math.ceil(ratio * max_steps))


@given(st.integers(1, 100_000), FRACTIONS, st.integers(1, 1000))
def test_intervals_below_one_are_fractions_of_an_epoch(num_windows: int, fraction: float, steps: int) -> None:
    plan = plan_steps(num_windows, step_windows=16, epochs=1, eval_steps=fraction, save_steps=float(steps))
    assert plan.eval_every_steps >= 1
    assert abs(plan.eval_every_steps - fraction * plan.steps_per_epoch) <= 1
    assert plan.save_every_steps == steps


def test_the_loop_evaluates_and_saves_when_the_plan_says_and_at_the_end(tiny_weights: Path, store: WindowStore) -> None:
    listener = Listener()
    end = go_on(*open_model(tiny_weights, COURSE), store, COURSE, listener, eval_steps=3, save_steps=2)
    assert end.step == 7
    assert [row["step"] for row in listener.rows] == [1, 2, 3, 4, 5, 6, 7]
    assert listener.evaluated == [3, 6, 7]
    assert [state.step for state in listener.saved] == [2, 4, 6, 7]


def test_every_row_says_what_its_step_did(tiny_weights: Path, store: WindowStore) -> None:
    listener = Listener()
    go_on(*open_model(tiny_weights, COURSE), store, COURSE, listener)
    first, last = listener.rows[0], listener.rows[-1]
    assert list(first) == [
        "step", "epoch", "train_loss", "learning_rate", "grad_norm", "tokens", "tokens_per_second", "seconds",
        "data_seconds", "micro_batch",
    ]  # fmt: skip
    assert first["learning_rate"] == COURSE.learning_rate
    assert last["learning_rate"] == pytest.approx(COURSE.learning_rate / 7)
    assert last["epoch"] == pytest.approx(7 / math.ceil(len(store) / 8), abs=1e-6)
    assert [row["seconds"] for row in listener.rows] == sorted(row["seconds"] for row in listener.rows)
    assert all(8 < row["tokens"] <= 8 * store.max_seq_length for row in listener.rows)


def test_an_epochs_last_step_has_the_windows_that_are_left(tiny_weights: Path, store: WindowStore) -> None:
    listener = Listener()
    course = Course(micro_batch=64, total_steps=2 * math.ceil(len(store) / 64))
    go_on(*open_model(tiny_weights, course), store, course, listener)
    half = len(listener.rows) // 2
    for epoch in (listener.rows[:half], listener.rows[half:]):
        assert sum(row["tokens"] for row in epoch) == int(store.lengths.sum())


def test_a_request_to_stop_ends_after_the_step_with_a_checkpoint(tiny_weights: Path, store: WindowStore) -> None:
    listener = Listener(stop_after=3)
    end = go_on(*open_model(tiny_weights, COURSE), store, COURSE, listener)
    assert end.step == 3
    assert [state.step for state in listener.saved] == [3]
    assert listener.evaluated == []


def test_early_stopping_ends_the_run_with_a_checkpoint(tiny_weights: Path, store: WindowStore) -> None:
    listener = Listener(stop_early_after=4)
    end = go_on(*open_model(tiny_weights, COURSE), store, COURSE, listener, eval_steps=2)
    assert (end.step, end.stopped_early) == (4, True)
    assert [state.step for state in listener.saved] == [4]


@pytest.mark.parametrize("state", [TrainState(step=7), TrainState(step=2, stopped_early=True)])
def test_a_run_that_has_ended_does_nothing_more(tiny_weights: Path, store: WindowStore, state: TrainState) -> None:
    listener = Listener()
    assert go_on(*open_model(tiny_weights, COURSE), store, COURSE, listener, state) == state
    assert listener == Listener()


@pytest.mark.parametrize("planted", [math.inf, math.nan])
def test_a_model_that_is_broken_from_the_start_is_not_trained(
    tiny_weights: Path, store: WindowStore, planted: float
) -> None:
    model, optimizer = open_model(tiny_weights, COURSE)
    with torch.no_grad():
        model.model.get_submodule("qa_outputs").weight[0, 0] = planted
    before = {name: one.detach().clone() for name, one in model.model.named_parameters()}
    listener = Listener()
    with pytest.raises(RunError, match=r"^step 5: loss is (nan|inf), gradient norm nan, the 5th step in a row"):
        go_on(model, optimizer, store, COURSE, listener)
    assert [row["skipped"] for row in listener.rows] == [True] * 5
    assert (listener.evaluated, listener.saved) == ([], [])
    assert not optimizer.state
    for name, one in model.model.named_parameters():
        assert torch.equal(one.nan_to_num(), before[name].nan_to_num())


def test_without_clipping_the_norm_is_still_told(tiny_weights: Path, store: WindowStore) -> None:
    norms = []
    for max_grad_norm in (0.0, 1e-3):
        course = Course(total_steps=1, max_grad_norm=max_grad_norm)
        listener = Listener()
        go_on(*open_model(tiny_weights, course), store, course, listener)
        norms.append(listener.rows[0]["grad_norm"])
    assert norms[0] == norms[1] > 1e-3


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_row_can_be_read_as_soon_as_it_is_added(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    record = Record(path)
    for step in (1, 2):
        record.add({"step": step})
        assert [row["step"] for row in rows_of(path)] == list(range(1, step + 1))
    record.close()


def test_the_record_is_on_the_disk_after_sync(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    record = Record(path)
    record.add({"step": 1})
    assert record.sync() == path.stat().st_size
    assert rows_of(path) == [{"step": 1}]
    record.add({"step": 2})
    record.close()
    assert rows_of(path) == [{"step": 1}, {"step": 2}]


def test_the_record_forgets_the_steps_that_are_done_again(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    record = Record(path)
    record.add({"step": 1})
    length_bytes = record.sync()
    record.add({"step": 2})
    record.add({"step": 3})
    record.close()
    again = Record(path, length_bytes)
    assert again.sync() == length_bytes == path.stat().st_size
    again.add({"step": 2, "again": True})
    again.close()
    assert rows_of(path) == [{"step": 1}, {"step": 2, "again": True}]


def test_a_record_that_lost_lines_is_not_filled_up(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n')
    with pytest.raises(RunError, match=r"metrics\.jsonl: has 12 bytes, the checkpoint was written when it had 400"):
        Record(path, 400)
    assert rows_of(path) == [{"step": 1}]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_the_record_takes_no_value_that_is_no_number(tmp_path: Path, value: float) -> None:
    record = Record(tmp_path / "metrics.jsonl")
    with pytest.raises(ValueError, match="not JSON compliant"):
        record.add({"train_loss": value})
    assert record.sync() == 0
    record.close()
