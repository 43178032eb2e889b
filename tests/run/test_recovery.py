"""A run survives memory that runs out and numbers that are none; what it then trains is what it was to train."""

import io
import json
import math
import multiprocessing
import os
import resource
import signal
import weakref
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from numpy.typing import NDArray
from rich.console import Console

from albertqa import files
from albertqa.config import Settings
from albertqa.data.reading import load_examples
from albertqa.errors import RunError
from albertqa.model import cuda_graphs
from albertqa.model.cuda_graphs import RecordedPasses
from albertqa.model.load import SpanModel
from albertqa.run import step as step_module
from albertqa.run.callbacks import Callback
from albertqa.run.checkpoint import Progress, load_checkpoint, newest_checkpoint
from albertqa.run.display import TerminalDisplay
from albertqa.run.fit import longest_window, peak_bytes
from albertqa.run.loop import TrainingWindows
from albertqa.run.objective import Objective, span_objective
from albertqa.run.recipe import RunResult, train
from albertqa.run.step import MOST_FAULTS
from albertqa.rundir.rows import StepRow
from albertqa.windows.batches import PackedBatch, epoch_order
from albertqa.windows.build import windows_in_memory
from albertqa.windows.store import Window, WindowStore
from albertqa.windows.tokenizer import QATokenizer, load_tokenizer

from . import processes as processes  # sets up the server that the forked processes come from
from .cases import TIMED, Listener, go_on, open_model, rows_in, save, small_run
from .reference import Course

COURSE = Course(total_steps=4, micro_batch=8)
DROPOUT = {"hidden_dropout": 0.1, "attention_dropout": 0.1}
OUT_OF_MEMORY = "CUDA out of memory. Tried to allocate 2.00 GiB (no GPU is here: planted by a test)"


def run_course(
    folder: Path,
    store: WindowStore,
    course: Course = COURSE,
    *,
    objective: Objective = span_objective,
    listener: Listener | None = None,
    progress: Progress | None = None,
    may_recompute: bool = True,
    prepare: Callable[[SpanModel], None] = lambda _model: None,
    **changes: Any,
) -> tuple[SpanModel, torch.optim.Optimizer, Listener, Progress]:
    """Train a saved ALBERT, with the same draws every time."""
    model, optimizer = open_model(folder, course, **changes)
    prepare(model)
    torch.manual_seed(5)
    heard = listener or Listener()
    end = go_on(model, optimizer, store, course, heard, progress, objective=objective, may_recompute=may_recompute)
    return model, optimizer, heard, end


class SmallGpu:
    """Stands for a GPU that holds only so many windows; a mock, as the allocator's real error needs a real GPU.

    Args:
        most_windows: More than so many are refused.
        first_call: The first call (from 0) from which on it is so small.
    """

    def __init__(self, most_windows: int, first_call: int = 0) -> None:
        self.most_windows, self.first_call, self.calls = most_windows, first_call, 0

    def __call__(self, model: SpanModel, batch: PackedBatch) -> torch.Tensor:
        self.calls += 1
        # The forward pass is done first, so that random numbers are drawn and memory is taken before it fails.
        losses = span_objective(model, batch)
        if self.calls > self.first_call and len(batch.lengths) > self.most_windows:
            raise torch.OutOfMemoryError(OUT_OF_MEMORY)
        return losses


def recomputes(model: SpanModel) -> bool:
    return model.model.recompute


def assert_same_weights(found: SpanModel, expected: SpanModel) -> None:
    weights = dict(expected.model.named_parameters())
    for name, parameter in found.model.named_parameters():
        assert torch.equal(parameter, weights[name]), name


def losses_of(listener: Listener) -> list[float]:
    return [row["train_loss"] for row in listener.rows]


def questions_of(store: WindowStore, windows: NDArray[np.int64]) -> list[str]:
    """Return the questions of windows, each once; without ids, by their position."""
    return list(dict.fromkeys(str(store[int(index)].example_index) for index in windows))


# -- memory


