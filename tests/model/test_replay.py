"""Replayed micro-batches give the losses and gradients of plain ones, or replaying is given up.

A recording is replaced here by the work itself, run again on the recording's own buffers: what a replay reads, where it
writes, and what the program may know while it records is the same. Real recordings run in `test_cuda`.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch

from albertqa.model import packed
from albertqa.model.attention import Attend, attend_in_rows, attend_per_window, attend_varlen
from albertqa.model.load import SpanModel, load_model
from albertqa.model.packed import span_losses
from albertqa.model.replay import Replay, Replayed
from albertqa.windows.batches import PackedBatch

from . import flash_reference  # noqa: F401 -- FlashAttention's stand-in
from .cases import random_batch

CPU = torch.device("cpu")
VOCAB_SIZE = 1000
# Of one shape, then two of another with more tokens, and one with fewer windows.
ALIKE = [(100, 20, 30), (7, 9, 64), (64, 64, 64), (1, 30, 2), (99, 100, 3)]
LENGTHS = [*ALIKE, (200, 3, 90), (250, 10, 70), (128, 20)]


@pytest.fixture
def model(tiny_weights: Path) -> SpanModel:
    loaded = load_model(tiny_weights, device=CPU)
    loaded.model.train()
    return loaded


@pytest.fixture(autouse=True)
def _varlen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attend as on a GPU."""
    monkeypatch.setattr(packed, "choose_attention", lambda *_: attend_varlen)


@dataclass
class Runs:
    """Forward and backward of a model, and a recorder; both count."""

    model: SpanModel
    plain: int = 0
    recorded: int = 0
    replayed: int = 0
    said: list[str] = field(default_factory=list)

    def work(self, batch: PackedBatch, num_windows: int) -> torch.Tensor:
        self.plain += 1
        losses = span_losses(*self.model.logits(batch), batch)
        (losses.sum() / num_windows).backward()
        return losses.detach()

    def record(self, work: Replay) -> Replay:
        self.recorded += 1

        def replay() -> torch.Tensor:
            self.replayed += 1
            self.plain -= 1
            return work().clone()

        return replay

    def replays(self, record: Callable[[Replay], Replay] | None = None) -> Replayed:
        parameters = list(self.model.model.parameters())
        return Replayed(self.work, parameters, CPU, record=record or self.record, say=self.said.append)


def gradients(model: SpanModel) -> list[torch.Tensor]:
    return [one.grad.clone() for one in model.model.parameters()]


def plain_run(model: SpanModel, batches: list[PackedBatch]) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    model.model.zero_grad()
    runs = Runs(model)
    losses = [runs.work(batch, 12) for batch in batches]
    return losses, gradients(model)


def assert_same(found: list[torch.Tensor], expected: list[torch.Tensor]) -> None:
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def batches(seed: int = 0) -> Iterator[PackedBatch]:
    return (random_batch(lengths, VOCAB_SIZE, seed=seed + at) for at, lengths in enumerate(LENGTHS))


def test_every_step_has_the_plain_losses_and_gradients_and_most_are_replayed(model: SpanModel) -> None:
    runs = Runs(model)
    replayed = runs.replays()
    for seed in (0, 100):
        for batch in batches(seed):
            losses, expected = plain_run(model, [batch])
            model.model.zero_grad(set_to_none=True)
            assert_same([replayed(batch, 12)], losses)
            assert_same(gradients(model), expected)
    # Three shapes occur, each plain once; one recording was compared with a plain run.
    assert (runs.recorded, runs.plain, runs.said) == (3, 3 + 1, [])
    assert runs.replayed == 2 * len(LENGTHS) - 3 + 1


@pytest.mark.parametrize("way", [attend_varlen, attend_in_rows])
def test_micro_batches_of_a_step_add_up(model: SpanModel, monkeypatch: pytest.MonkeyPatch, way: Attend) -> None:
    monkeypatch.setattr(packed, "choose_attention", lambda *_: way)
    runs = Runs(model)
    replayed = runs.replays()
    for seed in (0, 100, 200):
        step = list(batches(seed))[3:7]
        losses, expected = plain_run(model, step)
        model.model.zero_grad(set_to_none=True)
        assert_same([replayed(batch, 12) for batch in step], losses)
        assert_same(gradients(model), expected)
    assert runs.recorded == 2


def test_gradients_may_be_kept_in_place_dropped_or_come_from_elsewhere(model: SpanModel) -> None:
    first, second, third, fourth = list(batches())[:4]
    replayed = Runs(model).replays()
    for batch in (first, second):
        model.model.zero_grad(set_to_none=True)
        replayed(batch, 12)
    model.model.zero_grad(set_to_none=False)
    replayed(third, 12)
    assert_same(gradients(model), plain_run(model, [third])[1])
    for parameter in model.model.parameters():
        parameter.grad = torch.ones_like(parameter)
    replayed(fourth, 12)
    found = gradients(model)
    assert_same(found, [one + 1 for one in plain_run(model, [fourth])[1]])


