"""The report judges the probabilities that the run's model gives, and shows what its calibration does."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from albertqa.decode.confidence import Confidence, Logistic
from albertqa.decode.reader_settings import ReaderSettings
from albertqa.report import write_report
from albertqa.report.analysis import analyse, load_runs
from albertqa.report.probabilities import judge_calibration
from albertqa.scoring.calibration import expected_error, first_half, reliability

CONFIDENCE = Confidence(Logistic(-1.0, {"odds": 0.5, "score": 0.1, "length": -0.2}), None, 80)


@pytest.fixture
def calibrated_run(plain_run: Path, tmp_path: Path) -> Path:
    """The plain run with a calibration in its ``best/``."""
    run = shutil.copytree(plain_run, tmp_path / "run")
    replace(ReaderSettings.load(run / "best"), confidence=CONFIDENCE).save(run / "best")
    return run


def test_a_run_without_calibration_has_the_softmax_alone(plain_run: Path) -> None:
    (analysis,) = analyse(load_runs([plain_run]))
    assert all(one.probability == one.softmax for one in analysis.outcomes)
    assert analysis.calibration is not None
    assert analysis.calibration.fitted is None
    assert analysis.calibration.questions == 160


def test_a_calibrated_run_is_judged_by_the_probabilities_that_it_gives(calibrated_run: Path) -> None:
    (analysis,) = analyse(load_runs([calibrated_run]))
    assert analysis.calibration is not None
    fitted = analysis.calibration.fitted
    assert fitted is not None
    tested = ~first_half([one.example.context for one in analysis.outcomes])
    assert fitted.tested_questions == tested.sum()
    right = np.asarray([one.exact for one in analysis.outcomes])
    for name, error in (("softmax", fitted.ece_before), ("probability", fitted.ece_after)):
        values = np.asarray([getattr(one, name) for one in analysis.outcomes])
        assert error == pytest.approx(expected_error(reliability(values[tested], right[tested])))
    assert fitted.ece_before != fitted.ece_after
    for one in analysis.outcomes:
        assert one.probability != one.softmax
        assert one.probability in [candidate.probability for candidate in one.n_best if candidate.text == one.text]
        assert sum(candidate.probability for candidate in one.n_best) <= 1 + 1e-9
    page = write_report([calibrated_run]).read_text(encoding="utf-8")
    assert f"{fitted.ece_before:.3f} → {fitted.ece_after:.3f}" in page


def test_the_report_writes_nothing_but_its_page(calibrated_run: Path) -> None:
    before = {path.name for path in calibrated_run.iterdir()}
    write_report([calibrated_run])
    assert {path.name for path in calibrated_run.iterdir()} - before <= {"report.html"}


def test_without_probabilities_there_is_nothing_to_judge() -> None:
    assert judge_calibration([], None) is None
