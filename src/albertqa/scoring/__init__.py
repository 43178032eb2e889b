"""The official SQuAD metric, exact to the last digit; thresholds for "no answer"; intervals.

`score` scores a predictions file, `tune_threshold` finds where to say "no answer", and `mean_interval` and
`difference_interval` say how sure a figure is.
"""

from albertqa.scoring.interval import Interval, difference_interval, mean_interval
from albertqa.scoring.metric import QuestionScore, exact_match, f1, normalize_answer, score_answer, unspaced_note
from albertqa.scoring.official import score, score_each
from albertqa.scoring.predictions import IdDifference, compare_ids, read_null_odds, read_predictions
from albertqa.scoring.threshold import Threshold, apply_threshold, tune_threshold

__all__ = [
    "IdDifference",
    "Interval",
    "QuestionScore",
    "Threshold",
    "apply_threshold",
    "compare_ids",
    "difference_interval",
    "exact_match",
    "f1",
    "mean_interval",
    "normalize_answer",
    "read_null_odds",
    "read_predictions",
    "score",
    "score_answer",
    "score_each",
    "tune_threshold",
    "unspaced_note",
]
