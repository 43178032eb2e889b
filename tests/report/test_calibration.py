"""Probabilities: reliability, temperature, risk and coverage, against brute force."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from albertqa.decode.spans import Candidate
from albertqa.report.analysis import analyse, load_runs
from albertqa.report.calibration import (
    calibrate,
    expected_error,
    fit_temperature,
    probabilities,
    reliability,
    risk_coverage,
    write_calibration,
)
from albertqa.report.outcome import Outcome

from . import cases

ANSWERS = st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=60)


def _arrays(answers: list[tuple[float, bool]]) -> tuple["np.ndarray", "np.ndarray"]:
    return np.asarray([one for one, _ in answers]), np.asarray([float(one) for _, one in answers])


@given(ANSWERS)
def test_expected_error_is_the_mean_gap_of_the_bins(answers: list[tuple[float, bool]]) -> None:
    total = 0.0
    for low in range(10):
        inside = [(p, r) for p, r in answers if low <= p * 10 < low + 1 or (low == 9 and p * 10 >= 10)]
        if inside:
            total += abs(sum(p for p, _ in inside) - sum(r for _, r in inside))
    bins = reliability(*_arrays(answers))
    assert expected_error(bins) == pytest.approx(total / len(answers), abs=1e-9)
    assert sum(one.questions for one in bins) == len(answers)
    assert all(0 <= one.low <= one.right + 1e-9 and one.right - 1e-9 <= one.high <= 1 for one in bins)


@given(ANSWERS)
def test_coverage_is_what_a_threshold_on_the_probability_gives(answers: list[tuple[float, bool]]) -> None:
    probability, right = _arrays(answers)
    points, area = risk_coverage(probability, right, right)
    assert points[-1].share == 1.0
    assert 0.0 <= area <= 1.0
    for point in points:
        kept = [r for p, r in answers if p >= point.threshold]
        assert point.share == pytest.approx(len(kept) / len(answers))
        assert point.exact == pytest.approx(100 * sum(kept) / len(kept))
        assert point.f1 == pytest.approx(point.exact)


def test_temperature_one_gives_the_runs_own_probabilities(plain_run: Path) -> None:
    (analysis,) = analyse(load_runs([plain_run]))
    for one in analysis.outcomes:
        scores = np.asarray([[candidate.score for candidate in one.n_best]])
        assert one.chosen is not None
        assert probabilities(scores, np.asarray([one.chosen]), 1.0)[0] == pytest.approx(one.probability, abs=1e-6)


@pytest.mark.parametrize("factor", [0.4, 1.0, 3.0])
def test_temperature_undoes_scores_that_were_multiplied(factor: float) -> None:
    generator = np.random.default_rng(0)
    scores = generator.normal(0, 2, (6000, 5))
    chosen = scores.argmax(axis=1)
    right = (generator.random(6000) < probabilities(scores, chosen, 1.0)).astype(float)
    assert fit_temperature(scores * factor, chosen, right) == pytest.approx(factor, rel=0.08)


def _outcomes(num_contexts: int, factor: float) -> list[Outcome]:
    generator = np.random.default_rng(1)
    found = []
    for example in cases.examples_of(num_contexts):
        scores = np.sort(generator.normal(0, 2, 4))[::-1]
        weights = np.exp(scores - scores.max())
        right = float(generator.random() < weights[0] / weights.sum())
        sure = np.exp(factor * (scores - scores.max()))
        n_best = tuple(
            Candidate("In", 0, 2, factor * score / 2, factor * score / 2, weight / sure.sum())
            for score, weight in zip(scores, sure, strict=True)
        )
        found.append(Outcome(example, "In", (0, 2), n_best[0].probability, right, right, n_best, 0, 0, 0))
    return found


def test_a_run_that_is_too_sure_gets_a_temperature_that_helps_on_the_other_half() -> None:
    calibration = calibrate(_outcomes(120, 3.0))
    assert calibration is not None
    fitted = calibration.temperature
    assert fitted is not None
    assert fitted.temperature == pytest.approx(3.0, rel=0.25)
    assert fitted.fitted_questions + fitted.tested_questions == 960
    assert fitted.helps
    assert fitted.ece_after < fitted.ece_before
    assert fitted.nll_after < fitted.nll_before


def test_no_context_is_fitted_on_and_tested_on() -> None:
    calibration = calibrate(_outcomes(13, 1.0))
    assert calibration is not None
    assert calibration.temperature is not None
    assert calibration.temperature.fitted_questions == 6 * 8
    assert calibration.temperature.tested_questions == 7 * 8


def test_few_questions_get_no_temperature() -> None:
    calibration = calibrate(_outcomes(12, 1.0))
    assert calibration is not None
    assert calibration.questions == 96
    assert calibration.temperature is None


def test_without_probabilities_there_is_nothing_to_judge() -> None:
    assert calibrate([]) is None


def test_temperature_is_kept_in_the_run(plain_run: Path) -> None:
    (analysis,) = analyse(load_runs([plain_run]))
    kept = json.loads((plain_run / "calibration.json").read_text(encoding="utf-8"))
    assert analysis.calibration is not None
    assert analysis.calibration.temperature is not None
    assert kept["temperature"] == analysis.calibration.temperature.temperature
    assert kept["helps"] is analysis.calibration.temperature.helps
    assert kept["n_best_size"] == 20
    assert kept["validation_content_sha256"] == analysis.run.facts.data.validation.content_sha256
    assert all(math.isfinite(kept[key]) for key in ("ece_before", "ece_after", "nll_before", "nll_after"))


def test_a_run_that_cannot_be_written_to_says_so(plain_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, value: object) -> None:
        raise PermissionError(13, "Permission denied", str(path), value)

    monkeypatch.setattr("albertqa.files.write_json", refuse)
    (analysis,) = analyse(load_runs([plain_run]))
    assert any("could not be written" in note and "Permission denied" in note for note in analysis.notes)
    assert analysis.calibration is not None
    assert analysis.calibration.temperature is not None
    assert "Permission denied" in write_calibration(analysis.run, analysis.calibration.temperature)