@pytest.mark.parametrize("most_windows", [1, 3, 4, 7])
def test_a_run_short_of_memory_trains_the_same(tiny_weights: Path, store: WindowStore, most_windows: int) -> None:
    _, _, undisturbed, _ = run_course(tiny_weights, store)
    _, _, found, end = run_course(tiny_weights, store, objective=SmallGpu(most_windows))
    assert losses_of(found) == pytest.approx(losses_of(undisturbed), rel=1e-6)
    norms = ([row["grad_norm"] for row in heard.rows] for heard in (found, undisturbed))
    assert next(norms) == pytest.approx(next(norms), rel=1e-5)
    fits = {1: 1, 3: 2, 4: 4, 7: 4}[most_windows]
    assert end.adaptation.micro_batch == fits
    assert not end.adaptation.recompute
    assert [row["micro_batch"] for row in found.rows] == [fits] * 4
    assert [row["micro_batch"] for row in undisturbed.rows] == [8] * 4
    assert [row["tokens"] for row in found.rows] == [row["tokens"] for row in undisturbed.rows]


@pytest.mark.parametrize("accumulation", [1, 2])
def test_a_step_done_again_is_to_the_bit_the_one_that_would_have_fitted(
    tiny_weights: Path, store: WindowStore, accumulation: int
) -> None:
    course = replace(COURSE, accumulation=accumulation)
    small = replace(course, micro_batch=4, accumulation=2 * accumulation)
    # With several micro-batches, the second one fails: what the first one added to the gradient must be gone.
    gpu = SmallGpu(4, first_call=accumulation - 1)
    found, _, heard, _ = run_course(tiny_weights, store, course, objective=gpu, **DROPOUT)
    expected, _, fitting, _ = run_course(tiny_weights, store, small, **DROPOUT)
    assert losses_of(heard) == losses_of(fitting)
    assert_same_weights(found, expected)
    assert heard.said == ["step 1: out of memory with 8 windows at a time; done again with 4, as all later steps are"]
    assert fitting.said == []


def test_memory_may_run_out_in_the_middle_of_a_run(tiny_weights: Path, store: WindowStore) -> None:
    _, _, undisturbed, _ = run_course(tiny_weights, store)
    _, _, found, _ = run_course(tiny_weights, store, objective=SmallGpu(2, first_call=2))
    assert [row["micro_batch"] for row in found.rows] == [8, 8, 2, 2]
    assert [row.get("out_of_memory", False) for row in found.rows] == [False, False, True, False]
    assert [line.split(";")[0] for line in found.said] == [
        "step 3: out of memory with 8 windows at a time",
        "step 3: out of memory with 4 windows at a time",
    ]
    assert losses_of(found)[:2] == losses_of(undisturbed)[:2]
    assert losses_of(found) == pytest.approx(losses_of(undisturbed), rel=1e-6)


