"""Is one setting better than another? A paired test with seeds and questions as sources of variance.

With d[s, q] the difference in a score between two settings, trained with seed s, on question q::

    d[s, q] = mean + seed[s] + question[q] + rest[s, q]

The mean's variance is that of seeds over their number, of questions over theirs, and of the rest over both. It is
estimated from the mean squares of a two-way analysis of variance, and its degrees of freedom by Satterthwaite's rule.
With few seeds there are few of them, so the interval is wide, as it should be.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class PairedTest:
    """The difference between two settings.

    Attributes:
        mean: Its mean, in the unit of the scores.
        low: Lower end of its 95 % interval; None where one seed does not tell.
        high: Upper end.
        p: Probability of a difference at least as large, were there none.
        seeds: Seeds that both were trained with.
    """

    mean: float
    low: float | None
    high: float | None
    p: float
    seeds: int


def paired_test(first: npt.NDArray[np.float64], second: npt.NDArray[np.float64]) -> PairedTest:
    """Compare the scores of two settings on the same questions with the same seeds.

    Returns:
        Second minus first. With one seed nothing is known of the variance between seeds: p is 1, and the interval has
        no ends.

    Shapes:
        first, second: (seeds, questions)

    Source:
        The model is the one of Dorfman, Berbaum and Metz 1992 for readers and cases, both drawn at random, here seeds
        and questions; Satterthwaite 1946 for the degrees of freedom.
    """
    from scipy.stats import t as student

    difference = second - first
    num_seeds, num_questions = difference.shape
    mean = float(difference.mean())
    if num_seeds < 2 or num_questions < 2:
        return PairedTest(mean, None, None, 1.0, num_seeds)
    by_seed, by_question = difference.mean(axis=1), difference.mean(axis=0)
    rest = difference - by_seed[:, None] - by_question[None, :] + mean
    degrees = np.array([num_seeds - 1, num_questions - 1, (num_seeds - 1) * (num_questions - 1)])
    squares = np.array([
        num_questions * ((by_seed - mean) ** 2).sum(),
        num_seeds * ((by_question - mean) ** 2).sum(),
        (rest**2).sum(),
    ])  # fmt: skip
    mean_squares = squares / degrees
    # A source's variance cannot be below 0, though its estimate may be.
    variance = max(mean_squares[0] + mean_squares[1] - mean_squares[2], *mean_squares[:2])
    if variance <= 0:
        return PairedTest(mean, mean, mean, 0.0 if mean else 1.0, num_seeds)
    freedom = variance**2 / (mean_squares**2 / degrees).sum()
    error = math.sqrt(variance / difference.size)
    reach = float(student.ppf(0.975, freedom)) * error
    p = 2 * float(student.sf(abs(mean) / error, freedom))
    return PairedTest(mean, mean - reach, mean + reach, p, num_seeds)


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct p-values for their number (Holm 1979).

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    corrected, largest = [0.0] * len(p_values), 0.0
    for rank, at in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[at]))
        corrected[at] = largest
    return corrected
