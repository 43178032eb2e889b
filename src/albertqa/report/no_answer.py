"""SQuAD v2.0: how well a run recognises questions without an answer, and the scores at other thresholds."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from albertqa.report.outcome import Outcome
from albertqa.rundir.directory import Run
from albertqa.scoring.official import score_each
from albertqa.scoring.threshold import Threshold, tune_threshold

_MOST_POINTS = 240


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """How well a run recognises questions without an answer.

    Attributes:
        threshold: The run's own threshold.
        found: Questions without an answer, predicted empty.
        missed: Questions without an answer, answered.
        wrongly_empty: Questions with an answer, predicted empty.
        answered: Questions with an answer, answered.
        sweep: ``exact``, ``f1``, ``precision`` (NaN where there is none) and ``recall``, percent, at each ``threshold``
            from "always no answer" to "always an answer".
        best: The best thresholds, tuned on these very questions and so too optimistic for new ones.
    """

    threshold: float
    found: int
    missed: int
    wrongly_empty: int
    answered: int
    sweep: dict[str, NDArray[np.float64]]
    best: Threshold

    @property
    def precision(self) -> float | None:
        """Share of the "no answer" predictions that are right, percent."""
        predicted = self.found + self.wrongly_empty
        return 100 * self.found / predicted if predicted else None

    @property
    def recall(self) -> float | None:
        """Share of the questions without an answer that are predicted so, percent."""
        unanswerable = self.found + self.missed
        return 100 * self.found / unanswerable if unanswerable else None


def judge_no_answer(run: Run, outcomes: Sequence[Outcome]) -> NoAnswer | None:
    """Judge a run's "no answer" predictions; None on v1.1, and if the run kept no null odds or no candidates."""
    if not run.facts.version_2 or not outcomes:
        return None
    if any(one.example.id not in run.null_odds or not one.n_best for one in outcomes):
        return None
    examples = [one.example for one in outcomes]
    best_texts = {
        one.example.id: next((found.text for found in one.n_best if found.end_char > found.start_char), "")
        for one in outcomes
    }
    is_empty = np.asarray([not one.text for one in outcomes])
    has_none = np.asarray([not one.has_answer for one in examples])
    odds = {one.id: run.null_odds[one.id] for one in examples}
    answered, unanswered = (
        [[score.exact, score.f1] for score in score_each(examples, texts, version_2=True).values()]
        for texts in (best_texts, dict.fromkeys(best_texts, ""))
    )
    return NoAnswer(
        threshold=run.settings.null_score_diff_threshold,
        found=int((is_empty & has_none).sum()),
        missed=int((~is_empty & has_none).sum()),
        wrongly_empty=int((is_empty & ~has_none).sum()),
        answered=int((~is_empty & ~has_none).sum()),
        sweep=_sweep(np.asarray(list(odds.values())), np.asarray(answered), np.asarray(unanswered), has_none),
        best=tune_threshold(examples, best_texts, odds),
    )


def _sweep(
    odds: NDArray[np.float64],
    answered: NDArray[np.float64],
    unanswered: NDArray[np.float64],
    has_none: NDArray[np.bool_],
) -> dict[str, NDArray[np.float64]]:
    """Return the scores at thresholds where predictions change, evenly thinned out.

    Shapes:
        odds, has_none: (Q,)
        answered, unanswered: (Q, 2), exact and f1
    """
    order, num_none = np.argsort(odds, kind="stable"), int(has_none.sum())
    gain = np.vstack([np.zeros(2), np.cumsum((answered - unanswered)[order], axis=0)])
    exact, f1 = (100 * (unanswered.sum(axis=0) + gain) / len(odds)).T
    # The first k questions by null odds are answered, the rest is predicted empty.
    found = num_none - np.concatenate([[0], np.cumsum(has_none[order])])
    predicted = np.asarray([*range(len(odds), 0, -1), np.nan])
    thresholds = np.concatenate([[odds.min() - 1.0], np.unique(odds)])
    thinned = np.linspace(0, len(thresholds) - 1, min(_MOST_POINTS, len(thresholds))).round().astype(np.int64)
    thresholds = thresholds[np.unique(thinned)]
    num_answered = np.searchsorted(odds[order], thresholds, side="right")
    scores = {"exact": exact, "f1": f1, "precision": 100 * found / predicted, "recall": 100 * found / max(1, num_none)}
    return {"threshold": thresholds, **{name: values[num_answered] for name, values in scores.items()}}
