import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from albertqa.errors import DataError
from albertqa.scoring import interval
from albertqa.scoring.interval import difference_interval, mean_interval


def test_the_interval_equals_a_resampling_question_by_question() -> None:
    values = [0.0, 1.0, 0.25, 1.0, 0.5]
    drawn = np.random.default_rng(7).integers(5, size=(300, 5), dtype=np.int32)
    means = sorted(sum(values[question] for question in row) / 5 for row in drawn)
    found = mean_interval(values, seed=7, num_resamples=300)
    assert found.mean == pytest.approx(0.55)
    assert found.low == pytest.approx(np.quantile(means, 0.025))
    assert found.high == pytest.approx(np.quantile(means, 0.975))


@pytest.mark.parametrize("num_correct", [500, 900])
def test_the_interval_of_a_proportion_is_as_wide_as_theory_says(num_correct: int) -> None:
    values = [1.0] * num_correct + [0.0] * (1000 - num_correct)
    share = num_correct / 1000
    half_width = 1.959964 * (share * (1 - share) / 1000) ** 0.5
    found = mean_interval(values, num_resamples=8000)
    assert found.low == pytest.approx(share - half_width, abs=0.06 * half_width)
    assert found.high == pytest.approx(share + half_width, abs=0.06 * half_width)


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    generator = np.random.default_rng(3)
    covered = 0
    for seed in range(300):
        sample = generator.beta(2.0, 1.0, size=60)
        found = mean_interval(sample.tolist(), seed=seed, num_resamples=400)
        covered += found.low <= 2 / 3 <= found.high
    assert 0.89 <= covered / 300 <= 0.985


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).random(37).tolist()
    whole = mean_interval(values, num_resamples=101)
    monkeypatch.setattr(interval, "_BLOCK_DRAWS", 37 * 8 + 5)
    assert mean_interval(values, num_resamples=101) == whole
    monkeypatch.setattr(interval, "_BLOCK_DRAWS", 1)
    assert mean_interval(values, num_resamples=101) == whole


def test_the_seed_decides() -> None:
    values = np.random.default_rng(0).random(50).tolist()
    assert mean_interval(values, seed=1) == mean_interval(values, seed=1)
    assert mean_interval(values, seed=1) != mean_interval(values, seed=2)


@settings(max_examples=30)
@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=30))
def test_the_interval_stays_within_the_values(values: list[float]) -> None:
    found = mean_interval(values, num_resamples=50)
    assert min(values) - 1e-12 <= found.low <= found.high <= max(values) + 1e-12


def test_equal_values_leave_no_uncertainty() -> None:
    found = mean_interval([0.5] * 9)
    assert (found.mean, found.low, found.high) == (0.5, 0.5, 0.5)


def test_the_difference_is_candidate_minus_baseline_and_pairs_by_id() -> None:
    baseline = {"a": 0.0, "b": 1.0, "c": 0.5}
    candidate = {"c": 0.75, "b": 1.25, "a": 0.25}
    found = difference_interval(baseline, candidate)
    assert (found.mean, found.low, found.high) == (0.25, 0.25, 0.25)


def test_pairing_narrows_the_interval_of_systems_that_fail_on_the_same_questions() -> None:
    generator = np.random.default_rng(5)
    baseline = {str(number): float(value) for number, value in enumerate(generator.random(400))}
    better = {name: value + 0.01 + 0.001 * (int(name) % 2) for name, value in baseline.items()}
    found = difference_interval(baseline, better)
    alone = mean_interval(list(baseline.values()))
    assert 0.01 < found.low < found.high < 0.011
    assert found.high - found.low < 0.01 * (alone.high - alone.low)


def test_the_difference_interval_is_the_interval_of_the_differences() -> None:
    baseline, candidate = {"a": 0.0, "b": 1.0, "c": 0.5}, {"a": 1.0, "b": 0.5, "c": 0.75}
    assert difference_interval(baseline, candidate) == mean_interval([1.0, -0.5, 0.25])


def test_scores_of_different_questions_are_not_compared() -> None:
    with pytest.raises(DataError, match=r"found 2 that only one side has \(first: b\); score both on one data set"):
        difference_interval({"a": 1.0, "b": 1.0}, {"a": 1.0, "c": 1.0})


def test_no_values_are_an_error() -> None:
    with pytest.raises(DataError, match=r"at least one question, found none"):
        mean_interval([])
    with pytest.raises(DataError, match=r"at least one question, found none"):
        difference_interval({}, {})
