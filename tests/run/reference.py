"""A plain Transformers + PyTorch training loop, written the usual way: what `train_steps` must equal.

Batches padded to their longest window with an attention mask; forward, attention and activation Transformers' own;
AdamW PyTorch's (not the fused one); weight decay groups, schedule and clipping Transformers' and PyTorch's own.

One thing is not the usual: Transformers' span loss lets its softmax run over padding, so it depends on what else is in
the batch. Here the padding is masked out of it; with `is_padded` off, every window runs alone through the model's own
loss, where there is no padding to mask.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import (
    AlbertForQuestionAnswering,
    PreTrainedModel,
    Trainer,
    get_linear_schedule_with_warmup,
)

from albertqa.windows.batches import PackedBatch, epoch_order, pack
from albertqa.windows.store import WindowStore
from model.cases import padded_losses, unpadded_losses


@dataclass(frozen=True)
class Course:
    """What decides a training course beside model and data."""

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
    """What a training course gives: loss and gradient norm (before clipping) of every step, and the model."""

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
        course: How.
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
    losses_of = padded_losses if is_padded else unpadded_losses
    losses, norms = [], []
    steps = _steps(store, course)
    for _ in range(course.total_steps):
        micro_batches = next(steps)
        num_windows = sum(len(batch.lengths) for batch in micro_batches)
        step_loss = 0.0
        for batch in micro_batches:
            loss = losses_of(model, batch).mean() * (len(batch.lengths) / num_windows)
            loss.backward()
            step_loss += float(loss.detach())
        norms.append(float(torch.nn.utils.clip_grad_norm_(model.parameters(), course.max_grad_norm)))
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad()
        losses.append(step_loss)
    return Trained(losses, norms, model)


def _steps(store: WindowStore, course: Course) -> Iterator[list[PackedBatch]]:
    """Give the micro-batches of one step after the other; an epoch's last step has what is left."""
    size = course.micro_batch * course.accumulation
    epoch = 0
    while True:
        order = epoch_order(len(store), seed=course.seed, epoch=epoch)
        for first in range(0, len(order), size):
            step = order[first : first + size]
            yield [pack(store, step[at : at + course.micro_batch]) for at in range(0, len(step), course.micro_batch)]
        epoch += 1
