"""The three ways to attend give the same, with and without a tail; which one a model uses follows from its device.

FlashAttention's kernel is replaced here by plain arithmetic (`flash_reference`); the real one runs in `test_cuda`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AlbertConfig, AlbertForQuestionAnswering, DistilBertConfig, DistilBertForQuestionAnswering

from albertqa.model import attention, packed
from albertqa.model.attention import (
    Attend,
    attend_in_rows,
    attend_per_window,
    attend_varlen,
    attention_inputs,
    choose_attention,
    token_slots,
)
from albertqa.model.load import SpanModel, load_model
from albertqa.model.packed import span_losses
from albertqa.run.objective import build_objective
from albertqa.windows.batches import PackedBatch, with_tail

from . import flash_reference  # noqa: F401 -- FlashAttention's stand-in
from .cases import WIDE, random_batch

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
VOCAB_SIZE = 1000
LENGTHS = [(1,), (64,), (7, 7), (384, 17, 5, 128), (3, 200, 1, 90, 31, 2)]
MANY_LENGTHS = st.lists(st.integers(1, 60), min_size=1, max_size=6)


@pytest.fixture(scope="module")
def model(tiny_weights: Path) -> SpanModel:
    return load_model(tiny_weights, device=CPU)


WAYS = [attend_per_window, attend_varlen, attend_in_rows]


@contextmanager
def attending(way: Attend) -> Iterator[None]:
    """Let models attend in a way that is not their device's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packed, "choose_attention", lambda *_: way)
        yield


def run(
    model: SpanModel, way: Attend, batch: PackedBatch
) -> tuple[torch.Tensor, torch.Tensor, dict[str, torch.Tensor]]:
    """Give logits of the real tokens, losses, and the gradients of their mean."""
    model.model.zero_grad()
    with attending(way):
        start, end = model.logits(batch)
    losses = span_losses(start, end, batch)
    losses.mean().backward()
    gradients = {name: one.grad.clone() for name, one in model.model.named_parameters()}
    return torch.stack([start, end])[:, : batch.num_tokens].detach(), losses.detach(), gradients


def assert_same(found: tuple, expected: tuple) -> None:
    torch.testing.assert_close(found[0], expected[0], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found[1], expected[1], rtol=1e-6, atol=1e-6)
    largest = max(float(one.abs().max()) for one in expected[2].values())
    for name, gradient in expected[2].items():
        torch.testing.assert_close(found[2][name], gradient, rtol=1e-4, atol=1e-6 * largest)


@pytest.mark.parametrize("way", [attend_varlen, attend_in_rows])
@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
def test_every_way_attends_alike(model: SpanModel, way: Attend, lengths: tuple[int, ...]) -> None:
    batch = random_batch(lengths, VOCAB_SIZE)
    assert_same(run(model, way, batch), run(model, attend_per_window, batch))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
def test_a_tail_changes_no_logit_loss_or_gradient(model: SpanModel, way: Attend, lengths: tuple[int, ...]) -> None:
    batch = random_batch(lengths, VOCAB_SIZE)
    longer = with_tail(batch, 256)
    assert len(longer.input_ids) % 256 == 0
    assert_same(run(model, way, longer), run(model, way, batch))


@pytest.mark.parametrize("way", WAYS)
def test_what_the_tail_holds_reaches_nothing(model: SpanModel, way: Attend) -> None:
    batch = with_tail(random_batch((30, 9, 51), VOCAB_SIZE), 64)
    filled = replace(batch, input_ids=batch.input_ids.clone(), position_ids=batch.position_ids.clone())
    filled.input_ids[batch.num_tokens :] = 7
    filled.position_ids[batch.num_tokens :] = 3
    empty, full = run(model, way, batch), run(model, way, filled)
    assert torch.equal(full[0], empty[0])
    assert torch.equal(full[1], empty[1])
    # The rows of token 7 and position 3 in the embeddings would show a gradient that comes from the tail.
    assert all(torch.equal(full[2][name], gradient) for name, gradient in empty[2].items())


def test_the_logits_of_the_tail_have_a_gradient_of_zero() -> None:
    batch = with_tail(random_batch((3, 5), VOCAB_SIZE), 32)
    start, end = (torch.randn(32, requires_grad=True) for _ in range(2))
    span_losses(start, end, batch).sum().backward()
    for logits in (start, end):
        assert logits.grad is not None
        assert logits.grad[:8].all()
        assert not logits.grad[8:].any()


@pytest.mark.parametrize("regularizer", [{"label_smoothing": 0.1}, {"r_drop_alpha": 1.0}], ids=str)
@pytest.mark.parametrize("way", WAYS)
def test_the_regularizers_see_no_tail(model: SpanModel, way: Attend, regularizer: dict[str, float]) -> None:
    batch = random_batch((30, 9, 51), VOCAB_SIZE)
    objective = build_objective(**regularizer)
    with attending(way):
        found, expected = objective(model, with_tail(batch, 256)), objective(model, batch)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


@settings(max_examples=30, deadline=None)
@given(MANY_LENGTHS, st.sampled_from([1, 16, 100]), st.integers(0, 3))
def test_tokens_lie_in_their_windows_row(lengths: list[int], multiple: int, spare: int) -> None:
    batch = with_tail(random_batch(lengths, VOCAB_SIZE), multiple)
    batch = replace(batch, longest=batch.longest + spare)
    tail = len(batch.input_ids) - sum(lengths)
    expected = [row * batch.longest + at for row, length in enumerate([*lengths, tail]) for at in range(length)]
    assert token_slots(batch).tolist() == expected


