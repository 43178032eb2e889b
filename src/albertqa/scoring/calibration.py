"""Whether probabilities can be believed, and fitting them to how often answers are right.

A probability is calibrated where, of the answers given with probability 0.7, seven in ten are right. `fit_confidence`
fits on the questions of one half of the contexts; the figures that it reports are of the other half, so that no
question on a context of the fit is judged.

Throughout, `probability` is the probability of each answer, `right` is 1 where it is right, else 0, and `f1` is its F1,
0 to 1: arrays (Q,) float64.

Source: Guo et al., On Calibration of Modern Neural Networks (2017): expected calibration error; Kamath et al.,
Selective Question Answering under Domain Shift (2020): a calibrator on features of the answer, risk and coverage.
"""

import hashlib
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from albertqa.data.example import Example
from albertqa.decode.confidence import Confidence, Logistic, features
from albertqa.decode.spans import Prediction
from albertqa.scoring.official import score_each

NUM_BINS = 10
LEAST_QUESTIONS = 100
"""Fewer questions than this are not split into halves: what is fitted on them says nothing."""

_MOST_FOREIGN, _FOREIGN_SHARE = 500, 4
"""At most so many questions, one in four, are also asked on a foreign context: a reader meets such questions, and
validation data has none. More of them make the probabilities of ordinary questions too low (docs/experiments.md)."""
_LEAST_OF_A_KIND = 10
_LEAST_GAIN = 1e-3
_NEARLY = 1e-6
_Z_95 = 1.959964


@dataclass(frozen=True, slots=True)
class Bin:
    """The answers whose probability falls between two bounds.

    Attributes:
        questions: Their number.
        probability: Their mean probability.
        right: The share of them that is right.
        low, high: The share's 95 % interval (Wilson).
    """

    questions: int
    probability: float
    right: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Coverage:
    """Scores if only the most probable answers are given.

    Attributes:
        share: Share of the questions that is answered, 0 to 1.
        threshold: The lowest probability that is answered.
        exact, f1: Scores of the answered ones, percent.
    """

    share: float
    threshold: float
    exact: float
    f1: float


def reliability(probability: NDArray[np.float64], right: NDArray[np.float64]) -> tuple[Bin, ...]:
    """Put answers into bins of equal width by their probability; return those that hold answers, from low to high."""
    index = np.minimum((probability * NUM_BINS).astype(np.int64), NUM_BINS - 1)
    bins = []
    for at in range(NUM_BINS):
        members = index == at
        number = int(members.sum())
        if number:
            share = float(right[members].mean())
            bins.append(Bin(number, float(probability[members].mean()), share, *wilson(share, number)))
    return tuple(bins)


def expected_error(bins: Sequence[Bin]) -> float:
    """Return the expected calibration error: the mean gap between probability and share of right answers, 0 to 1."""
    questions = sum(one.questions for one in bins)
    return sum(one.questions * abs(one.probability - one.right) for one in bins) / questions


def risk_coverage(
    probability: NDArray[np.float64], right: NDArray[np.float64], f1: NDArray[np.float64]
) -> tuple[tuple[Coverage, ...], float]:
    """Follow exact and f1 as less and less probable answers are given, too.

    Answers with equal probability go together: no threshold distinguishes them.

    Returns:
        The points from the most probable answers to all, and the area under risk over coverage.
    """
    order = np.argsort(-probability, kind="stable")
    number = np.arange(1, len(order) + 1)
    exact_mean, f1_mean = (np.cumsum(values[order]) / number for values in (right, f1))
    threshold = probability[order]
    last_of_equal = np.append(threshold[1:] != threshold[:-1], True)
    columns = (number / len(order), threshold, 100 * exact_mean, 100 * f1_mean)
    points = tuple(map(Coverage, *(column[last_of_equal].tolist() for column in columns)))
    widths = np.diff([0.0, *(one.share for one in points)])
    area = float(sum(width * (1 - one.exact / 100) for width, one in zip(widths, points, strict=True)))
    return points, area


