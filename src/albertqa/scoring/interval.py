"""How far a score could have come out differently on other questions of the same kind: bootstrap intervals.

Questions are resampled with replacement. Questions on one paragraph resemble each other, so with few paragraphs the
true uncertainty is larger than these intervals say.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from albertqa.errors import DataError

_LEVEL = 0.95
_BLOCK_DRAWS = 4_000_000
"""Questions drawn at a time, over all resamples of a block: bounds the memory to some tens of MB."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean with the ends of its 95 % percentile bootstrap interval, in the unit of the values."""

    mean: float
    low: float
    high: float


def mean_interval(values: Sequence[float], *, seed: int = 42, num_resamples: int = 2000) -> Interval:
    """Compute the bootstrap interval of a mean of per-question values.

    Args:
        values: One value per question, for example each question's exact match.
        seed: Seed of the resampling; the same seed gives the same interval.
        num_resamples: How often the questions are drawn anew, at least once.

    Returns:
        The mean and its interval; both ends equal the mean where all values are equal.

    Raises:
        DataError: There are no values.

    Source:
        Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapter 13: the percentile interval.
    """
    if len(values) == 0:
        raise DataError("an interval needs at least one question, found none")
    array, generator = np.asarray(values, dtype=np.float64), np.random.default_rng(seed)
    block_size = max(1, _BLOCK_DRAWS // len(array))
    means = np.empty(num_resamples)
    for start in range(0, num_resamples, block_size):
        block = means[start : start + block_size]
        drawn = generator.integers(len(array), size=(len(block), len(array)), dtype=np.int32)
        block[:] = array[drawn].mean(axis=1)
    low, high = np.quantile(means, [(1.0 - _LEVEL) / 2.0, (1.0 + _LEVEL) / 2.0])
    return Interval(float(array.mean()), float(low), float(high))


def difference_interval(baseline: Mapping[str, float], candidate: Mapping[str, float]) -> Interval:
    """Compute the bootstrap interval of how much better one system is than another on the same questions.

    The questions are resampled in pairs: what is hard for both does not blur the difference. An interval that does not
    contain 0 says that the difference is more than the luck of the questions.

    Args:
        baseline: One value per question id.
        candidate: One value per question id, for the same ids.

    Returns:
        The mean of candidate minus baseline, and its interval.

    Raises:
        DataError: There are no values, or the two were not scored on the same questions.
    """
    only_one = baseline.keys() ^ candidate.keys()
    if only_one:
        raise DataError(
            f"expected scores of the same questions, found {len(only_one)} that only one side has "
            f"(first: {min(only_one)}); score both on one data set"
        )
    return mean_interval([candidate[question_id] - value for question_id, value in baseline.items()])
