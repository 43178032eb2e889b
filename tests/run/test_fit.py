"""Before a run begins, what fits is measured; that costs little, changes nothing, and holds."""

import dataclasses
import gc
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from albertqa import files
from albertqa.config import OptimizerConfig, Settings, equal_passes, load_settings
from albertqa.model.linear import weights_of
from albertqa.model.load import SpanModel
from albertqa.model.processor import read_processor
from albertqa.run import fit
from albertqa.run.callbacks import Callback
from albertqa.run.fit import Fit, LiveBytes, fit_to_memory, longest_window, peak_bytes
from albertqa.run.objective import Objective, span_objective
from albertqa.run.range_test import find_lr
from albertqa.run.recipe import RunResult, train
from albertqa.windows.batches import PackedBatch, pack
from albertqa.windows.store import WindowStore
from model.cases import save_albert

from .cases import TIMED, open_model, rows_in, small_run
from .reference import Course

COURSE = Course()
PLENTY = 2**50
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


class Counting:
    """The recipe's objective, which writes down how many windows it was given."""

    def __init__(self) -> None:
        self.windows: list[int] = []

    def __call__(self, model: SpanModel, batch: PackedBatch) -> torch.Tensor:
        self.windows.append(len(batch.lengths))
        return span_objective(model, batch)


def peak(model: SpanModel, store: WindowStore, windows: int) -> int:
    """Measure as `fit_to_memory` does."""
    model.model.train()
    for parameter in model.model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    return peak_bytes(model, longest_window(store), span_objective, windows)


def bound(model: SpanModel, store: WindowStore, windows: int) -> int:
    """Give what so many windows need at most, as `fit_to_memory` has it from two passes of one window."""
    one = peak(model, store, 1)
    return one + (windows - 1) * peak_bytes(model, longest_window(store), span_objective, matrices=False)


def pending(model: SpanModel) -> int:
    """Gradients and two moments."""
    return 3 * sum(one.nbytes for one in model.model.parameters())


def fitted(
    model: SpanModel,
    optimizer: torch.optim.Optimizer,
    store: WindowStore,
    *,
    objective: Objective = span_objective,
    micro_batch: int = 16,
    recompute: bool = False,
    may_recompute: bool = True,
) -> Fit:
    found = fit_to_memory(
        model, store, optimizer, objective, micro_batch=micro_batch, recompute=recompute, may_recompute=may_recompute
    )
    assert found is not None
    return found


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Sets how much memory is free; a mock, since no test can take a machine's memory away."""

    def set_to(available: int) -> None:
        monkeypatch.setattr(fit, "available_bytes", lambda _device: available)

    return set_to


# -- the count


def test_the_count_is_of_what_is_alive_and_of_the_most_there_was() -> None:
    known = torch.ones(1000)
    with LiveBytes([known]) as live:
        first = known * 2
        assert (live.now, live.peak) == (4000, 4000)
        second = torch.cat([first, first])
        assert (live.now, live.peak) == (12_000, 12_000)
        view = second[10:].view(-1, 2)
        known.mul_(3)
        assert live.now == 12_000, "views and what is done in place take nothing"
        del first, second
        assert live.now == 8000, "a view keeps its storage"
        del view
        gc.collect()
        assert (live.now, live.peak) == (0, 12_000)


def test_the_count_sees_what_the_backward_pass_needs_and_ends_at_nothing(
    tiny_weights: Path, store: WindowStore
) -> None:
    model, _ = open_model(tiny_weights, COURSE)
    model.model.train()
    batch = pack(store, range(4))
    for parameter in model.model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    gradients = [one.grad for one in model.model.parameters() if one.grad is not None]
    inputs = [value for value in vars(batch).values() if isinstance(value, torch.Tensor)]
    known = [*model.model.parameters(), *gradients, *model.model.buffers(), *inputs]
    addresses = {one.untyped_storage().data_ptr() for one in known}
    saved: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in addresses:
            saved[storage.data_ptr()] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        span_objective(model, batch)
    saved_bytes = sum(storage.nbytes() for storage in saved.values())
    with LiveBytes(known) as live:
        span_objective(model, batch).sum().backward()
    assert saved_bytes <= live.peak <= 1.5 * saved_bytes
    gc.collect()
    assert live.now == 0


