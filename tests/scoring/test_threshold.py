import math
from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from albertqa.data.example import Example, Gold
from albertqa.errors import DataError
from albertqa.scoring.official import score
from albertqa.scoring.threshold import tune_threshold

from .cases import Case, apply_threshold, cases, odds


def question(question_id: str, *gold_texts: str) -> Example:
    return Example(question_id, "?", "", tuple(Gold(text, 0) for text in gold_texts))


def every_threshold(null_odds: dict[str, float]) -> list[float]:
    """All thresholds that can make a difference: at, between, below and above the null odds, and 0."""
    values = sorted(set(null_odds.values()))
    between = [(low + high) / 2 for low, high in pairwise(values)]
    return [0.0, values[0] - 1.0, *values, *between, values[-1] + 1.0]


def brute_force(case: Case, key: str) -> float:
    return max(
        score(case.examples, apply_threshold(case.predictions, case.null_odds, threshold), version_2=True)[key]
        for threshold in every_threshold(case.null_odds)
    )


@given(cases(unanswerable=True, missing=False))
def test_no_threshold_is_better_and_the_promised_score_is_kept_to_the_last_digit(case: Case) -> None:
    found = tune_threshold(case.examples, case.predictions, case.null_odds)
    with_exact = apply_threshold(case.predictions, case.null_odds, found.best_exact_thresh)
    with_f1 = apply_threshold(case.predictions, case.null_odds, found.best_f1_thresh)
    assert score(case.examples, with_exact, version_2=True)["exact"] == found.best_exact
    assert score(case.examples, with_f1, version_2=True)["f1"] == found.best_f1
    assert found.best_exact == brute_force(case, "exact")
    assert found.best_f1 == pytest.approx(brute_force(case, "f1"), rel=0, abs=1e-7)


@given(cases(unanswerable=True, missing=False))
def test_no_threshold_nearer_to_0_is_as_good(case: Case) -> None:
    found = tune_threshold(case.examples, case.predictions, case.null_odds)
    for key, best, best_threshold in (
        ("exact", found.best_exact, found.best_exact_thresh),
        ("f1", found.best_f1, found.best_f1_thresh),
    ):
        for threshold in {0.0, *(case.null_odds[example.id] for example in case.examples)}:
            if abs(threshold) < abs(best_threshold):
                applied = apply_threshold(case.predictions, case.null_odds, threshold)
                assert score(case.examples, applied, version_2=True)[key] < best - 1e-12


@given(cases(unanswerable=True))
def test_questions_without_an_answer_text_are_left_out_as_in_score(case: Case) -> None:
    assume(any(example.id in case.predictions for example in case.examples))
    found = tune_threshold(case.examples, case.predictions, case.null_odds)
    applied = apply_threshold(case.predictions, case.null_odds, found.best_exact_thresh)
    assert score(case.examples, applied, version_2=True)["exact"] == found.best_exact


@given(st.dictionaries(st.text(max_size=3), st.tuples(st.text(max_size=3), odds)), odds)
def test_exactly_the_answers_above_the_threshold_become_empty(
    rows: dict[str, tuple[str, float]], threshold: float
) -> None:
    texts = {question_id: text for question_id, (text, _) in rows.items()}
    null_odds = {question_id: value for question_id, (_, value) in rows.items()}
    expected = [(question_id, text if value <= threshold else "") for question_id, (text, value) in rows.items()]
    assert list(apply_threshold(texts, null_odds, threshold).items()) == expected


def test_equal_null_odds_cannot_be_cut_apart() -> None:
    examples = [question("a", "x"), question("b")]
    texts, null_odds = {"a": "x", "b": "x"}, {"a": 3.0, "b": 3.0}
    assert score(examples, texts, null_odds=null_odds)["best_exact"] == 100.0
    assert tune_threshold(examples, texts, null_odds).best_exact == 50.0


def test_no_answer_everywhere_is_reachable_below_negative_null_odds() -> None:
    found = tune_threshold([question("a"), question("b")], {"a": "x", "b": "x"}, {"a": -3.0, "b": -2.0})
    assert found.best_exact == found.best_f1 == 100.0
    assert found.best_exact_thresh == math.nextafter(-3.0, -math.inf)


def test_infinite_null_odds_are_ordered_like_numbers() -> None:
    examples = [question("a", "x"), question("b")]
    found = tune_threshold(examples, {"a": "x", "b": ""}, {"a": 1.0, "b": math.inf})
    assert (found.best_exact, found.best_exact_thresh) == (100.0, 1.0)


def test_0_stays_where_nothing_is_better() -> None:
    examples = [question("a", "x"), question("b")]
    assert tune_threshold(examples, {"a": "x", "b": "x"}, {"a": -3.0, "b": 2.0}).best_exact_thresh == 0.0


def test_exact_and_f1_have_thresholds_of_their_own() -> None:
    examples = [question("a", "x"), question("b", "x y"), question("c")]
    found = tune_threshold(examples, {"a": "x", "b": "x", "c": "x"}, {"a": 1.0, "b": 2.0, "c": 3.0})
    assert (found.best_exact_thresh, found.best_f1_thresh) == (1.0, 2.0)


def test_rounding_breaks_no_tie() -> None:
    # Admitted one by one the scores add up to 1, 2, 1, 4/3, 5/3, and with rounding to a little more than 2.
    third = "x y z u v"
    examples = [question("a", "x"), question("b"), question("c", third), question("d", third), question("e", third)]
    null_odds = {"a": 1.0, "b": 2.0, "c": 3.0, "d": 4.0, "e": 5.0}
    assert tune_threshold(examples, dict.fromkeys(null_odds, "x"), null_odds).best_f1_thresh == 1.0


def test_what_is_missing_is_named() -> None:
    with pytest.raises(DataError, match=r"nothing to tune on: 1 answers, 1 questions, no id in both"):
        tune_threshold([question("a")], {"b": "x"}, {"b": 1.0})
    with pytest.raises(DataError, match=r"null odds: 1 of 1 predicted questions have none or NaN \(first: a\)"):
        tune_threshold([question("a")], {"a": "x"}, {})
    with pytest.raises(DataError, match=r"null odds: 1 of 2 predicted questions have none or NaN \(first: b\)"):
        tune_threshold([question("a"), question("b")], {"a": "x", "b": "x"}, {"a": 1.0, "b": math.nan})
