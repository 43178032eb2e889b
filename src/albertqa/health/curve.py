"""Noisy numbers, taken with their spread: one batch's loss says little, the mean of fifty says how little it says."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FEWEST_STEPS = 20
"""With fewer steps, noise and descent cannot be told apart."""


class Series:
    """A growing series of numbers; appending costs the same however long it is."""

    def __init__(self) -> None:
        self._room = np.empty(256, dtype=np.float64)
        self._count = 0

    def append(self, value: float) -> None:
        """Add a number."""
        if self._count == len(self._room):
            self._room = np.concatenate([self._room, np.empty_like(self._room)])
        self._room[self._count] = value
        self._count += 1

    @property
    def values(self) -> NDArray[np.float64]:
        """The numbers so far, not copied."""
        return self._room[: self._count]


@dataclass(frozen=True, slots=True)
class Level:
    """The mean of neighbouring steps.

    Attributes:
        mean: The mean.
        error: Its standard error; infinite where one value is all there is.
        count: Number of values.
    """

    mean: float
    error: float
    count: int

    @property
    def low(self) -> float:
        """What the true level is hardly below (two standard errors)."""
        return self.mean - 2 * self.error

    @property
    def high(self) -> float:
        """What the true level is hardly above (two standard errors)."""
        return self.mean + 2 * self.error


def level(values: NDArray[np.float64]) -> Level:
    """Give the mean of values with its standard error.

    Args:
        values: At least one.

    Shapes:
        values: (N,) float64
    """
    count = len(values)
    error = float(values.std(ddof=1)) / count**0.5 if count > 1 else float("inf")
    return Level(float(values.mean()), error, count)


def tail(values: NDArray[np.float64]) -> Level:
    """Give the level of a curve's end: its last fifth, at least 10 and at most 200 values.

    Shapes:
        values: (N,) float64, N at least 1
    """
    return level(values[-min(len(values), max(10, min(200, len(values) // 5))) :])


def blocks(values: NDArray[np.float64], *, most: int = 20, least_size: int = 10) -> list[Level]:
    """Cut a curve into equal blocks and give the level of each; what is left over at the beginning is left out.

    Args:
        values: The curve.
        most: Most blocks.
        least_size: Fewest values of a block.

    Shapes:
        values: (N,) float64
    """
    count = min(most, len(values) // least_size)
    if count == 0:
        return []
    size = len(values) // count
    return [level(block) for block in values[len(values) - count * size :].reshape(count, size)]


def proportion_error(percent: float, count: int) -> float:
    """Give the standard error, in points, of a percentage of questions.

    With the correction of Agresti and Coull (1998), so that 0 of 10 is not taken for certain.

    Args:
        percent: The percentage, 0 to 100.
        count: Number of questions.
    """
    share = (percent / 100 * count + 2) / (count + 4)
    return 100 * float(np.sqrt(share * (1 - share) / (count + 4)))
