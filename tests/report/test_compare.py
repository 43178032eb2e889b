"""Several runs: settings that differ, paired differences, seeds folded."""

import statistics
from pathlib import Path

import pytest

from albertqa.config import field_docs
from albertqa.report.analysis import analyse, share_data
from albertqa.report.compare import seed_groups, settings_beside_each_other, settings_beside_recipe
from albertqa.report.run import load_runs
from albertqa.scoring.interval import difference_interval


def test_only_settings_that_differ_and_can_change_a_result_are_listed(
    plain_run: Path, other_seeds: tuple[Path, Path]
) -> None:
    runs = load_runs([plain_run, *other_seeds])
    rows = {row.name: row.values for row in settings_beside_each_other(runs, field_docs())}
    assert rows == {"seed": ("42", "43", "42"), "learning_rate": ("3e-05", "3e-05", "0.001")}


def test_settings_beside_the_recipe(plain_run: Path) -> None:
    (run,) = load_runs([plain_run])
    rows = {row.name: row.values for row in settings_beside_recipe(run.settings, field_docs())}
    assert rows.keys() == {"train_file", "validation_file"}
    assert rows["train_file"] == ("starter:train", "rajpurkar/squad:train")


def test_seeds_of_the_same_settings_are_folded(plain_run: Path, other_seeds: tuple[Path, Path]) -> None:
    runs = load_runs([plain_run, *other_seeds])
    (group,) = seed_groups(runs)
    assert group.seeds == (42, 43)
    assert group.names == (runs[0].name, runs[1].name)
    values = [float(run.scores["f1"]) for run in runs[:2]]
    assert group.f1.mean == pytest.approx(sum(values) / 2)
    assert group.f1.deviation == pytest.approx(statistics.stdev(values))


def test_one_seed_twice_is_no_spread(plain_run: Path, other_seeds: tuple[Path, Path]) -> None:
    assert seed_groups(load_runs([plain_run, other_seeds[1]])) == []


def test_difference_is_paired_question_by_question(plain_run: Path, other_seeds: tuple[Path, Path]) -> None:
    (shared,) = share_data(analyse(load_runs([plain_run, *other_seeds])))
    first, _, third = shared.analyses
    difference = shared.differences[1]
    before = {one.example.id: 100 * one.f1 for one in first.outcomes}
    after = {one.example.id: 100 * one.f1 for one in third.outcomes}
    assert difference.f1 == difference_interval(before, after)
    assert difference.f1.high < 0
    assert difference.better + difference.worse <= difference.questions == 160


def test_runs_on_other_questions_are_kept_apart(plain_run: Path, run_v2: Path) -> None:
    shared = share_data(analyse(load_runs([plain_run, run_v2])))
    assert [len(data.analyses) for data in shared] == [1, 1]
    assert all(not data.differences for data in shared)
