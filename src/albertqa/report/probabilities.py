"""How well a run's probabilities are calibrated: reliability before and after, risk and coverage."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from albertqa.decode.confidence import Confidence
from albertqa.decode.reader_settings import ReaderSettings
from albertqa.files import BEST
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


@dataclass(frozen=True, slots=True)
class Fitted:
    """What calibration does to the questions that it was not fitted on.

    Attributes:
        fitted_questions: Questions it was fitted on.
        tested_questions: Questions, on other contexts, that the figures below are of.
        ece_before: Expected calibration error of the softmax.
        ece_after: The same, calibrated.
        nll_before: Mean negative log-likelihood of "right" or "wrong", in nats.
        nll_after: The same, calibrated.
        auroc_before: How often a right answer has a higher probability than a wrong one; None without both.
        auroc_after: The same, calibrated.
        bins_after: Reliability, calibrated.
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


def confidence_of(run: Run) -> Confidence | None:
    """Return what calibrates the probabilities of a run's ``best/``; None where it has nothing of the kind."""
    return ReaderSettings.load(run.path / BEST).confidence


def judge_calibration(outcomes: Sequence[Outcome], confidence: Confidence | None) -> Calibration | None:
    """Judge a run's probabilities.

    Args:
        outcomes: What the run answered.
        confidence: What calibrates its probabilities.

    Returns:
        The judgement, or None where the run kept no probabilities.
    """
    kept = [one for one in outcomes if one.softmax is not None]
    if not kept:
        return None
    right = np.asarray([one.exact for one in kept])
    softmax = np.asarray([one.softmax for one in kept], dtype=np.float64)
    probability = np.asarray([one.probability for one in kept], dtype=np.float64)
    bins = reliability(softmax, right)
    coverages, area = risk_coverage(probability, right, np.asarray([one.f1 for one in kept]))
    tested = ~first_half([one.example.context for one in kept])
    fitted = None
    if confidence is not None and tested.any():
        fitted = _judge_fit(confidence, softmax[tested], probability[tested], right[tested])
    return Calibration(len(kept), bins, expected_error(bins), fitted, coverages, area)


def _judge_fit(
    confidence: Confidence,
    softmax: NDArray[np.float64],
    probability: NDArray[np.float64],
    right: NDArray[np.float64],
) -> Fitted:
    bins_after = reliability(probability, right)
    return Fitted(
        fitted_questions=confidence.questions,
        tested_questions=len(right),
        ece_before=expected_error(reliability(softmax, right)),
        ece_after=expected_error(bins_after),
        nll_before=log_loss(softmax, right),
        nll_after=log_loss(probability, right),
        auroc_before=auroc(softmax, right),
        auroc_after=auroc(probability, right),
        bins_after=bins_after,
    )