@pytest.mark.parametrize("way", [attend_varlen, attend_in_rows])
def test_a_longest_window_that_is_more_than_the_longest_changes_nothing(model: SpanModel, way: Attend) -> None:
    batch = random_batch((30, 9, 51), VOCAB_SIZE)
    assert_same(run(model, way, replace(batch, longest=128)), run(model, way, batch))


def draw(batch: PackedBatch) -> list[torch.Tensor]:
    return [torch.randn(1, 2, batch.num_tokens, 16) for _ in range(3)]


def test_rows_drop_attention_where_there_is_dropout_and_nothing_where_there_is_none() -> None:
    batch = random_batch((30, 10), VOCAB_SIZE)
    tensors, inputs = draw(batch), attention_inputs(attend_in_rows, batch)
    plain, dropped = (attend_in_rows(*tensors, dropout=share, scaling=None, **inputs) for share in (0.0, 0.5))
    lengths = attention_inputs(attend_per_window, batch)
    expected = attend_per_window(*tensors, dropout=0.0, scaling=None, **lengths)
    torch.testing.assert_close(plain, expected)
    assert not torch.allclose(dropped, expected)


@pytest.mark.parametrize("scaling", [None, 16**-0.5, 0.1])
@pytest.mark.parametrize("way", [attend_varlen, attend_in_rows])
def test_scores_are_scaled_as_asked(way: Attend, scaling: float | None) -> None:
    batch = random_batch((30, 10), VOCAB_SIZE)
    tensors = draw(batch)
    found, expected = (
        one(*tensors, dropout=0.0, scaling=scaling, **attention_inputs(one, batch)) for one in (way, attend_per_window)
    )
    torch.testing.assert_close(found, expected)


def test_flash_attention_refuses_dropout() -> None:
    batch = random_batch((30, 10), VOCAB_SIZE)
    with pytest.raises(NotImplementedError, match=r"attention dropout 0\.1, where the encoder's config has none"):
        attend_varlen(*draw(batch), dropout=0.1, scaling=None, **attention_inputs(attend_varlen, batch))


def albert(**changes: object) -> AlbertForQuestionAnswering:
    sizes = {"vocab_size": 50, "embedding_size": 8, "hidden_size": 32, "num_attention_heads": 2, "num_hidden_layers": 1}
    config = AlbertConfig(**{**sizes, "intermediate_size": 32, "initializer_range": WIDE, **changes})
    return AlbertForQuestionAnswering(config)


@pytest.fixture
def ampere(monkeypatch: pytest.MonkeyPatch) -> None:
    """An NVIDIA A100, as far as the choice of a way asks for it."""
    monkeypatch.setattr(attention, "_has_flash_attention", lambda _device: True)


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16])
@pytest.mark.usefixtures("ampere")
def test_half_precision_on_a_new_gpu_uses_flash_attention(precision: torch.dtype) -> None:
    assert choose_attention(albert().train(), CUDA, precision) is attend_varlen


@pytest.mark.parametrize(
    ("changes", "precision"),
    [
        ({}, None),
        ({"attention_probs_dropout_prob": 0.1}, torch.bfloat16),
        ({"num_attention_heads": 8}, torch.bfloat16),
        ({"hidden_size": 320, "num_attention_heads": 1}, torch.bfloat16),
    ],
    ids=["fp32", "dropout", "head size 4", "head size 320"],
)
@pytest.mark.usefixtures("ampere")
def test_what_flash_attention_cannot_do_goes_in_rows(changes: dict[str, object], precision: torch.dtype | None) -> None:
    changes = {"attention_probs_dropout_prob": 0.0, **changes}
    assert choose_attention(albert(**changes).train(), CUDA, precision) is attend_in_rows


@pytest.mark.usefixtures("ampere")
def test_dropout_counts_in_training_only() -> None:
    model = albert(attention_probs_dropout_prob=0.1)
    assert choose_attention(model.train(), CUDA, torch.bfloat16) is attend_in_rows
    assert choose_attention(model.eval(), CUDA, torch.bfloat16) is attend_varlen


@pytest.mark.usefixtures("ampere")
def test_distilberts_dropout_is_seen_under_its_own_name() -> None:
    sizes = {"vocab_size": 50, "dim": 32, "n_layers": 1, "n_heads": 2, "hidden_dim": 32}
    for dropout, way in ((0.1, attend_in_rows), (0.0, attend_varlen)):
        model = DistilBertForQuestionAnswering(DistilBertConfig(**sizes, attention_dropout=dropout))
        assert choose_attention(model.train(), CUDA, torch.bfloat16) is way


@pytest.mark.parametrize(("capability", "way"), [((7, 5), attend_in_rows), ((8, 0), attend_varlen)], ids=str)
def test_flash_attention_needs_an_ampere_gpu(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], way: Attend
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _device: capability)
    monkeypatch.setattr(torch.backends.cuda, "is_flash_attention_available", lambda: True)
    attention._has_flash_attention.cache_clear()
    assert choose_attention(albert(), CUDA, torch.float16) is way
    attention._has_flash_attention.cache_clear()


@pytest.mark.parametrize("device", [CPU, torch.device("mps")], ids=str)
def test_other_devices_go_window_by_window(device: torch.device) -> None:
    assert choose_attention(albert(), device, torch.bfloat16) is attend_per_window
