"""Recorded passes: what surrounds the graphs is real, the graph itself is a stand-in that runs the pass again.

`test_cuda` does the same with real graphs on a real GPU.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from albertqa.model.cuda_graphs import RecordedPasses, RecordingError
from albertqa.model.load import SpanModel, load_model
from albertqa.model.span_loss import span_losses
from albertqa.run.objective import Objective, build_objective, span_objective
from albertqa.windows.batches import PackedBatch, with_spare_window

from .cases import random_batch

CPU = torch.device("cpu")
VOCAB_SIZE = 1000
LENGTHS = st.lists(st.integers(1, 60), min_size=1, max_size=6)


@pytest.fixture(scope="module")
def model(tiny_weights: Path) -> SpanModel:
    return load_model(tiny_weights, device=CPU)


class StandIn(RecordedPasses):
    """Passes whose graphs are the pass itself, run again on the batch that was recorded; counts them."""

    def __init__(self, model: SpanModel, objective: Objective = span_objective) -> None:
        self.model, self.objective, self.replayed, self.error = model, objective, 0, ""
        super().__init__(self._do, list(model.model.parameters()), CPU)

    def _do(self, batch: PackedBatch, counted: int, num_windows: int) -> torch.Tensor:
        # The host does not know a recorded batch's lengths; attention here asks it for them.
        batch = replace(batch, lengths=tuple(batch.first_token.diff().tolist()))
        each = self.objective(self.model, batch)[:counted]
        (each.sum() / num_windows).backward()
        return each.detach()

    def _graph(self, work: Callable[[], torch.Tensor]) -> tuple[Callable[[], None], torch.Tensor]:
        if self.error:
            error = RuntimeError("CUDA error: operation failed due to a previous error during capture")
            error.__context__ = RuntimeError(self.error)
            raise error
        gradients = [one.clone() for one in self._gradients]
        losses = work()
        torch._foreach_copy_(self._gradients, gradients)

        def replay() -> None:
            self.replayed += 1
            losses.copy_(work())

        return replay, losses


def plain(
    model: SpanModel, batches: list[PackedBatch], num_windows: int, objective: Objective = span_objective
) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Return the losses and gradients of passes as they are."""
    model.model.zero_grad()
    losses = []
    for batch in batches:
        each = objective(model, batch)
        (each.sum() / num_windows).backward()
        losses.append(each.detach())
    return torch.cat(losses), [one.grad.clone() for one in model.model.parameters()]


def assert_same(found: list[torch.Tensor], expected: list[torch.Tensor]) -> None:
    largest = max(float(one.abs().max()) for one in expected)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6 * largest)


@settings(max_examples=30)
@given(LENGTHS, st.integers(1, 64))
def test_a_spare_window_changes_no_other_windows_loss_or_gradient(
    model: SpanModel, lengths: list[int], multiple: int
) -> None:
    batch = random_batch(lengths, VOCAB_SIZE)
    longer = with_spare_window(batch, multiple)
    assert len(longer.input_ids) % multiple == 0
    assert 1 <= longer.lengths[-1] <= multiple
    expected, gradients = plain(model, [batch], 1)
    model.model.zero_grad()
    losses = span_losses(*model.logits(longer), longer)[: len(lengths)]
    losses.sum().backward()
    torch.testing.assert_close(losses.detach(), expected, rtol=1e-5, atol=1e-6)
    assert_same([one.grad for one in model.model.parameters()], gradients)


@pytest.mark.parametrize("settings", [{}, {"label_smoothing": 0.1, "r_drop_alpha": 1.0}], ids=["span", "regularized"])
def test_steps_of_several_passes_give_the_losses_and_gradients_of_plain_ones(
    model: SpanModel, settings: dict[str, float]
) -> None:
    objective = build_objective(**settings)
    passes = StandIn(model, objective)
    for step in range(4):
        # The second pass of a step has another shape than the first.
        shapes = [(30, 9, 51), (200, 100, 20)]
        batches = [random_batch(lengths, VOCAB_SIZE, seed=10 * step + at) for at, lengths in enumerate(shapes)]
        expected, gradients = plain(model, batches, 6, objective)
        passes.begin_step()
        losses = torch.cat([passes(batch, 6) for batch in batches])
        torch.testing.assert_close(losses, expected, rtol=1e-5, atol=1e-6)
        assert_same([one.grad for one in model.model.parameters()], gradients)
    # Each shape ran once kernel by kernel, was recorded once, and was replayed three times.
    assert passes.replayed == 6


def test_a_step_of_fewer_windows_is_a_shape_of_its_own(model: SpanModel) -> None:
    passes = StandIn(model)
    passes.begin_step()
    for num_windows in (3, 2, 3, 2):
        passes(random_batch((30, 9), VOCAB_SIZE), num_windows)
    assert passes.replayed == 2


def test_a_pass_that_cannot_be_recorded_says_why(model: SpanModel) -> None:
    passes = StandIn(model)
    passes.begin_step()
    passes(random_batch((30, 9), VOCAB_SIZE), 2)
    passes.error = "CUDA error: operation not permitted when stream is capturing\nmore"
    with pytest.raises(RecordingError, match=r"^CUDA error: operation not permitted when stream is capturing$"):
        passes(random_batch((30, 9), VOCAB_SIZE), 2)
