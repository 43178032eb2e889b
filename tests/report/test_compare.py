"""Several runs: settings that differ, paired differences, groups of seeds."""

import statistics
from pathlib import Path

import pytest

from albertqa.config import Settings
from albertqa.report.analysis import analyse, load_runs
from albertqa.report.compare import differing_settings, seed_groups, share_data
from albertqa.rundir.directory import load_run
from albertqa.scoring.interval import difference_interval


def test_only_settings_that_differ_and_can_change_a_result_are_listed(
    plain_run: Path, other_seeds: tuple[Path, Path]
) -> None:
    runs = [load_run(path) for path in (plain_run, *other_seeds)]
    rows = {row.name: row.values for row in differing_settings([run.settings for run in runs])}
    assert rows == {"seed": ("42", "43", "42"), "learning_rate": ("3e-05", "3e-05", "0.001")}


def test_settings_are_compared_with_the_recipe(plain_run: Path) -> None:
    rows = {row.name: row.values for row in differing_settings([load_run(plain_run).settings, Settings()])}
    assert rows.keys() == {"train_file", "validation_file"}
    assert rows["train_file"] == ("starter:train", "rajpurkar/squad:train")


def test_seeds_of_the_same_settings_are_grouped(plain_run: Path, other_seeds: tuple[Path, Path]) -> None:
    runs = load_runs([plain_run, *other_seeds])
    (group,) = seed_groups(runs)
    assert group.seeds == (42, 43)
    assert group.names == tuple(runs)[:2]
    values = [runs[name].scores["f1"] for name in group.names]
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
    assert difference.better + difference.worse <= len(before) == 160


def test_runs_on_other_questions_are_kept_apart(plain_run: Path, run_v2: Path) -> None:
    shared = share_data(analyse(load_runs([plain_run, run_v2])))
    assert [len(data.analyses) for data in shared] == [1, 1]
    assert all(not data.differences for data in shared)
