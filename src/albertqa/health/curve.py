"""Noisy numbers, taken with their spread: one batch's loss says little, the mean of fifty says how little it says."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

FEWEST_STEPS = 20
"""With fewer steps, noise and descent cannot be told apart."""
_MOST_BLOCKS, _LEAST_SIZE = 40, 5


@dataclass(frozen=True, slots=True)
class Level:
    """The mean of neighbouring steps.

    Attributes:
        mean: The mean.
        error: Its standard error; infinite where one value is all there is.
    """

    mean: float
    error: float

    @property
    def low(self) -> float:
        """What the true level is hardly below (two standard errors)."""
        return self.mean - 2 * self.error

    @property
    def high(self) -> float:
        """What the true level is hardly above (two standard errors)."""
        return self.mean + 2 * self.error


def level(values: Sequence[float]) -> Level:
    """Return the mean of values, at least one, with its standard error."""
    array, count = np.array(values), len(values)
    error = float(array.std(ddof=1)) / count**0.5 if count > 1 else float("inf")
    return Level(float(array.mean()), error)


def blocks(values: Sequence[float]) -> list[Level]:
    """Return the levels of up to 40 equal blocks of a curve, each of 5 values or more.

    What is left over at the curve's beginning is left out.
    """
    count = min(_MOST_BLOCKS, len(values) // _LEAST_SIZE)
    if count == 0:
        return []
    size = len(values) // count
    return [level(values[start : start + size]) for start in range(len(values) - count * size, len(values), size)]


def proportion_error(percent: float, count: int) -> float:
    """Return the standard error, in points, of a percentage of questions.

    With the correction of Agresti and Coull (1998), so that 0 of 10 is not taken for certain.

    Args:
        percent: The percentage, 0 to 100.
        count: Number of questions.
    """
    share = (percent / 100 * count + 2) / (count + 4)
    return 100 * float(np.sqrt(share * (1 - share) / (count + 4)))
