"""Attention of windows laid end to end: a token attends within its window only. Three ways to the same result.

- One window after the other, by PyTorch's fused attention or plain products, whichever is faster: no token too many.
  The way on CPUs and Apple's GPUs.
- FlashAttention over windows of any lengths: one kernel for all of them. The way on CUDA GPUs in bf16 and fp16.
- Rows of equal length with a mask, one fused attention for all of them: CUDA GPUs in fp32, those older than
  FlashAttention's kernels, and heads that these have no kernel for. Rows have more tokens, but a kernel for every
  window in every layer would have a fast GPU wait for the host.

Where every window's dropout has a seed of its own, as in training steps on CPUs, windows attend one after the other.
Which one a forward uses follows from device, precision, head size and seeds; what it needs to know of the batch is
worked out once for all layers.
"""

from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any, TypeAlias

import torch
from torch.nn import functional

from albertqa.model.dropout import draw_kept, kept_scale
from albertqa.model.processor import read_processor
from albertqa.windows.batches import PackedBatch

# Takes queries, keys and values in one tensor, the dropout of probabilities, and what `attention_inputs` returns.
# Shapes: (T, 3, heads, head size) -> (T, heads, head size).
Attend: TypeAlias = Callable[..., torch.Tensor]
# The dropout of a window's probabilities, above 0, and what it is drawn from.
Drop: TypeAlias = tuple[float, int]


def choose_attention(device: torch.device, precision: torch.dtype | None, *, head_size: int) -> Attend:
    """Return how a forward attends: `attend_per_window`, `attend_varlen` or `attend_in_rows`.

    Args:
        device: Where it computes.
        precision: Type of its matrix products, None for fp32.
        head_size: Width of an attention head.
    """
    if device.type != "cuda":
        return attend_per_window
    is_half = precision in {torch.bfloat16, torch.float16}
    # Wider heads: not with dropout on every GPU.
    fits = is_half and head_size % 8 == 0 and head_size <= 128
    return attend_varlen if fits and _has_flash_attention(device) else attend_in_rows


@cache
def _has_flash_attention(device: torch.device) -> bool:
    """Report whether PyTorch's FlashAttention runs there: NVIDIA GPUs from Ampere on."""
    is_new_enough = torch.version.hip is None and torch.cuda.get_device_capability(device) >= (8, 0)
    return is_new_enough and torch.backends.cuda.is_flash_attention_available()


def attention_inputs(attend: Attend, batch: PackedBatch) -> dict[str, Any]:
    """Return what a way of attending needs to know of a batch, without asking the device: its keyword arguments."""
    if attend is attend_varlen:
        return {"first_token": batch.first_token.int(), "longest": batch.longest}
    if attend is attend_in_rows:
        lengths = batch.first_token.diff()[:, None, None, None]
        return {"slots": token_slots(batch), "is_key": torch.arange(batch.longest, device=lengths.device) < lengths}
    return {"lengths": batch.lengths}


def token_slots(batch: PackedBatch) -> torch.Tensor:
    """Return where every token lies if each window is a row of `longest` tokens.

    Shapes:
        returns: (T,) int64, indices into (W * longest,)
    """
    token = torch.arange(len(batch.input_ids), device=batch.first_token.device)
    window = torch.searchsorted(batch.first_token[1:], token, right=True)
    return window * batch.longest + token - batch.first_token[window]


def attend_per_window(
    qkv: torch.Tensor, *, dropout: float, lengths: Sequence[int], seeds: Sequence[int] | None = None
) -> torch.Tensor:
    """Attend in one window after the other.

    Args:
        qkv: Queries, keys and values of all windows.
        dropout: Dropout of the attention probabilities.
        lengths: Tokens of each window, in order.
        seeds: What each window's dropout is drawn from, on CPUs; None: PyTorch's generator.

    Shapes:
        qkv: (T, 3, heads, head size)
        returns: (T, heads, head size)
    """
    if qkv.device.type != "cpu" or not (dropout or (qkv.requires_grad and _has_fast_products(qkv.dtype))):
        return _attend_in_each(qkv, lengths, dropout)
    drops: Sequence[Drop | None] = [None] * len(lengths)
    if dropout:
        drops = [(dropout, seed) for seed in seeds or torch.randint(2**63 - 1, (len(lengths),)).tolist()]
    attended: torch.Tensor = PlainBackward.apply(qkv, lengths, drops)  # type: ignore[no-untyped-call]
    return attended


def _attend_in_each(qkv: torch.Tensor, lengths: Sequence[int], dropout: float = 0.0) -> torch.Tensor:
    """Attend in one window after the other, in the faster way; on CPUs without dropout."""
    by_products = qkv.device.type == "cpu" and _has_slow_attention(qkv.dtype)
    attend = attend_by_products if by_products else partial(attend_fused, dropout=dropout)
    return torch.cat([attend(window) for window in qkv.split(list(lengths))])


def attend_fused(window: torch.Tensor, dropout: float = 0.0) -> torch.Tensor:
    """Attend in a window by PyTorch's fused attention: (n, 3, heads, head size) -> (n, heads, head size)."""
    query, key, value = window.permute(1, 2, 0, 3)[:, None].unbind()
    return functional.scaled_dot_product_attention(query, key, value, dropout_p=dropout)[0].transpose(0, 1)


