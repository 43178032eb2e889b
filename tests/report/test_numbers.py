"""The numbers for other programs are those of the page."""

import json
from pathlib import Path

import pytest

from albertqa.report import report_numbers
from albertqa.rundir.directory import load_run


def test_one_run_has_its_scores_intervals_and_evaluations(plain_run: Path) -> None:
    numbers = json.loads(json.dumps(report_numbers([plain_run]), allow_nan=False))
    (found,) = numbers["runs"]
    run = load_run(plain_run)
    assert found["scores"] == run.scores
    assert found["f1"]["mean"] == pytest.approx(run.scores["f1"])
    assert found["f1"]["low"] <= found["f1"]["mean"] <= found["f1"]["high"]
    assert [row["step"] for row in found["evaluations"]] == [row.step for row in run.evaluations]
    assert sum(found["answers"].values()) == run.scores["questions"]
    assert numbers.keys() == {"runs"}


def test_several_runs_have_differences_from_the_first_and_spreads_over_seeds(
    plain_run: Path, other_seeds: tuple[Path, Path]
) -> None:
    numbers = report_numbers([plain_run, *other_seeds])
    names = [one["name"] for one in numbers["runs"]]
    assert [(one["run"], one["from"]) for one in numbers["differences"]] == [(name, names[0]) for name in names[1:]]
    assert set(numbers["settings"]) == {"seed", "learning_rate"}
    (group,) = numbers["seeds"]
    assert group["seeds"] == (42, 43)
