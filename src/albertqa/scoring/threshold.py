"""Find and apply the null odds above which "no answer" is predicted.

Unlike the official `best_*` search, only thresholds that a predictor can really use count: questions with equal null
odds go together. Applying the threshold found here to the same answers gives exactly the score promised.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

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


@dataclass(frozen=True, slots=True)
class _Choice:
    """What one question scores if it is answered, and if "no answer" is predicted."""

    null_odds: float
    answered: float
    unanswered: float


def apply_threshold(
    non_null_texts: Mapping[str, str], null_odds: Mapping[str, float], threshold: float
) -> dict[str, str]:
    """Predict "" where the null odds are above the threshold, and the best non-null answer elsewhere.

    Args:
        non_null_texts: For each question id, the best answer that is not "no answer".
        null_odds: For each question id, null score minus best answer's score.
        threshold: Null odds up to and including this keep their answer.

    Returns:
        The prediction for each question id of `non_null_texts`, in its order.

    Raises:
        DataError: Some question has no null odds.
    """
    require_null_odds(non_null_texts, null_odds)
    return {
        question_id: "" if null_odds[question_id] > threshold else text for question_id, text in non_null_texts.items()
    }


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
    best_exact, best_exact_thresh = _best(
        [_Choice(null_odds[key], answered[key].exact, unanswered[key].exact) for key in answered]
    )
    best_f1, best_f1_thresh = _best([_Choice(null_odds[key], answered[key].f1, unanswered[key].f1) for key in answered])
    return Threshold(best_exact, best_exact_thresh, best_f1, best_f1_thresh)


def _best(choices: Sequence[_Choice]) -> tuple[float, float]:
    """Find the best mean score in percent, and its threshold.

    The score changes only at the null odds themselves, so these are all thresholds worth trying, with one below them
    all ("no answer" everywhere) and 0.
    """
    by_odds = sorted(choices, key=lambda choice: choice.null_odds)
    below_all = math.nextafter(by_odds[0].null_odds, -math.inf)
    candidates = sorted({0.0, below_all, *(choice.null_odds for choice in choices)})
    totals: list[float] = []
    total, position = sum(choice.unanswered for choice in choices), 0
    for candidate in candidates:
        while position < len(by_odds) and by_odds[position].null_odds <= candidate:
            total += by_odds[position].answered - by_odds[position].unanswered
            position += 1
        totals.append(total)
    enough = max(totals) - _SAME_SCORE
    threshold = min(
        (candidate for candidate, reached in zip(candidates, totals, strict=True) if reached >= enough), key=abs
    )
    # Added up anew in the order of the data set, as `score` does, so that the last digit agrees.
    final = [choice.unanswered if choice.null_odds > threshold else choice.answered for choice in choices]
    return mean_percent(final), float(threshold)