def auroc(probability: NDArray[np.float64], right: NDArray[np.float64]) -> float | None:
    """Return how often a right answer has a higher probability than a wrong one; ties count half.

    Returns:
        The area under the receiver operating characteristic, 0 to 1; None where all answers are right, or all wrong.
    """
    num_right = int(right.sum())
    num_wrong = len(right) - num_right
    if not num_right or not num_wrong:
        return None
    _, index, counts = np.unique(probability, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    rank = (last - (counts - 1) / 2)[index]
    return float((rank[right > 0].sum() - num_right * (num_right + 1) / 2) / (num_right * num_wrong))


def log_loss(probability: NDArray[np.float64], right: NDArray[np.float64]) -> float:
    """Return the mean negative log-likelihood of "right" or "wrong", in nats."""
    inside = np.clip(probability, _NEARLY, 1 - _NEARLY)
    return float(-(right * np.log(inside) + (1 - right) * np.log(1 - inside)).mean())


def wilson(share: float, number: int) -> tuple[float, float]:
    """Return the 95 % interval of a share (Wilson, 1927), which is right for few questions, too."""
    spread = _Z_95**2 / number
    centre = (share + spread / 2) / (1 + spread)
    half = _Z_95 / (1 + spread) * math.sqrt(share * (1 - share) / number + spread / (4 * number))
    return max(0.0, centre - half), min(1.0, centre + half)


def first_half(contexts: Sequence[str]) -> NDArray[np.bool_]:
    """Split questions by their contexts, in the same way wherever and in whatever order they are.

    Returns:
        Whether a question is of the half to fit on: (Q,) bool.
    """
    halves = {context: hashlib.sha256(context.encode("utf-8", "surrogatepass")).digest()[0] % 2 for context in contexts}
    return np.asarray([halves[context] == 0 for context in contexts], dtype=np.bool_)


def foreign_questions(examples: Sequence[Example]) -> list[Example]:
    """Ask some of the questions on a context of another article, which has no answer to them.

    Returns:
        Every fourth question, 500 at most, with another context; none where there is only one context.
    """
    by_context = list({one.context: one for one in examples}.values())
    draw, found = random.Random(42), []
    for example in examples[::_FOREIGN_SHARE]:
        for _ in range(10):
            other = draw.choice(by_context)
            if other.context != example.context and (other.title != example.title or not example.title):
                found.append(replace(example, id=f"{example.id}-foreign", context=other.context, golds=()))
                break
    draw.shuffle(found)
    return found[:_MOST_FOREIGN]


def fit_confidence(
    examples: Sequence[Example], predictions: Sequence[Prediction], *, version_2: bool, n_best_size: int
) -> Confidence | None:
    """Fit a model's probabilities to how often its answers are right.

    Args:
        examples: Questions that the model was not trained on, also such on foreign contexts (`foreign_questions`).
        predictions: What it answered, in the same order.
        version_2: Whether "no answer" was an answer.
        n_best_size: Candidates of a prediction.

    Returns:
        What was fitted on one half of the contexts; None where there are too few questions, or the probabilities of the
        other half do not become better by a thousandth of a nat.
    """
    names = ["odds", "score", "length", *(["null_margin"] if version_2 else [])]
    found = [features(one, n_best_size) for one in predictions]
    kept = [at for at, one in enumerate(found) if one is not None]
    scores = score_each(examples, {one.id: one.text for one in predictions}, version_2=True)
    if len(kept) < LEAST_QUESTIONS:
        return None
    table = np.asarray([[found[at][name] for name in names] for at in kept])  # type: ignore[index]
    right = np.asarray([float(scores[predictions[at].id].exact) for at in kept])
    is_answer = np.asarray([bool(predictions[at].text) for at in kept])
    is_fit = first_half([examples[at].context for at in kept])
    answer = _fit_logistic(names, table[is_fit & is_answer], right[is_fit & is_answer])
    if answer is None:
        return None
    no_answer = _fit_logistic(names, table[is_fit & ~is_answer], right[is_fit & ~is_answer]) if version_2 else None
    fitted = Confidence(answer, no_answer, int(is_fit.sum()))
    before, after = (
        np.asarray([values(predictions[at]) for at in kept])
        for values in (softmax_of, lambda one: fitted.probability(one, n_best_size) or softmax_of(one))
    )
    before, after, right = before[~is_fit], after[~is_fit], right[~is_fit]
    if not len(right) or log_loss(after, right) > log_loss(before, right) - _LEAST_GAIN:
        return None
    return replace(fitted, tested=_figures(before, after, right))


def softmax_of(prediction: Prediction) -> float:
    """Return the softmax of the answer's score over the n-best; 0 where it is none of them."""
    return next((one.probability for one in prediction.n_best if one.text == prediction.text), 0.0)


def _figures(before: NDArray[np.float64], after: NDArray[np.float64], right: NDArray[np.float64]) -> dict[str, float]:
    figures: dict[str, float] = {"questions": len(right), "right": float(right.mean())}
    for name, probability in (("softmax", before), ("calibrated", after)):
        figures[f"{name}_ece"] = expected_error(reliability(probability, right))
        figures[f"{name}_log_loss"] = log_loss(probability, right)
        if (area := auroc(probability, right)) is not None:
            figures[f"{name}_auroc"] = area
    return {name: round(value, 6) for name, value in figures.items()}


def _fit_logistic(names: Sequence[str], table: NDArray[np.float64], right: NDArray[np.float64]) -> Logistic | None:
    """Fit a logistic model to a table (Q, features) by Newton's method and a little ridge; None: too few of a kind."""
    if min(right.sum(), (1 - right).sum()) < _LEAST_OF_A_KIND:
        return None
    mean, spread = table.mean(axis=0), table.std(axis=0) + 1e-9
    columns = np.column_stack([np.ones(len(table)), (table - mean) / spread])
    ridge = np.diag([0.0] + [1.0] * len(names))
    weights = np.zeros(columns.shape[1])
    for _ in range(100):
        probability = 1 / (1 + np.exp(-np.clip(columns @ weights, -50, 50)))
        gradient = columns.T @ (probability - right) + ridge @ weights
        curvature = (columns * (probability * (1 - probability))[:, None]).T @ columns + ridge
        step = np.linalg.solve(curvature, gradient)
        weights -= step * min(1.0, 5.0 / max(float(np.abs(step).max()), 1e-12))
        if np.abs(step).max() < 1e-10:
            break
    own = weights[1:] / spread
    return Logistic(
        round(float(weights[0] - own @ mean), 9),
        {name: round(float(one), 9) for name, one in zip(names, own, strict=True)},
    )
