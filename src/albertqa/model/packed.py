"""Padding-free forward: linear layers, LayerNorm and GELU see real tokens only; attention stays inside each window.

How it stays there is in `albertqa.model.attention`. It enters through Transformers' documented `AttentionInterface` and
`AttentionMaskInterface`. Both are registered: without a mask function, Transformers builds none and says nothing; with
`position_ids` alone its own attention would mix the windows of a batch.

Nothing here asks the device for a value, so the host never waits for a GPU.
"""

from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional

from albertqa.errors import ModelError
from albertqa.model.attention import Attend, attention_inputs, choose_attention, token_slots
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
    attend: Attend,
    windows: dict[str, Any],
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
        attend: How (see `albertqa.model.attention.choose_attention`).
        windows: What it needs to know of the batch.
        dropout: Dropout of the attention probabilities.
        scaling: Factor on the scores; None is one over the root of the head size.

    Returns:
        The attended values, and no probabilities.

    Shapes:
        query, key, value: (1, heads, T, head size)
        returns: (1, T, heads, head size)
    """
    del module, attention_mask
    return attend(query, key, value, dropout=dropout, scaling=scaling, **windows), None


def _no_mask(*_args: Any, **_kwargs: Any) -> None:
    """Build no mask: windows are kept apart by their lengths."""


def span_logits(
    model: "PreTrainedModel",
    batch: PackedBatch,
    *,
    precision: torch.dtype | None = None,
    has_segments: bool = True,
    first_position: int = 0,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Score every token of a packed batch as start and as end of the answer.

    Args:
        model: A question-answering model with `use_packed_attention`.
        batch: Windows laid end to end, on the model's device.
        precision: Type of the matrix products, as autocast has it; None for fp32.
        has_segments: Whether the encoder knows segment ids.
        first_position: Position id of a window's first token.

    Returns:
        Start and end logits of all tokens, fp32.

    Shapes:
        returns: two of (T,) float32
    """
    attend = choose_attention(model, batch.input_ids.device, precision)
    segments = {"token_type_ids": batch.token_type_ids[None]} if has_segments else {}
    output = model(
        input_ids=batch.input_ids[None],
        position_ids=batch.position_ids[None] + first_position,
        attend=attend,
        windows=attention_inputs(attend, batch),
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
    start = functional.cross_entropy(_rows(start_logits, batch), batch.start_positions, reduction="none")
    end = functional.cross_entropy(_rows(end_logits, batch), batch.end_positions, reduction="none")
    return (start + end) / 2


def log_probabilities(logits: torch.Tensor, batch: PackedBatch) -> torch.Tensor:
    """Give the log-softmax of every window over its real tokens.

    Args:
        logits: Start or end logits of all tokens.
        batch: The windows.

    Returns:
        One row a window, 0 where it has no token: sums over a row then leave nothing to mask, and no gradient is NaN.

    Shapes:
        logits: (T,) float32
        returns: (W, longest) float32
    """
    rows = _rows(logits, batch).log_softmax(dim=1)
    return rows.masked_fill(torch.arange(batch.longest, device=rows.device) >= tokens_of(batch)[:, None], 0.0)


def tokens_of(batch: PackedBatch) -> torch.Tensor:
    """Give the number of tokens of each window, (W,) int64, on the batch's device."""
    return batch.first_token.diff()[: len(batch.start_positions)]


def _rows(logits: torch.Tensor, batch: PackedBatch) -> torch.Tensor:
    """Lay packed logits out as (W, longest), with -inf where a window has no token; the tail is left out."""
    num_rows = len(batch.first_token) - 1
    empty = logits.new_full((num_rows * batch.longest,), float("-inf"))
    rows: torch.Tensor = empty.index_copy(0, token_slots(batch), logits).unflatten(0, (num_rows, batch.longest))
    return rows[: len(batch.start_positions)]
