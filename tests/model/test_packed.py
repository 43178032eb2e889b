"""The padding-free forward equals Transformers' own, window by window."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import (
    AlbertForQuestionAnswering,
    BertConfig,
    BertForQuestionAnswering,
    DebertaV2Config,
    DebertaV2ForQuestionAnswering,
    DistilBertConfig,
    DistilBertForQuestionAnswering,
    ElectraConfig,
    ElectraForQuestionAnswering,
    PreTrainedModel,
    RobertaConfig,
    RobertaForQuestionAnswering,
)

from albertqa.errors import ModelError
from albertqa.model.load import SpanModel, load_model
from albertqa.model.packed import span_losses
from albertqa.windows.batches import PackedBatch

from .cases import WIDE, padded, padded_losses, random_batch, unpadded_losses

CPU = torch.device("cpu")
VOCAB_SIZE = 1000
LENGTHS = [(1,), (64,), (7, 7), (384, 17, 5, 128), (3, 200, 1, 90, 31, 2)]
SIZES = {
    "vocab_size": VOCAB_SIZE,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 512,
    "initializer_range": WIDE,
}
DISTILBERT = {"vocab_size": VOCAB_SIZE, "dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64}
OTHERS: dict[str, Callable[[], PreTrainedModel]] = {
    "bert": lambda: BertForQuestionAnswering(BertConfig(**SIZES)),
    "roberta": lambda: RobertaForQuestionAnswering(RobertaConfig(**SIZES, type_vocab_size=1)),
    "distilbert": lambda: DistilBertForQuestionAnswering(DistilBertConfig(**DISTILBERT, initializer_range=WIDE)),
    "electra": lambda: ElectraForQuestionAnswering(ElectraConfig(**SIZES, embedding_size=16)),
}


@pytest.fixture(scope="module")
def packed_model(tiny_weights: Path) -> SpanModel:
    return load_model(tiny_weights, device=CPU)


@pytest.fixture(scope="module", params=["eager", "sdpa"])
def plain_model(tiny_weights: Path, request: pytest.FixtureRequest) -> AlbertForQuestionAnswering:
    return AlbertForQuestionAnswering.from_pretrained(tiny_weights, attn_implementation=request.param).eval()


def assert_same_logits(ours: SpanModel, plain: PreTrainedModel, batch: PackedBatch) -> None:
    inputs = padded(batch, pad_id=plain.config.pad_token_id, has_segments=ours.has_segments)
    with torch.no_grad():
        output = plain(**inputs)
        start_logits, end_logits = ours.logits(batch)
    is_real = inputs["attention_mask"] == 1
    torch.testing.assert_close(start_logits, output.start_logits[is_real], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(end_logits, output.end_logits[is_real], rtol=1e-5, atol=1e-5)


def assert_same_losses_and_gradients(ours: SpanModel, plain: PreTrainedModel, batch: PackedBatch) -> None:
    losses = span_losses(*ours.logits(batch), batch)
    ours.model.zero_grad()
    losses.mean().backward()
    gradients = {name: one.grad.clone() for name, one in ours.model.named_parameters()}
    for reference in (padded_losses, unpadded_losses):
        expected = reference(plain, batch, has_segments=ours.has_segments)
        torch.testing.assert_close(losses, expected, rtol=1e-5, atol=1e-5)
        plain.zero_grad()
        expected.mean().backward()
        largest = max(float(one.grad.abs().max()) for one in plain.parameters())
        for name, parameter in plain.named_parameters():
            torch.testing.assert_close(
                gradients[name], parameter.grad, rtol=1e-4, atol=1e-5 * largest, msg=lambda text, n=name: f"{n}: {text}"
            )


@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
def test_packed_logits_equal_transformers_padded_ones(
    packed_model: SpanModel, plain_model: AlbertForQuestionAnswering, lengths: tuple[int, ...]
) -> None:
    assert_same_logits(packed_model, plain_model, random_batch(lengths, VOCAB_SIZE))


@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
def test_packed_losses_and_gradients_equal_transformers_own(
    packed_model: SpanModel, plain_model: AlbertForQuestionAnswering, lengths: tuple[int, ...]
) -> None:
    assert_same_losses_and_gradients(packed_model, plain_model, random_batch(lengths, VOCAB_SIZE))


@pytest.mark.parametrize("kind", OTHERS)
def test_other_encoders_packed_equal_their_own_forward(kind: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    plain = OTHERS[kind]().eval()
    plain.save_pretrained(tmp_path)
    ours = load_model(tmp_path, device=CPU)
    batch = random_batch((40, 3, 17), VOCAB_SIZE)
    assert_same_logits(ours, plain, batch)
    assert_same_losses_and_gradients(ours, plain, batch)


def test_the_longest_window_of_a_roberta_leaves_out_its_reserved_positions(tmp_path: Path) -> None:
    OTHERS["roberta"]().save_pretrained(tmp_path)
    ours = load_model(tmp_path, device=CPU)
    assert ours.max_positions == 510
    start_logits, _ = ours.logits(random_batch((510,), VOCAB_SIZE))
    assert start_logits.shape == (510,)


def test_an_encoder_that_would_mix_the_windows_is_refused(tmp_path: Path) -> None:
    DebertaV2ForQuestionAnswering(DebertaV2Config(**SIZES)).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="deberta-v2: this encoder cannot keep windows apart without padding"):
        load_model(tmp_path, device=CPU)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 60), min_size=2, max_size=6), st.data())
def test_changing_one_window_leaves_the_others_bit_equal(
    packed_model: SpanModel, lengths: list[int], data: st.DataObject
) -> None:
    changed = data.draw(st.integers(0, len(lengths) - 1), label="changed window")
    batch, other = random_batch(lengths, VOCAB_SIZE, seed=0), random_batch(lengths, VOCAB_SIZE, seed=1)
    inside = slice(sum(lengths[:changed]), sum(lengths[: changed + 1]))
    input_ids = batch.input_ids.clone()
    input_ids[inside] = other.input_ids[inside]
    mixed = replace(batch, input_ids=input_ids)
    with torch.no_grad():
        before, after = packed_model.logits(batch), packed_model.logits(mixed)
    for one, two in zip(before, after, strict=True):
        parts = list(zip(one.split(batch.lengths), two.split(batch.lengths), strict=True))
        assert all(torch.equal(a, b) for window, (a, b) in enumerate(parts) if window != changed)
        assert not torch.equal(*parts[changed]) or torch.equal(batch.input_ids, input_ids)


def test_the_order_of_windows_changes_no_windows_loss(packed_model: SpanModel) -> None:
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
        losses = span_losses(*packed_model.logits(batch), batch)
        moved_losses = span_losses(*packed_model.logits(moved), moved)
    torch.testing.assert_close(moved_losses, losses[order], rtol=1e-6, atol=1e-6)