@pytest.mark.skipif(not read_processor().has_bf16, reason="needs a processor that multiplies bf16")
def test_weights_that_onednn_packed_are_counted() -> None:
    layer = torch.nn.Linear(64, 32)
    with LiveBytes(layer.parameters()) as live:
        weights = weights_of(layer, torch.bfloat16, rows=100)
        packed = [torch.ops.mkldnn._nbytes(one) for one in (weights.packed, weights.packed_transpose)]
        assert min(packed) >= 2 * 64 * 32
        assert live.now == 2 * (64 * 32 + 32) + sum(packed)
        del weights
        assert live.now == 0


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("vocab_size", [1000, 50_000])
def test_many_windows_need_no_more_than_the_bound_and_little_less(
    tiny_folder: Path, tmp_path: Path, store: WindowStore, recompute: bool, vocab_size: int
) -> None:
    """With many embeddings, their gradient is what one window needs most for; it says nothing of what more need.

    As in real encoders, what a window keeps for the backward pass is more than what its attention needs for a moment.
    """
    folder = save_albert(tiny_folder, tmp_path, vocab_size=vocab_size, hidden_size=128, intermediate_size=512)
    model, _ = open_model(folder, COURSE, hidden_dropout=0.1, attention_dropout=0.1)
    if recompute:
        model.recompute_activations()
    one = peak(model, store, 1)
    for windows in (2, 12, 40):
        needed, most = peak(model, store, windows), bound(model, store, windows)
        assert needed <= most <= windows * one
        assert most <= 1.2 * needed + one


def test_recomputing_needs_less(tiny_weights: Path, store: WindowStore) -> None:
    model, _ = open_model(tiny_weights, COURSE)
    before = peak(model, store, 8)
    model.recompute_activations()
    # One of its two layers is always there, being recomputed: a tiny model shows little of what a large one saves.
    assert peak(model, store, 8) < 0.8 * before


# -- the decision


def test_with_memory_enough_one_window_is_measured(tiny_weights: Path, store: WindowStore, memory: Any) -> None:
    memory(PLENTY)
    counting = Counting()
    model, optimizer = open_model(tiny_weights, COURSE)
    found = fitted(model, optimizer, store, objective=counting)
    assert counting.windows == [1]
    assert (found.micro_batch, found.recompute, found.is_enough) == (16, False, True)
    assert found.tokens == store.lengths.max()
    assert found.needed_bytes >= pending(model) + peak(model, store, 16)
    assert found.summary() == (
        f"fits: 16 windows of {found.tokens} tokens at a time need at most {found.needed_bytes / 2**30:.1f} of "
        "1048576.0 GiB"
    )


@pytest.mark.parametrize("windows", [1, 3, 5, 7, 15])
def test_as_many_windows_are_taken_as_there_is_room_for(
    tiny_weights: Path, store: WindowStore, memory: Any, windows: int
) -> None:
    model, optimizer = open_model(tiny_weights, COURSE)
    room = pending(model) + bound(model, store, windows) + 100
    optimizer.zero_grad(set_to_none=True)
    memory(int(room / 0.8) + 1)
    counting = Counting()
    found = fitted(model, optimizer, store, objective=counting)
    # All passes of a step alike: room for 7 of 16 makes three passes, of 6, 6 and 4.
    assert found.micro_batch == {1: 1, 3: 3, 5: 4, 7: 6, 15: 8}[windows]
    assert found.is_enough
    assert not found.recompute
    assert sum(counting.windows) <= 2, "at most two windows, of the 16 of a step"
    assert pending(model) + peak(model, store, found.micro_batch) <= room
    assert f"fits: {found.micro_batch} window" in found.summary()
    assert "at a time, as 16 need " in found.summary()


