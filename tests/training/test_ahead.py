"""A run that begins a step before it has read the last one: the same weights, the same record, one step later."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from albertqa.errors import RunError
from albertqa.model.load import SpanModel
from albertqa.training.average import WeightAverage
from albertqa.training.checkpoint import TrainState
from albertqa.training.loop import MOST_FAULTS
from albertqa.training.objective import Objective, span_objective
from albertqa.training.step import Begun, Step, Stepper
from albertqa.windows.store import WindowStore

from .cases import TIMED, Listener, go_on, open_model
from .reference import Course
from .test_recovery import SmallGpu, Spoiled, assert_same_weights

COURSE = Course(learning_rate=1e-3, total_steps=9, micro_batch=4, max_grad_norm=1.0, seed=42)


@pytest.fixture
def order(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Write down in which order steps begin and are finished."""
    seen: list[tuple[str, int]] = []
    begin, finish = Stepper.begin, Stepper.finish

    def begun(stepper: Stepper, *args: Any) -> tuple[Begun, TrainState]:
        step, state = begin(stepper, *args)
        seen.append(("begin", step.number))
        return step, state

    def finished(stepper: Stepper, step: Begun, state: TrainState) -> tuple[Step, TrainState]:
        seen.append(("finish", step.number))
        return finish(stepper, step, state)

    monkeypatch.setattr(Stepper, "begin", begun)
    monkeypatch.setattr(Stepper, "finish", finished)
    return seen


def run(
    folder: Path,
    store: WindowStore,
    *,
    objective: Objective = span_objective,
    course: Course = COURSE,
    decay: float | None = None,
    listener: Listener | None = None,
    precision: torch.dtype | None = None,
    **plan: Any,
) -> tuple[SpanModel, Listener, TrainState, WeightAverage | None]:
    torch.manual_seed(1)
    model, optimizer = open_model(folder, course, precision=precision)
    average = WeightAverage(model.model, decay) if decay else None
    listener = listener or Listener()
    state = go_on(model, optimizer, store, course, listener, average=average, objective=objective, **plan)
    return model, listener, state, average


def rows_of(listener: Listener) -> list[dict[str, Any]]:
    return [{key: value for key, value in row.items() if key not in TIMED} for row in listener.rows]


@pytest.mark.parametrize(
    ("changes", "spoiled"),
    [
        ({}, set()),
        ({"accumulation": 2, "micro_batch": 2}, set()),
        ({}, {0, 3, 4}),
    ],
    ids=["plain", "accumulated", "faulty"],
)
def test_running_ahead_changes_nothing(
    tiny_weights: Path,
    store: WindowStore,
    monkeypatch: pytest.MonkeyPatch,
    order: list[tuple[str, int]],
    changes: dict[str, Any],
    spoiled: set[int],
) -> None:
    course = replace(COURSE, **changes)
    plan = {"eval_steps": 4, "save_steps": 4}
    plain = run(tiny_weights, store, course=course, objective=Spoiled(spoiled), decay=0.9, **plan)
    assert order == [(what, number) for number in range(1, 10) for what in ("begin", "finish")]
    order.clear()
    monkeypatch.setattr(Stepper, "may_run_ahead", True)
    ahead = run(tiny_weights, store, course=course, objective=Spoiled(spoiled), decay=0.9, **plan)
    # Nothing is outstanding where the run evaluates and saves: after steps 4, 8 and 9.
    assert order[:8] == [
        *(("begin", 1), ("begin", 2), ("finish", 1), ("begin", 3), ("finish", 2)),
        *(("begin", 4), ("finish", 3), ("finish", 4)),
    ]
    assert sorted(order) == sorted((what, number) for number in range(1, 10) for what in ("begin", "finish"))
    assert rows_of(ahead[1]) == rows_of(plain[1])
    assert ahead[1].evaluated == plain[1].evaluated
    assert [one.step for one in ahead[1].saved] == [one.step for one in plain[1].saved] == [4, 8, 9]
    assert [replace(one, seconds=0) for one in ahead[1].saved] == [replace(one, seconds=0) for one in plain[1].saved]
    assert_same_weights(ahead[0], plain[0])
    assert plain[3] is not None
    assert ahead[3] is not None
    for name, one in plain[3].tensors().items():
        assert torch.equal(ahead[3].tensors()[name], one)


def test_whoever_stops_it_finds_nothing_outstanding(
    tiny_weights: Path, store: WindowStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Stepper, "may_run_ahead", True)
    _, listener, state, _ = run(tiny_weights, store, listener=Listener(stop_after=3))
    # Step 4 had begun when step 3 was read.
    assert [row["step"] for row in listener.rows] == [1, 2, 3, 4]
    assert [one.step for one in listener.saved] == [state.step] == [4]


def test_half_precision_is_given_up_once_the_fault_is_read(
    tiny_weights: Path, store: WindowStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Stepper, "may_run_ahead", True)
    model, listener, state, _ = run(tiny_weights, store, objective=Spoiled({1}), precision=torch.bfloat16)
    assert [row.get("skipped", False) for row in listener.rows] == [False, True] + [False] * 7
    # Step 3 had begun when step 2 was read.
    assert (model.autocast_dtype, state.fp32_since_step) == (None, 4)
    assert [line.split(":")[0] for line in listener.said] == ["step 2"]


def test_faults_in_a_row_end_it_one_step_later(
    tiny_weights: Path, store: WindowStore, monkeypatch: pytest.MonkeyPatch, order: list[tuple[str, int]]
) -> None:
    monkeypatch.setattr(Stepper, "may_run_ahead", True)
    with pytest.raises(RunError, match=r"^step 5: loss is nan, .* the 5th step in a row"):
        run(tiny_weights, store, objective=Spoiled(set(range(MOST_FAULTS))))
    assert order[-2:] == [("begin", 6), ("finish", 5)]


def test_what_was_done_before_memory_ran_out_is_recorded(
    tiny_weights: Path, store: WindowStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Stepper, "may_run_ahead", True)
    listener = Listener()
    with pytest.raises(RunError, match=r"^step 3: out of memory with one window"):
        run(tiny_weights, store, objective=SmallGpu(0, first_call=2), listener=listener)
    assert [row["step"] for row in listener.rows] == [1, 2]


def test_the_optimizer_is_left_as_it_was(
    tiny_weights: Path, store: WindowStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Stepper, "may_run_ahead", True)
    model, optimizer = open_model(tiny_weights, COURSE)
    go_on(model, optimizer, store, COURSE, Listener(), objective=Spoiled({8}))
    assert not hasattr(optimizer, "found_inf")
