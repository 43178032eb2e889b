"""The curve of a range test: where it has diverged, and which learning rate it suggests."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_MEMORY = 1 / 30
"""Steps over which the smoothing forgets, as a share of the ramp: a fifth of a decade where it has six."""
_START = 1 / 10
"""Share of the ramp whose mean loss is the level at the start."""
_CLIMB = 0.75
"""Share of the descent that a loss which diverges climbs back."""
_LEAST_CLIMB = 0.25
"""And at least so much, where the descent is small."""
_BEYOND_NOISE = 6.0
"""And by so many standard deviations of the mean that it is seen in."""
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
        guess_loss: Uniform baseline: loss of equal probabilities on these windows.
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


def has_diverged(losses: Sequence[float], *, num_steps: int) -> bool:
    """Return whether the loss has climbed back.

    Three quarters of what it had fallen, and more than noise: a broken encoder often predicts uniformly, so that
    its loss is not above where it began.

    Args:
        losses: Losses so far.
        num_steps: Steps of the whole ramp.
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
    return bool(climb > max(_CLIMB * (np.mean(losses[:first]) - lowest), _BEYOND_NOISE * noise, _LEAST_CLIMB))


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
        learning_rates: As in `RangeTest`; so are `losses`, `diverged` and `guess_loss`.
        losses: Loss of each step.
        num_steps: Steps of the whole ramp.
        diverged: Learning rate at which the test stopped.
        guess_loss: Uniform baseline.
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
    """Return every loss's exponential mean over the steps before and after it, debiased: (steps,) float64.

    A neighbour's weight is multiplied by `decay`, 0 to below 1, with every step of distance. Looking both ways, the
    means do not lag behind the learning rate.
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
    """Return the standard deviation of one loss, from differences of neighbours: a slow descent is no noise."""
    return math.sqrt(float(np.square(np.diff(losses)).mean()) / 2) if len(losses) > 1 else 0.0


def _decay(num_steps: int) -> float:
    return math.exp(-1 / max(1.0, num_steps * _MEMORY))


def _start_steps(num_steps: int) -> int:
    return max(5, round(num_steps * _START))


def _middle(learning_rates: Sequence[float], smoothed: NDArray[np.float64], level: float) -> float:
    """Return the learning rate at which the curve goes through a level, between two steps on the logarithm of the rate.

    The last one is below the level; where the first is, too, its rate is the answer.
    """
    above = np.flatnonzero(smoothed > level)
    if not len(above):
        return learning_rates[0]
    before = int(above[-1])
    share = (smoothed[before] - level) / (smoothed[before] - smoothed[before + 1])
    return float(learning_rates[before] * (learning_rates[before + 1] / learning_rates[before]) ** share)


def spell_rate(rate: float) -> str:
    """Write a learning rate with two digits, as one would type it: 1.8e-4."""
    digits, power = f"{rate:.1e}".split("e")
    return f"{digits}e{int(power)}"
