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
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from albertqa.errors import DataError, RunError
from albertqa.model.load import SpanModel
from albertqa.training.checkpoint import TrainState
from albertqa.training.loop import Plan, train_steps
from albertqa.training.objective import Objective, span_objective
from albertqa.windows.batches import WindowSource
from albertqa.windows.store import WindowStore

FEWEST_STEPS = 20
"""With fewer steps, noise and descent cannot be told apart."""

_MEMORY = 1 / 30
"""Steps over which the smoothing forgets, as a share of the ramp: a fifth of a decade where it has six."""
_START = 1 / 10
"""Share of the ramp whose mean loss is the level at the start."""
_CLIMB = 0.75
"""Share of the descent that a loss which diverges climbs back."""
_LEAST_CLIMB = 0.25
"""And at least so much, where the descent is small."""
_STAYS = 3
"""And stays there for so many steps: one window that the model gets very wrong is no divergence."""
_CLEAR = 4.0
"""A descent is clear where it is so many times as deep as chance makes one."""
_SAFE = 3.0
"""Least distance of the suggestion from the rate of the lowest loss, as a factor."""


@dataclass(frozen=True)
class RangeTest:
    """A range test and what it says.

    Attributes:
        learning_rates: Learning rate of each step done.
        losses: Loss of each step's windows, before its update.
        smoothed: The losses' mean over the steps around each.
        guess_loss: Loss of a uniform guess on these windows.
        start_loss: Mean loss of the first steps.
        descent: How far the smoothed loss fell below it.
        noise: How far chance alone moves that difference (one standard deviation).
        lowest: Learning rate of the lowest smoothed loss.
        diverged: Learning rate at which the loss had climbed back and the test stopped; None: it never did.
        suggestion: Learning rate to train with; None: the curve gives none.
        reason: Why this one, or why none; one sentence.
    """

    learning_rates: tuple[float, ...]
    losses: tuple[float, ...]
    smoothed: tuple[float, ...]
    guess_loss: float
    start_loss: float
    descent: float
    noise: float
    lowest: float
    diverged: float | None
    suggestion: float | None
    reason: str


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
            f"Give more questions, or a --train-batch-size up to {max(1, num_windows // FEWEST_STEPS)}"
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


def has_diverged(losses: Sequence[float], *, num_steps: int) -> bool:
    """Tell whether the loss has climbed back.

    Three quarters of what it had fallen, and more than noise: a broken encoder often gives a uniform guess, so that
    its loss is not above where it began.

    Args:
        losses: Losses so far.
        num_steps: Steps of the whole ramp.

    Returns:
        Whether to stop.
    """
    first = _start_steps(num_steps)
    if len(losses) <= first:
        return False
    decay = _decay(num_steps)
    past = _decayed_sum(np.asarray(losses), decay) / _decayed_sum(np.ones(len(losses)), decay)
    lowest = past[first - 1 :].min()
    # Of a mean with weights decay^k: their squares' sum is (1 - decay) / (1 + decay).
    noise = _noise(losses) * math.sqrt((1 - decay) / (1 + decay))
    climb = past[-_STAYS:].min() - lowest
    return bool(climb > max(_CLIMB * (np.mean(losses[:first]) - lowest), 6 * noise, _LEAST_CLIMB))


