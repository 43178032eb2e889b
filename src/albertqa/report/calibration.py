"""Whether a run's answer probabilities can be believed: reliability, temperature, risk and coverage.

A probability is calibrated where, of the answers given with probability 0.7, seven in ten are right. The temperature
divides the n-best scores before their softmax; it is fitted on the questions of one half of the contexts and judged on
the other half, so that no question on a context of the fit is judged.

Source: Guo et al., On Calibration of Modern Neural Networks (2017): expected calibration error, temperature scaling;
there the temperature is fitted on the likelihood of classes, here on that of "this answer is right", which is what a
user of the answer asks.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from albertqa import files
from albertqa.report.outcome import Outcome
from albertqa.rundir.directory import Run

NUM_BINS = 10
LEAST_QUESTIONS = 100
"""Fewer questions than this are not split into halves: a temperature fitted on them says nothing."""

_LEAST, _MOST = 0.05, 20.0
_NEARLY = 1e-6
_LEAST_GAIN = 1e-3
_Z_95 = 1.959964


@dataclass(frozen=True, slots=True)
class Bin:
    """The answers whose probability falls between two bounds.

    Attributes:
        questions: Their number.
        probability: Their mean probability.
        right: The share of them that is right.
        low: Lower end of the share's 95 % interval (Wilson).
        high: Upper end.
    """

    questions: int
    probability: float
    right: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Temperature:
    """A temperature with what it does.

    Attributes:
        temperature: Divide the n-best scores by it before the softmax; above 1: the run was too sure.
        fitted_questions: Questions it was fitted on.
        tested_questions: Questions, on other contexts, that the figures below are of.
        ece_before: Expected calibration error of the run's own probabilities.
        ece_after: The same with the temperature.
        nll_before: Mean negative log-likelihood of "right" or "wrong", in nats.
        nll_after: The same with the temperature.
        bins_after: Reliability with the temperature.
    """

    temperature: float
    fitted_questions: int
    tested_questions: int
    ece_before: float
    ece_after: float
    nll_before: float
    nll_after: float
    bins_after: tuple[Bin, ...]

    @property
    def helps(self) -> bool:
        """Whether it makes the probabilities of the tested questions better, by more than a thousandth of a nat."""
        return self.nll_after < self.nll_before - _LEAST_GAIN


@dataclass(frozen=True, slots=True)
class Coverage:
    """What is right if only the surest answers are given.

    Attributes:
        share: Share of the questions that is answered, 0 to 1.
        threshold: The least probability that is answered.
        exact: Exact match of the answered ones in percent.
        f1: Their F1 in percent.
    """

    share: float
    threshold: float
    exact: float
    f1: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """How far a run's probabilities can be believed.

    Attributes:
        questions: Questions with a probability.
        bins: Reliability over all of them.
        ece: Expected calibration error over all of them, 0 to 1.
        temperature: The fitted temperature; None where there are too few questions.
        coverages: Risk and coverage, from the surest answers to all.
        risk_area: Area under the curve of risk (1 - exact) over coverage; the smaller, the better the ranking.
    """

    questions: int
    bins: tuple[Bin, ...]
    ece: float
    temperature: Temperature | None
    coverages: tuple[Coverage, ...]
    risk_area: float

    def coverage_at(self, share: float) -> Coverage:
        """Return the smallest coverage of at least this share."""
        return next(one for one in self.coverages if one.share >= share - 1e-9)


def calibrate(outcomes: Sequence[Outcome], *, seed: int = 42) -> Calibration | None:
    """Judge a run's probabilities.

    Args:
        outcomes: What the run said.
        seed: Seed of the split into halves.

    Returns:
        The judgement, or None where the run kept no probabilities.
    """
    kept = [one for one in outcomes if one.chosen is not None]
    if not kept:
        return None
    right = np.asarray([one.exact for one in kept])
    probability = np.asarray([one.probability for one in kept], dtype=np.float64)
    bins = reliability(probability, right)
    coverages, area = risk_coverage(probability, right, np.asarray([one.f1 for one in kept]))
    return Calibration(len(kept), bins, expected_error(bins), _fit_and_test(kept, right, seed=seed), coverages, area)


def reliability(probability: NDArray[np.float64], right: NDArray[np.float64]) -> tuple[Bin, ...]:
    """Put answers into bins of equal width by their probability.

    Args:
        probability: Probability of each answer.
        right: 1 where it is right, else 0.

    Returns:
        The bins that hold answers, from low to high.

    Shapes:
        probability, right: (Q,) float64
    """
    index = np.minimum((probability * NUM_BINS).astype(np.int64), NUM_BINS - 1)
    bins = []
    for at in range(NUM_BINS):
        members = index == at
        number = int(members.sum())
        if number:
            share = float(right[members].mean())
            bins.append(Bin(number, float(probability[members].mean()), share, *_wilson(share, number)))
    return tuple(bins)


def expected_error(bins: Sequence[Bin]) -> float:
    """Return the expected calibration error: the mean gap between probability and share of right answers, 0 to 1."""
    questions = sum(one.questions for one in bins)
    return sum(one.questions * abs(one.probability - one.right) for one in bins) / questions


def risk_coverage(
    probability: NDArray[np.float64], right: NDArray[np.float64], f1: NDArray[np.float64]
) -> tuple[tuple[Coverage, ...], float]:
    """Follow exact and f1 as less and less sure answers are given, too.

    Answers with equal probability go together: no threshold tells them apart.

    Args:
        probability: Probability of each answer.
        right: 1 where it is right, else 0.
        f1: F1 of each answer, 0 to 1.

    Returns:
        The points from the surest answers to all, and the area under risk over coverage.

    Shapes:
        probability, right, f1: (Q,) float64
    """
    order = np.argsort(-probability, kind="stable")
    number = np.arange(1, len(order) + 1)
    exact_mean, f1_mean = (np.cumsum(values[order]) / number for values in (right, f1))
    sorted_probability = probability[order]
    last_of_equal = np.append(sorted_probability[1:] != sorted_probability[:-1], True)
    points = tuple(
        Coverage(
            float(number[at] / len(order)),
            float(sorted_probability[at]),
            100 * float(exact_mean[at]),
            100 * float(f1_mean[at]),
        )
        for at in np.flatnonzero(last_of_equal)
    )
    widths = np.diff([0.0, *(one.share for one in points)])
    area = float(sum(width * (1 - one.exact / 100) for width, one in zip(widths, points, strict=True)))
    return points, area


def write_calibration(run: Run, temperature: Temperature) -> str:
    """Keep a run's temperature in the run, as ``calibration.json``.

    Returns:
        "", or the reason why the file could not be written.
    """
    figures = {key: value for key, value in asdict(temperature).items() if key != "bins_after"}
    content: dict[str, Any] = {
        "meaning": "divide the scores (start logit + end logit) of the n-best by the temperature before the softmax",
        **figures,
        "helps": temperature.helps,
        "n_best_size": run.settings.n_best_size,
        "step": run.scores.get("step"),
        "validation_content_sha256": run.facts.data.validation.content_sha256,
    }
    try:
        files.write_json(run.path / files.CALIBRATION_JSON, content)
    except OSError as error:
        return f"{files.CALIBRATION_JSON} could not be written into {run.path} ({error.strerror})"
    return ""


def _fit_and_test(kept: Sequence[Outcome], right: NDArray[np.float64], *, seed: int) -> Temperature | None:
    contexts = list(dict.fromkeys(one.example.context for one in kept))
    if len(kept) < LEAST_QUESTIONS or len(contexts) < 2:
        return None
    shuffled = np.random.default_rng(seed).permutation(len(contexts))
    fitting = {contexts[at] for at in shuffled[: len(contexts) // 2]}
    is_fit = np.asarray([one.example.context in fitting for one in kept])
    scores, chosen = _score_table(kept)
    temperature = fit_temperature(scores[is_fit], chosen[is_fit], right[is_fit])
    tested = right[~is_fit]
    before = probabilities(scores[~is_fit], chosen[~is_fit], 1.0)
    after = probabilities(scores[~is_fit], chosen[~is_fit], temperature)
    bins_after = reliability(after, tested)
    return Temperature(
        temperature=temperature,
        fitted_questions=int(is_fit.sum()),
        tested_questions=len(tested),
        ece_before=expected_error(reliability(before, tested)),
        ece_after=expected_error(bins_after),
        nll_before=_nll(before, tested),
        nll_after=_nll(after, tested),
        bins_after=bins_after,
    )


def _score_table(kept: Sequence[Outcome]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Lay the scores of all n-best out as a table, filled up with -inf; with the position of each answer.

    Shapes:
        returns: (Q, N) float64, (Q,) int64
    """
    scores = np.full((len(kept), max(len(one.n_best) for one in kept)), -np.inf)
    for row, one in enumerate(kept):
        scores[row, : len(one.n_best)] = [candidate.score for candidate in one.n_best]
    return scores, np.asarray([one.chosen for one in kept], dtype=np.int64)


