"""Attention of windows laid end to end: a token attends within its window only. Three ways to the same result.

- One window after the other, by PyTorch's fused attention: no token too many. The way on CPUs and Apple's GPUs.
- FlashAttention over windows of any lengths (`torch.nn.attention.varlen`): one kernel for all of them. The way on CUDA
  GPUs in bf16 and fp16.
- Rows of equal length with a mask, one fused attention for all of them: CUDA GPUs in fp32, those older than
  FlashAttention's kernels, and attention with dropout, which those leave out. Rows have more tokens, but a kernel for
  every window in every layer would have a fast GPU wait for the host.

Which one a forward uses follows from device, precision and dropout; what it needs to know of the batch is worked out
once for all layers.
"""

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import torch
from torch.nn import functional

from albertqa.windows.batches import PackedBatch

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Takes query, key and value, dropout and scaling, and what `attention_inputs` gives.
# Shapes: query, key, value (1, heads, T, head size); returns (1, T, heads, head size).
Attend: TypeAlias = Callable[..., torch.Tensor]


def choose_attention(model: "PreTrainedModel", device: torch.device, precision: torch.dtype | None) -> Attend:
    """Choose how a model attends in a forward.

    Args:
        model: The model, in its mode; in training there may be dropout.
        device: Where it computes.
        precision: Type of its matrix products, None for fp32.

    Returns:
        `attend_per_window`, `attend_varlen` or `attend_in_rows`.
    """
    if device.type != "cuda":
        return attend_per_window
    config = model.config
    dropout = getattr(config, "attention_probs_dropout_prob", getattr(config, "attention_dropout", 0.0))
    head_size = config.hidden_size // config.num_attention_heads
    is_half = precision in {torch.bfloat16, torch.float16}
    fits = is_half and head_size % 8 == 0 and head_size <= 256 and not (model.training and dropout)
    return attend_varlen if fits and _has_flash_attention(device) else attend_in_rows


@cache
def _has_flash_attention(device: torch.device) -> bool:
    """Tell whether PyTorch's FlashAttention runs there: NVIDIA GPUs from Ampere on."""
    is_new_enough = torch.version.hip is None and torch.cuda.get_device_capability(device) >= (8, 0)
    return is_new_enough and torch.backends.cuda.is_flash_attention_available()


def attention_inputs(attend: Attend, batch: PackedBatch) -> dict[str, Any]:
    """Work out what a way of attending needs to know of a batch, without asking the device.

    Args:
        attend: The way.
        batch: The batch, on the model's device.

    Returns:
        Its keyword arguments.
    """
    if attend is attend_varlen:
        return {"first_token": batch.first_token.int(), "longest": batch.longest}
    if attend is attend_in_rows:
        ends = batch.first_token.diff()[:, None, None, None]
        return {"slots": token_slots(batch), "is_key": torch.arange(batch.longest, device=ends.device) < ends}
    # A tensor, for a layer compiled with a tuple of lengths would be compiled for just these.
    return {"window_lengths": torch.tensor(batch.lengths)}


def token_slots(batch: PackedBatch) -> torch.Tensor:
    """Tell where every token lies if each window, and the tail, is a row of `longest` tokens.

    Shapes:
        returns: (T,) int64, indices into (rows * longest,)
    """
    token = torch.arange(len(batch.input_ids), device=batch.first_token.device)
    window = torch.searchsorted(batch.first_token[1:], token, right=True)
    return window * batch.longest + token - batch.first_token[window]


def _attend_per_window(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    *,
    dropout: float,
    scaling: float | None,
    window_lengths: torch.Tensor,
) -> torch.Tensor:
    """Attend in one window after the other.

    Args:
        query: Queries of all windows.
        key: Keys.
        value: Values.
        dropout: Dropout of the attention probabilities.
        scaling: Factor on the scores; None is one over the root of the head size.
        window_lengths: Tokens of each window, in order; (W,) int64, on the CPU.

    Returns:
        The attended values.
    """
    lengths = window_lengths.tolist()
    # split, not slices: its backward is one concatenation instead of a zero-filled gradient for every window.
    parts = zip(*(tensor.split(lengths, dim=2) for tensor in (query, key, value)), strict=True)
    attended = [
        functional.scaled_dot_product_attention(q, k, v, dropout_p=dropout, scale=scaling).transpose(1, 2)
        for q, k, v in parts
    ]
    return torch.cat(attended, dim=1)


# It is no part of a compiled layer, which would be compiled anew for every number of windows.
attend_per_window: Attend = torch.compiler.disable(_attend_per_window)


def attend_varlen(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    *,
    dropout: float,
    scaling: float | None,
    first_token: torch.Tensor,
    longest: int,
) -> torch.Tensor:
    """Attend by FlashAttention over windows of any lengths.

    Args:
        query: Queries of all windows, bf16 or fp16.
        key: Keys.
        value: Values.
        dropout: Must be 0.
        scaling: Factor on the scores; None is one over the root of the head size.
        first_token: First token of each window, then T; (W + 1,) int32.
        longest: Tokens of the longest window, or more.

    Returns:
        The attended values.

    Raises:
        NotImplementedError: There is dropout, which this kernel has none of.
    """
    from torch.nn.attention.varlen import varlen_attn

    if dropout:
        raise NotImplementedError(f"attention dropout {dropout:g}, where the encoder's config has none")
    # One over the root of the head size is the kernel's own scale; PyTorch 2.10 takes no other.
    scale: dict[str, Any] = {} if scaling is None or scaling == query.shape[-1] ** -0.5 else {"scale": scaling}
    q, k, v = (tensor[0].transpose(0, 1) for tensor in (query, key, value))
    attended = cast(torch.Tensor, varlen_attn(q, k, v, first_token, first_token, longest, longest, **scale))
    return attended[None]


def attend_in_rows(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    *,
    dropout: float,
    scaling: float | None,
    slots: torch.Tensor,
    is_key: torch.Tensor,
) -> torch.Tensor:
    """Attend in all windows at once, each laid out as a row of the longest one's length.

    Args:
        query: Queries of all windows.
        key: Keys.
        value: Values.
        dropout: Dropout of the attention probabilities.
        scaling: Factor on the scores; None is one over the root of the head size.
        slots: Where every token lies among the rows (see `token_slots`); (T,) int64.
        is_key: Where the rows have a token; (rows, 1, 1, longest) bool.

    Returns:
        The attended values.
    """
    num_rows, longest = is_key.shape[0], is_key.shape[-1]

    def rows(packed: torch.Tensor) -> torch.Tensor:
        tokens = packed[0].transpose(0, 1)
        empty = tokens.new_zeros(num_rows * longest, *tokens.shape[1:])
        return empty.index_copy(0, slots, tokens).view(num_rows, longest, *tokens.shape[1:]).transpose(1, 2)

    attended: torch.Tensor = functional.scaled_dot_product_attention(
        rows(query), rows(key), rows(value), attn_mask=is_key, dropout_p=dropout, scale=scaling
    )
    return attended.transpose(1, 2).flatten(0, 1).index_select(0, slots)[None]
