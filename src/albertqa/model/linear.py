"""Linear layers in the precision of the products, with what follows them: activation or residual.

On CPUs that multiply bf16, oneDNN adds bias and residual, and applies the activation where there is no backward pass,
in fp32 to what the product has just summed. Elsewhere PyTorch does one after the other.

Axis letters: T tokens of the batch, H hidden size.
"""

from functools import cache
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn import functional

from albertqa.model.encoder_config import TANH_GELU, Activation
from albertqa.model.processor import read_processor


class Weights(NamedTuple):
    """A linear layer's weight and bias, in the precision of the products.

    Attributes:
        weight: (outputs, inputs).
        bias: (outputs,); None: there is none.
        packed: The weight as oneDNN lays it out to multiply; None: every product lays it out anew.
        packed_transpose: Its transpose, to multiply gradients; None: so, or there is no backward pass.
    """

    weight: torch.Tensor
    bias: torch.Tensor | None
    packed: torch.Tensor | None = None
    packed_transpose: torch.Tensor | None = None


def weights_of(layer: nn.Linear, precision: torch.dtype | None, *, rows: int | None = None) -> Weights:
    """Return a layer's weights for one forward, and its backward.

    Args:
        layer: The layer.
        precision: Type of the products; None: fp32.
        rows: Rows of the products that its weights are packed for, where it is applied several times, so that this
            pays (benchmarks/linear.py); None: they are not packed.
    """
    if precision is None:
        return Weights(layer.weight, layer.bias)
    weight, bias = layer.weight.to(precision), layer.bias.to(precision)
    if rows is None or not is_fused(weight):
        return Weights(weight, bias)
    pack, plain = torch.ops.mkldnn._reorder_linear_weight, weight.detach()
    transpose = pack(plain.t().contiguous(), rows) if torch.is_grad_enabled() else None
    return Weights(weight, bias, pack(plain, rows), transpose)


def linear(
    x: torch.Tensor, weights: Weights, activation: Activation | None = None, residual: torch.Tensor | None = None
) -> torch.Tensor:
    """Multiply, add the bias, and activate or add a residual.

    Shapes:
        x: (T, inputs)
        residual, returns: (T, outputs)
    """
    if not is_fused(x):
        product = functional.linear(x, weights.weight, weights.bias)
        product = activation.apply(product) if activation else product
        return product if residual is None else add(residual, product)
    if not torch.is_grad_enabled():
        return _fused_linear(x, weights, activation, residual)
    product = FusedLinear.apply(x, residual, *weights)  # type: ignore[no-untyped-call]
    if activation is TANH_GELU:
        product = TanhGelu.apply(product)  # type: ignore[no-untyped-call]
    elif activation:
        product = activation.apply(product)
    return product


def add(x: torch.Tensor, change: torch.Tensor) -> torch.Tensor:
    """Add a residual, for a LayerNorm whose weights are fp32: (T, H), (T, H) -> (T, H)."""
    # Only the CPU's LayerNorm takes half-precision input beside fp32 weights.
    return x + change if x.device.type == "cpu" else x.float() + change


class FusedLinear(torch.autograd.Function):
    """A linear layer of bf16 with bias and residual added in the product.

    Shapes:
        forward: (T, inputs), (T, outputs) -> (T, outputs)
    """

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, residual: torch.Tensor | None, *weights: torch.Tensor | None
    ) -> torch.Tensor:
        """Multiply and add; `weights` are those of `Weights`."""
        own = Weights(*weights)  # type: ignore[arg-type]
        ctx.save_for_backward(x, own.weight)
        ctx.packed_transpose = own.packed_transpose
        return _fused_linear(x, own, residual=residual)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Return the gradients of input, residual, weight and bias."""
        x, weight = ctx.saved_tensors
        outputs, inputs = weight.shape
        # Faster with the wider of the two as the first operand.
        of_weight = gradient.t() @ x if outputs >= inputs else (x.t() @ gradient).t()
        if ctx.packed_transpose is None:
            of_x = gradient @ weight
        else:
            of_x = _fused_linear(gradient.contiguous(), Weights(weight, None, ctx.packed_transpose))
        return of_x, gradient if ctx.needs_input_grad[1] else None, of_weight, gradient.sum(dim=0), None, None


class TanhGelu(torch.autograd.Function):
    """The tanh form of GELU of bf16, by oneDNN: in about half of the time that PyTorch's takes (benchmarks/linear.py).

    oneDNN's is at hand only as the last step of a product: here one of every value with one, a convolution.

    Shapes:
        forward: (T, F) -> (T, F)
    """

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        """Activate."""
        ctx.save_for_backward(x)
        (tokens, features), (name, form) = x.shape, TANH_GELU.fused
        pixels = x.view(1, tokens, 1, features).permute(0, 3, 1, 2)
        ones = x.new_ones(features, 1, 1, 1)
        # Arguments: bias, padding, stride, dilation, groups.
        activated: torch.Tensor = torch.ops.mkldnn._convolution_pointwise(
            pixels, ones, None, [0, 0], [1, 1], [1, 1], features, name, [], form
        )
        return activated.permute(0, 2, 3, 1).reshape(x.shape)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        """Return the gradient of the input."""
        (x,) = ctx.saved_tensors
        of_x: torch.Tensor = torch.ops.aten.gelu_backward(gradient, x, approximate="tanh")
        return of_x


def _fused_linear(
    x: torch.Tensor, weights: Weights, activation: Activation | None = None, residual: torch.Tensor | None = None
) -> torch.Tensor:
    weight = weights.weight if weights.packed is None else weights.packed
    name, form = activation.fused if activation else ("none", "")
    fused: torch.Tensor
    if residual is None:
        fused = torch.ops.mkldnn._linear_pointwise(x, weight, weights.bias, name, [], form)
    else:
        fused = torch.ops.mkldnn._linear_pointwise.binary(x, residual, weight, weights.bias, "add")
    return fused


def is_fused(x: torch.Tensor) -> bool:
    """Report whether products of a tensor are fused with what follows them."""
    is_bf16 = x.dtype is torch.bfloat16 and x.device.type == "cpu"
    return is_bf16 and not torch.compiler.is_compiling() and _has_fused_products()


@cache
def _has_fused_products() -> bool:
    """Report whether the processor multiplies bf16 and this PyTorch has oneDNN."""
    return read_processor().has_bf16 and hasattr(torch.ops.mkldnn, "_linear_pointwise")
