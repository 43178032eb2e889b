"""The encoder computes what Transformers' own classes do: logits, loss and every gradient, for every family."""

import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional
from transformers import PreTrainedModel

from albertqa.model import encoder
from albertqa.model.linear import Weights, weights_of
from albertqa.model.load import SpanModel, load_model
from albertqa.model.span_loss import span_losses
from albertqa.windows.batches import PackedBatch

from .cases import padded, padded_losses, random_batch, unpadded_losses
from .families import JUDGES, POSITIONS, VOCAB_SIZE, by_their_names, configs, judge, ours_of

LENGTHS = [(1,), (64,), (7, 7), (3, 60, 1, 41, 31, 2)]
# Of the largest entry of what is compared. In fp64 the two are one function; in fp32 the order of sums differs.
TOLERANCE = {torch.float64: 1e-8, torch.float32: 1e-5}


def has_segments(plain: PreTrainedModel) -> bool:
    return getattr(plain.config, "type_vocab_size", 0) >= 2


def assert_close(found: torch.Tensor, expected: torch.Tensor, what: str, *, scale: float | None = None) -> None:
    scale = float(expected.abs().max()) if scale is None else scale
    largest = float((found - expected).abs().max())
    assert largest <= TOLERANCE[found.dtype] * scale, f"{what}: off by {largest / max(scale, 1e-300):.2e}"


def assert_same(ours: SpanModel, plain: PreTrainedModel, batch: PackedBatch, *, is_padded: bool) -> None:
    """Compare logits, losses and all gradients."""
    family = ours.family.model_type
    inputs = padded(batch, pad_id=plain.config.pad_token_id, has_segments=has_segments(plain))
    is_real = inputs["attention_mask"] == 1
    with torch.no_grad():
        output = plain(**inputs)
    start_logits, end_logits = ours.logits(batch)
    assert_close(start_logits.detach(), output.start_logits[is_real], "start logits")
    assert_close(end_logits.detach(), output.end_logits[is_real], "end logits")
    losses = span_losses(start_logits, end_logits, batch)
    expected = (padded_losses if is_padded else unpadded_losses)(plain, batch, has_segments=has_segments(plain))
    assert_close(losses.detach(), expected.detach(), "losses")
    ours.model.zero_grad()
    plain.zero_grad()
    losses.mean().backward()
    expected.mean().backward()
    found = by_their_names(ours.model, family, lambda parameter: parameter.grad)
    gradients = {name: parameter.grad for name, parameter in plain.named_parameters()}
    assert found.keys() == gradients.keys()
    largest = max(float(gradient.abs().max()) for gradient in gradients.values())
    for name, gradient in gradients.items():
        # In fp64 by each tensor's own size; a key's bias has no gradient but rounding, as it adds the same to all of a
        # query's scores.
        own = max(float(gradient.abs().max()), 1e-3 * largest)
        assert_close(found[name], gradient, name, scale=own if gradient.dtype is torch.float64 else largest)


