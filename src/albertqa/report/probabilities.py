"""How well a run's probabilities are calibrated: reliability before and after, risk and coverage."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from albertqa.decode.confidence import Confidence
from albertqa.report.outcome import Outcome
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
