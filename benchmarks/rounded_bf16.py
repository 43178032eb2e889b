"""The arithmetic of bf16 hardware on a machine without it (not its speed)."""

from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

_PRODUCTS = {
    torch.ops.aten.mm.default,
    torch.ops.aten.bmm.default,
    torch.ops.aten.addmm.default,
    torch.ops.aten.baddbmm.default,
}


class RoundedProducts(TorchDispatchMode):
    """Computes every bf16 matrix product in fp32 and rounds the result.

    That is what bf16 hardware does: products of two bf16 numbers are exact in fp32, sums are kept in fp32, and the
    result is rounded once. Only the order of the sums differs, as between any two processors. PyTorch's own products
    without the hardware give the same, about seven times slower.
    """

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Compute one operation."""
        is_bf16 = func in _PRODUCTS and all(one.dtype is torch.bfloat16 for one in args if torch.is_tensor(one))
        if not is_bf16:
            return func(*args, **(kwargs or {}))
        widened = [one.float() if torch.is_tensor(one) else one for one in args]
        return func(*widened, **(kwargs or {})).bfloat16()
