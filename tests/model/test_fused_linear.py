"""A product and what follows it in one kernel are no further from the exact values than one after the other."""

import copy
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from albertqa.model import encoder
from albertqa.model import linear as products
from albertqa.model.encoder import _num_spare_rows
from albertqa.model.encoder_config import ACTIVATIONS, TANH_GELU
from albertqa.model.linear import TanhGelu, Weights, linear, weights_of
from albertqa.model.load import load_model
from albertqa.model.processor import read_processor

from .cases import random_batch

has_bf16 = pytest.mark.skipif(not read_processor().has_bf16, reason="needs a processor that multiplies bf16")


def drawn(tokens: int, outputs: int = 96) -> tuple[torch.Tensor, nn.Linear, torch.Tensor]:
    """Return an input, a layer and a residual."""
    generator = torch.Generator().manual_seed(tokens)
    layer = nn.Linear(48, outputs)
    with torch.no_grad():
        layer.weight.normal_(0.0, 0.3, generator=generator)
        layer.bias.normal_(generator=generator)
    x, residual = (torch.randn(tokens, size, generator=generator).bfloat16() for size in (48, outputs))
    return x, layer.bfloat16(), residual


KINDS = [(name, False) for name in (None, *ACTIVATIONS)] + [(None, True)]


@has_bf16
@pytest.mark.parametrize("rows", [None, 7, 197])
@pytest.mark.parametrize("tokens", [1, 7, 197])
@pytest.mark.parametrize(("name", "has_residual"), KINDS)
def test_one_kernel_is_as_exact_as_two(
    name: str | None, has_residual: bool, tokens: int, rows: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, layer, drawn_residual = drawn(tokens)
    activation = None if name is None else ACTIVATIONS[name]
    residual = drawn_residual if has_residual else None
    with torch.no_grad():
        weights = weights_of(layer, torch.bfloat16, rows=rows)
        assert (weights.packed is not None, weights.packed_transpose) == (rows is not None, None)
        fused = linear(x, weights, activation, residual)
        doubled = Weights(layer.weight.double(), layer.bias.double())
        exact = linear(x.double(), doubled, activation, residual.double() if residual is not None else None)
        monkeypatch.setattr(products, "_has_fused_products", lambda: False)
        plain = linear(x, weights, activation, residual)
    assert fused.dtype is torch.bfloat16
    scale = exact.abs().max()
    assert (fused - exact).abs().max() <= max((plain - exact).abs().max(), 2**-9 * scale)
    assert (fused - exact).square().mean() <= 1.01 * (plain - exact).square().mean()


def test_only_bf16_is_multiplied_by_one_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> bool:
        raise AssertionError("asked for one kernel")

    monkeypatch.setattr(products, "_has_fused_products", refuse)
    x, layer, _ = drawn(3)
    linear(x.float(), weights_of(layer.float(), None, rows=3), ACTIVATIONS["gelu"])
    weights = weights_of(layer.bfloat16(), torch.bfloat16)
    for is_training in (False, True):
        with torch.set_grad_enabled(is_training), pytest.raises(AssertionError, match="one kernel"):
            linear(x, weights)


@has_bf16
@pytest.mark.parametrize("rows", [None, 7, 197])
@pytest.mark.parametrize(("name", "has_residual"), KINDS)
@pytest.mark.parametrize("outputs", [32, 96])
def test_gradients_of_one_kernel_are_as_exact_as_those_of_two(
    outputs: int, name: str | None, has_residual: bool, rows: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    activation = None if name is None else ACTIVATIONS[name]
    x, layer, residual = drawn(197, outputs)
    direction = torch.randn(197, outputs, generator=torch.Generator().manual_seed(1)).bfloat16()

    def gradients(dtype: torch.dtype) -> list[torch.Tensor]:
        own = copy.deepcopy(layer).to(dtype)
        leaves = [one.to(dtype).requires_grad_() for one in (x, residual)[: 1 + has_residual]]
        found = linear(leaves[0], weights_of(own, dtype, rows=rows), activation, *leaves[1:])
        return [
            one.double() for one in torch.autograd.grad(found, [*leaves, own.weight, own.bias], direction.to(dtype))
        ]

    exact, fused = gradients(torch.float64), gradients(torch.bfloat16)
    monkeypatch.setattr(products, "_has_fused_products", lambda: False)
    for one, other, expected in zip(fused, gradients(torch.bfloat16), exact, strict=True):
        assert one.shape == expected.shape
        assert (one - expected).norm() <= 1.1 * (other - expected).norm() + 2**-9 * expected.norm() / 10


@has_bf16
def test_gelu_of_one_kernel_is_pytorchs_for_every_number() -> None:
    numbers = torch.arange(-(2**15), 2**15).to(torch.int16).view(torch.bfloat16)
    x = numbers[numbers.isfinite()].view(-1, 16).requires_grad_()
    found, usual = TanhGelu.apply(x), TANH_GELU.apply(x)  # type: ignore[no-untyped-call]
    exact = TANH_GELU.apply(x.double())
    # In the tail, where both are near 0, both round their own way.
    assert ((found - exact).abs() <= (usual - exact).abs() + 2**-17).all()
    gradients = (torch.autograd.grad(one.sum(), x)[0] for one in (found, usual))
    torch.testing.assert_close(*gradients, rtol=0.0, atol=0.0, equal_nan=True)


@has_bf16
@pytest.mark.parametrize("shape", [(1, 1), (5, 3), (197, 96), (33, 3072)])
def test_gelu_of_one_kernel_takes_any_shape(shape: tuple[int, int]) -> None:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(shape[0])).bfloat16()
    found = TanhGelu.apply(x)  # type: ignore[no-untyped-call]
    assert found.is_contiguous()
    torch.testing.assert_close(found, TANH_GELU.apply(x), rtol=0.0, atol=2**-17)


@has_bf16
def test_gelu_of_one_kernel_keeps_what_is_not_finite() -> None:
    x = torch.tensor([[torch.inf, torch.nan, 1.0]]).bfloat16()
    found = TanhGelu.apply(x)  # type: ignore[no-untyped-call]
    torch.testing.assert_close(found, TANH_GELU.apply(x), rtol=0.0, atol=0.0, equal_nan=True)


@has_bf16
def test_one_kernel_is_used_in_training(tiny_weights: Path) -> None:
    seen = []
    fused = products._fused_linear
    model = load_model(tiny_weights, device=torch.device("cpu"), precision=torch.bfloat16)

    def recorded(
        x: torch.Tensor, weights: Weights, activation: None = None, residual: torch.Tensor | None = None
    ) -> torch.Tensor:
        seen.append((weights.packed is not None, activation, residual is not None))
        return fused(x, weights, activation, residual)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(products, "_fused_linear", recorded)
        model.logits(random_batch((30, 7), vocab_size=200))
    # The projection, and four products of every layer, two of them with the residual, none with its activation.
    layer = [(True, None, has_residual) for has_residual in (False, True, False, True)]
    assert seen == [(False, None, False), *layer * len(model.model.config.layer_order)]


@given(st.integers(1, 100_000))
def test_spare_rows_make_few_shapes_and_little_work(tokens: int) -> None:
    rows = tokens + _num_spare_rows(tokens)
    assert tokens <= rows < tokens + max(16, tokens / 16 + 1)
    assert rows % 16 == 0
    assert _num_spare_rows(rows) == 0


def test_batches_of_any_size_have_few_shapes() -> None:
    assert len({tokens + _num_spare_rows(tokens) for tokens in range(1, 32 * 384 + 1)}) < 130


@has_bf16
@pytest.mark.parametrize("lengths", [(1,), (16,), (37, 90, 5), (200, 57, 384)])
def test_spare_rows_change_nothing_in_a_windows_rows(
    lengths: tuple[int, ...], tiny_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_model(tiny_weights, device=torch.device("cpu"), precision=torch.bfloat16)
    batch = random_batch(lengths, vocab_size=200)
    with torch.no_grad(), model.evaluating():
        found = model.logits(batch)
        monkeypatch.setattr(encoder, "_num_spare_rows", lambda _: 0)
        plain = model.logits(batch)
    for one, other in zip(found, plain, strict=True):
        assert one.shape == (sum(lengths),)
        # A product of more rows may add up in another order.
        torch.testing.assert_close(one, other, rtol=0.0, atol=0.05 * float(other.abs().max()))
