"""Calibration: figures against brute force, and a fit that is good on questions that it has not seen."""

import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from albertqa.data.example import Example, Gold
from albertqa.decode.confidence import FEATURES
from albertqa.decode.spans import Candidate, Prediction
from albertqa.scoring.calibration import (
    LEAST_QUESTIONS,
    auroc,
    expected_error,
    first_half,
    fit_confidence,
    foreign_questions,
    reliability,
    risk_coverage,
)

ANSWERS = st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=60)


def arrays(answers: list[tuple[float, bool]]) -> tuple["np.ndarray", "np.ndarray"]:
    return np.asarray([one for one, _ in answers]), np.asarray([float(one) for _, one in answers])


@given(ANSWERS)
def test_expected_error_is_the_mean_gap_of_the_bins(answers: list[tuple[float, bool]]) -> None:
    total = 0.0
    for low in range(10):
        inside = [(p, r) for p, r in answers if low <= p * 10 < low + 1 or (low == 9 and p * 10 >= 10)]
        if inside:
            total += abs(sum(p for p, _ in inside) - sum(r for _, r in inside))
    bins = reliability(*arrays(answers))
    assert expected_error(bins) == pytest.approx(total / len(answers), abs=1e-9)
    assert sum(one.questions for one in bins) == len(answers)
    assert all(0 <= one.low <= one.right + 1e-9 and one.right - 1e-9 <= one.high <= 1 for one in bins)


@given(ANSWERS)
def test_coverage_is_what_a_threshold_on_the_probability_gives(answers: list[tuple[float, bool]]) -> None:
    probability, right = arrays(answers)
    points, area = risk_coverage(probability, right, right)
    assert points[-1].share == 1.0
    assert 0.0 <= area <= 1.0
    for point in points:
        kept = [r for p, r in answers if p >= point.threshold]
        assert point.share == pytest.approx(len(kept) / len(answers))
        assert point.exact == pytest.approx(100 * sum(kept) / len(kept))
        assert point.f1 == pytest.approx(point.exact)


@given(ANSWERS)
def test_auroc_is_how_often_a_right_answer_is_above_a_wrong_one(answers: list[tuple[float, bool]]) -> None:
    pairs = [(p, q) for p, is_right in answers for q, other in answers if is_right and not other]
    expected = sum((p > q) + (p == q) / 2 for p, q in pairs) / len(pairs) if pairs else None
    assert auroc(*arrays(answers)) == (None if expected is None else pytest.approx(expected))


def asked(
    count: int, *, factor: float, version_2: bool = False, seed: int = 0
) -> tuple[list[Example], list[Prediction]]:
    """Questions and answers that are right as often as the softmax of scores says, which are then multiplied."""
    draw = random.Random(seed)
    examples, predictions = [], []
    for index in range(count):
        context = f"{index // 4} a river and a bridge"
        scores = sorted((draw.gauss(0, 2) for _ in range(5)), reverse=True)
        weights = [math.exp(score) for score in scores]
        is_right = draw.random() < weights[0] / sum(weights)
        golds = (Gold("river" if is_right else "bridge", context.index("river" if is_right else "bridge")),)
        null = draw.gauss(2, 3)
        has_answer = not version_2 or draw.random() < 1 / (1 + math.exp(null - scores[0]))
        examples.append(Example(str(index), "What?", context, golds if has_answer else (), f"title {index // 40}"))
        given = [factor * score for score in scores]
        sure = [math.exp(score - max(given)) for score in given]
        starts = [context.index("river"), 0, 2, 3, 4]
        n_best = tuple(
            Candidate("river" if at == 0 else "xyz", start, start + 5, score / 2, score / 2, weight / sum(sure))
            for at, (start, score, weight) in enumerate(zip(starts, given, sure, strict=True))
        )
        difference = factor * null - given[0]
        text = "" if version_2 and difference > 0 else "river"
        predictions.append(
            Prediction(str(index), text, n_best, factor * null if version_2 else None, difference, factor * null)
        )
    return examples, predictions


@pytest.mark.parametrize("factor", [0.3, 3.0])
@pytest.mark.parametrize("version_2", [False, True])
def test_probabilities_are_right_on_questions_that_were_not_seen(factor: float, version_2: bool) -> None:
    fitted = fit_confidence(*asked(4000, factor=factor, version_2=version_2), version_2=version_2, n_best_size=20)
    assert fitted is not None
    assert (fitted.no_answer is not None) == version_2
    assert set(fitted.answer.weights) <= set(FEATURES)
    assert fitted.tested["calibrated_ece"] < fitted.tested["softmax_ece"]
    assert fitted.tested["calibrated_log_loss"] < fitted.tested["softmax_log_loss"]
    examples, predictions = asked(4000, factor=factor, version_2=version_2, seed=1)
    probability = np.asarray([fitted.probability(one, 20) for one in predictions])
    right = np.asarray(
        [float(bool(one.golds) and one.golds[0].text == p.text if p.text else not one.golds)
         for one, p in zip(examples, predictions, strict=True)]
    )  # fmt: skip
    assert expected_error(reliability(probability, right)) < 0.04


def test_few_questions_and_answers_of_one_kind_are_not_fitted() -> None:
    examples, predictions = asked(LEAST_QUESTIONS - 1, factor=3.0)
    assert fit_confidence(examples, predictions, version_2=False, n_best_size=20) is None
    examples, predictions = asked(400, factor=3.0)
    right = [(one, p) for one, p in zip(examples, predictions, strict=True) if one.golds[0].text == p.text]
    assert fit_confidence(*map(list, zip(*right, strict=True)), version_2=False, n_best_size=20) is None


def test_probabilities_that_are_right_already_are_left_alone() -> None:
    assert fit_confidence(*asked(400, factor=1.0), version_2=False, n_best_size=20) is None


def test_the_halves_depend_on_the_contexts_alone() -> None:
    contexts = [f"context {index}" for index in range(200)]
    half = first_half([*contexts, *contexts])
    assert (half[:200] == half[200:]).all()
    assert (first_half(contexts[::-1])[::-1] == half[:200]).all()
    assert 60 < half[:200].sum() < 140


def test_a_foreign_question_is_on_another_article() -> None:
    examples, _ = asked(400, factor=1.0)
    found = foreign_questions(examples)
    assert 90 <= len(found) <= 100
    titles = {one.context: one.title for one in examples}
    asked_of = {one.id: one.title for one in examples}
    for one in found:
        assert one.golds == ()
        assert titles[one.context] != asked_of[one.id.removesuffix("-foreign")]
    assert foreign_questions(examples[:4]) == []
