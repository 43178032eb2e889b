import doctest

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from albertqa.errors import DataError
from albertqa.scoring import metric
from albertqa.scoring.metric import QuestionScore, normalize_answer, score_answer, unspaced_note

from . import reference
from .cases import texts


def test_documented_examples_hold() -> None:
    assert doctest.testmod(metric).failed == 0
    assert doctest.testmod(metric).attempted >= 3


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The  Cat", "cat"),
        ("a-b", "ab"),
        ("a - b", "b"),
        ("theatre another", "theatre another"),
        ("the.the", "thethe"),
        ("an_the", "anthe"),
        ("—a—", "— —"),
        ("“The”", "“ ”"),
        (r"!\"#$%&'()*+,-./:;<=>?@[\]^_`{|}~x", "x"),
        ("x\u00a0y\u2003z\n", "x y z"),
        ("a\u0301", "\u0301"),
        ("É ẞ İ", "é ß i̇"),
        ("The a an", ""),
        ("", ""),
    ],
)
def test_normalization_keeps_what_the_official_one_keeps(text: str, expected: str) -> None:
    assert normalize_answer(text) == expected


@given(texts)
def test_normalization_equals_the_reference(text: str) -> None:
    assert normalize_answer(text) == " ".join(reference.normalized_tokens(text))


@given(texts, st.lists(texts, min_size=1, max_size=4))
@example("the", ["", "the cat"])
@example("x y", ["x", "x y z", "y x"])
def test_version_1_equals_the_reference_to_the_last_digit(prediction: str, golds: list[str]) -> None:
    expected = reference.exact_and_f1_v1(prediction, golds)
    assert score_answer(prediction, golds) == QuestionScore(*expected)


@given(texts, st.lists(texts, max_size=4))
@example("the", ["a"])
@example("", ["the", "x"])
def test_version_2_equals_the_reference_to_the_last_digit(prediction: str, golds: list[str]) -> None:
    expected = reference.exact_and_f1_v2(prediction, golds)
    assert score_answer(prediction, golds, version_2=True) == QuestionScore(*expected)


@pytest.mark.parametrize("prediction", ["", "the", "!"])
def test_nothing_against_nothing_is_exact_with_f1_0_in_version_1_and_with_f1_1_in_version_2(prediction: str) -> None:
    assert score_answer(prediction, ["The."]) == QuestionScore(1.0, 0.0)
    assert score_answer(prediction, ["The."], version_2=True) == QuestionScore(1.0, 1.0)


def test_an_empty_gold_among_others_counts_in_version_1_only() -> None:
    assert score_answer("the", ["a", "Rollo"]).exact == 1.0
    assert score_answer("the", ["a", "Rollo"], version_2=True).exact == 0.0


def test_no_gold_means_no_answer_in_version_2() -> None:
    assert score_answer("", [], version_2=True) == QuestionScore(1.0, 1.0)
    assert score_answer("x", [], version_2=True) == QuestionScore(0.0, 0.0)


def test_no_gold_is_an_error_in_version_1() -> None:
    with pytest.raises(DataError, match=r"expected a gold answer, found none"):
        score_answer("x", [])


def test_repeated_tokens_count_as_often_as_both_have_them() -> None:
    assert score_answer("x x x", ["x x y"]).f1 == pytest.approx(2 / 3)


def test_f1_goes_through_precision_and_recall() -> None:
    # 2·1 / (1 + 5) is 0.3333333333333333.
    assert score_answer("x", ["x y z u v"]).f1 == 0.33333333333333337


def test_best_exact_and_best_f1_may_come_from_different_golds() -> None:
    score = score_answer("the", ["a", "x"])
    assert (score.exact, score.f1) == (1.0, 0.0)


def test_golds_may_be_a_one_time_iterator() -> None:
    assert score_answer("x", iter(["y", "x"])) == score_answer("x", ["y", "x"])


@pytest.mark.parametrize("gold", ["中国北方", "とうきょう", "กรุงเทพ", "ລາວ", "ဗမာ", "ភ្នំពេញ", "𠮷野家", "第1回"])
def test_of_scripts_without_spaces_it_is_said_that_f1_equals_exact(gold: str) -> None:
    assert unspaced_note([gold, gold, "Paris"]).startswith("2 of 3 golds are of a script without spaces between words")
    assert score_answer(f"{gold}{gold}", [gold]) == QuestionScore(0.0, 0.0)


@pytest.mark.parametrize("gold", ["Paris", "서울", "नई दिल्ली", "Москва", "القاهرة", "❤️", ""])
def test_of_other_scripts_nothing_is_said(gold: str) -> None:
    assert unspaced_note([gold] * 3) == unspaced_note([]) == unspaced_note([gold, "中国"]) == ""
