"""What the doctor costs: no PyTorch, and a look at a long run that costs what a look at a short one costs."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from albertqa.health.diagnosis import diagnose, diagnose_before_training
from albertqa.health.record import RunRecord
from albertqa.run.health_monitor import HealthMonitor

from .cases import changed, published_run

RECORDED = Path(__file__).parent / "recorded"


def test_the_doctor_imports_neither_torch_nor_transformers() -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from albertqa.health.diagnosis import diagnose\n"
        "from albertqa.health.record import load_record\n"
        "diagnose(load_record(Path(sys.argv[1])))\n"
        "print(sorted({'torch', 'transformers'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", code, str(RECORDED / "starter-high-rate")]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "[]\n"


def test_a_record_that_grew_row_by_row_is_the_record_of_all_rows() -> None:
    whole = published_run(noise=0.3, seed=1)
    grown = RunRecord(whole.run, ())
    for row in (*whole.steps, *whole.evaluations):
        grown.add(row)
    assert grown.losses.tolist() == [row.loss for row in whole.steps]
    assert grown.change_so_far == pytest.approx(sum(row.learning_rate for row in whole.steps))
    assert diagnose(grown) == diagnose(whole) == []


def test_what_needs_no_step_is_looked_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import shutil

    from albertqa.health import diagnosis
    from albertqa.rundir.rows import StepRow, read_rows

    run = Path(shutil.copytree(RECORDED / "starter-high-rate", tmp_path / "run"))
    rows = list(read_rows(run))
    looks: list[int] = []

    def counted(record: RunRecord) -> Any:
        looks.append(record.step)
        return iter(())

    monkeypatch.setattr(diagnosis, "SETUP_RULES", (counted,))
    monitor = HealthMonitor(run, lambda _: None)
    for row in rows:
        if isinstance(row, StepRow):
            monitor.on_step(row)
    assert len(looks) == 1
    monitor.on_end()
    assert len(looks) == 1


def test_what_needs_no_step_is_the_same_with_and_without_steps() -> None:
    wrong = changed(
        published_run(noise=0.3, seed=1),
        settings={"weight_decay": 2.0, "adam_beta1": 0.98},
        validation={"shared_contexts_percent": 60.0, "shared_questions_percent": 50.0},
        train={"unknown_tokens_percent": 4.0},
    )
    empty = changed(wrong, steps=[], evaluations=[], status="running")

    assert len(diagnose_before_training(wrong)) == 4
    assert diagnose_before_training(wrong) == diagnose_before_training(empty)