@pytest.mark.parametrize("family", JUDGES)
@settings(max_examples=20, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(data=st.data())
def test_any_small_configuration_computes_what_transformers_does(family: str, data: st.DataObject) -> None:
    plain = judge(family, data.draw(configs(family))).double()
    longest = POSITIONS - 10
    lengths = data.draw(st.lists(st.integers(1, longest), min_size=1, max_size=4), label="lengths")
    with tempfile.TemporaryDirectory() as folder:
        ours = ours_of(plain.float(), Path(folder))
    ours.model.double()
    assert_same(ours, plain.double(), random_batch(lengths, VOCAB_SIZE), is_padded=data.draw(st.booleans()))


@pytest.mark.parametrize("family", JUDGES)
@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
def test_in_fp32_every_family_is_within_rounding_of_transformers(
    family: str, lengths: tuple[int, ...], tmp_path: Path
) -> None:
    plain = judge(family)
    assert_same(ours_of(plain, tmp_path), plain, random_batch(lengths, VOCAB_SIZE), is_padded=True)


def test_the_starters_real_weights_compute_what_transformers_does() -> None:
    ours = load_starter()
    with tempfile.TemporaryDirectory() as folder:
        ours.save(Path(folder))
        plain = JUDGES["albert"][1].from_pretrained(folder).eval()
    assert_same(ours, plain, random_batch((384, 17, 5, 128), 30_522), is_padded=True)


def load_starter() -> SpanModel:
    torch.manual_seed(0)
    return load_model("starter", device=torch.device("cpu"))


@pytest.fixture
def _visible_dropout(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make dropout a factor, so that where it is applied shows, and how often."""

    def factor(x: torch.Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> torch.Tensor:
        del inplace
        return x * (1 + p) if training else x

    monkeypatch.setattr(functional, "dropout", factor)


@pytest.mark.parametrize("family", JUDGES)
@pytest.mark.usefixtures("_visible_dropout")
def test_hidden_states_are_dropped_where_transformers_drops_them(family: str, tmp_path: Path) -> None:
    changes = {"hidden_dropout_prob": 0.25} | ({"qa_dropout": 0.125} if family == "distilbert" else {})
    plain = judge(family, changes)
    ours = ours_of(plain, tmp_path)
    ours.model.train()
    assert_same(ours, plain.train(), random_batch((30, 4), VOCAB_SIZE), is_padded=True)
    with torch.no_grad():
        trained = ours.logits(random_batch((30, 4), VOCAB_SIZE))
        ours.model.eval()
        evaluated = ours.logits(random_batch((30, 4), VOCAB_SIZE))
    assert not torch.allclose(trained[0], evaluated[0])


@pytest.fixture(scope="module")
def albert(tmp_path_factory: pytest.TempPathFactory) -> SpanModel:
    return ours_of(judge("albert"), tmp_path_factory.mktemp("albert"))


@settings(max_examples=20, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(st.lists(st.integers(1, 60), min_size=2, max_size=6), st.data())
def test_changing_one_window_leaves_the_others_bit_equal(
    albert: SpanModel, lengths: list[int], data: st.DataObject
) -> None:
    changed = data.draw(st.integers(0, len(lengths) - 1), label="changed window")
    batch, other = random_batch(lengths, VOCAB_SIZE, seed=0), random_batch(lengths, VOCAB_SIZE, seed=1)
    inside = slice(sum(lengths[:changed]), sum(lengths[: changed + 1]))
    input_ids = batch.input_ids.clone()
    input_ids[inside] = other.input_ids[inside]
    mixed = replace(batch, input_ids=input_ids)
    with torch.no_grad():
        before, after = albert.logits(batch), albert.logits(mixed)
    for one, two in zip(before, after, strict=True):
        parts = list(zip(one.split(batch.lengths), two.split(batch.lengths), strict=True))
        assert all(torch.equal(a, b) for window, (a, b) in enumerate(parts) if window != changed)
        assert not torch.equal(*parts[changed]) or torch.equal(batch.input_ids, input_ids)


def test_the_order_of_windows_changes_no_windows_loss(albert: SpanModel) -> None:
    lengths = (30, 5, 64, 12)
    batch = random_batch(lengths, VOCAB_SIZE)
    order = [2, 0, 3, 1]

    def reorder(values: torch.Tensor) -> torch.Tensor:
        parts = values.split(lengths)
        return torch.cat([parts[window] for window in order])

    moved = PackedBatch(
        input_ids=reorder(batch.input_ids),
        token_type_ids=reorder(batch.token_type_ids),
        position_ids=reorder(batch.position_ids),
        first_token=torch.tensor([0, *(lengths[window] for window in order)]).cumsum(0),
        lengths=tuple(lengths[window] for window in order),
        longest=batch.longest,
        start_positions=batch.start_positions[order],
        end_positions=batch.end_positions[order],
    )
    with torch.no_grad():
        losses = span_losses(*albert.logits(batch), batch)
        moved_losses = span_losses(*albert.logits(moved), moved)
    torch.testing.assert_close(moved_losses, losses[order], rtol=1e-6, atol=1e-6)


def test_half_precision_has_fp32_weights_and_gradients_as_near_to_fp32_as_transformers(albert: SpanModel) -> None:
    plain = judge("albert")

    def ours(batch: PackedBatch, precision: torch.dtype | None) -> list[torch.Tensor]:
        albert.model.zero_grad()
        span_losses(*replace(albert, autocast_dtype=precision).logits(batch), batch).mean().backward()
        gradients = [parameter.grad for parameter in albert.model.parameters()]
        assert all(gradient.dtype is torch.float32 for gradient in gradients)
        return gradients

    def theirs(batch: PackedBatch, *, is_half: bool) -> list[torch.Tensor]:
        plain.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=is_half):
            losses = padded_losses(plain, batch)
        losses.float().mean().backward()
        return [parameter.grad for parameter in plain.parameters()]

    def distance(found: list[torch.Tensor], expected: list[torch.Tensor]) -> float:
        return float(sum((one - other).square().sum() for one, other in zip(found, expected, strict=True)))

    # Every processor rounds its own way, and so do their attention and ours.
    batches = [random_batch((50, 9), VOCAB_SIZE, seed=seed) for seed in range(4)]
    own = sum(distance(ours(batch, torch.bfloat16), ours(batch, None)) for batch in batches)
    usual = sum(distance(theirs(batch, is_half=True), theirs(batch, is_half=False)) for batch in batches)
    assert all(parameter.dtype is torch.float32 for parameter in albert.model.parameters())
    assert 0 < own < 1.5**2 * usual


def test_weights_are_cast_once_a_forward_however_often_a_layer_is_used(
    albert: SpanModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    cast = []

    def counted(layer: nn.Linear, precision: torch.dtype | None, *, rows: int | None = None) -> Weights:
        cast.append(layer)
        return weights_of(layer, precision, rows=rows)

    monkeypatch.setattr(encoder, "weights_of", counted)
    batch = random_batch((50, 9), VOCAB_SIZE)
    losses = span_losses(*replace(albert, autocast_dtype=torch.bfloat16).logits(batch), batch)
    # The projection, and the four matrices of the one layer that all three share.
    assert len(cast) == len(set(cast)) == 5
    losses.mean().backward()
    assert len(cast) == 5
