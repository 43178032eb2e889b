"""A plain Transformers + PyTorch training loop, written the usual way: the reference for the project's own loop.

Batches padded to their longest window with an attention mask; forward, attention and activation are Transformers' own;
AdamW is PyTorch's (not the fused one); weight decay groups, schedule and clipping are Transformers' and PyTorch's own.

One difference: Transformers' span loss has a softmax over padding, so it depends on the other windows of the batch.
Here padding is masked out of it; without `is_padded`, every window runs alone through the model's own loss.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.nn import functional
from transformers import AlbertForQuestionAnswering, PreTrainedModel, Trainer, get_linear_schedule_with_warmup

from albertqa.windows.batches import epoch_order
from albertqa.windows.store import Window, WindowStore
from benchmarks.models import padded


@dataclass(frozen=True)
class Course:
    """The settings of a training."""

    learning_rate: float = 1e-3
    total_steps: int = 50
    micro_batch: int = 8
    accumulation: int = 1
    warmup_steps: int = 0
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    seed: int = 42


@dataclass(frozen=True)
class Trained:
    """Loss and gradient norm (before clipping) of every step, and the trained model."""

    losses: list[float]
    norms: list[float]
    model: PreTrainedModel


def train_plainly(
    folder: Path, store: WindowStore, course: Course, *, attention: str = "eager", is_padded: bool = True
) -> Trained:
    """Train a saved ALBERT.

    Args:
        folder: The model.
        store: Its training windows.
        course: The settings.
        attention: Transformers' attention implementation.
        is_padded: Whether windows run in padded batches, or one by one with the model's own loss.

    Returns:
        Losses, norms and the trained model.
    """
    model = AlbertForQuestionAnswering.from_pretrained(folder, attn_implementation=attention)
    model.train()
    decayed = set(Trainer.get_decay_parameter_names(None, model))
    groups = [
        {"params": [one for name, one in model.named_parameters() if name in decayed]},
        {"params": [one for name, one in model.named_parameters() if name not in decayed], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(
        groups, lr=course.learning_rate, betas=(0.9, 0.999), eps=1e-8, weight_decay=course.weight_decay
    )
    scheduler = get_linear_schedule_with_warmup(optimizer, course.warmup_steps, course.total_steps)
    losses_of = _padded_losses if is_padded else _single_losses
    losses, norms = [], []
    steps = _steps(store, course)
    for _ in range(course.total_steps):
        micro_batches = next(steps)
        num_windows = sum(map(len, micro_batches))
        step_loss = 0.0
        for windows in micro_batches:
            loss = losses_of(model, windows).sum() / num_windows
            loss.backward()
            step_loss += float(loss.detach())
        norms.append(float(torch.nn.utils.clip_grad_norm_(model.parameters(), course.max_grad_norm)))
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad()
        losses.append(step_loss)
    return Trained(losses, norms, model)


def _padded_losses(model: PreTrainedModel, windows: Sequence[Window]) -> torch.Tensor:
    """Return every window's loss by a padded forward, the softmax over real tokens only."""
    inputs = padded(windows, range(len(windows)), None)
    labels = inputs.pop("start_positions"), inputs.pop("end_positions")
    output = model(**inputs)
    is_padding = inputs["attention_mask"] == 0
    start, end = (
        functional.cross_entropy(logits.masked_fill(is_padding, -torch.inf), label, reduction="none")
        for logits, label in zip((output.start_logits, output.end_logits), labels, strict=True)
    )
    return (start + end) / 2


def _single_losses(model: PreTrainedModel, windows: Sequence[Window]) -> torch.Tensor:
    """Return every window's loss as the model itself computes it, one window at a time."""
    return torch.stack([model(**padded([window], [0], None)).loss for window in windows])


def _steps(store: WindowStore, course: Course) -> Iterator[list[list[Window]]]:
    """Yield the micro-batches of each step; the last step of an epoch may have fewer windows."""
    size = course.micro_batch * course.accumulation
    epoch = 0
    while True:
        order = epoch_order(len(store), seed=course.seed, epoch=epoch)
        for first in range(0, len(order), size):
            step = [store[int(index)] for index in order[first : first + size]]
            yield [step[at : at + course.micro_batch] for at in range(0, len(step), course.micro_batch)]
        epoch += 1