def attend_by_products(window: torch.Tensor, drop: Drop | None = None) -> torch.Tensor:
    """Attend in a window by plain products, of half precision with scores in fp32, as PyTorch's fused attention has.

    Args:
        window: Its queries, keys and values.
        drop: What is dropped of the probabilities; only on CPUs.

    Shapes:
        window: (n, 3, heads, head size)
        returns: (n, heads, head size)
    """
    query, key, value = window.permute(1, 2, 0, 3).contiguous()
    at_least_fp32 = torch.promote_types(window.dtype, torch.float32)
    query = query.to(at_least_fp32) * query.shape[-1] ** -0.5
    scores = torch.bmm(query, key.to(at_least_fp32).transpose(1, 2))
    probabilities = scores.softmax(dim=-1).to(window.dtype)
    if drop:
        probabilities = probabilities * draw_kept(torch.empty_like(probabilities), *drop)
        value = value * kept_scale(drop[0])
    return torch.bmm(probabilities, value).transpose(0, 1)


@cache
def _has_fast_products(dtype: torch.dtype) -> bool:
    """Report whether plain products are faster than the backward of PyTorch's fused attention on the CPU.

    They are where the processor multiplies bf16 (benchmarks/attention.py). In fp32 it is faster by an eighth (AVX2).
    """
    return dtype is torch.bfloat16 and read_processor().has_bf16


@cache
def _has_slow_attention(dtype: torch.dtype) -> bool:
    """Report whether plain products are faster than the forward of PyTorch's fused attention, too.

    They are where the processor multiplies bf16 without matrix units (benchmarks/attention.py).
    """
    return _has_fast_products(dtype) and not read_processor().has_amx


class PlainBackward(torch.autograd.Function):
    """Attention on CPUs in one window after the other with a backward of plain products.

    The probabilities are computed again, in fp32 where the type is half precision, and what is dropped is drawn again.

    Shapes:
        forward: (T, 3, heads, head size) -> (T, heads, head size)
    """

    @staticmethod
    def forward(ctx: Any, qkv: torch.Tensor, lengths: Sequence[int], drops: Sequence[Drop | None]) -> torch.Tensor:
        """Attend, and keep nothing but queries, keys and values."""
        ctx.save_for_backward(qkv)
        ctx.lengths, ctx.drops = list(lengths), drops
        if not any(drops):
            return _attend_in_each(qkv, lengths)
        windows = zip(qkv.split(ctx.lengths), drops, strict=True)
        return torch.cat([attend_by_products(window, drop) for window, drop in windows])

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        """Return the gradient of queries, keys and values."""
        (qkv,) = ctx.saved_tensors
        scale = qkv.shape[-1] ** -0.5
        found = torch.empty_like(qkv)
        at_least_fp32 = torch.promote_types(qkv.dtype, torch.float32)
        parts = zip(*(one.split(ctx.lengths) for one in (qkv, gradient, found)), ctx.drops, strict=True)
        for window, out_gradient, into, drop in parts:
            query, key, value = window.permute(1, 2, 0, 3).contiguous()
            out_gradient = out_gradient.transpose(0, 1).contiguous()
            if drop:
                out_gradient = out_gradient * kept_scale(drop[0])
            query = query * scale
            scores = torch.bmm(query, key.transpose(1, 2))
            probabilities = scores.softmax(dim=-1, dtype=at_least_fp32).to(qkv.dtype)
            weighted = torch.bmm(out_gradient, value.transpose(1, 2))
            dropped = probabilities
            if drop:
                kept = draw_kept(torch.empty_like(probabilities), *drop)
                dropped = probabilities * kept
                weighted.mul_(kept)
            score_gradient = torch._softmax_backward_data(weighted, probabilities, -1, qkv.dtype)
            query_gradient, key_gradient, value_gradient = into.permute(1, 2, 0, 3)
            query_gradient.copy_(torch.bmm(score_gradient, key).mul_(scale))
            key_gradient.copy_(torch.bmm(score_gradient.transpose(1, 2), query))
            value_gradient.copy_(torch.bmm(dropped.transpose(1, 2), out_gradient))
        return found, None, None


def attend_varlen(qkv: torch.Tensor, *, dropout: float, first_token: torch.Tensor, longest: int) -> torch.Tensor:
    """Attend by FlashAttention over windows of any lengths.

    Args:
        qkv: Queries, keys and values of all windows, bf16 or fp16.
        dropout: Dropout of the attention probabilities.
        first_token: First token of each window, then T; (W + 1,) int32.
        longest: Tokens of the longest window, or more.

    Shapes:
        qkv: (T, 3, heads, head size)
        returns: (T, heads, head size)
    """
    windows = (first_token, first_token, longest, longest)
    # What `torch.nn.attention.varlen` calls, which leaves dropout out; its scale is one over the root of the head size.
    attended, *_ = torch.ops.aten._flash_attention_forward(*qkv.unbind(dim=1), *windows, dropout, False, False)
    assert isinstance(attended, torch.Tensor)
    return attended


def attend_in_rows(qkv: torch.Tensor, *, dropout: float, slots: torch.Tensor, is_key: torch.Tensor) -> torch.Tensor:
    """Attend in all windows at once, each laid out as a row of the longest one's length.

    Args:
        qkv: Queries, keys and values of all windows.
        dropout: Dropout of the attention probabilities.
        slots: Where every token lies among the rows (see `token_slots`); (T,) int64.
        is_key: Where the rows have a token; (W, 1, 1, longest) bool.

    Shapes:
        qkv: (T, 3, heads, head size)
        returns: (T, heads, head size)
    """
    num_rows, longest = is_key.shape[0], is_key.shape[-1]
    empty = qkv.new_zeros(num_rows * longest, *qkv.shape[1:])
    rows = empty.index_copy(0, slots, qkv).unflatten(0, (num_rows, longest))
    query, key, value = rows.permute(2, 0, 3, 1, 4).unbind()
    attended = functional.scaled_dot_product_attention(query, key, value, attn_mask=is_key, dropout_p=dropout)
    return attended.transpose(1, 2).flatten(0, 1).index_select(0, slots)
