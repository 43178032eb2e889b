"""The learning-rate range test: a short run with a rising learning rate, and what its loss says.

The steps are the run's own (data order, batch, objective, clipping, precision); only the learning rate differs: it
rises by the same factor at every step. The loss stays level while the rate is too small to matter, falls, and climbs
back when the rate is too large to hold. Afterwards everything is as it was, to the bit.

Source:
    L. N. Smith, "Cyclical Learning Rates for Training Neural Networks", section 3.3, and fastai's `lr_find`. What
    differs: fastai stops at four times the lowest loss and never would here, where the loss begins at a uniform
    guess (5.4 for windows of 220 tokens) and a broken model goes back to it; and its mean looks back only, which
    shifts the curve to higher rates.
"""

import copy
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch

from albertqa.errors import DataError, RunError
from albertqa.health.range_curve import FEWEST_STEPS, RangeTest, has_diverged, judge
from albertqa.model.load import SpanModel
from albertqa.training.checkpoint import TrainState
from albertqa.training.loop import Plan, train_steps
from albertqa.training.objective import Objective, span_objective
from albertqa.windows.batches import WindowSource
from albertqa.windows.store import WindowStore


def ramp_factor(step: int, *, ratio: float, num_steps: int) -> float:
    """Give the factor on the highest learning rate at a step.

    Args:
        step: Step, from 0.
        ratio: Lowest learning rate over the highest.
        num_steps: Steps of the ramp.

    Returns:
        From `ratio` to 1, each the same multiple of the one before.
    """
    return float(ratio ** (1 - step / (num_steps - 1)))


def run_range_test(
    model: SpanModel,
    store: WindowStore,
    optimizer: torch.optim.Optimizer,
    *,
    min_lr: float,
    max_lr: float,
    num_steps: int,
    micro_batch: int,
    accumulation: int,
    max_grad_norm: float,
    seed: int,
    objective: Objective = span_objective,
    view_of_epoch: Callable[[int], WindowSource] | None = None,
    may_recompute: bool = True,
    stepped: Callable[[dict[str, Any]], None] | None = None,
    say: Callable[[str], None] | None = None,
) -> RangeTest:
    """Run a range test; leaves model, optimizer and random generators as they were, to the bit.

    Args:
        model: The model as the run begins with it.
        store: Training windows.
        optimizer: Its optimizer.
        min_lr: Learning rate of the first step.
        max_lr: Learning rate of the last.
        num_steps: Steps, at most those of one epoch (see `ramp_steps`).
        micro_batch: Windows of one forward and backward.
        accumulation: Micro-batches of one step.
        max_grad_norm: Clip the gradient to this norm; 0: never.
        seed: Seed of the data order.
        objective: What the steps minimize.
        view_of_epoch: How an epoch sees the windows (see `train_steps`).
        may_recompute: Whether activations may be recomputed where the memory does not hold a window otherwise.
        stepped: Called with the record's line of every step.
        say: Called with what the loop has to tell.

    Returns:
        The test.

    Raises:
        RunError: The very first loss is no number.
    """
    plan = Plan(math.ceil(len(store) / (micro_batch * accumulation)), num_steps, 0, num_steps, num_steps)
    ramp = _Ramp(num_steps, stepped, say)
    with _put_back(model, optimizer):
        train_steps(
            model,
            store,
            optimizer,
            plan,
            ramp,
            state=TrainState(),
            learning_rate=max_lr,
            schedule=partial(ramp_factor, ratio=min_lr / max_lr, num_steps=num_steps),
            micro_batch=micro_batch,
            accumulation=accumulation,
            max_grad_norm=max_grad_norm,
            seed=seed,
            objective=objective,
            view_of_epoch=view_of_epoch,
            may_recompute=may_recompute,
        )
    if not ramp.losses:
        raise RunError("range test: the first loss is no number; the model is broken before any update")
    guess_loss = float(np.log(store.lengths).mean())
    return judge(ramp.learning_rates, ramp.losses, num_steps=num_steps, diverged=ramp.diverged, guess_loss=guess_loss)


def ramp_steps(num_windows: int, *, step_windows: int, num_steps: int) -> int:
    """Count the steps of a range test: no window twice, as a loss that falls because it was seen says nothing.

    Args:
        num_windows: Training windows.
        step_windows: Windows of one optimizer step.
        num_steps: Steps asked for.

    Returns:
        These, or the whole steps of one epoch if it has fewer.

    Raises:
        DataError: Too few for a range test.
    """
    there = num_windows // step_windows
    if there < FEWEST_STEPS:
        raise DataError(
            f"range test: {num_windows} windows are {there} steps of {step_windows}, expected at least {FEWEST_STEPS}. "
            "Give more questions, or take fewer windows a step (--train-batch-size)"
        )
    return min(num_steps, there)


class _Ramp:
    """Collects the losses, and ends the ramp where they diverge (the `Watcher` of `train_steps`)."""

    def __init__(
        self,
        num_steps: int,
        stepped: Callable[[dict[str, Any]], None] | None,
        say: Callable[[str], None] | None,
    ) -> None:
        self._num_steps, self._stepped, self._say = num_steps, stepped, say
        self.learning_rates: list[float] = []
        self.losses: list[float] = []
        self.diverged: float | None = None

    def stepped(self, row: dict[str, Any]) -> None:
        if self.diverged is not None:
            # A GPU had begun one more step by then.
            return
        if row["train_loss"] is None or row.get("skipped"):
            self.diverged = row["learning_rate"]
            return
        self.learning_rates.append(row["learning_rate"])
        self.losses.append(row["train_loss"])
        if has_diverged(self.losses, num_steps=self._num_steps):
            self.diverged = row["learning_rate"]
        if self._stepped is not None:
            self._stepped(row)

    def say(self, line: str) -> None:
        if self._say is not None:
            self._say(line)

    def evaluate(self, state: TrainState) -> TrainState:
        return state

    def save(self, state: TrainState) -> None:
        pass

    def should_stop(self) -> bool:
        return self.diverged is not None


@contextmanager
def _put_back(model: SpanModel, optimizer: torch.optim.Optimizer) -> Iterator[None]:
    """Put weights, optimizer, mode, precision and random generators back at the end, however it comes."""
    weights = {name: value.clone() for name, value in model.model.state_dict().items()}
    moments = copy.deepcopy(optimizer.state_dict())
    was_training, precision = model.model.training, model.autocast_dtype
    devices = [model.device] if model.device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        try:
            yield
        finally:
            optimizer.zero_grad(set_to_none=True)
            model.model.load_state_dict(weights)
            optimizer.load_state_dict(moments)
            model.model.train(was_training)
            # The loop gives half precision up with the first number that is none.
            model.autocast_dtype = precision
