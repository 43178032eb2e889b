"""What a step minimizes: one loss for every window of a packed batch."""

from collections.abc import Callable
from typing import TypeAlias

import torch

from albertqa.model.load import SpanModel
from albertqa.model.packed import span_losses
from albertqa.windows.batches import PackedBatch

# Shapes: returns (W,) float32, with its gradient.
Objective: TypeAlias = Callable[[SpanModel, PackedBatch], torch.Tensor]


def span_objective(model: SpanModel, batch: PackedBatch) -> torch.Tensor:
    """Give the recipe's loss: cross entropy of the gold's start and end (see `albertqa.model.packed.span_losses`)."""
    return span_losses(*model.logits(batch), batch)
