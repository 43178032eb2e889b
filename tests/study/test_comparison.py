"""The paired test keeps its promise: a difference that is none is found as often as it says."""

import doctest

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ttest_rel

from albertqa.study import comparison
from albertqa.study.comparison import holm, paired_test


def draw(
    generator: np.random.Generator, seeds: int, questions: int, *, of_seeds: float, of_questions: float
) -> np.ndarray:
    """Draw differences without a mean: some variance of seeds, of questions, and of both together."""
    by_seed = generator.normal(size=(seeds, 1)) * of_seeds
    by_question = generator.normal(size=(1, questions)) * of_questions
    return by_seed + by_question + generator.normal(size=(seeds, questions)) * 10


@pytest.mark.parametrize(("of_seeds", "of_questions"), [(0.0, 0.0), (1.5, 0.0), (0.0, 20.0), (1.5, 20.0)])
def test_equal_settings_are_called_different_in_about_five_of_a_hundred_studies(
    of_seeds: float, of_questions: float
) -> None:
    generator = np.random.default_rng(0)
    drawn = (draw(generator, 4, 150, of_seeds=of_seeds, of_questions=of_questions) for _ in range(1000))
    wrong = sum(paired_test(np.zeros_like(one), one).p < 0.05 for one in drawn)
    # Within five standard deviations of 5 %; it may be more careful than that.
    assert wrong <= 50 + 5 * (1000 * 0.05 * 0.95) ** 0.5


def test_a_large_difference_is_found() -> None:
    generator = np.random.default_rng(1)
    one = draw(generator, 3, 300, of_seeds=0.5, of_questions=10)
    test = paired_test(one * 0, one + 8)
    assert test.p < 0.05
    assert 0 < test.low < test.mean < test.high
    back = paired_test(one + 8, one * 0)
    assert (back.mean, back.low, back.high) == pytest.approx((-test.mean, -test.high, -test.low))
    assert back.p == pytest.approx(test.p)


def test_where_only_seeds_vary_it_is_the_paired_t_test() -> None:
    generator = np.random.default_rng(2)
    first, second = (np.repeat(generator.normal(size=(5, 1)), 40, axis=1) for _ in range(2))
    assert paired_test(first, second).p == pytest.approx(ttest_rel(second[:, 0], first[:, 0]).pvalue)


def test_one_seed_tells_nothing() -> None:
    test = paired_test(np.zeros((1, 50)), np.ones((1, 50)))
    assert (test.mean, test.p, test.low, test.high) == (1.0, 1.0, None, None)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_corrected_p_values_are_never_below_the_plain_ones_and_keep_their_order(p_values: list[float]) -> None:
    corrected = holm(p_values)
    assert all(plain <= one <= 1 for plain, one in zip(p_values, corrected, strict=True))
    order = np.argsort(p_values, kind="stable")
    assert np.all(np.diff(np.array(corrected)[order]) >= 0)


def test_doctests() -> None:
    assert doctest.testmod(comparison).failed == 0
