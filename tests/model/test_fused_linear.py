"""A product and its activation in one kernel are no further from the exact values than one after the other."""

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from albertqa.model import encoder
from albertqa.model.encoder import _linear, _num_spare_rows
from albertqa.model.encoder_config import ACTIVATIONS
from albertqa.model.load import load_model
from albertqa.model.processor import read_processor

from .cases import random_batch

has_bf16 = pytest.mark.skipif(not read_processor().has_bf16, reason="needs a processor that multiplies bf16")


def drawn(tokens: int) -> tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(tokens)
    x, weight, bias = (torch.randn(shape, generator=generator) for shape in ((tokens, 48), (96, 48), (96,)))
    return x.bfloat16(), ((0.3 * weight).bfloat16(), bias.bfloat16())


@has_bf16
@pytest.mark.parametrize("tokens", [1, 7, 197])
@pytest.mark.parametrize("name", [None, *ACTIVATIONS])
def test_one_kernel_is_as_exact_as_two(name: str | None, tokens: int, monkeypatch: pytest.MonkeyPatch) -> None:
    x, weights = drawn(tokens)
    activation = None if name is None else ACTIVATIONS[name]
    with torch.no_grad():
        exact = _linear(x.double(), (weights[0].double(), weights[1].double()), activation)
        fused = _linear(x, weights, activation)
        monkeypatch.setattr(encoder, "_has_fused_products", lambda: False)
        plain = _linear(x, weights, activation)
    assert fused.dtype is torch.bfloat16
    scale = exact.abs().max()
    assert (fused - exact).abs().max() <= max((plain - exact).abs().max(), 2**-9 * scale)
    assert (fused - exact).square().mean() <= 1.01 * (plain - exact).square().mean()


def test_only_bf16_is_multiplied_by_one_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> bool:
        raise AssertionError("asked for one kernel")

    monkeypatch.setattr(encoder, "_has_fused_products", refuse)
    x, weights = drawn(3)
    _linear(x.float(), (weights[0].float(), weights[1].float()), ACTIVATIONS["gelu"])
    for is_training in (False, True):
        with torch.set_grad_enabled(is_training), pytest.raises(AssertionError, match="one kernel"):
            _linear(x, weights)


@has_bf16
@pytest.mark.parametrize("name", [None, *ACTIVATIONS])
@pytest.mark.parametrize("outputs", [32, 96])
def test_gradients_of_one_kernel_are_as_exact_as_those_of_two(
    outputs: int, name: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    activation = None if name is None else ACTIVATIONS[name]
    x, (weight, bias) = drawn(197)
    inputs = (x, weight[:outputs], bias[:outputs])
    direction = torch.randn(197, outputs, generator=torch.Generator().manual_seed(1)).bfloat16()

    def gradients(dtype: torch.dtype) -> list[torch.Tensor]:
        leaves = [one.to(dtype).detach().requires_grad_() for one in inputs]
        found = _linear(leaves[0], (leaves[1], leaves[2]), activation)
        return [one.double() for one in torch.autograd.grad(found, leaves, direction.to(dtype))]

    exact, fused = gradients(torch.float64), gradients(torch.bfloat16)
    monkeypatch.setattr(encoder, "_has_fused_products", lambda: False)
    for one, other, expected in zip(fused, gradients(torch.bfloat16), exact, strict=True):
        assert one.shape == expected.shape
        assert (one - expected).norm() <= 1.1 * (other - expected).norm() + 2**-9 * expected.norm() / 10


@has_bf16
def test_one_kernel_is_used_in_training(tiny_weights: Path) -> None:
    seen = []
    fused = encoder._fused_linear
    model = load_model(tiny_weights, device=torch.device("cpu"), precision=torch.bfloat16)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoder, "_fused_linear", lambda *given: seen.append(given[3:]) or fused(*given))
        model.logits(random_batch((30, 7), vocab_size=200))
    # The projection and four products of every layer, none with its activation.
    assert seen == [()] * (1 + 4 * len(model.model.config.layer_order))


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