def judge(
    learning_rates: Sequence[float],
    losses: Sequence[float],
    *,
    num_steps: int,
    diverged: float | None,
    guess_loss: float,
) -> RangeTest:
    """Read the curve.

    The suggestion is the middle of the descent: the rate at which the smoothed loss has done half of its way from the
    start to its lowest. It is the steepest place of an even descent, and of all the marks of such a curve the one that
    noise moves least. It stays a factor of three below the rate of the lowest loss: what a few steps survive, hundreds
    do not.

    Args:
        learning_rates: Learning rate of each step done.
        losses: Loss of each.
        num_steps: Steps of the whole ramp.
        diverged: Learning rate at which the test stopped; None: at its end.
        guess_loss: Loss of a uniform guess.

    Returns:
        The test with its suggestion.
    """
    decay, first = _decay(num_steps), _start_steps(num_steps)
    smoothed = smooth(losses, decay)
    start = float(np.mean(losses[:first]))
    at_lowest = int(smoothed.argmin())
    descent = start - float(smoothed[at_lowest])
    # Of a mean with weights decay^|k|, and of the mean at the start.
    shares = (1 + decay**2) * (1 - decay) / (1 + decay) ** 3 + 1 / first
    noise = _noise(losses[: max(at_lowest, first) + 1]) * math.sqrt(shares)
    lowest = learning_rates[at_lowest]
    suggestion = None
    found = f"the smoothed loss fell from {start:.2f} to {smoothed[at_lowest]:.2f}"
    if descent <= _CLEAR * noise:
        climbed = f"; it climbed back at {spell_rate(diverged)}" if diverged is not None else ""
        reason = (
            f"no clear descent: the smoothed loss went from {start:.2f} to {smoothed[at_lowest]:.2f} at its lowest, "
            f"and up to {_CLEAR * noise:.2f} may be chance{climbed}. Take more steps (--num-steps) or a larger batch"
        )
    elif diverged is None and at_lowest >= len(losses) - first:
        reason = f"the loss fell to the end of the ramp: {found}. Raise --max-lr ({spell_rate(learning_rates[-1])})"
    else:
        middle = _middle(learning_rates, smoothed[: at_lowest + 1], start - descent / 2)
        if middle <= learning_rates[min(first, len(losses)) - 1]:
            reason = f"the loss fell from the first steps on: {found}. Lower --min-lr ({spell_rate(learning_rates[0])})"
        else:
            suggestion = float(spell_rate(min(middle, lowest / _SAFE)))
            reason = f"{found}, lowest at {spell_rate(lowest)}; half of the way was done at {spell_rate(middle)}"
            if suggestion < float(spell_rate(middle)):
                reason += f", and {spell_rate(suggestion)} is {_SAFE:.0f} times below the lowest, which is safer"
    return RangeTest(
        learning_rates=tuple(learning_rates),
        losses=tuple(losses),
        smoothed=tuple(smoothed.tolist()),
        guess_loss=guess_loss,
        start_loss=start,
        descent=descent,
        noise=noise,
        lowest=lowest,
        diverged=diverged,
        suggestion=suggestion,
        reason=reason[0].upper() + reason[1:] + ".",
    )


def smooth(losses: Sequence[float], decay: float) -> NDArray[np.float64]:
    """Give every loss's exponential mean over the steps before and after it, debiased.

    Args:
        losses: The losses.
        decay: Factor on a neighbour's weight with every step of distance, 0 to below 1.

    Returns:
        Weighted means; looking both ways, they do not lag behind the learning rate.

    Shapes:
        returns: (steps,) float64
    """
    values = np.asarray(losses, dtype=np.float64)

    def both_ways(of: NDArray[np.float64]) -> NDArray[np.float64]:
        return _decayed_sum(of, decay) + _decayed_sum(of[::-1], decay)[::-1] - of

    return both_ways(values) / both_ways(np.ones_like(values))


def _decayed_sum(values: NDArray[np.float64], decay: float) -> NDArray[np.float64]:
    sums = np.empty(len(values))
    total = 0.0
    for index, value in enumerate(values):
        sums[index] = total = decay * total + value
    return sums


def _noise(losses: Sequence[float]) -> float:
    """Give the standard deviation of one loss, from differences of neighbours: a slow descent is no noise."""
    return math.sqrt(float(np.square(np.diff(losses)).mean()) / 2) if len(losses) > 1 else 0.0


def _decay(num_steps: int) -> float:
    return math.exp(-1 / max(1.0, num_steps * _MEMORY))


def _start_steps(num_steps: int) -> int:
    return max(5, round(num_steps * _START))


def _middle(learning_rates: Sequence[float], smoothed: NDArray[np.float64], level: float) -> float:
    """Give the learning rate at which the curve goes through a level, between two steps on the logarithm of the rate.

    The last one is below the level; where the first is, too, its rate is the answer.
    """
    above = np.flatnonzero(smoothed > level)
    if not len(above):
        return learning_rates[0]
    before = int(above[-1])
    share = (smoothed[before] - level) / (smoothed[before] - smoothed[before + 1])
    return float(learning_rates[before] * (learning_rates[before + 1] / learning_rates[before]) ** share)


def spell_rate(rate: float) -> str:
    """Write a learning rate with two digits, as one would type it.

    >>> spell_rate(0.00018)
    '1.8e-4'
    """
    digits, power = f"{rate:.1e}".split("e")
    return f"{digits}e{int(power)}"
