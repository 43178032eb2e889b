"""How far a run's probabilities can be believed, and on SQuAD v2.0 its "no answer", at any threshold."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from albertqa.decode.confidence import Confidence
from albertqa.report.outcome import Outcome
from albertqa.rundir.directory import Run
from albertqa.scoring.calibration import (
    Bin,
    Coverage,
    auroc,
    expected_error,
    first_half,
    log_loss,
    reliability,
    risk_coverage,
)
from albertqa.scoring.official import score_each
from albertqa.scoring.threshold import Threshold, tune_threshold

_MOST_POINTS = 240


@dataclass(frozen=True, slots=True)
class Fitted:
    """What calibration does to the questions that it was not fitted on: the softmax before, calibrated after.

    Attributes:
        fitted_questions: Questions it was fitted on.
        tested_questions: Questions, on other contexts, that the figures are of.
        ece_before, ece_after: See `expected_error`.
        nll_before, nll_after: See `log_loss`.
        auroc_before, auroc_after: See `auroc`.
        bins_after: See `reliability`.
    """

    fitted_questions: int
    tested_questions: int
    ece_before: float
    ece_after: float
    nll_before: float
    nll_after: float
    auroc_before: float | None
    auroc_after: float | None
    bins_after: tuple[Bin, ...]


@dataclass(frozen=True, slots=True)
class Calibration:
    """How far a run's probabilities can be believed.

    Attributes:
        questions: Questions with a probability.
        bins: Reliability of the softmax over all of them.
        ece: Its expected calibration error over all of them, 0 to 1.
        fitted: What calibration does; None where the run's model has none.
        coverages: Risk and coverage of the probabilities that the model gives, from the most probable answers to all.
        risk_area: Area under the curve of risk (1 - exact) over coverage; the smaller, the better the ranking.
    """

    questions: int
    bins: tuple[Bin, ...]
    ece: float
    fitted: Fitted | None
    coverages: tuple[Coverage, ...]
    risk_area: float

    def coverage_at(self, share: float) -> Coverage:
        """Return the smallest coverage of at least this share."""
        return next(one for one in self.coverages if one.share >= share - 1e-9)


def judge_calibration(outcomes: Sequence[Outcome], confidence: Confidence | None) -> Calibration | None:
    """Judge a run's probabilities, which `confidence` calibrated; None where it kept none."""
    kept = [one for one in outcomes if one.softmax is not None]
    if not kept:
        return None
    right = np.asarray([one.exact for one in kept])
    softmax = np.asarray([one.softmax for one in kept], dtype=np.float64)
    probability = np.asarray([one.probability for one in kept], dtype=np.float64)
    bins = reliability(softmax, right)
    coverages, area = risk_coverage(probability, right, np.asarray([one.f1 for one in kept]))
    fitted = None
    tested = ~first_half([one.example.context for one in kept])
    if confidence is not None and tested.any():
        before, after, right = softmax[tested], probability[tested], right[tested]
        bins_after = reliability(after, right)
        fitted = Fitted(
            fitted_questions=confidence.questions,
            tested_questions=len(right),
            ece_before=expected_error(reliability(before, right)),
            ece_after=expected_error(bins_after),
            nll_before=log_loss(before, right),
            nll_after=log_loss(after, right),
            auroc_before=auroc(before, right),
            auroc_after=auroc(after, right),
            bins_after=bins_after,
        )
    return Calibration(len(kept), bins, expected_error(bins), fitted, coverages, area)


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
