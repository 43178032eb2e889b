"""Find the null odds above which "no answer" is predicted.

Unlike the official `best_*` search, only thresholds that a predictor can really use count: questions with equal null
odds go together. Applying the threshold found here to the same answers gives exactly the score promised.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from albertqa.data.example import Example
from albertqa.errors import DataError
from albertqa.scoring.official import mean_percent, require_null_odds, score_each

_SAME_SCORE = 1e-9
"""Sums of scores closer than this are equal: what rounding alone can do to them."""


@dataclass(frozen=True, slots=True)
class Threshold:
    """The best thresholds of a data set.

    Attributes:
        best_exact: Exact match with `best_exact_thresh`, percent.
        best_exact_thresh: Where exact match is best: predict "" where the null odds are above it.
        best_f1: F1 with `best_f1_thresh`, percent.
        best_f1_thresh: Where F1 is best: predict "" where the null odds are above it.
    """

    best_exact: float
    best_exact_thresh: float
    best_f1: float
    best_f1_thresh: float


def tune_threshold(
    examples: Sequence[Example], non_null_texts: Mapping[str, str], null_odds: Mapping[str, float]
) -> Threshold:
    """Find the thresholds with the best exact match and the best F1, scored as SQuAD 2.0.

    Candidates are 0, the null odds of the questions, and one value below them all. Of several equally good ones, the
    nearest to 0 is taken: 0 is the model's own, untuned decision.
    Tune on data that is not the data reported on, or the score is too good by the tuning.

    Args:
        examples: The data set, in file order.
        non_null_texts: For each question id, the best answer that is not "no answer". Questions without one are left
            out, as `score` leaves out missing predictions.
        null_odds: For each question id, null score minus best answer's score.

    Returns:
        The thresholds, and what `score` gives once they are applied.

    Raises:
        DataError: Nothing to score, repeated question ids, or a question without null odds.
    """
    answered = score_each(examples, non_null_texts, version_2=True)
    if not answered:
        raise DataError(f"nothing to tune on: {len(non_null_texts)} answers, {len(examples)} questions, no id in both")
    require_null_odds(answered, null_odds)
    unanswered = score_each(examples, dict.fromkeys(answered, ""), version_2=True)

    def best(metric: str) -> tuple[float, float]:
        scores = ([getattr(one, metric) for one in each.values()] for each in (answered, unanswered))
        return _best([null_odds[key] for key in answered], *scores)

    return Threshold(*best("exact"), *best("f1"))


def _best(null_odds: Sequence[float], answered: Sequence[float], unanswered: Sequence[float]) -> tuple[float, float]:
    """Find the best mean score in percent, and its threshold.

    The score changes only at the null odds themselves, so these are all thresholds worth trying, with one below them
    all ("no answer" everywhere) and 0.
    """
    odds, gains = np.asarray(null_odds), np.asarray(answered) - unanswered
    below_all = float(np.nextafter(odds.min(), -np.inf))
    candidates = np.asarray(sorted({0.0, below_all, *null_odds}))
    order = np.argsort(odds)
    gained = np.concatenate([[0.0], np.cumsum(gains[order])])
    totals = sum(unanswered) + gained[np.searchsorted(odds[order], candidates, side="right")]
    best = candidates[totals >= totals.max() - _SAME_SCORE]
    threshold = float(best[np.abs(best).argmin()])
    # Added up anew in the order of the data set, as `score` does, so that the last digit agrees.
    return mean_percent(np.where(odds > threshold, unanswered, answered).tolist()), threshold
