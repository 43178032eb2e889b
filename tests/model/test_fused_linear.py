"""A product and its activation in one kernel are no further from the exact values than one after the other."""

import pytest
import torch

from albertqa.model import encoder
from albertqa.model.encoder import _linear
from albertqa.model.encoder_config import ACTIVATIONS
from albertqa.model.processor import read_processor

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


def test_what_has_a_backward_pass_or_is_not_bf16_has_two(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> bool:
        raise AssertionError("asked for one kernel")

    monkeypatch.setattr(encoder, "_has_fused_products", refuse)
    x, weights = drawn(3)
    with torch.no_grad():
        _linear(x.float(), (weights[0].float(), weights[1].float()), ACTIVATIONS["gelu"])
        with pytest.raises(AssertionError, match="one kernel"):
            _linear(x, weights)
    _linear(x, weights, ACTIVATIONS["gelu"])
