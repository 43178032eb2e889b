"""Training with replayed micro-batches gives the losses of training without, whatever happens on the way.

There is no GPU here: FlashAttention's kernel and the recordings are replaced (`model.flash_reference`, and the work run
again on a recording's own buffers); the packing, tails, shapes, buffers and gradients are those of a GPU.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from albertqa import opening
from albertqa.config import Settings
from albertqa.model import packed
from albertqa.model.attention import attend_in_rows, attend_varlen
from albertqa.model.load import SpanModel
from albertqa.model.replay import Replay
from albertqa.recipe import train
from albertqa.training import step
from albertqa.training.average import WeightAverage
from albertqa.training.checkpoint import TrainState
from albertqa.training.display import Silent
from albertqa.training.objective import Objective, build_objective, span_objective
from albertqa.windows.batches import PackedBatch, pack
from albertqa.windows.store import WindowStore
from model import flash_reference  # noqa: F401 -- FlashAttention's stand-in

from .cases import Listener, go_on, open_model, small_run
from .reference import Course, train_plainly

COURSE = Course(max_grad_norm=2.5, micro_batch=4, accumulation=2, warmup_steps=8, weight_decay=0.1)
SHORT = replace(COURSE, total_steps=6)


@dataclass
class Recorder:
    """Stands for CUDA graphs."""

    recorded: int = 0
    replayed: int = 0

    def __call__(self, work: Replay) -> Replay:
        self.recorded += 1

        def replay() -> torch.Tensor:
            self.replayed += 1
            return work().clone()

        return replay


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    """Train as on a GPU."""
    made = Recorder()
    monkeypatch.setattr(step, "recorder_for", lambda _device: made)
    monkeypatch.setattr(packed, "choose_attention", lambda *_: attend_varlen)
    return made


def train_course(
    folder: Path,
    store: WindowStore,
    course: Course = SHORT,
    *,
    objective: Objective = span_objective,
    listener: Listener | None = None,
    state: TrainState | None = None,
    opened: tuple[SpanModel, torch.optim.Optimizer] | None = None,
    may_replay: bool = True,
    **changes: Any,
) -> tuple[Listener, TrainState]:
    """Train a saved ALBERT, with the same draws every time."""
    model, optimizer = opened or open_model(folder, course, **changes)
    torch.manual_seed(5)
    heard = listener or Listener()
    end = go_on(model, optimizer, store, course, heard, state, objective=objective, may_replay=may_replay)
    return heard, end


def losses_of(heard: Listener) -> list[float]:
    return [row["train_loss"] for row in heard.rows]


def test_fifty_replayed_steps_give_the_losses_of_a_plain_loop(
    tiny_weights: Path, store: WindowStore, recorder: Recorder
) -> None:
    heard, _ = train_course(tiny_weights, store, COURSE)
    expected = train_plainly(tiny_weights, store, COURSE)
    assert len(heard.rows) == 50
    np.testing.assert_allclose(losses_of(heard), expected.losses, rtol=1e-5)
    np.testing.assert_allclose([row["grad_norm"] for row in heard.rows], expected.norms, rtol=1e-3)
    assert heard.said == []
    # Two micro-batches a step; all but the first of each of a few shapes.
    assert recorder.replayed > 85
    assert recorder.recorded <= 5


def test_a_resumed_run_gives_the_losses_of_the_uninterrupted_one(
    tiny_weights: Path, store: WindowStore, recorder: Recorder
) -> None:
    whole, _ = train_course(tiny_weights, store)
    opened = open_model(tiny_weights, SHORT)
    listener = Listener(stop_after=3)
    _, state = train_course(tiny_weights, store, listener=listener, opened=opened)
    listener.stop_after = None
    train_course(tiny_weights, store, listener=listener, opened=opened, state=state)
    np.testing.assert_allclose(losses_of(listener), losses_of(whole), rtol=1e-6)
    assert recorder.replayed


@pytest.mark.parametrize("regularizer", [{"label_smoothing": 0.1}, {"r_drop_alpha": 1.0}], ids=str)
def test_regularized_steps_are_replayed(
    tiny_weights: Path, store: WindowStore, recorder: Recorder, regularizer: dict[str, float]
) -> None:
    objective = build_objective(**regularizer)
    found, _ = train_course(tiny_weights, store, objective=objective)
    assert recorder.replayed
    assert found.said == []
    expected, _ = train_course(tiny_weights, store, objective=objective, may_replay=False)
    np.testing.assert_allclose(losses_of(found), losses_of(expected), rtol=1e-5)


def test_recordings_outlive_evaluations_of_averaged_weights(
    tiny_weights: Path, store: WindowStore, recorder: Recorder
) -> None:
    batch = pack([store[index] for index in range(8)], range(8))
    losses = []
    for may_replay in (True, False):
        model, optimizer = open_model(tiny_weights, SHORT)
        average = WeightAverage(model.model, 0.9)
        # The average takes the weights' place, and gives it back, after every other step.
        course = (model, optimizer, store, SHORT, Listener())
        go_on(*course, average=average, may_replay=may_replay, eval_steps=2)
        with average.applied(), torch.no_grad():
            losses.append(span_objective(model, batch))
    assert recorder.replayed > recorder.recorded
    torch.testing.assert_close(*losses, rtol=1e-5, atol=0)


def test_dropout_is_drawn_anew_in_every_replay(
    tiny_weights: Path, store: WindowStore, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packed, "choose_attention", lambda *_: attend_in_rows)
    dropout = {"hidden_dropout": 0.1, "attention_dropout": 0.1}
    first, again = (losses_of(train_course(tiny_weights, store, **dropout)[0]) for _ in range(2))
    without = losses_of(train_course(tiny_weights, store)[0])
    assert first == again
    assert all(one != other for one, other in zip(first, without, strict=True))
    assert recorder.replayed


def test_memory_that_runs_out_takes_the_recordings_first(
    tiny_weights: Path, store: WindowStore, recorder: Recorder
) -> None:
    calls = 0

    def full_once(model: SpanModel, batch: PackedBatch) -> torch.Tensor:
        nonlocal calls
        losses = span_objective(model, batch)
        calls += 1
        if calls == 10:
            assert recorder.replayed
            raise torch.OutOfMemoryError("CUDA out of memory (no GPU is here: planted by a test)")
        return losses

    found, end = train_course(tiny_weights, store, objective=full_once)
    assert [line.partition(": ")[2].partition(" ")[2] for line in found.said] == ["4 ran out of memory"]
    assert end.micro_batch is None
    expected, _ = train_course(tiny_weights, store, may_replay=False)
    np.testing.assert_allclose(losses_of(found), losses_of(expected), rtol=1e-5)


def test_what_was_recorded_in_half_precision_is_not_replayed_in_fp32(
    tiny_weights: Path, store: WindowStore, recorder: Recorder
) -> None:
    dtypes: list[torch.dtype | None] = []

    def infinite_once(model: SpanModel, batch: PackedBatch) -> torch.Tensor:
        dtypes.append(model.autocast_dtype)
        return span_objective(model, batch) * (torch.inf if len(dtypes) == 7 else 1.0)

    heard, end = train_course(tiny_weights, store, objective=infinite_once, precision=torch.bfloat16)
    assert end.fp32_since_step is not None
    assert recorder.recorded >= 2
    fp32_steps = SHORT.total_steps + 1 - end.fp32_since_step
    assert dtypes.count(None) >= SHORT.accumulation * fp32_steps > 0
    assert [row["step"] for row in heard.rows if "skipped" in row] == [end.fp32_since_step - 1]


def test_where_it_is_switched_off_nothing_is_recorded(
    tiny_weights: Path, store: WindowStore, recorder: Recorder
) -> None:
    train_course(tiny_weights, store, replace(SHORT, total_steps=2), may_replay=False)
    assert recorder == Recorder()


def test_a_cpu_records_nothing(tiny_weights: Path, store: WindowStore) -> None:
    assert step.recorder_for(torch.device("cpu")) is None
    heard, _ = train_course(tiny_weights, store, replace(SHORT, total_steps=2))
    assert len(heard.rows) == 2


class Heard(Silent):
    """A display that keeps its lines."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)