def test_where_not_one_window_fits_activations_are_recomputed(
    tiny_weights: Path, store: WindowStore, memory: Any
) -> None:
    model, optimizer = open_model(tiny_weights, COURSE)
    one = peak(model, store, 1)
    model.recompute_activations()
    least = peak(model, store, 1)
    model, optimizer = open_model(tiny_weights, COURSE)
    memory(int((pending(model) + (one + least) / 2) / 0.8))
    found = fitted(model, optimizer, store)
    assert (found.recompute, found.is_enough) == (True, True)
    assert 1 <= found.micro_batch < 16
    assert "with activations recomputed" in found.summary()
    assert peak(model, store, 1) == least, "it is turned on"


@pytest.mark.parametrize(("recompute", "may_recompute"), [(True, True), (False, True), (False, False)])
def test_where_nothing_fits_the_least_is_taken_with_a_warning(
    tiny_weights: Path, store: WindowStore, memory: Any, recompute: bool, may_recompute: bool
) -> None:
    memory(1000)
    model, optimizer = open_model(tiny_weights, COURSE)
    found = fitted(model, optimizer, store, recompute=recompute, may_recompute=may_recompute)
    assert (found.micro_batch, found.recompute, found.is_enough) == (1, may_recompute, False)
    assert found.summary().startswith("warning: 1 window of ")
    assert found.summary().endswith("Use a shorter --max-seq-length or a smaller --model")


def test_memory_that_runs_out_while_it_is_measured_is_an_answer(
    tiny_weights: Path, store: WindowStore, memory: Any
) -> None:
    """A mock of an allocator that holds a window only where its activations are recomputed."""

    def objective(model: SpanModel, batch: PackedBatch) -> torch.Tensor:
        if not model.model.recompute:
            raise torch.OutOfMemoryError("CUDA out of memory (planted by a test)")
        return span_objective(model, batch)

    memory(PLENTY)
    model, optimizer = open_model(tiny_weights, COURSE)
    found = fitted(model, optimizer, store, objective=objective)
    assert (found.micro_batch, found.recompute, found.is_enough) == (16, True, True)
    model, optimizer = open_model(tiny_weights, COURSE)
    found = fitted(model, optimizer, store, objective=objective, may_recompute=False)
    assert (found.micro_batch, found.recompute, found.is_enough) == (1, False, False)
    assert found.needed_bytes > PLENTY


def test_a_measuring_that_fails_for_another_reason_is_not_swallowed(tiny_weights: Path, store: WindowStore) -> None:
    def objective(*_arguments: Any) -> torch.Tensor:
        raise RuntimeError("the size of tensor a must match")

    model, optimizer = open_model(tiny_weights, COURSE)
    with pytest.raises(RuntimeError, match="the size of tensor a must match"):
        fitted(model, optimizer, store, objective=objective)
    assert all(one.grad is None for one in model.model.parameters())


def test_measuring_leaves_no_trace(tiny_weights: Path, store: WindowStore, memory: Any) -> None:
    memory(10_000_000)
    model, optimizer = open_model(tiny_weights, COURSE, hidden_dropout=0.1)
    before = {name: one.detach().clone() for name, one in model.model.state_dict().items()}
    rng = torch.get_rng_state()
    assert not model.model.training
    found = fitted(model, optimizer, store, micro_batch=64)
    assert found.micro_batch < 64, "more than one size was measured"
    assert torch.equal(torch.get_rng_state(), rng)
    assert all(torch.equal(one, before[name]) for name, one in model.model.state_dict().items())
    assert all(one.grad is None for one in model.model.parameters())
    assert not optimizer.state
    assert not model.model.training


