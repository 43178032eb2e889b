"""Careless questions still ask the same: facts and question words are as they were."""

import re
from itertools import groupby

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from albertqa.data.read import load_examples
from albertqa.data.starter import starter_file
from albertqa.windows.question_edits import mistyped, without_words

from .cases import texts

QUESTIONS = [example.question for example in load_examples(starter_file("train"))]
ASKED = st.one_of(st.sampled_from(QUESTIONS), texts(most_words=10))
SEEDS = st.integers(0, 2**32 - 1)


def distance(one: str, other: str) -> int:
    """Count the insertions, deletions and replacements between two texts."""
    row = list(range(len(other) + 1))
    for at, letter in enumerate(one, 1):
        before, row[0] = row[0], at
        for column, facing in enumerate(other, 1):
            before, row[column] = row[column], min(row[column] + 1, row[column - 1] + 1, before + (letter != facing))
    return row[-1]


def is_subsequence(some: list[str], of_all: list[str]) -> bool:
    rest = iter(of_all)
    return all(one in rest for one in some)


@given(question=ASKED, seed=SEEDS)
@settings(max_examples=300, deadline=None)
def test_typing_slips_stay_inside_words_of_letters(question: str, seed: int) -> None:
    changed = mistyped(question, np.random.default_rng(seed))
    # A swap is two replacements.
    assert distance(question, changed) <= 4
    pieces = [re.split(r"(\s+)", text) for text in (question, changed)]
    assert len(pieces[0]) == len(pieces[1])
    for before, after in zip(*pieces, strict=True):
        assert after[:1] == before[:1]
        assert after[-1:] == before[-1:]
        if before != after:
            assert len(before) >= 4
    digits = [[word for word in re.findall(r"\w+", text) if not word.isalpha()] for text in (question, changed)]
    assert digits[0] == digits[1]


def test_all_kinds_of_slips_occur_and_nearly_every_question_gets_one() -> None:
    rng = np.random.default_rng(1)
    changed = [(question, mistyped(question, rng)) for question in QUESTIONS]
    assert np.mean([one != other for one, other in changed]) > 0.95
    growth = {len(other) - len(one) for one, other in changed}
    assert growth == {-2, -1, 0, 1, 2}
    doubled = [other for one, other in changed if len(list(groupby(other))) == len(list(groupby(one))) and one != other]
    swapped = [other for one, other in changed if one != other and sorted(one) == sorted(other)]
    assert len(doubled) > 10
    assert len(swapped) > 10


@pytest.mark.parametrize("question", ["", "?", "Who am I?", "1066 or B2B1?", "1990s", "a1bcde f_ghij"])
def test_a_question_without_a_word_of_four_letters_gets_no_slip(question: str) -> None:
    assert all(mistyped(question, np.random.default_rng(seed)) == question for seed in range(20))


@given(question=ASKED, seed=SEEDS, has_answer=st.booleans())
@settings(max_examples=300, deadline=None)
def test_words_left_out_are_never_what_is_asked(question: str, seed: int, has_answer: bool) -> None:
    shorter = without_words(question, np.random.default_rng(seed), has_answer=has_answer)
    words = question.split()
    if shorter is None:
        return
    left = shorter.split()
    assert 0 < len(left) < len(words)
    assert is_subsequence(left, words)
    kept = [word for word in words if not (word.isalpha() and word.islower())]
    assert is_subsequence(kept, left)
    asked = [word for word in words if word in {"who", "what", "which", "when", "where", "why", "how", "not", "by"}]
    assert is_subsequence(asked, left)


@pytest.mark.parametrize(
    ("question", "has_answer", "lost"),
    [
        ("Who was the smallest duke of Normandy?", True, {"the", "smallest", "duke", "of"}),
        ("Who was the smallest duke of Normandy?", False, {"the", "of"}),
        ("who was the first duke rollo met", True, {"the"}),
        ("In 1066 did Harold not flee before William", True, {"did", "flee"}),
    ],
)
def test_each_word_that_may_go_goes_at_some_time(question: str, has_answer: bool, lost: set[str]) -> None:
    seen: set[str] = set()
    for seed in range(300):
        shorter = without_words(question, np.random.default_rng(seed), has_answer=has_answer)
        assert shorter is not None
        seen |= set(question.split()) - set(shorter.split())
    assert seen == lost


@pytest.mark.parametrize("question", ["", "Why?", "What is 5?", "the", "of"])
def test_a_question_with_nothing_to_spare_loses_nothing(question: str) -> None:
    assert without_words(question, np.random.default_rng(0), has_answer=True) is None


def test_a_question_of_spare_words_only_keeps_one() -> None:
    left = {without_words("the of", np.random.default_rng(seed), has_answer=True) for seed in range(200)}
    assert left == {"the", "of"}


def test_about_one_word_in_ten_is_left_out() -> None:
    question = "What " + "small " * 200 + "thing?"
    left = [without_words(question, np.random.default_rng(seed), has_answer=True) for seed in range(50)]
    share = 1 - np.mean([len((one or "").split()) - 2 for one in left]) / 200
    assert 0.08 < share < 0.12
