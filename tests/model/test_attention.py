"""The three ways to attend give the same; which one a forward uses follows from device, precision and dropout.

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

from albertqa.model import attention, encoder
from albertqa.model.attention import (
    Attend,
    PlainBackward,
    attend_by_products,
    attend_fused,
    attend_in_rows,
    attend_per_window,
    attend_varlen,
    attention_inputs,
    choose_attention,
    token_slots,
)
from albertqa.model.load import SpanModel, load_model
from albertqa.model.processor import Processor
from albertqa.model.span_loss import span_losses
from albertqa.windows.batches import PackedBatch

from . import flash_reference  # noqa: F401 -- FlashAttention's stand-in
from .cases import random_batch

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
VOCAB_SIZE = 1000
LENGTHS = [(1,), (64,), (7, 7), (384, 17, 5, 128), (3, 200, 1, 90, 31, 2)]
MANY_LENGTHS = st.lists(st.integers(1, 60), min_size=1, max_size=6)


@pytest.fixture(scope="module")
def model(tiny_weights: Path) -> SpanModel:
    return load_model(tiny_weights, device=CPU)


@contextmanager
def attending(way: Attend) -> Iterator[None]:
    """Let models attend in a way that is not their device's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoder, "choose_attention", lambda *_, **__: way)
        yield


def run(
    model: SpanModel, way: Attend, batch: PackedBatch
) -> tuple[torch.Tensor, torch.Tensor, dict[str, torch.Tensor]]:
    """Return logits, losses, and the gradients of their mean."""
    model.model.zero_grad()
    with attending(way):
        start, end = model.logits(batch)
    losses = span_losses(start, end, batch)
    losses.mean().backward()
    gradients = {name: one.grad.clone() for name, one in model.model.named_parameters()}
    return torch.stack([start, end]).detach(), losses.detach(), gradients


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


@settings(max_examples=30)
@given(MANY_LENGTHS, st.integers(0, 3))
def test_tokens_lie_in_their_windows_row(lengths: list[int], spare: int) -> None:
    batch = random_batch(lengths, VOCAB_SIZE)
    batch = replace(batch, longest=batch.longest + spare)
    expected = [row * batch.longest + at for row, length in enumerate(lengths) for at in range(length)]
    assert token_slots(batch).tolist() == expected


@pytest.mark.parametrize("way", [attend_varlen, attend_in_rows])
def test_a_longest_window_that_is_more_than_the_longest_changes_nothing(model: SpanModel, way: Attend) -> None:
    batch = random_batch((30, 9, 51), VOCAB_SIZE)
    assert_same(run(model, way, replace(batch, longest=128)), run(model, way, batch))


def draw(batch: PackedBatch, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(batch.num_tokens, 3, 2, 16, dtype=dtype, requires_grad=True)


def attended(way: Attend, qkv: torch.Tensor, batch: PackedBatch, dropout: float = 0.0) -> torch.Tensor:
    return way(qkv, dropout=dropout, **attention_inputs(way, batch))


@pytest.mark.parametrize("way", [attend_per_window, attend_varlen, attend_in_rows])
def test_probabilities_are_dropped_where_there_is_dropout_and_only_there(way: Attend) -> None:
    torch.manual_seed(0)
    batch = random_batch((30, 10), VOCAB_SIZE)
    qkv = draw(batch).detach()
    plain = attended(way, qkv, batch)
    torch.testing.assert_close(plain, attended(attend_per_window, qkv, batch))
    dropped = torch.stack([attended(way, qkv, batch, 0.3) for _ in range(400)])
    assert not torch.allclose(dropped[0], plain)
    # Its mean over many draws is the attention without dropout.
    assert float((dropped.mean(dim=0) - plain).abs().max()) < 6 * float(dropped.std(dim=0).max()) / 400**0.5


def gradient(way: Attend, qkv: torch.Tensor, batch: PackedBatch, direction: torch.Tensor) -> torch.Tensor:
    (found,) = torch.autograd.grad((way(qkv, dropout=0.0, lengths=batch.lengths) * direction).sum(), qkv)
    return found


def by_plain_backward(qkv: torch.Tensor, *, dropout: float, lengths: tuple[int, ...]) -> torch.Tensor:
    assert not dropout
    return PlainBackward.apply(qkv, lengths, [None] * len(lengths))


@pytest.mark.parametrize("dropout", [0.0, 0.4])
@pytest.mark.parametrize("lengths", [(1,), (5, 1, 3)], ids=str)
def test_the_plain_backward_is_the_derivative_of_the_forward(lengths: tuple[int, ...], dropout: float) -> None:
    torch.manual_seed(0)
    qkv = torch.randn(sum(lengths), 3, 2, 4, dtype=torch.float64, requires_grad=True)
    drops = [(dropout, seed) if dropout else None for seed in range(len(lengths))]
    assert torch.autograd.gradcheck(lambda one: PlainBackward.apply(one, lengths, drops), (qkv,))


@settings(max_examples=30, deadline=None)
@given(MANY_LENGTHS, st.sampled_from([0.1, 0.5]), st.integers(0, 1000))
def test_with_dropout_the_plain_backward_is_that_of_the_same_products(
    lengths: list[int], dropout: float, seed: int
) -> None:
    torch.manual_seed(seed)
    batch = random_batch(lengths, VOCAB_SIZE)
    exact, direction = draw(batch, torch.float64), torch.randn(sum(lengths), 2, 16, dtype=torch.float64)
    seeds = [seed + at for at in range(len(lengths))]
    windows = zip(exact.split(lengths), seeds, strict=True)
    expected = torch.cat([attend_by_products(window, (dropout, one)) for window, one in windows])
    (reference,) = torch.autograd.grad((expected * direction).sum(), exact)
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 2e-6), (torch.bfloat16, 0.02)):
        qkv = exact.detach().to(dtype).requires_grad_()
        found = attend_per_window(qkv, dropout=dropout, lengths=lengths, seeds=seeds)
        error = (found.double() - expected).detach().norm()
        assert float(error) <= tolerance * float(expected.detach().norm())
        (derivative,) = torch.autograd.grad((found * direction.to(dtype)).sum(), qkv)
        assert float((derivative.double() - reference).norm()) <= tolerance * float(reference.norm())