def test_on_a_device_whose_memory_cannot_be_told_nothing_is_measured(tiny_weights: Path, store: WindowStore) -> None:
    model, optimizer = open_model(tiny_weights, COURSE)
    elsewhere = dataclasses.replace(model, device=torch.device("mps"))
    found = fit_to_memory(
        elsewhere, store, optimizer, span_objective, micro_batch=16, recompute=False, may_recompute=True
    )
    assert found is None


@needs_gpu
def test_on_a_gpu_what_was_found_really_fits(tiny_folder: Path, store: WindowStore, tmp_path: Path) -> None:
    from albertqa.model.load import load_model
    from albertqa.run.optimizer import build_optimizer

    wide = {"hidden_size": 512, "intermediate_size": 2048, "num_attention_heads": 8, "num_hidden_layers": 12}
    device = torch.device("cuda")
    model = load_model(save_albert(tiny_folder, tmp_path, **wide), device=device)
    optimizer = build_optimizer(model.model, OptimizerConfig(learning_rate=1e-4))
    torch.cuda.empty_cache()
    total = torch.cuda.mem_get_info(device)[1]
    torch.cuda.set_per_process_memory_fraction(2**30 / total)
    try:
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(fit, "available_bytes", lambda _device: 2**30 - torch.cuda.memory_allocated(device))
            found = fitted(model, optimizer, store, micro_batch=256)
        assert 1 < found.micro_batch < 256
        batch = pack(store, [int(store.lengths.argmax())] * found.micro_batch).to(device)
        span_objective(model, batch).sum().backward()
        optimizer.step()
        with pytest.raises(torch.OutOfMemoryError):
            span_objective(model, pack(store, [int(store.lengths.argmax())] * 256).to(device)).sum().backward()
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


# -- whole runs


class Lines(Callback):
    """Keeps the lines that a run shows."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def on_message(self, text: str) -> None:
        self.lines.append(text)


def outcome(result: RunResult) -> dict[str, Any]:
    hashes = {
        f"{name}/{path.name}": hashlib.sha256(path.read_bytes()).hexdigest()
        for name in (files.BEST, files.FINAL)
        for path in (result.run / name).iterdir()
    }
    rows = [{key: one for key, one in row.items() if key not in TIMED} for row in rows_in(result.run)]
    return {"files": hashes, "rows": rows}


def facts_of(result: RunResult) -> Any:
    return json.loads((result.run / files.RUN_JSON).read_text())


def run_of(folder: Path, output_dir: Path, **changes: Any) -> Settings:
    return small_run(folder, output_dir, hidden_dropout=0.1, **changes)


@pytest.fixture(scope="module")
def unmeasured(tmp_path_factory: pytest.TempPathFactory, tiny_weights: Path) -> RunResult:
    """A run with --no-fit."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("ALBERTQA_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        return train(run_of(tiny_weights, tmp_path_factory.mktemp("runs") / "unmeasured", fit=False))


def test_measuring_changes_no_bit_of_a_run(tiny_weights: Path, tmp_path: Path, unmeasured: RunResult) -> None:
    lines = Lines()
    measured = train(run_of(tiny_weights, tmp_path / "run"), callbacks=[lines])
    assert outcome(measured) == outcome(unmeasured)
    facts = facts_of(measured)
    assert facts["fit"]["micro_batch"] == facts["fit"]["wanted"] == facts["micro_batch"] == 8
    assert facts["fit"]["is_enough"] is True
    assert facts_of(unmeasured)["fit"] is None
    assert sum(line.startswith("fits: 8 windows of ") for line in lines.lines) == 1


def test_recomputing_changes_no_bit_of_a_run(tiny_weights: Path, tmp_path: Path, unmeasured: RunResult) -> None:
    recomputed = train(run_of(tiny_weights, tmp_path / "run", fit=False, gradient_checkpointing=True))
    assert outcome(recomputed) == outcome(unmeasured)
    assert facts_of(recomputed)["recompute"] is True