def test_weights_that_moved_to_another_place_are_read_there(model: SpanModel) -> None:
    runs = Runs(model)
    replayed = runs.replays()
    first, second, third, fourth = list(batches())[:4]
    for batch in (first, second):
        replayed(batch, 12)
    kept = [parameter.data for parameter in model.model.parameters()]
    for parameter in model.model.parameters():
        parameter.data = parameter.data * 1.5
    for batch in (third, fourth):
        model.model.zero_grad(set_to_none=True)
        losses = replayed(batch, 12)
        found = gradients(model)
        expected_losses, expected = plain_run(model, [batch])
        assert_same([losses, *found], [*expected_losses, *expected])
    assert runs.recorded == 2
    del kept


def test_another_divisor_or_longest_window_is_another_shape(model: SpanModel) -> None:
    runs = Runs(model)
    replayed = runs.replays()
    batch = random_batch((100, 20, 30), VOCAB_SIZE)
    for num_windows in (12, 12, 3, 3):
        model.model.zero_grad(set_to_none=True)
        replayed(batch, num_windows)
    third = gradients(model)
    model.model.zero_grad()
    Runs(model).work(batch, 3)
    assert_same(third, gradients(model))
    replayed(random_batch((150, 20, 30), VOCAB_SIZE), 3)
    assert runs.recorded == 2


def test_what_needs_the_lengths_on_the_host_is_given_up_not_replayed_wrongly(
    model: SpanModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packed, "choose_attention", lambda *_: attend_per_window)
    runs = Runs(model)
    replayed = runs.replays()
    step = list(batches())[:4]
    losses, expected = plain_run(model, step)
    model.model.zero_grad(set_to_none=True)
    assert_same([replayed(batch, 12) for batch in step], losses)
    assert_same(gradients(model), expected)
    assert len(runs.said) == 1
    assert runs.said[0].startswith("steps run kernel by kernel from here on, not replayed from recordings: split")


def test_where_recording_fails_steps_run_plainly_and_the_user_is_told(model: SpanModel) -> None:
    def fail(_work: Replay) -> Replay:
        raise RuntimeError("operation not permitted when stream is capturing\nmore")

    runs = Runs(model)
    replayed = runs.replays(fail)
    step = list(batches())[:4]
    losses, expected = plain_run(model, step)
    model.model.zero_grad(set_to_none=True)
    assert_same([replayed(batch, 12) for batch in step], losses)
    assert_same(gradients(model), expected)
    assert [line.split(": ")[1] for line in runs.said] == ["operation not permitted when stream is capturing"]


@pytest.mark.parametrize("fault", ["stale losses", "no gradients", "doubled gradients"])
def test_a_recording_that_differs_from_the_plain_run_is_not_used(model: SpanModel, fault: str) -> None:
    runs = Runs(model)

    def record(work: Replay) -> Replay:
        def replay() -> torch.Tensor:
            before = gradients(model)
            losses = work()
            for parameter, gradient in zip(model.model.parameters(), before, strict=True):
                if fault == "no gradients":
                    parameter.grad.copy_(gradient)
                if fault == "doubled gradients":
                    parameter.grad.add_(parameter.grad - gradient)
            return losses.flip(0) if fault == "stale losses" else losses

        return replay

    replayed = runs.replays(record)
    step = list(batches())[:4]
    losses, expected = plain_run(model, step)
    model.model.zero_grad(set_to_none=True)
    assert_same([replayed(batch, 12) for batch in step], losses)
    assert_same(gradients(model), expected)
    assert [line.split(": ")[1] for line in runs.said] == [
        "a recording gave other losses or gradients than the plain run"
    ]


def test_comparing_a_recording_draws_no_random_number(tiny_weights: Path) -> None:
    model = load_model(tiny_weights, device=CPU, hidden_dropout=0.3)
    model.model.train()
    batch = random_batch((100, 20, 30), VOCAB_SIZE)

    def course(record: Callable[[Replay], Replay] | None) -> list[torch.Tensor]:
        runs = Runs(model)
        replayed = runs.replays(record)
        torch.manual_seed(3)
        losses = []
        for _ in range(4):
            model.model.zero_grad(set_to_none=True)
            losses.append(replayed(batch, 3))
        return losses

    def fail(_work: Replay) -> Replay:
        raise RuntimeError("no")

    recorded = course(None)
    assert not torch.equal(recorded[1], recorded[2])
    # The first two runs of both have a tail; those after giving up have none and so other draws.
    assert torch.equal(recorded[0], course(fail)[0])
    torch.manual_seed(3)
    plain = Runs(model).replays()
    plain._is_trusted = True
    expected = [plain(batch, 3) for _ in range(4)]
    assert all(torch.equal(*pair) for pair in zip(recorded, expected, strict=True))