@settings(max_examples=30)
@given(MANY_LENGTHS, st.integers(0, 1000))
def test_the_plain_backward_is_that_of_fused_attention(lengths: list[int], seed: int) -> None:
    torch.manual_seed(seed)
    batch = random_batch(lengths, VOCAB_SIZE)
    exact, direction = draw(batch, torch.float64), torch.randn(sum(lengths), 2, 16, dtype=torch.float64)
    reference = gradient(attend_per_window, exact, batch, direction)
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 2e-6), (torch.bfloat16, 0.02)):
        qkv = exact.detach().to(dtype).requires_grad_()
        found = gradient(by_plain_backward, qkv, batch, direction.to(dtype))
        assert float((found.double() - reference).norm()) <= tolerance * float(reference.norm())
        # Its error is of the same kind as that of PyTorch's own backward in this type.
        own = gradient(attend_per_window, qkv, batch, direction.to(dtype))
        own_error = float((own.double() - reference).norm())
        assert float((found.double() - reference).norm()) <= 3 * own_error + tolerance / 10 * float(reference.norm())


@settings(max_examples=30)
@given(st.integers(1, 200), st.integers(0, 1000))
def test_plain_products_attend_as_fused_attention(length: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    exact = 1.5 * torch.randn(length, 3, 3, 24, dtype=torch.float64, generator=generator)
    expected = attend_fused(exact)
    torch.testing.assert_close(attend_by_products(exact), expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(attend_by_products(exact.float()).double(), expected, rtol=1e-5, atol=1e-5)
    window = exact.bfloat16()
    expected = attend_fused(window.double())
    own_error = float((attend_fused(window).double() - expected).norm())
    # Probabilities are rounded when they are normalized, and not before: of the same size, and no smaller.
    found_error = float((attend_by_products(window).double() - expected).norm())
    assert found_error <= 2 * own_error + 2**-10 * float(expected.norm())


@pytest.mark.parametrize(
    ("instructions", "dtype", "is_plain"),
    [
        ({"avx512_bf16"}, torch.bfloat16, True),
        ({"avx512_bf16"}, torch.float32, False),
        ({"avx512_bf16", "amx_bf16"}, torch.bfloat16, False),
        ({"avx2"}, torch.bfloat16, False),
    ],
)
def test_plain_products_are_for_bf16_by_vector_instructions(
    monkeypatch: pytest.MonkeyPatch, instructions: set[str], dtype: torch.dtype, is_plain: bool
) -> None:
    window = torch.randn(9, 3, 2, 16, dtype=dtype)
    used = []

    def by_products(one: torch.Tensor) -> torch.Tensor:
        used.append("plain")
        return one

    def fused(one: torch.Tensor, dropout: float) -> torch.Tensor:
        assert not dropout
        used.append("fused")
        return one

    with monkeypatch.context() as patch:
        patch.setattr(attention, "read_processor", lambda: Processor("a processor", frozenset(instructions)))
        patch.setattr(attention, "attend_by_products", by_products)
        patch.setattr(attention, "attend_fused", fused)
        for one in (attention._has_fast_products, attention._has_slow_attention):
            one.cache_clear()
        attend_per_window(window, dropout=0.0, lengths=[4, 5])
        assert used == ["plain" if is_plain else "fused"] * 2
    for one in (attention._has_fast_products, attention._has_slow_attention):
        one.cache_clear()


@pytest.mark.parametrize(
    ("has_bf16", "dtype", "dropout", "is_plain"),
    [
        (True, torch.bfloat16, 0.0, True),
        (True, torch.float32, 0.0, False),
        (False, torch.bfloat16, 0.0, False),
        (True, torch.bfloat16, 0.1, True),
        (False, torch.float32, 0.1, True),
    ],
)
def test_the_plain_backward_is_for_bf16_in_hardware_and_for_dropout(
    monkeypatch: pytest.MonkeyPatch, has_bf16: bool, dtype: torch.dtype, dropout: float, is_plain: bool
) -> None:
    instructions = frozenset({"avx512_bf16"} if has_bf16 else {"avx2"})
    monkeypatch.setattr(attention, "read_processor", lambda: Processor("a processor", instructions))
    attention._has_fast_products.cache_clear()
    attention._has_slow_attention.cache_clear()
    batch = random_batch((30, 10), VOCAB_SIZE)
    found = attended(attend_per_window, draw(batch, dtype), batch, dropout)
    assert (type(found.grad_fn).__name__ == "PlainBackwardBackward") == is_plain
    attention._has_fast_products.cache_clear()
    attention._has_slow_attention.cache_clear()


def test_a_bf16_step_with_the_plain_backward_is_near_one_without(
    model: SpanModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    half = replace(model, autocast_dtype=torch.bfloat16)
    batch = random_batch((30, 10, 64), VOCAB_SIZE)
    found = []
    for is_fast in (True, False):
        monkeypatch.setattr(attention, "_has_fast_products", lambda _, is_fast=is_fast: is_fast)
        found.append(run(half, attend_per_window, batch)[2])
    plain, fused = (torch.cat([one.flatten() for one in gradients.values()]) for gradients in found)
    assert not torch.equal(plain, fused)
    assert float((plain - fused).norm()) <= 0.02 * float(fused.norm())


@pytest.fixture
def ampere(monkeypatch: pytest.MonkeyPatch) -> None:
    """An NVIDIA A100, as far as the choice of a way asks for it."""
    monkeypatch.setattr(attention, "_has_flash_attention", lambda _device: True)


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16])
@pytest.mark.usefixtures("ampere")
def test_half_precision_on_a_new_gpu_uses_flash_attention(precision: torch.dtype) -> None:
    assert choose_attention(CUDA, precision, head_size=64) is attend_varlen


@pytest.mark.parametrize(
    ("precision", "head_size"),
    [(None, 64), (torch.bfloat16, 4), (torch.bfloat16, 160)],
    ids=["fp32", "head size 4", "head size 160"],
)
@pytest.mark.usefixtures("ampere")
def test_what_flash_attention_cannot_do_goes_in_rows(precision: torch.dtype | None, head_size: int) -> None:
    assert choose_attention(CUDA, precision, head_size=head_size) is attend_in_rows


@pytest.mark.parametrize("is_training", [True, False])
def test_dropout_counts_in_training_only(
    tiny_weights: Path, monkeypatch: pytest.MonkeyPatch, is_training: bool
) -> None:
    model = load_model(tiny_weights, device=CPU, attention_dropout=0.1)
    seen = set()

    def attend(qkv: torch.Tensor, *, dropout: float, lengths: tuple[int, ...]) -> torch.Tensor:
        seen.add(dropout)
        return attend_per_window(qkv, dropout=dropout, lengths=lengths)

    monkeypatch.setattr(encoder, "choose_attention", lambda *_, **__: attend)
    model.model.train(is_training)
    model.logits(random_batch((3, 4), VOCAB_SIZE))
    assert seen == {0.1 if is_training else 0.0}


@pytest.mark.parametrize(
    ("capability", "way"), [((7, 5), attend_in_rows), ((8, 0), attend_varlen)], ids=["turing", "ampere"]
)
def test_flash_attention_needs_an_ampere_gpu(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], way: Attend
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _device: capability)
    monkeypatch.setattr(torch.backends.cuda, "is_flash_attention_available", lambda: True)
    attention._has_flash_attention.cache_clear()
    assert choose_attention(CUDA, torch.float16, head_size=64) is way
    attention._has_flash_attention.cache_clear()


@pytest.mark.parametrize("device", [CPU, torch.device("mps")], ids=str)
def test_other_devices_go_window_by_window(device: torch.device) -> None:
    assert choose_attention(device, torch.bfloat16, head_size=64) is attend_per_window
