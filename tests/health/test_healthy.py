"""Sound runs raise no alarm: not at their end, and at no step on the way."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from albertqa.health.diagnosis import diagnose
from albertqa.health.record import RunRecord, load_record

from .cases import Task, changed, names, numbers_task, plain, published_run, write_rows

RECORDED = Path(__file__).parent / "recorded"
HEALTHY = ("starter-healthy", *sorted(path.name for path in RECORDED.glob("old-*")))


def prefixes(record: RunRecord, *, count: int = 25) -> Iterator[RunRecord]:
    """Give the run as its directory had it on the way, and as it is."""
    for at in range(count):
        step = record.step * at // count
        yield changed(
            record,
            steps=[row for row in record.steps if row.step <= step],
            evaluations=[row for row in record.evaluations if row.step <= step],
            scores={},
            status="running",
        )
    yield record


def alarms(record: RunRecord) -> dict[int, list[str]]:
    """Give the findings of a run on its way, by the step at which they come."""
    return {one.step: names(found) for one in prefixes(record) if (found := diagnose(one))}


@pytest.mark.parametrize("name", HEALTHY)
def test_a_recorded_sound_run_raises_no_alarm_at_any_step(name: str) -> None:
    record = load_record(RECORDED / name)
    assert record.step >= 60
    assert alarms(record) == {}


@pytest.mark.parametrize(
    ("seed", "questions", "changes"),
    [
        (0, 240, {}),
        (1, 300, {"seed": 7, "train_batch_size": 6, "max_grad_norm": 0.0}),
        (2, 240, {"seed": 1, "lr_scheduler_type": "constant", "learning_rate": 1e-3, "epochs": 3.0}),
        (
            3,
            400,
            {"label_smoothing_factor": 0.1, "weight_decay": 0.01, "gradient_accumulation_steps": 2, "epochs": 3.0},
        ),
        (
            4,
            300,
            {
                "lr_scheduler_type": "cosine",
                "hidden_dropout": 0.1,
                "max_grad_norm": 0.001,
                "train_batch_size": 4,
                "gradient_accumulation_steps": 2,
                "epochs": 4.0,
            },
        ),
    ],
)
def test_a_sound_run_of_a_tiny_model_raises_no_alarm(
    tmp_path: Path, tiny_folder: Path, seed: int, questions: int, changes: dict[str, Any]
) -> None:
    from albertqa.run.recipe import train

    task = Task(
        write_rows(tmp_path / "train.jsonl", numbers_task("train", questions, seed=seed)),
        write_rows(tmp_path / "validation.jsonl", numbers_task("validation", 120, seed=seed)),
        tiny_folder,
    )
    train(task.settings(tmp_path / "run", **changes))
    record = load_record(tmp_path / "run")
    assert record.has_learned
    assert alarms(record) == {}


@pytest.mark.parametrize("noise", [0.2, 0.5])
@pytest.mark.parametrize("seed", [1, 2])
def test_the_published_curve_raises_no_alarm_though_its_validation_loss_rises(noise: float, seed: int) -> None:
    record = published_run(noise=noise, seed=seed)
    assert sum(row.loss for row in record.steps[:5540]) / 5540 == pytest.approx(0.86, abs=0.02)
    assert record.evaluations[-1].loss > record.evaluations[0].loss
    assert alarms(record) == {}


def test_the_same_curve_with_falling_f1_is_overfitting() -> None:
    record = published_run(noise=0.3, seed=1)
    falling = [{**row, "f1": f1} for row, f1 in zip(plain(record.evaluations), (90.1, 89.4, 87.0), strict=True)]
    assert names(diagnose(changed(record, evaluations=falling))) == ["overfitting"]


def test_an_old_record_without_facts_is_read_and_judged_by_what_it_has() -> None:
    record = load_record(RECORDED / "old-squad-shifts")
    assert record.train.uniform_loss is None
    assert record.uniform_loss() == pytest.approx(5.2, abs=0.1)
    assert record.usual_rate == pytest.approx(1.2e-4)