def test_where_passes_cannot_be_recorded_the_run_goes_on_without(
    tiny_weights: Path, store: WindowStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, _, undisturbed, _ = run_course(tiny_weights, store)

    def refuse(*_: object) -> None:
        raise RuntimeError("CUDA error: operation not permitted when stream is capturing")

    # As on a GPU: a shape runs when it first comes, and cannot be recorded when it comes again.
    monkeypatch.setattr(step_module, "_is_replayed", lambda _model: True)
    monkeypatch.setattr(RecordedPasses, "_graph", refuse)
    _, _, found, end = run_course(tiny_weights, store)
    assert [line.split(": ", 1) for line in found.said] == [
        [
            "step 2",
            "without CUDA graphs from here on, which is slower: "
            "CUDA error: operation not permitted when stream is capturing",
        ]
    ]
    assert losses_of(found) == pytest.approx(losses_of(undisturbed), rel=1e-6)
    assert end.adaptation.micro_batch is None


def test_out_of_memory_the_recordings_go_first(
    tiny_weights: Path, store: WindowStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, _, undisturbed, _ = run_course(tiny_weights, store)
    recorded = []

    def record(self: RecordedPasses, batch: PackedBatch, counted: int, num_windows: int) -> cuda_graphs._Recording:
        """Stand in for a graph: the pass is done again, on what the recorded batch then has."""
        recorded.append(weakref.ref(self))
        losses = torch.zeros(counted)

        def replay() -> None:
            lengths = tuple(batch.first_token.diff().tolist())
            losses.copy_(self._run(replace(batch, lengths=lengths), counted, num_windows))

        return cuda_graphs._Recording(batch, replay, losses)

    # Eight windows fit, but from step 3 on not beside the ninth, which brings the tokens to a multiple.
    small = SmallGpu(8, first_call=2)

    def objective(model: SpanModel, batch: PackedBatch) -> torch.Tensor:
        assert len(batch.lengths) == 9 or recorded[0]() is None
        return small(model, batch)

    monkeypatch.setattr(step_module, "_is_replayed", lambda _model: True)
    monkeypatch.setattr(RecordedPasses, "_record", record)
    _, _, found, end = run_course(tiny_weights, store, objective=objective)
    assert found.said == ["step 3: without CUDA graphs from here on, which is slower: out of memory"]
    assert small.calls == 5
    assert losses_of(found) == pytest.approx(losses_of(undisturbed), rel=1e-6)
    assert end.adaptation.micro_batch is None


def test_where_no_window_fits_activations_are_recomputed(tiny_weights: Path, store: WindowStore) -> None:
    def objective(model: SpanModel, batch: PackedBatch) -> torch.Tensor:
        if not recomputes(model):
            raise torch.OutOfMemoryError(OUT_OF_MEMORY)
        return span_objective(model, batch)

    course = replace(COURSE, micro_batch=2)
    _, _, undisturbed, _ = run_course(tiny_weights, store, course)
    model, _, found, end = run_course(tiny_weights, store, course, objective=objective)
    assert recomputes(model)
    assert (end.adaptation.micro_batch, end.adaptation.recompute) == (1, True)
    assert losses_of(found) == pytest.approx(losses_of(undisturbed), rel=1e-6)
    assert found.said[1:] == [
        "step 1: out of memory with one window at a time; done again with its activations recomputed in the backward "
        "pass, which is slower, as all later steps are"
    ]
    again, _, _, _ = run_course(tiny_weights, store, course, progress=end)
    assert recomputes(again), "a run that goes on does as before"


@pytest.mark.parametrize(
    ("may_recompute", "told"),
    [
        (
            True,
            r"one window of \d+ tokens at a time and its activations recomputed\. Use a shorter --max-seq-length or",
        ),
        (False, r"one window of \d+ tokens at a time\. Use a shorter --max-seq-length, leave --gradient-checkpointing"),
    ],
)
def test_where_nothing_helps_the_run_ends_and_says_what_to_do(
    tiny_weights: Path, store: WindowStore, may_recompute: bool, told: str
) -> None:
    listener = Listener()
    with pytest.raises(RunError, match=rf"^step 1: out of memory with {told}.*; the last checkpoint is complete$"):
        run_course(tiny_weights, store, objective=SmallGpu(0), listener=listener, may_recompute=may_recompute)
    assert listener.rows == []


def test_other_errors_are_not_mistaken_for_it(tiny_weights: Path, store: WindowStore) -> None:
    def objective(*_arguments: Any) -> torch.Tensor:
        raise RuntimeError("the size of tensor a must match")

    with pytest.raises(RuntimeError, match="the size of tensor a must match"):
        run_course(tiny_weights, store, objective=objective)


def test_an_optimizer_without_memory_ends_the_run_in_one_line(tiny_weights: Path, store: WindowStore) -> None:
    model, optimizer = open_model(tiny_weights, COURSE)

    def refuse(*_arguments: Any) -> None:
        raise torch.OutOfMemoryError(OUT_OF_MEMORY)

    optimizer.register_step_pre_hook(refuse)
    with pytest.raises(RunError, match=r"^step 1: out of memory in the optimizer's own arithmetic"):
        go_on(model, optimizer, store, COURSE, Listener())


def test_windows_are_taken_once_however_often_a_step_is_done(tiny_weights: Path, store: WindowStore) -> None:
    taken: list[int] = []

    class Windows(TrainingWindows):
        def epoch(self, _epoch: int) -> "Windows":
            return self

        def __getitem__(self, index: int) -> Window:
            taken.append(index)
            return store[index]

    model, optimizer = open_model(tiny_weights, COURSE)
    go_on(model, optimizer, store, COURSE, Listener(), windows=Windows(store), objective=SmallGpu(1))
    assert taken == epoch_order(len(store), seed=42, epoch=0)[:32].tolist()


def test_real_memory_that_runs_out_is_survived(tiny_weights: Path) -> None:
    receiver, sender = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("forkserver").Process(
        target=_train_under_a_limit, args=(tiny_weights, sender)
    )
    process.start()
    sender.close()
    try:
        found = receiver.recv()
    except EOFError:
        pytest.fail(f"the process died with exit code {process.exitcode}")
    process.join()
    assert process.exitcode == 0
    assert found["said"], "the limit was too high to be met"
    assert all("out of memory with" in line for line in found["said"])
    assert found["micro_batches"][-1] < found["num_windows"]
    assert found["losses"] == pytest.approx(found["undisturbed"], rel=1e-6)


def _train_under_a_limit(folder: Path, sender: Connection) -> None:
    """Train two large steps twice, the second time with too little address space for all windows at once."""
    torch.set_num_threads(1)
    examples = load_examples("starter:train", limit=100)
    store = windows_in_memory(examples, load_tokenizer(folder), max_seq_length=96, doc_stride=32)
    course = Course(total_steps=2, micro_batch=len(store))
    small = replace(course, micro_batch=8, accumulation=math.ceil(len(store) / 8))
    # Everything that is loaded or set up on first use comes before the limit.
    model, _, undisturbed, _ = run_course(folder, store, small)
    needed = peak_bytes(model, longest_window(store), span_objective, 8) * len(store) // 8
    now = psutil.Process().memory_info().vms
    resource.setrlimit(resource.RLIMIT_AS, (now + needed // 4, resource.RLIM_INFINITY))
    _, _, found, _ = run_course(folder, store, course)
    sender.send(
        {
            "num_windows": len(store),
            "said": found.said,
            "micro_batches": [row["micro_batch"] for row in found.rows],
            "losses": losses_of(found),
            "undisturbed": losses_of(undisturbed),
        }
    )
    sender.close()


# -- numbers


class Spoiled:
    """An objective that gives some windows a loss that is no number, at some calls."""

    def __init__(self, calls: set[int], windows: slice = slice(2, 3), value: float = math.nan) -> None:
        self.spoiled, self.windows, self.value, self.calls = calls, windows, value, 0

    def __call__(self, model: SpanModel, batch: PackedBatch) -> torch.Tensor:
        losses = span_objective(model, batch)
        if self.calls in self.spoiled:
            losses = losses.clone()
            losses[self.windows] = losses[self.windows] * self.value
        self.calls += 1
        return losses


class Snapshots(Listener):
    """Keeps a copy of the weights after every step."""

    def __init__(self) -> None:
        super().__init__()
        self.model: SpanModel | None = None
        self.weights: list[dict[str, torch.Tensor]] = []

    def on_step(self, row: StepRow) -> None:
        super().on_step(row)
        if self.model is not None:
            self.weights.append({name: one.detach().clone() for name, one in self.model.model.named_parameters()})


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_step_whose_loss_is_no_number_is_left_out(tiny_weights: Path, store: WindowStore, value: float) -> None:
    heard = Snapshots()
    _, optimizer, _, end = run_course(
        tiny_weights,
        store,
        objective=Spoiled({1}, value=value),
        listener=heard,
        prepare=lambda model: setattr(heard, "model", model),
    )
    _, _, undisturbed, _ = run_course(tiny_weights, store)
    row = heard.rows[1]
    assert row["skipped"] is True
    assert row["train_loss"] is row["grad_norm"] is None
    assert row["non_finite_windows"] == questions_of(store, epoch_order(len(store), seed=COURSE.seed, epoch=0)[10:11])
    json.dumps(row, allow_nan=False)
    assert all("skipped" not in other for other in heard.rows if other is not row)
    for name, weight in heard.weights[0].items():
        assert torch.equal(heard.weights[1][name], weight), name
    assert not torch.equal(heard.weights[2]["qa_outputs.weight"], heard.weights[1]["qa_outputs.weight"])
    assert {float(moments["step"]) for moments in optimizer.state.values()} == {3.0}
    # Step count and learning rate go on as if the step had been done.
    for name in ("step", "epoch", "learning_rate", "tokens"):
        assert [one[name] for one in heard.rows] == [one[name] for one in undisturbed.rows]
    assert (end.state.step, end.adaptation.faults_in_a_row, end.adaptation.fp32_since_step) == (4, 0, None)
    assert heard.said == [
        f"step 2: loss is {value:g}, gradient norm nan; the step was not applied (1 of 8 windows; metrics.jsonl names "
        "them)"
    ]


def test_a_step_left_out_leaves_no_trace(tiny_weights: Path, store: WindowStore) -> None:
    """The last step is spoiled: weights are those of the run that ended before it."""
    spoiled, _, _, _ = run_course(tiny_weights, store, objective=Spoiled({3}))
    listener = Listener(stop_after=3)
    stopped, _, _, _ = run_course(tiny_weights, store, listener=listener)
    assert_same_weights(spoiled, stopped)


def test_where_only_the_gradient_is_no_number_all_windows_of_the_step_are_named(
    tiny_weights: Path, store: WindowStore
) -> None:
    calls = iter(range(100))

    def spoil(gradient: torch.Tensor) -> torch.Tensor:
        return gradient * math.inf if next(calls) == 1 else gradient

    def prepare(model: SpanModel) -> None:
        model.model.get_submodule("qa_outputs").weight.register_hook(spoil)

    _, _, heard, end = run_course(tiny_weights, store, prepare=prepare)
    row = heard.rows[1]
    assert math.isfinite(row["train_loss"])
    assert row["grad_norm"] is None
    assert row["skipped"] is True
    assert row["non_finite_windows"] == questions_of(store, epoch_order(len(store), seed=COURSE.seed, epoch=0)[8:16])
    assert end.state.step == 4


def test_half_precision_is_given_up_for_the_rest_of_the_run(
    tiny_weights: Path, store: WindowStore, tokenizer: QATokenizer, tmp_path: Path
) -> None:
    half = {"precision": torch.bfloat16}
    listener = Listener(stop_after=3)
    model, optimizer, heard, progress = run_course(
        tiny_weights, store, objective=Spoiled({1}), listener=listener, **half
    )
    assert model.autocast_dtype is None
    assert progress.adaptation.fp32_since_step == 3
    assert heard.said[0].endswith("; fp32 from step 3 on")
    # Through a checkpoint into a model that was opened in half precision.
    folder = save(tmp_path, progress, model, tokenizer, optimizer, keep=1)
    again, fresh = open_model(tiny_weights, COURSE, **half)
    progress = load_checkpoint(folder, again, fresh)
    dtypes: set[torch.dtype | None] = set()

    def objective(model: SpanModel, batch: PackedBatch) -> torch.Tensor:
        dtypes.add(model.autocast_dtype)
        return span_objective(model, batch)

    go_on(again, fresh, store, COURSE, Listener(), progress, objective=objective)
    assert dtypes == {None}


def test_several_such_steps_in_a_row_end_the_run(tiny_weights: Path, store: WindowStore) -> None:
    course = replace(COURSE, total_steps=20)
    listener = Listener()
    spoiled = Spoiled({0, 1, 2, 3, *range(5, 5 + MOST_FAULTS)}, windows=slice(None))
    with pytest.raises(RunError) as caught:
        run_course(tiny_weights, store, course, objective=spoiled, listener=listener)
    assert [row.get("skipped", False) for row in listener.rows] == [True] * 4 + [False] + [True] * 5
    assert str(caught.value) == (
        "step 10: loss is nan, gradient norm nan, the 5th such step in a row; none of them was applied. "
        "Lower --learning-rate (now 0.00055), or look at the windows that metrics.jsonl names; the last checkpoint is "
        "complete"
    )


def test_the_count_goes_on_over_a_resumption(tiny_weights: Path, store: WindowStore) -> None:
    everything = Spoiled(set(range(100)), windows=slice(None))
    course = replace(COURSE, total_steps=20)
    _, _, first, progress = run_course(
        tiny_weights, store, course, objective=everything, listener=Listener(stop_after=3)
    )
    assert (len(first.rows), progress.adaptation.faults_in_a_row) == (3, 3)
    second = Listener()
    with pytest.raises(RunError, match=r"^step 5: "):
        run_course(tiny_weights, store, course, objective=everything, listener=second, progress=progress)
    assert [row["step"] for row in second.rows] == [4, 5]


def test_a_checkpoint_before_the_first_applied_step_is_whole(
    tiny_weights: Path, store: WindowStore, tokenizer: QATokenizer, tmp_path: Path
) -> None:
    model, optimizer, _, progress = run_course(
        tiny_weights, store, objective=Spoiled({0}), listener=Listener(stop_after=1)
    )
    folder = save(tmp_path, progress, model, tokenizer, optimizer, keep=1)
    assert newest_checkpoint(tmp_path) == (folder, [])
    again, fresh = open_model(tiny_weights, COURSE)
    assert load_checkpoint(folder, again, fresh) == progress
    assert not fresh.state
    assert_same_weights(again, model)


def test_a_gradient_that_overflows_fp16s_scale_is_no_fault(tiny_weights: Path, store: WindowStore) -> None:
    """PyTorch's scaler on the CPU, where fp16 is slow but the same."""
    calls = iter(range(100))

    def overflow(gradient: torch.Tensor) -> torch.Tensor:
        return gradient * math.inf if next(calls) == 1 else gradient

    def prepare(model: SpanModel) -> None:
        model.model.get_submodule("qa_outputs").weight.register_hook(overflow)

    model, optimizer, heard, end = run_course(tiny_weights, store, prepare=prepare, precision=torch.float16)
    assert heard.said == []
    assert heard.rows[1]["grad_norm"] is None
    assert not any("skipped" in row for row in heard.rows)
    assert model.autocast_dtype is torch.float16
    assert (end.adaptation.faults_in_a_row, end.adaptation.fp32_since_step) == (0, None)
    assert {float(moments["step"]) for moments in optimizer.state.values()} == {3.0}


def test_a_scale_that_has_come_down_below_one_is_no_excuse(tiny_weights: Path, store: WindowStore) -> None:
    def prepare(model: SpanModel) -> None:
        model.model.get_submodule("qa_outputs").weight.register_hook(lambda gradient: gradient * math.inf)

    listener = Listener()
    course = replace(COURSE, micro_batch=1, total_steps=40)
    with pytest.raises(RunError, match=r"the 5th such step in a row"):
        run_course(tiny_weights, store, course, prepare=prepare, listener=listener, precision=torch.float16)
    # The scale begins at 2^16 and is halved each time.
    assert ["skipped" in row for row in listener.rows] == [False] * 17 + [True] * 5


# -- whole runs


def interrupting(limit: SmallGpu, call: int) -> Objective:
    """Ask this process to stop at a call, as a user or a batch system does."""

    def objective(model: SpanModel, batch: PackedBatch) -> torch.Tensor:
        if limit.calls == call:
            os.kill(os.getpid(), signal.SIGTERM)
        return limit(model, batch)

    return objective


def recorded(result: RunResult) -> list[dict[str, Any]]:
    return [{key: one for key, one in row.items() if key not in TIMED} for row in rows_in(result.run)]


def test_a_run_that_ran_out_of_memory_resumes_to_the_bit(
    tiny_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def settings(name: str) -> Settings:
        return small_run(tiny_weights, tmp_path / name, fit=False, hidden_dropout=0.1, save_steps=1.0, epochs=1.0)

    def gpu_from(objective: Objective) -> None:
        monkeypatch.setattr("albertqa.run.setup.build_objective", lambda **_: objective)

    gpu_from(SmallGpu(4, first_call=1))
    whole = train(settings("whole"))
    gpu_from(interrupting(SmallGpu(4, first_call=1), call=4))
    stopped = train(settings("stopped"))
    assert stopped.status == "interrupted"
    assert 2 <= stopped.step < whole.step
    # On resuming, the first forward pass would already be refused: the record knows better than to try.
    gpu_from(SmallGpu(4))
    resumed = train(settings("stopped"), resume=True)
    assert resumed.status == "finished"
    assert recorded(resumed) == recorded(whole)
    steps = [row for row in recorded(resumed) if "train_loss" in row]
    assert [row["micro_batch"] for row in steps] == [8] + [4] * (len(steps) - 1)
    facts = json.loads((resumed.run / files.RUN_JSON).read_text())
    assert (facts["micro_batch"], facts["recompute"], facts["fit"]) == (4, False, None)
    for name in (files.BEST, files.FINAL):
        weights = ((run.run / name / "model.safetensors").read_bytes() for run in (resumed, whole))
        assert next(weights) == next(weights)


def test_a_run_names_the_questions_of_a_step_that_it_left_out(
    tiny_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str] = []

    class Display(Callback):
        def on_message(self, text: str) -> None:
            lines.append(text)

    monkeypatch.setattr("albertqa.run.setup.build_objective", lambda **_: Spoiled({1}, windows=slice(0, 2)))
    settings = small_run(tiny_weights, tmp_path / "run", mixed_precision="bf16", max_steps=3)
    spoiled = train(replace(settings, fit=False), callbacks=[Display()])
    rows = [row for row in recorded(spoiled) if row.get("skipped")]
    assert [row["step"] for row in rows] == [2]
    known = {example.id for example in load_examples("starter:train", limit=12)}
    assert rows[0]["non_finite_windows"]
    assert set(rows[0]["non_finite_windows"]) <= known
    facts = json.loads((spoiled.run / files.RUN_JSON).read_text())
    assert facts["fp32_since_step"] == 3
    assert facts["machine"]["precision"] == "bfloat16"
    assert any("step 2: loss is nan" in line and line.endswith("fp32 from step 3 on") for line in lines)


def test_a_run_that_cannot_go_on_is_failed_and_its_checkpoint_whole(
    tiny_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoiled = Spoiled(set(range(2, 100)), windows=slice(None))
    monkeypatch.setattr("albertqa.run.setup.build_objective", lambda **_: spoiled)
    settings = small_run(tiny_weights, tmp_path / "run", fit=False, save_steps=1.0, epochs=4.0, eval_steps=50.0)
    with pytest.raises(RunError, match=r"^step 7: .*, the 5th such step in a row"):
        train(settings)
    assert json.loads((settings.output_dir / files.RUN_JSON).read_text())["status"] == "failed"
    checkpoint, warnings = newest_checkpoint(settings.output_dir)
    assert warnings == []
    assert checkpoint is not None
    assert checkpoint.name == "step-00000006"
    losses = [row["train_loss"] for row in rows_in(settings.output_dir)]
    assert losses[2:] == [None] * 5
    assert None not in losses[:2]


def test_a_step_that_was_left_out_does_not_spoil_the_loss_that_is_shown() -> None:
    console = Console(file=io.StringIO(), width=200)
    display = TerminalDisplay(console, every_steps=1)
    display.on_start(0, 3)
    row = {"epoch": 0.1, "learning_rate": 1e-4, "grad_norm": 1.0, "tokens_per_second": 10.0, "tokens": 10}
    for step, changes in enumerate(
        ({"skipped": True, "train_loss": None}, {"train_loss": 2.0}, {"train_loss": 4.0}), 1
    ):
        display.on_step(StepRow(**row, step=step, **changes))
    assert isinstance(console.file, io.StringIO)
    shown = [line.split("train loss ")[1].split()[0] for line in console.file.getvalue().splitlines()]
    assert shown == ["nan", "2.0000", "3.0000"]
