"""The loss of a span: cross entropy of start and end, for every window over its own tokens."""

import torch
from torch.nn import functional

from albertqa.model.attention import token_slots
from albertqa.windows.batches import PackedBatch


def span_losses(start_logits: torch.Tensor, end_logits: torch.Tensor, batch: PackedBatch) -> torch.Tensor:
    """Return every window's loss: mean of the cross entropies of start and end, each over the window's tokens.

    Their mean is the loss of a step.

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
    """Return the log-softmax of every window over its tokens.

    Returns:
        One row a window, 0 where it has no token: sums over a row then leave nothing to mask, and no gradient is NaN.

    Shapes:
        logits: (T,) float32
        returns: (W, longest) float32
    """
    rows = _rows(logits, batch).log_softmax(dim=1)
    return rows.masked_fill(torch.arange(batch.longest, device=rows.device) >= tokens_of(batch)[:, None], 0.0)


def tokens_of(batch: PackedBatch) -> torch.Tensor:
    """Return the number of tokens of each window, (W,) int64, on the batch's device."""
    return batch.first_token.diff()


def _rows(logits: torch.Tensor, batch: PackedBatch) -> torch.Tensor:
    """Lay packed logits out as (W, longest), with -inf where a window has no token."""
    num_rows = len(batch.start_positions)
    empty = logits.new_full((num_rows * batch.longest,), float("-inf"))
    return empty.index_copy(0, token_slots(batch), logits).view(num_rows, batch.longest)
