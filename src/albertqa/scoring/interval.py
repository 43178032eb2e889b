"""How far a score could have come out differently on other questions of the same kind: bootstrap intervals.

Questions are resampled with replacement. Questions on one paragraph resemble each other, so with few paragraphs the
true uncertainty is larger than these intervals say.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from albertqa.errors import DataError, SettingsError

_BLOCK_DRAWS = 4_000_000
"""Questions drawn at a time, over all resamples of a block: bounds the memory to some tens of MB."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean with its percentile bootstrap interval, in the unit of the values.

    Attributes:
        mean: The mean of the values themselves.
        low: Lower end.
        high: Upper end.
    """

    mean: float
    low: float
    high: float


def mean_interval(
    values: Sequence[float], *, seed: int = 42, num_resamples: int = 2000, level: float = 0.95
) -> Interval:
    """Compute the bootstrap interval of a mean of per-question values.

    Args:
        values: One value per question, for example each question's exact match.
        seed: Seed of the resampling; the same seed gives the same interval.
        num_resamples: How often the questions are drawn anew.
        level: Probability the interval stands for, between 0 and 1.

    Returns:
        The mean and its interval; both ends equal the mean where all values are equal.

    Raises:
        DataError: There are no values.
        SettingsError: `num_resamples` or `level` is out of range.

    Source:
        Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapter 13: the percentile interval.
    """
    if len(values) == 0:
        raise DataError("an interval needs at least one question, found none")
    if num_resamples < 1:
        raise SettingsError(f"num_resamples: expected at least 1, found {num_resamples}")
    if not 0.0 < level < 1.0:
        raise SettingsError(f"level: expected a probability between 0 and 1, found {level}")
    array = np.asarray(values, dtype=np.float64)
    means = _resampled_means(array, np.random.default_rng(seed), num_resamples)
    low, high = np.quantile(means, [(1.0 - level) / 2.0, (1.0 + level) / 2.0])
    return Interval(float(array.mean()), float(low), float(high))


def difference_interval(
    baseline: Mapping[str, float],
    candidate: Mapping[str, float],
    *,
    seed: int = 42,
    num_resamples: int = 2000,
    level: float = 0.95,
) -> Interval:
    """Compute the bootstrap interval of how much better one system is than another on the same questions.

    The questions are resampled in pairs: what is hard for both does not blur the difference. An interval that does not
    contain 0 says that the difference is more than the luck of the questions.

    Args:
        baseline: One value per question id.
        candidate: One value per question id, for the same ids.
        seed: Seed of the resampling; the same seed gives the same interval.
        num_resamples: How often the questions are drawn anew.
        level: Probability the interval stands for, between 0 and 1.

    Returns:
        The mean of candidate minus baseline, and its interval.

    Raises:
        DataError: There are no values, or the two were not scored on the same questions.
        SettingsError: `num_resamples` or `level` is out of range.
    """
    only_one = baseline.keys() ^ candidate.keys()
    if only_one:
        raise DataError(
            f"expected scores of the same questions, found {len(only_one)} that only one side has "
            f"(first: {min(only_one)}); score both on one data set"
        )
    differences = [candidate[question_id] - value for question_id, value in baseline.items()]
    return mean_interval(differences, seed=seed, num_resamples=num_resamples, level=level)


def _resampled_means(
    values: npt.NDArray[np.float64], generator: np.random.Generator, num_resamples: int
) -> npt.NDArray[np.float64]:
    """Draw as many values as there are, with replacement, and average them; over and over.

    Shapes:
        values: [Q] float64, one per question.
        return: [num_resamples] float64.
    """
    num_questions = len(values)
    block_size = max(1, _BLOCK_DRAWS // num_questions)
    means = np.empty(num_resamples)
    for start in range(0, num_resamples, block_size):
        block = means[start : start + block_size]
        drawn = generator.integers(num_questions, size=(len(block), num_questions), dtype=np.int32)
        block[:] = values[drawn].mean(axis=1)
    return means
