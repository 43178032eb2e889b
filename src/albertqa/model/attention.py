"""Attention of windows laid end to end: a token attends within its window only. Three ways to the same result.

- One window after the other, by PyTorch's fused attention: no token too many. The way on CPUs and Apple's GPUs.
- FlashAttention over windows of any lengths (`torch.nn.attention.varlen`): one kernel for all of them. The way on CUDA
  GPUs in bf16 and fp16.
- Rows of equal length with a mask, one fused attention for all of them: CUDA GPUs in fp32, those older than
  FlashAttention's kernels, and attention with dropout, which those leave out. Rows have more tokens, but a kernel for
  every window in every layer would have a fast GPU wait for the host.

Which one a model uses is decided when it is loaded; what it needs to know of a batch is worked out once for all layers.
"""

from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional

from albertqa.errors import ModelError
from albertqa.windows.batches import PackedBatch

if TYPE_CHECKING:
    from transformers import PreTrainedModel

PER_WINDOW = "albertqa_per_window"
VARLEN = "albertqa_varlen"
IN_ROWS = "albertqa_in_rows"


def choose_attention(model: "PreTrainedModel", device: torch.device, precision: torch.dtype | None) -> str:
    """Choose how a model attends.

    Args:
        model: The model, its dropout as it will be.
        device: Where it computes.
        precision: Type of its matrix products, None for fp32.

    Returns:
        `PER_WINDOW`, `VARLEN` or `IN_ROWS`.
    """
    if device.type != "cuda":
        return PER_WINDOW
    config = model.config
    dropout = getattr(config, "attention_probs_dropout_prob", getattr(config, "attention_dropout", 0.0))
    head_size = config.hidden_size // config.num_attention_heads
    fits = precision in {torch.bfloat16, torch.float16} and not dropout and head_size % 8 == 0 and head_size <= 256
    return VARLEN if fits and _has_flash_attention(device) else IN_ROWS


def _has_flash_attention(device: torch.device) -> bool:
    """Tell whether PyTorch's FlashAttention runs there: NVIDIA GPUs from Ampere on."""
    is_new_enough = torch.version.hip is None and torch.cuda.get_device_capability(device) >= (8, 0)
    return is_new_enough and torch.backends.cuda.is_flash_attention_available()


def attention_inputs(name: str, batch: PackedBatch) -> dict[str, Any]:
    """Work out what a way of attending needs to know of a batch, without asking the device.

    Args:
        name: The way.
        batch: The batch, on the model's device.

    Returns:
        Keyword arguments for the model, which hands them to every layer's attention.
    """
    if name == VARLEN:
        return {"first_token": batch.first_token.int(), "longest": batch.longest}
    if name == IN_ROWS:
        ends = batch.first_token.diff()[:, None, None, None]
        return {"slots": token_slots(batch), "is_key": torch.arange(batch.longest, device=ends.device) < ends}
    tail = len(batch.input_ids) - batch.num_tokens
    return {"window_lengths": (*batch.lengths, tail) if tail else batch.lengths}


def token_slots(batch: PackedBatch) -> torch.Tensor:
    """Tell where every token lies if each window, and the tail, is a row of `longest` tokens.

    Shapes:
        returns: (T,) int64, indices into (rows * longest,)
    """
    token = torch.arange(len(batch.input_ids), device=batch.first_token.device)
    window = torch.searchsorted(batch.first_token[1:], token, right=True)
    return window * batch.longest + token - batch.first_token[window]


def attend_per_window(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    window_lengths: tuple[int, ...],
    dropout: float = 0.0,
    scaling: float | None = None,
    **_kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Attend in one window after the other.

    Args:
        module: The attention module (unused; the interface gives it).
        query: Queries of all windows.
        key: Keys.
        value: Values.
        attention_mask: Always None here.
        window_lengths: Tokens of each window, in order.
        dropout: Dropout of the attention probabilities.
        scaling: Factor on the scores; None is one over the root of the head size.

    Returns:
        The attended values, and no probabilities.

    Shapes:
        query, key, value: (1, heads, T, head size)
        returns: (1, T, heads, head size)
    """
    del module, attention_mask
    # split, not slices: its backward is one concatenation instead of a zero-filled gradient for every window.
    parts = zip(*(tensor.split(window_lengths, dim=2) for tensor in (query, key, value)), strict=True)
    attended = [
        functional.scaled_dot_product_attention(q, k, v, dropout_p=dropout, scale=scaling).transpose(1, 2)
        for q, k, v in parts
    ]
    return torch.cat(attended, dim=1), None


def attend_varlen(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    first_token: torch.Tensor,
    longest: int,
    dropout: float = 0.0,
    scaling: float | None = None,
    **_kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Attend by FlashAttention over windows of any lengths.

    Args:
        module: As in `attend_per_window`.
        query: Queries of all windows, bf16 or fp16.
        key: Keys.
        value: Values.
        attention_mask: Always None here.
        first_token: First token of each window, then T; (W + 1,) int32.
        longest: Tokens of the longest window, or more.
        dropout: Must be 0.
        scaling: As in `attend_per_window`.

    Returns:
        The attended values, and no probabilities.

    Raises:
        ModelError: There is dropout, which this kernel has none of.

    Shapes:
        query, key, value: (1, heads, T, head size)
        returns: (1, T, heads, head size)
    """
    from torch.nn.attention.varlen import varlen_attn

    del module, attention_mask
    if dropout:
        raise ModelError(
            f"attention dropout is {dropout:g} where the model's config has none, and FlashAttention cannot apply it. "
            "Use --mixed-precision no"
        )
    # One over the root of the head size is the kernel's own scale; PyTorch 2.10 takes no other.
    scale = {} if scaling is None or scaling == query.shape[-1] ** -0.5 else {"scale": scaling}
    q, k, v = (tensor[0].transpose(0, 1) for tensor in (query, key, value))
    return varlen_attn(q, k, v, first_token, first_token, longest, longest, **scale)[None], None


def attend_in_rows(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    slots: torch.Tensor,
    is_key: torch.Tensor,
    dropout: float = 0.0,
    scaling: float | None = None,
    **_kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Attend in all windows at once, each laid out as a row of the longest one's length.

    Args:
        module: As in `attend_per_window`.
        query: Queries of all windows.
        key: Keys.
        value: Values.
        attention_mask: Always None here.
        slots: Where every token lies among the rows (see `token_slots`); (T,) int64.
        is_key: Where the rows have a token; (rows, 1, 1, longest) bool.
        dropout: Dropout of the attention probabilities.
        scaling: As in `attend_per_window`.

    Returns:
        The attended values, and no probabilities.

    Shapes:
        query, key, value: (1, heads, T, head size)
        returns: (1, T, heads, head size)
    """
    del module, attention_mask
    num_rows, longest = is_key.shape[0], is_key.shape[-1]

    def rows(packed: torch.Tensor) -> torch.Tensor:
        tokens = packed[0].transpose(0, 1)
        empty = tokens.new_zeros(num_rows * longest, *tokens.shape[1:])
        return empty.index_copy(0, slots, tokens).unflatten(0, (num_rows, longest)).transpose(1, 2)

    attended = functional.scaled_dot_product_attention(
        rows(query), rows(key), rows(value), attn_mask=is_key, dropout_p=dropout, scale=scaling
    )
    return attended.transpose(1, 2).flatten(0, 1).index_select(0, slots)[None], None
