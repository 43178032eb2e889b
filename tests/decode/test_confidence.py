"""From scores to a probability: features, bounds, and candidates beside the answer."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from albertqa.decode.confidence import LEAST, MOST, Confidence, Logistic, features, with_probability
from albertqa.decode.spans import Candidate, Prediction


def prediction(scores: list[float], *, null: float | None = None, version_2: bool = False) -> Prediction:
    """A question whose candidates have these scores, best first."""
    top = max([*scores, *([null] if version_2 and null is not None else [])])
    spans = [(f"w{at}", score) for at, score in enumerate(scores)]
    listed = sorted([*spans, *([("", null)] if version_2 else [])], key=lambda one: -one[1])
    total = sum(math.exp(score - top) for _, score in listed)
    n_best = tuple(
        Candidate(text, at if text else 0, at + 2 if text else 0, score / 2, score / 2, math.exp(score - top) / total)
        for at, (text, score) in enumerate(listed)
    )
    return Prediction("q", "w0", n_best, null if version_2 else None, None, null)


SCORES = st.lists(st.floats(-30, 30, width=32), min_size=1, max_size=24).map(lambda one: sorted(one, reverse=True))


@given(SCORES, st.floats(-30, 30, width=32))
def test_features_do_not_depend_on_further_candidates_or_on_no_answer_among_them(
    scores: list[float], null: float
) -> None:
    plain = features(prediction(scores[:19], null=null), 19)
    more = features(prediction(scores, null=null), 19)
    among = features(prediction(scores[:19], null=null, version_2=True), 20)
    assert plain == more == among
    assert plain is not None
    assert plain["null_margin"] == pytest.approx(scores[0] - null, abs=1e-4)
    assert all(map(math.isfinite, plain.values()))


def test_a_span_that_two_windows_share_counts_once() -> None:
    one = prediction([5.0, 3.0], null=0.0)
    twice = replace(one, n_best=(one.n_best[0], one.n_best[0], one.n_best[1]))
    assert features(one, 20) == features(twice, 20)


def test_without_candidates_nothing_is_known() -> None:
    confidence = Confidence(Logistic(0.0, {"score": 1.0}))
    assert confidence.probability(Prediction("q", "", ()), 20) is None
    assert confidence.probability(replace(prediction([1.0]), text=""), 20) is None
    needs_null = Confidence(Logistic(0.0, {"null_margin": 1.0}))
    assert needs_null.probability(prediction([1.0]), 20) is None


@given(st.floats(-1e6, 1e6))
def test_a_probability_grows_with_the_score_and_stays_within_its_bounds(score: float) -> None:
    confidence = Confidence(Logistic(0.5, {"score": 0.25}))
    low, high = (confidence.probability(prediction([one, one - 1]), 20) for one in (score, score + 1))
    assert low is not None
    assert high is not None
    assert LEAST <= low <= high <= MOST


@given(SCORES, st.floats(0.001, 0.999))
def test_candidates_keep_their_order_and_never_exceed_one_together(scores: list[float], probability: float) -> None:
    candidates = prediction(scores).n_best
    found = with_probability(candidates, 0, probability)
    assert [one.text for one in found] == [one.text for one in candidates]
    assert found[0].probability == probability
    assert sum(one.probability for one in found) <= 1 + 1e-9
    others = [one.probability for one in found[1:]]
    assert others == sorted(others, reverse=True)
    assert all(0 <= one <= probability + 1e-9 for one in others)


def test_damaged_weights_are_reported() -> None:
    assert list(Confidence(Logistic(0.0, {"score": 1.0}), Logistic(0.0, {})).problems()) == []
    (unknown,) = Confidence(Logistic(0.0, {"depth": 1.0})).problems()
    assert unknown == ("confidence.answer has a weight for 'depth', expected odds, score, length, null_margin")
    (infinite,) = Confidence(Logistic(0.0, {}), Logistic(math.inf, {})).problems()
    assert infinite == "confidence.no_answer has a weight that is not finite, expected finite numbers"