def probabilities(scores: NDArray[np.float64], chosen: NDArray[np.int64], temperature: float) -> NDArray[np.float64]:
    """Return the probability of each answer among its n-best.

    Args:
        scores: Scores of the n-best, -inf where there are fewer.
        chosen: Position of the answer among them.
        temperature: Divides the scores.

    Shapes:
        scores: (Q, N) float64
        chosen: (Q,) int64
        returns: (Q,) float64
    """
    weights = np.exp((scores - scores.max(axis=1, keepdims=True)) / temperature)
    return np.asarray(weights[np.arange(len(scores)), chosen] / weights.sum(axis=1))


def fit_temperature(scores: NDArray[np.float64], chosen: NDArray[np.int64], right: NDArray[np.float64]) -> float:
    """Find the temperature that makes "right" and "wrong" likeliest.

    Args:
        scores: Scores of the n-best, -inf where there are fewer.
        chosen: Position of the answer among them.
        right: 1 where it is right, else 0.

    Returns:
        The temperature, between 0.05 and 20, to about a thousandth.

    Shapes:
        scores: (Q, N) float64
        chosen: (Q,) int64
        right: (Q,) float64
    """
    low, high = math.log(_LEAST), math.log(_MOST)
    best = 0.0
    # A grid, and a finer one around its best point, twice: no assumption that there is only one minimum.
    for _ in range(3):
        grid = np.linspace(low, high, 61)
        losses = [_nll(probabilities(scores, chosen, math.exp(value)), right) for value in grid]
        best = float(grid[int(np.argmin(losses))])
        width = (high - low) / 60
        low, high = max(best - width, math.log(_LEAST)), min(best + width, math.log(_MOST))
    return round(math.exp(best), 4)


def _nll(probability: NDArray[np.float64], right: NDArray[np.float64]) -> float:
    sure = np.clip(probability, _NEARLY, 1 - _NEARLY)
    return float(-(right * np.log(sure) + (1 - right) * np.log(1 - sure)).mean())


def _wilson(share: float, number: int) -> tuple[float, float]:
    """Return the 95 % interval of a share (Wilson, 1927): between 0 and 1, and right for few questions."""
    spread = _Z_95**2 / number
    centre = (share + spread / 2) / (1 + spread)
    half = _Z_95 / (1 + spread) * math.sqrt(share * (1 - share) / number + spread / (4 * number))
    return max(0.0, centre - half), min(1.0, centre + half)