@pytest.mark.parametrize("reason", [None, "InductorError: no C compiler"])
def test_a_run_compiles_where_it_is_asked_to_and_says_where_it_cannot(
    tiny_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reason: str | None
) -> None:
    asked: list[SpanModel] = []
    monkeypatch.setattr(opening, "compile_layer", lambda model: asked.append(model) or reason)
    heard = Heard()
    train(small_run(tiny_weights, tmp_path / "run", torch_compile=True, fit=False), display=heard)
    assert len(asked) == 1
    told = [line for line in heard.lines if "compiled" in line]
    assert told == ([f"the layer is not compiled, which may be slower: {reason}"] if reason else [])


@pytest.mark.parametrize(
    ("wish", "device", "steps", "wanted"),
    [
        (None, "cpu", 16_620, False),
        (None, "cuda", 16_620, True),
        (None, "cuda", 250, False),
        (False, "cuda", 16_620, False),
        (True, "cpu", 1, True),
    ],
)
def test_unless_told_long_runs_on_a_gpu_are_compiled(wish: bool | None, device: str, steps: int, wanted: bool) -> None:
    settings = Settings(torch_compile=wish)
    assert opening._wants_compiled(settings, torch.device(device), steps) is wanted


@pytest.mark.parametrize("cuda_graphs", [True, False])
def test_a_run_replays_only_where_it_may(
    tiny_weights: Path, tmp_path: Path, recorder: Recorder, cuda_graphs: bool
) -> None:
    train(small_run(tiny_weights, tmp_path / "run", cuda_graphs=cuda_graphs, fit=False))
    assert bool(recorder.replayed) is cuda_graphs
