"""A study is the same whatever happens to it, and says what it knows."""

import csv
import json
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from albertqa.config import Settings, load_settings
from albertqa.errors import RunError
from albertqa.report.study_page import write_study_page
from albertqa.run.callbacks import Callback
from albertqa.run.recipe import RunResult
from albertqa.rundir.rows import EvaluationRow
from albertqa.rundir.run_json import read_run_json
from albertqa.study.conduct import conduct
from albertqa.study.result import StudyResult
from albertqa.study.trials import Trials
from run.processes import start, wait_for

from .cases import conduct_alone, spec_of


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALBERTQA_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture(scope="module")
def whole(tiny_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a study that nobody disturbed: two settings, two seeds, and the best again."""
    folder = tmp_path_factory.mktemp("studies") / "whole"
    process = start(conduct_alone, spec_of(folder, tiny_weights))
    process.join()
    assert process.exitcode == 0
    return folder


def found_in(folder: Path) -> dict[str, Any]:
    """Return what a study found, but for times and its name."""
    found = json.loads((folder / "study.json").read_text())
    for setting in found["settings"]:
        for trial in setting["trials"]:
            del trial["seconds"]
    return {name: value for name, value in found.items() if name != "name"}


def sorted_trials(folder: Path) -> list[list[str]]:
    """Return the runs of a study, but for their times."""
    with (folder / "trials.csv").open() as file:
        return [row[:-2] for row in csv.reader(file)]


def test_every_trial_is_a_run_with_its_setting_and_seed(whole: Path) -> None:
    with (whole / "trials.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {(row["learning_rate"], row["seed"]) for row in rows} == {
        (rate, seed) for rate in ("0.0001", "0.003") for seed in ("1", "2")
    }
    for row in rows:
        run = whole / "runs" / row["run"]
        settings = load_settings(run / "config.toml", is_run=True)
        assert (settings.learning_rate, settings.seed) == (float(row["learning_rate"]), int(row["seed"]))
        assert read_run_json(run).status == "finished"
        assert float(row["f1"]) == json.loads((run / "eval.json").read_text())["f1"]
    assert sorted(one.name for one in (whole / "runs").iterdir() if one.is_dir()) == sorted(
        [row["run"] for row in rows]
        + [f"s{found_in(whole)['settings'][0]['number']:03d}-seed{seed}" for seed in (11, 12)]
    )


def test_the_held_out_questions_choose_nothing(whole: Path) -> None:
    contexts = []
    for name in ("selection.json", "heldout.json"):
        document = json.loads((whole / "data" / name).read_text())
        contexts.append({one["context"] for article in document["data"] for one in article["paragraphs"]})
    assert contexts[0]
    assert contexts[1]
    assert not contexts[0] & contexts[1]
    for run in (whole / "runs").glob("s*"):
        assert load_settings(run / "config.toml", is_run=True).validation_file == (
            str(whole / "data" / "selection.json"),
        )
    assert found_in(whole)["fresh"]["seeds"] == [11, 12]


def test_a_study_that_is_killed_and_resumed_finds_the_same(whole: Path, tiny_weights: Path, tmp_path: Path) -> None:
    moments, spec = random.Random(3), spec_of(tmp_path / "killed", tiny_weights)
    for kill in range(3):
        process = start(conduct_alone, spec)
        process.join(moments.uniform(0.3, 1.0 + kill))
        process.kill()
        process.join()
    # Two workers finish it.
    workers = [start(conduct_alone, spec) for _ in range(2)]
    for worker in workers:
        worker.join()
    process = start(conduct_alone, spec)
    process.join()
    assert process.exitcode == 0
    assert found_in(spec.folder) == found_in(whole)
    trials = Trials(spec, print).records()
    assert [one.state for one in trials] == ["COMPLETE"] * 4
    assert len({one.name for one in trials}) == 4


def test_the_page_says_what_was_found_and_loads_nothing(whole: Path, tiny_weights: Path) -> None:
    result = conduct(spec_of(whole, tiny_weights), say=lambda _: None)
    assert isinstance(result, StudyResult)
    page = write_study_page(result, whole).read_text()
    assert "<script" not in page
    assert not re.search(r"(src|href)=\"(?!#|data:)", page)
    assert len(result.conclusion) == 3
    assert "highest f1" in result.conclusion[0]
    assert re.search("lower|not distinguishable from it", result.conclusion[1])
    assert "held-out questions: report the latter" in result.conclusion[2]
    assert page.count("<polyline") == 2 * len(result.settings)


def test_a_crashed_trial_is_named_and_the_others_go_on(tiny_weights: Path, tmp_path: Path) -> None:
    # More positions than the model has: the settings are right in themselves.
    changes = {"space": {"max_seq_length": [96, 4000]}, "seeds": [1], "fresh_seeds": []}
    result = conduct(spec_of(tmp_path / "study", tiny_weights, **changes), say=lambda _: None)
    assert result is not None
    states = {trial.setting: (trial.state, trial.failure) for one in result.settings for trial in one.trials}
    assert states[0] == ("complete", "")
    assert states[1][0] == "failed"
    assert "max_seq_length is 4000" in states[1][1]


def test_random_settings_have_all_seeds_and_are_the_same_after_kills(tiny_weights: Path, tmp_path: Path) -> None:
    space = {"learning_rate": {"low": 1e-5, "high": 1e-2, "log": True}}
    changes = {"search": "random", "num_settings": 2, "fresh_seeds": [], "space": space}
    spec = spec_of(tmp_path / "killed", tiny_weights, **changes)
    for _ in range(2):
        process = start(conduct_alone, spec)
        wait_for(process, spec.folder / "runs" / "s000-seed1" / "config.toml")
        process.kill()
        process.join()
    assert conduct(spec, say=lambda _: None) is not None
    result = conduct(spec_of(tmp_path / "study", tiny_weights, **changes), say=lambda _: None)
    assert result is not None
    assert sorted_trials(spec.folder) == sorted_trials(tmp_path / "study")
    assert [[trial.seed for trial in one.trials] for one in result.settings] == [[1, 2]] * 2
    assert len({one.values["learning_rate"] for one in result.settings}) == 2
    assert all(1e-5 <= one.values["learning_rate"] <= 1e-2 for one in result.settings)


def test_runs_below_the_median_of_earlier_ones_are_pruned(
    tiny_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def train(settings: Settings, *, callbacks: list[Callback], should_stop: Callable[[], bool], **_: Any) -> RunResult:
        """Evaluate as good as the learning rate is high, without training."""
        for step in (1, 2):
            f1 = 1e4 * settings.learning_rate
            callbacks[0].on_evaluation(EvaluationRow(step=step, epoch=step, validation_loss=1.0, exact=f1, f1=f1))
            if should_stop():
                return RunResult(settings.output_dir, "interrupted", step, 1, {})
        return RunResult(settings.output_dir, "finished", 2, 1, {"f1": f1})

    monkeypatch.setattr("albertqa.study.trials.train", train)
    changes = {"pruning": True, "space": {"learning_rate": [3e-3, 2e-3, 1e-3]}}
    spec = spec_of(tmp_path / "study", tiny_weights, **changes)
    spec.folder.mkdir()
    trials = Trials(spec, lambda _: None)
    assert trials.work()
    assert [(one.values["learning_rate"], one.state) for one in trials.records()] == [
        *((3e-3, "COMPLETE"), (2e-3, "COMPLETE"), (1e-3, "PRUNED")),
        *((3e-3, "COMPLETE"), (2e-3, "PRUNED"), (1e-3, "PRUNED")),
    ]


def test_another_study_or_other_files_in_the_folder_are_refused(
    whole: Path, tiny_weights: Path, tmp_path: Path
) -> None:
    with pytest.raises(RunError, match="was begun with another seeds"):
        conduct(spec_of(whole, tiny_weights, seeds=[1, 3]), say=print)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(RunError, match=r"holds something else \(notes.txt\)"):
        conduct(spec_of(tmp_path, tiny_weights), say=print)
    assert [one.name for one in tmp_path.iterdir()] == ["notes.txt"]
