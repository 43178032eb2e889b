"""Padding-free forward: linear layers, LayerNorm and GELU see real tokens only; attention stays inside each window.

Enters through Transformers' documented `AttentionInterface` and `AttentionMaskInterface`. Both are registered: without
a mask function, Transformers builds none and says nothing; with `position_ids` alone its own attention would mix the
windows of a batch.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional

from albertqa.errors import ModelError
from albertqa.windows.batches import PackedBatch

if TYPE_CHECKING:
    from transformers import PreTrainedModel

ATTENTION_NAME = "albertqa_packed"


def use_packed_attention(model: "PreTrainedModel") -> None:
    """Let a model's attention work on windows laid end to end (see `span_logits`).

    Args:
        model: Any Transformers encoder with the attention interface.

    Raises:
        ModelError: The encoder has an attention of its own, which would mix the windows of a batch.
    """
    from transformers import AttentionInterface, AttentionMaskInterface

    AttentionInterface.register(ATTENTION_NAME, packed_attention)
    AttentionMaskInterface.register(ATTENTION_NAME, _no_mask)
    model.set_attn_implementation(ATTENTION_NAME)
    if model.config._attn_implementation != ATTENTION_NAME:
        raise ModelError(
            f"{model.config.model_type}: this encoder cannot keep windows apart without padding (Transformers gives it "
            "no attention interface). Use an encoder that has one: ALBERT, BERT, RoBERTa, ELECTRA, DistilBERT"
        )


def packed_attention(
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
    """Attend within each window of a packed batch.

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


def _no_mask(*_args: Any, **_kwargs: Any) -> None:
    """Build no mask: windows are kept apart by their lengths."""


def span_logits(
    model: Callable[..., Any], batch: PackedBatch, *, has_segments: bool = True, first_position: int = 0
) -> tuple[torch.Tensor, torch.Tensor]:
    """Score every token of a packed batch as start and as end of the answer.

    Args:
        model: A question-answering model with `use_packed_attention`.
        batch: Windows laid end to end, on the model's device.
        has_segments: Whether the encoder knows segment ids.
        first_position: Position id of a window's first token.

    Returns:
        Start and end logits of all tokens, fp32.

    Shapes:
        returns: two of (T,) float32
    """
    segments = {"token_type_ids": batch.token_type_ids[None]} if has_segments else {}
    output = model(
        input_ids=batch.input_ids[None],
        position_ids=batch.position_ids[None] + first_position,
        window_lengths=batch.lengths,
        **segments,
    )
    return output.start_logits[0].float(), output.end_logits[0].float()


def span_losses(start_logits: torch.Tensor, end_logits: torch.Tensor, batch: PackedBatch) -> torch.Tensor:
    """Give every window's loss: mean of the cross entropies of start and end, each over the window's real tokens.

    Args:
        start_logits: Start logits of all tokens.
        end_logits: End logits.
        batch: The windows with their labels.

    Returns:
        One loss a window; their mean is the loss of a step.

    Shapes:
        start_logits, end_logits: (T,) float32
        returns: (W,) float32

    Source:
        `AlbertForQuestionAnswering` (Transformers); there the softmax runs over padding too.
    """
    start = functional.cross_entropy(_rows(start_logits, batch.lengths), batch.start_positions, reduction="none")
    end = functional.cross_entropy(_rows(end_logits, batch.lengths), batch.end_positions, reduction="none")
    return (start + end) / 2


def log_probabilities(logits: torch.Tensor, lengths: tuple[int, ...]) -> torch.Tensor:
    """Give the log-softmax of every window over its real tokens.

    Args:
        logits: Start or end logits of all tokens.
        lengths: Tokens of each window.

    Returns:
        One row a window, 0 where it has no token: sums over a row then leave nothing to mask, and no gradient is NaN.

    Shapes:
        logits: (T,) float32
        returns: (W, longest) float32
    """
    rows = _rows(logits, lengths).log_softmax(dim=1)
    ends = torch.tensor(lengths, device=rows.device)
    return rows.masked_fill(torch.arange(rows.shape[1], device=rows.device) >= ends[:, None], 0.0)


def _rows(logits: torch.Tensor, lengths: tuple[int, ...]) -> torch.Tensor:
    """Lay packed logits out as (W, longest), with -inf where a window has no token."""
    return torch.nn.utils.rnn.pad_sequence(list(logits.split(lengths)), batch_first=True, padding_value=float("-inf"))