def test_a_run_short_of_memory_has_the_same_steps_in_more_passes(
    tiny_weights: Path, tmp_path: Path, memory: Any
) -> None:
    whole = train(small_run(tiny_weights, tmp_path / "whole", fit=False))
    memory(2_400_000)
    lines = Lines()
    short = train(small_run(tiny_weights, tmp_path / "short"), callbacks=[lines])
    facts = facts_of(short)
    assert 1 <= facts["micro_batch"] < 8
    assert facts["fit"]["available_bytes"] == 2_400_000
    assert load_settings(short.run / files.CONFIG_TOML).train_batch_size == 8, "the settings stay the user's"
    rows, whole_rows = ([row for row in outcome(one)["rows"] if "train_loss" in row] for one in (short, whole))
    assert {row["micro_batch"] for row in rows} == {facts["micro_batch"]}
    assert [row["train_loss"] for row in rows] == pytest.approx([row["train_loss"] for row in whole_rows], rel=1e-5)
    assert [row["tokens"] for row in rows] == [row["tokens"] for row in whole_rows]
    assert any(f"fits: {facts['micro_batch']} window" in line and "as 8 need" in line for line in lines.lines)


def test_a_range_test_short_of_memory_has_the_same_steps_in_more_passes(
    tiny_weights: Path, tmp_path: Path, memory: Any
) -> None:
    settings = small_run(tiny_weights, tmp_path / "lr", max_train_examples=41, fit=False)
    whole = find_lr(settings, num_steps=20)
    memory(2_400_000)
    lines = Lines()
    short = find_lr(dataclasses.replace(settings, fit=True), num_steps=20, callbacks=[lines])
    assert sum("as 8 need" in line for line in lines.lines) == 1
    assert short.learning_rates == whole.learning_rates
    # At the highest rates, the rounding of sums grows to something.
    assert short.losses[:10] == pytest.approx(whole.losses[:10], rel=1e-5)


@given(st.integers(1, 64), st.integers(1, 8), st.data())
def test_a_step_is_cut_into_the_fewest_equal_passes(micro_batch: int, accumulation: int, data: st.DataObject) -> None:
    most, step_windows = data.draw(st.integers(1, micro_batch)), micro_batch * accumulation
    windows = equal_passes(step_windows, most)
    assert windows <= most
    assert step_windows % windows == 0
    assert all(step_windows % more for more in range(windows + 1, most + 1))
    assert equal_passes(step_windows, micro_batch) == micro_batch


def test_a_resumed_run_takes_no_more_than_it_had_and_less_where_it_must(
    tiny_weights: Path, tmp_path: Path, memory: Any
) -> None:
    from albertqa.run.checkpoint import newest_checkpoint

    memory(2_400_000)
    run = train(small_run(tiny_weights, tmp_path / "run", save_steps=2.0))
    had = facts_of(run)["micro_batch"]
    # As if it had been killed after its last but one checkpoint.
    newest, _ = newest_checkpoint(run.run)
    assert newest is not None
    (newest / "model.safetensors").write_bytes(b"damaged")
    memory(PLENTY)
    resumed = train(small_run(tiny_weights, tmp_path / "run", save_steps=2.0), resume=True)
    assert resumed.status == "finished"
    assert facts_of(resumed)["micro_batch"] == facts_of(resumed)["fit"]["wanted"] == had
    assert outcome(resumed)["rows"] == outcome(run)["rows"]

    newest, _ = newest_checkpoint(run.run)
    assert newest is not None
    (newest / "model.safetensors").write_bytes(b"damaged")
    memory(1000)
    least = train(small_run(tiny_weights, tmp_path / "run", save_steps=2.0), resume=True)
    assert facts_of(least)["micro_batch"] == 1


def test_a_run_that_was_killed_for_its_memory_may_go_on_with_other_settings_of_it(
    tiny_weights: Path, tmp_path: Path
) -> None:
    settings = small_run(tiny_weights, tmp_path / "run", fit=False, max_steps=2)
    train(settings)
    train(dataclasses.replace(settings, fit=True, gradient_checkpointing=True), resume=True)
