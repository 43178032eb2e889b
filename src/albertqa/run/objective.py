"""What a step minimizes: one loss for every window of a packed batch.

The recipe's loss is the cross entropy of the gold's start and end. Two opt-in regularizers change it: label smoothing
and R-Drop. Evaluation always reports the recipe's loss, so validation losses compare across runs; the training loss is
what was minimized.
"""

from collections.abc import Callable
from typing import TypeAlias

import torch

from albertqa.model.load import SpanModel
from albertqa.model.span_loss import log_probabilities, span_losses, tokens_of
from albertqa.windows.batches import PackedBatch

# Shapes: returns (W,) float32, with its gradient.
Objective: TypeAlias = Callable[[SpanModel, PackedBatch], torch.Tensor]


def span_objective(model: SpanModel, batch: PackedBatch) -> torch.Tensor:
    """Return the recipe's loss: cross entropy of the gold's start and end (see `span_losses`)."""
    return span_losses(*model.logits(batch), batch)


def build_objective(*, label_smoothing: float = 0.0, r_drop_alpha: float = 0.0) -> Objective:
    """Build the objective of a run.

    R-Drop passes the same windows through the model twice, each time with dropout of its own, and draws the two
    distributions over the tokens to each other::

        loss = (CE₁ + CE₂) / 2 + alpha · (KL(P₁‖P₂) + KL(P₂‖P₁)) / 2

    with cross entropy and divergence each the mean of start and end. The mean of the two cross entropies, not their
    sum, keeps what learning rate and clipping mean: the paper's loss is twice this one, and its alpha twice ours.

    Args:
        label_smoothing: Share of the target spread evenly over the window's tokens (see `smoothed_span_losses`).
        r_drop_alpha: Weight of R-Drop's divergence; 0: one pass, no divergence.

    Returns:
        The objective; without either, `span_objective`.

    Source:
        Wu et al. 2021, "R-Drop: Regularized Dropout for Neural Networks" (arXiv 2106.14448), section 2; the mean is
        that of the authors' code (github.com/dropreg/R-Drop, README).
    """
    if not label_smoothing and not r_drop_alpha:
        return span_objective

    def objective(model: SpanModel, batch: PackedBatch) -> torch.Tensor:
        first = model.logits(batch)
        losses = smoothed_span_losses(*first, batch, label_smoothing=label_smoothing)
        if not r_drop_alpha:
            return losses
        second = model.logits(batch.drawn_again())
        both = (losses + smoothed_span_losses(*second, batch, label_smoothing=label_smoothing)) / 2
        start, end = (symmetric_divergences(*pair, batch) for pair in zip(first, second, strict=True))
        return both + r_drop_alpha * (start + end) / 2

    return objective


def smoothed_span_losses(
    start_logits: torch.Tensor, end_logits: torch.Tensor, batch: PackedBatch, *, label_smoothing: float
) -> torch.Tensor:
    """Return every window's loss against smoothed labels: mean of start and end.

    The target is 1 - label_smoothing on the gold token plus label_smoothing spread evenly over the window's real
    tokens. Special and question tokens are among them: the span head scores them, so they are classes of its softmax
    (CLS is "no answer"). Padding is none.

    Args:
        start_logits: Start logits of all tokens.
        end_logits: End logits.
        batch: The windows with their labels.
        label_smoothing: From 0, which is `span_losses` to the bit, to below 1.

    Shapes:
        start_logits, end_logits: (T,) float32
        returns: (W,) float32

    Source:
        Szegedy et al. 2016, "Rethinking the Inception Architecture for Computer Vision", section 7, as
        `torch.nn.functional.cross_entropy(label_smoothing=)` has it for each window alone.
    """
    losses = span_losses(start_logits, end_logits, batch)
    if not label_smoothing:
        return losses
    evenly = [-log_probabilities(one, batch).sum(dim=1) / tokens_of(batch) for one in (start_logits, end_logits)]
    return (1 - label_smoothing) * losses + label_smoothing * (evenly[0] + evenly[1]) / 2


def symmetric_divergences(first: torch.Tensor, second: torch.Tensor, batch: PackedBatch) -> torch.Tensor:
    """Return (KL(P‖Q) + KL(Q‖P)) / 2 for every window; P and Q are softmaxes over its real tokens.

    Args:
        first: Logits of P for all tokens; gradients flow to both.
        second: Logits of Q.
        batch: The windows.

    Shapes:
        first, second: (T,) float32
        returns: (W,) float32
    """
    p, q = (log_probabilities(one, batch) for one in (first, second))
    # The two divergences share their terms: p (log p - log q) + q (log q - log p); 0 where a window has no token.
    return ((p.exp() - q.exp()) * (p - q)).sum(dim=1) / 2
