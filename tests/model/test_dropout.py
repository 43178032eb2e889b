"""A window's dropout is its own: whatever lies beside it, however deep it is recomputed, and different everywhere."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from albertqa.model.dropout import draw_kept, draw_mask, dropped, keep, kept_scale, window_seeds
from albertqa.model.load import SpanModel, load_model
from albertqa.model.span_loss import span_losses
from albertqa.windows.batches import PackedBatch

from .cases import random_batch

VOCAB_SIZE = 1000
LENGTHS = (30, 4, 17, 60, 9)
SEEDS = window_seeds(42, 7, range(len(LENGTHS)))


@pytest.fixture(scope="module")
def model(tiny_weights: Path) -> SpanModel:
    """A tiny ALBERT with every kind of dropout, in training."""
    rates = dict.fromkeys(("hidden_dropout", "attention_dropout", "head_dropout"), 0.3)
    found = load_model(tiny_weights, device=torch.device("cpu"), **rates)
    found.model.train()
    return found


def some_of(batch: PackedBatch, windows: Sequence[int]) -> PackedBatch:
    """Lay some of a batch's windows end to end."""

    def taken(values: torch.Tensor) -> torch.Tensor:
        parts = values.split(batch.lengths)
        return torch.cat([parts[window] for window in windows])

    lengths = tuple(batch.lengths[window] for window in windows)
    return PackedBatch(
        input_ids=taken(batch.input_ids),
        token_type_ids=taken(batch.token_type_ids),
        position_ids=taken(batch.position_ids),
        first_token=torch.tensor([0, *lengths]).cumsum(0),
        lengths=lengths,
        longest=max(lengths),
        start_positions=batch.start_positions[list(windows)],
        end_positions=batch.end_positions[list(windows)],
        dropout_seeds=batch.dropout_seeds and tuple(batch.dropout_seeds[window] for window in windows),
    )


def seeded() -> PackedBatch:
    return replace(random_batch(LENGTHS, VOCAB_SIZE), dropout_seeds=SEEDS)


@settings(max_examples=25, deadline=None)
@given(st.permutations(range(len(LENGTHS))), st.integers(1, len(LENGTHS)))
def test_windows_drop_the_same_wherever_they_are(model: SpanModel, order: list[int], size: int) -> None:
    losses = span_losses(*model.logits(seeded()), seeded()).detach()
    torch.manual_seed(size)
    for first in range(0, len(order), size):
        windows = order[first : first + size]
        part = some_of(seeded(), windows)
        torch.testing.assert_close(span_losses(*model.logits(part), part).detach(), losses[windows])


def test_without_seeds_other_numbers_are_drawn_each_time(model: SpanModel) -> None:
    batch = random_batch(LENGTHS, VOCAB_SIZE)
    assert not torch.equal(model.logits(batch)[0], model.logits(batch)[0])


def test_recomputed_layers_drop_the_same(model: SpanModel) -> None:
    def gradients() -> list[torch.Tensor]:
        model.model.zero_grad()
        span_losses(*model.logits(seeded()), seeded()).sum().backward()
        return [one.grad.clone() for one in model.model.parameters() if one.grad is not None]

    expected = gradients()
    model.model.recompute = True
    try:
        found = gradients()
    finally:
        model.model.recompute = False
    assert all(map(torch.equal, found, expected))


def test_masks_differ_between_places_windows_steps_and_runs() -> None:
    x = torch.empty(40, 16)

    def mask(seed: int, step: int, window: int, kind: int, depth: int) -> tuple[float, ...]:
        batch = replace(random_batch((40,), VOCAB_SIZE), dropout_seeds=window_seeds(seed, step, [window]))
        found = draw_mask(batch, x, 0.5, kind, depth)
        assert found is not None
        return tuple(found.flatten().tolist())

    places = [(0, 1, 0, 0, 0), (1, 1, 0, 0, 0), (0, 2, 0, 0, 0), (0, 1, 1, 0, 0), (0, 1, 0, 1, 0), (0, 1, 0, 0, 1)]
    masks = {mask(*place) for place in places}
    assert len(masks) == len(places)
    assert masks == {mask(*place) for place in places}


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_a_mask_drops_the_share_it_should_and_keeps_the_mean(rate: float) -> None:
    batch = replace(random_batch((500, 500), VOCAB_SIZE), dropout_seeds=SEEDS[:2])
    mask = draw_mask(batch, torch.empty(1000, 64), rate, 0)
    assert mask is not None
    assert mask.unique().tolist() == [0.0, 1.0]
    # Five standard deviations of 64,000 draws; a quarter of them comes from the same bits of the generator's numbers.
    shares = (mask == 0).float().view(-1, 4).mean(dim=0)
    assert float((shares - rate).abs().max()) < 5 * (rate * (1 - rate) / (mask.numel() / 4)) ** 0.5


@pytest.mark.parametrize("rate", [0.0, 1e-9, 0.1, 1 / 3, 0.5, 0.999999])
def test_of_all_bits_the_rates_share_is_dropped_and_the_mean_stays(rate: float) -> None:
    bits = torch.arange(-(2**15), 2**15, dtype=torch.int16)
    kept = keep(bits, rate, torch.empty(2**16))
    assert abs(int((kept == 0).sum()) - rate * 2**16) <= 1
    assert kept.double().mean() * kept_scale(rate) == 1
    assert kept.sum() > 0


def test_in_half_precision_what_is_kept_keeps_its_mean() -> None:
    """In bf16 a factor of 1 / 0.9 would be 1.109375, a 640th too little everywhere."""
    batch = replace(random_batch((500, 500), VOCAB_SIZE), dropout_seeds=SEEDS[:2])
    x = (1 + torch.rand(1000, 64)).bfloat16()
    mask = draw_mask(batch, x, 0.1, 0)
    kept = (dropped(x, mask, 0.1, True).double() / x.double())[mask == 1]
    assert float(kept.mean()) == pytest.approx(kept_scale(0.1), rel=2e-4)


@pytest.mark.parametrize("size", [1, 3, 4, 5])
def test_any_number_of_draws_of_any_type(size: int) -> None:
    drawn = [draw_kept(torch.empty(size, dtype=dtype), 0.5, 3) for dtype in (torch.float32, torch.bfloat16)]
    assert torch.equal(drawn[0], drawn[1].float())
    assert set(drawn[0].tolist()) <= {0.0, 1.0}


def test_both_passes_of_r_drop_drop_differently(model: SpanModel) -> None:
    first, second = (model.logits(batch)[0] for batch in (seeded(), seeded().drawn_again()))
    for one, other in zip(first.split(LENGTHS), second.split(LENGTHS), strict=True):
        assert not torch.allclose(one, other)
