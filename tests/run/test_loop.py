"""The loop does the planned things at the planned steps, and does not train a model that is broken."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from albertqa.config import MonitoringConfig, OptimizerConfig
from albertqa.errors import RunError
from albertqa.run.checkpoint import Progress, TrainState
from albertqa.run.loop import plan_steps
from albertqa.rundir.run_json import Plan
from albertqa.windows.store import WindowStore

from .cases import Listener, go_on, open_model
from .reference import Course

COURSE = Course(total_steps=7, micro_batch=4, accumulation=2)
FRACTIONS = st.floats(0.001, 0.999)


def plan_of_run(num_windows: int, **changes: Any) -> Plan:
    return plan_steps(num_windows, OptimizerConfig(**changes), MonitoringConfig())


@given(st.integers(1, 100_000), st.integers(1, 64), st.floats(0.01, 10))
def test_the_epochs_steps_hold_every_window_once(num_windows: int, step_windows: int, epochs: float) -> None:
    plan = plan_of_run(num_windows, train_batch_size=step_windows, epochs=epochs)
    assert (plan.steps_per_epoch - 1) * step_windows < num_windows <= plan.steps_per_epoch * step_windows
    assert plan.total_steps == max(1, math.ceil(epochs * plan.steps_per_epoch))
    assert plan.eval_every_steps == plan.save_every_steps == plan.steps_per_epoch
    assert plan.warmup_steps == 0


def test_the_recipes_plan_is_the_published_one() -> None:
    plan = plan_steps(88_640, OptimizerConfig(), MonitoringConfig())
    assert (plan.steps_per_epoch, plan.total_steps) == (5540, 16_620)


@given(st.integers(1, 10_000), st.integers(1, 10_000), st.floats(0, 1), st.integers(0, 100))
def test_warm_up_steps_override_the_ratio_and_max_steps_the_epochs(
    num_windows: int, max_steps: int, ratio: float, warmup_steps: int
) -> None:
    plan = plan_of_run(
        num_windows, train_batch_size=8, epochs=2, max_steps=max_steps, warmup_ratio=ratio, warmup_steps=warmup_steps
    )
    assert plan.total_steps == max_steps
    assert plan.warmup_steps == (warmup_steps or math.ceil(ratio * max_steps))


@given(st.integers(1, 100_000), FRACTIONS, st.integers(1, 1000))
def test_intervals_below_one_are_fractions_of_an_epoch(num_windows: int, fraction: float, steps: int) -> None:
    plan = plan_steps(
        num_windows, OptimizerConfig(epochs=1), MonitoringConfig(eval_steps=fraction, save_steps=float(steps))
    )
    assert plan.eval_every_steps >= 1
    assert abs(plan.eval_every_steps - fraction * plan.steps_per_epoch) <= 1
    assert plan.save_every_steps == steps


def test_the_loop_evaluates_and_saves_when_the_plan_says_and_at_the_end(tiny_weights: Path, store: WindowStore) -> None:
    listener = Listener()
    end = go_on(*open_model(tiny_weights, COURSE), store, COURSE, listener, eval_steps=3.0, save_steps=2.0)
    assert end.state.step == 7
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
    assert end.state.step == 3
    assert [state.step for state in listener.saved] == [3]
    assert listener.evaluated == []


def test_a_request_to_stop_at_an_evaluation_is_heard(tiny_weights: Path, store: WindowStore) -> None:
    listener = Listener(stop_after=4)
    end = go_on(*open_model(tiny_weights, COURSE), store, COURSE, listener, eval_steps=2.0)
    assert end.state.step == 4
    assert listener.evaluated == [2, 4]
    assert [state.step for state in listener.saved] == [4]


def test_a_run_that_has_ended_does_nothing_more(tiny_weights: Path, store: WindowStore) -> None:
    listener = Listener()
    end = go_on(*open_model(tiny_weights, COURSE), store, COURSE, listener, Progress(TrainState(step=7)))
    assert end.state == TrainState(step=7)
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
    with pytest.raises(RunError, match=r"^step 5: loss is (nan|inf), gradient norm nan, the 5th such step in a row"):
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
