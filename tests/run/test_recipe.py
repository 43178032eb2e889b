"""A run directory is complete, says what happened, and is never overwritten by accident."""

import dataclasses
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from albertqa import files
from albertqa.config import Settings, load_settings
from albertqa.data.reading import load_examples
from albertqa.errors import AlbertQAError, DataError, ModelError, RunError, SettingsError
from albertqa.run.checkpoint import newest_checkpoint
from albertqa.run.recipe import RunResult, train
from albertqa.rundir.directory import locked
from albertqa.scoring.evaluation import evaluate
from model.cases import save_albert

from .cases import rows_in

LENGTHS = {"max_seq_length": 96, "doc_stride": 32}
STEP_FIELDS = {
    "step", "epoch", "train_loss", "learning_rate", "grad_norm", "tokens", "tokens_per_second", "seconds",
    "data_seconds", "micro_batch",
}  # fmt: skip
EVAL_FIELDS = {
    "step", "epoch", "validation_loss", "validation_loss_error", "exact", "f1", "eval_seconds", "is_best",
    "predicted_empty_percent", "predicted_words_mean", "same_start", "same_start_percent", "contradicted_percent",
    "sample_windows", "sample_loss", "sample_loss_error", "sample_contradicted_percent", "weights_moved_percent",
    "disk_free_bytes", "swap_used_bytes",
}  # fmt: skip
MODEL_FILES = {
    *("config.json", "model.safetensors", "reader.json", "tokenizer.json", "tokenizer_config.json", "trained_on.json"),
}


def small(model: Path, output_dir: Path, **changes: Any) -> Settings:
    """Settings of a real run of seconds: a tiny ALBERT on a few questions of the starter set."""
    settings = Settings(
        model=str(model),
        train_file=("starter:train",),
        validation_file=("starter:validation",),
        output_dir=output_dir,
        max_train_examples=12,
        max_eval_examples=6,
        from_scratch=True,
        epochs=2.0,
        train_batch_size=16,
        learning_rate=1e-3,
        device="cpu",
        mixed_precision="no",
        num_threads=1,
        **LENGTHS,
    )
    return dataclasses.replace(settings, **changes)


def rows_of(run: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Give a run's training and evaluation rows."""
    rows = list(rows_in(run))
    return [row for row in rows if "train_loss" in row], [row for row in rows if "validation_loss" in row]


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, tiny_folder: Path) -> RunResult:
    """A finished run with the recipe's intervals."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("ALBERTQA_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        return train(small(tiny_folder, tmp_path_factory.mktemp("runs") / "finished"))


def test_a_finished_run_has_all_its_files(finished: RunResult) -> None:
    run = finished.run
    assert finished.status == "finished"
    assert {path.name for path in run.iterdir()} == {
        files.CONFIG_TOML,
        files.RUN_JSON,
        files.METRICS_JSONL,
        files.CHECKPOINTS,
        files.BEST,
        files.FINAL,
        files.PREDICTIONS_JSON,
        files.NBEST_JSON,
        files.EVAL_JSON,
        files.HEALTH_JSON,
        files.LOCK,
        files.SUSPECTS_JSON,
    }
    suspects = read_json(run / files.SUSPECTS_JSON)
    assert (suspects.keys(), suspects["step"]) == ({"step", "suspects"}, finished.step)
    for name in (files.BEST, files.FINAL):
        assert {path.name for path in (run / name).iterdir()} == MODEL_FILES
    steps_per_epoch = read_json(run / files.RUN_JSON)["plan"]["steps_per_epoch"]
    assert sorted(path.name for path in (run / files.CHECKPOINTS).iterdir()) == [
        f"step-{steps_per_epoch:08d}",
        f"step-{2 * steps_per_epoch:08d}",
    ]


def test_a_run_keeps_its_resolved_settings(finished: RunResult, tiny_folder: Path) -> None:
    assert load_settings(finished.run / files.CONFIG_TOML) == small(tiny_folder, finished.run)


def test_every_step_and_every_evaluation_has_one_row(finished: RunResult) -> None:
    steps, evaluations = rows_of(finished.run)
    assert [row["step"] for row in steps] == list(range(1, finished.step + 1))
    assert [row["step"] for row in evaluations] == [finished.step // 2, finished.step]
    assert all(row.keys() == STEP_FIELDS for row in steps)
    assert all(row.keys() == EVAL_FIELDS for row in evaluations)
    assert [row["epoch"] for row in evaluations] == [1.0, 2.0]
    assert steps[-1]["train_loss"] < steps[0]["train_loss"]


def test_run_json_says_where_the_numbers_come_from(finished: RunResult) -> None:
    facts = read_json(finished.run / files.RUN_JSON)
    assert facts["status"] == "finished"
    assert facts["step"] == facts["plan"]["total_steps"] == finished.step
    assert facts["best_step"] == finished.best_step
    assert len(facts["started"]) == 1
    assert facts["data"]["train"]["questions"] == 12
    assert facts["data"]["validation"]["questions"] == 6
    assert facts["data"]["train"]["sources"] == ["starter:train"]
    assert len(facts["data"]["train"]["content_sha256"]) == 64
    assert facts["machine"]["device"] == "cpu"
    assert facts["machine"]["precision"] == "float32"
    assert facts["machine"]["threads"] == 1
    assert facts["versions"]["torch"] == torch.__version__
    assert facts["seed"] == 42
    assert facts["version_2"] is False


def test_eval_json_is_the_evaluation_of_best(finished: RunResult) -> None:
    found = read_json(finished.run / files.EVAL_JSON)
    again = evaluate(finished.run, "starter:validation", limit=6, device="cpu", mixed_precision="no")
    expected = {**again.summary(), "step": finished.best_step}
    timed = {"seconds", "windows_per_second"}
    assert found.keys() == expected.keys()
    assert {key: found[key] for key in found if key not in timed} == {
        key: expected[key] for key in found if key not in timed
    }
    assert found == finished.scores
    best = next(row for row in rows_of(finished.run)[1] if row["step"] == finished.best_step)
    assert (best["exact"], best["f1"], best["validation_loss"]) == (found["exact"], found["f1"], found["loss"])
    assert read_json(finished.run / files.PREDICTIONS_JSON) == {one.id: one.text for one in again.predictions}


def test_best_is_the_best_evaluation_and_the_first_of_equals(finished: RunResult) -> None:
    evaluations = rows_of(finished.run)[1]
    highest = max(row["f1"] for row in evaluations)
    assert finished.best_step == next(row["step"] for row in evaluations if row["f1"] == highest)
    assert evaluations[0]["is_best"]


def test_the_last_checkpoint_and_final_are_the_same_model(finished: RunResult) -> None:
    checkpoint, warnings = newest_checkpoint(finished.run)
    assert checkpoint is not None
    assert warnings == []
    final, last = (load_file(folder / "model.safetensors") for folder in (finished.run / files.FINAL, checkpoint))
    assert final.keys() == last.keys()
    assert all(torch.equal(final[name], last[name]) for name in final)


def test_best_and_final_are_on_the_disk_before_they_take_their_place(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = []
    sync_folder = files.sync_folder

    def note(folder: Path) -> None:
        synced.append((folder.name, {path.name for path in folder.iterdir()}))
        sync_folder(folder)

    monkeypatch.setattr(files, "sync_folder", note)
    train(small(tiny_folder, tmp_path / "run", max_steps=1))
    assert (".best.building", MODEL_FILES) in synced
    assert (".final.building", MODEL_FILES) in synced


def test_a_run_directory_is_not_overwritten(finished: RunResult, tiny_folder: Path) -> None:
    before = (finished.run / files.METRICS_JSONL).read_bytes()
    with pytest.raises(RunError) as caught:
        train(small(tiny_folder, finished.run))
    assert str(caught.value) == (
        f"{finished.run}: already holds a run. Resume it with --resume, or choose another --output-dir"
    )
    assert (finished.run / files.METRICS_JSONL).read_bytes() == before


def test_what_is_no_run_cannot_be_resumed(tiny_folder: Path, tmp_path: Path) -> None:
    for run in (tmp_path, tmp_path / "missing"):
        with pytest.raises(RunError) as caught:
            train(small(tiny_folder, run), resume=True)
        assert str(caught.value) == f"{run}: no run to resume there (no config.toml). Start it without --resume"
        assert not run.exists() or list(run.iterdir()) == []


def test_a_file_is_no_run_directory(tiny_folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("mine")
    with pytest.raises(RunError, match="is a file, expected a folder for the run"):
        train(small(tiny_folder, file))
    assert file.read_text() == "mine"


def test_a_resumed_run_keeps_its_settings(finished: RunResult, tiny_folder: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        train(small(tiny_folder, finished.run, learning_rate=0.5, seed=7, hidden_dropout=0.1), resume=True)
    assert str(caught.value) == (
        f"{finished.run}: a resumed run keeps its settings: learning_rate is 0.5, the run has 0.001; "
        "seed is 7, the run has 42; hidden_dropout is 0.1, the run has None. Leave the flags out"
    )


def test_a_resumed_run_says_how_to_compute_on_other_threads(
    finished: RunResult, tiny_folder: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    settings = (finished.run / files.CONFIG_TOML).read_text()
    (run / files.CONFIG_TOML).write_text(settings.replace("num_threads = 1", "# num_threads ="))
    expected = r"num_threads is 1, the run has None\. Leave the flags out; .* OMP_NUM_THREADS=N"
    with pytest.raises(SettingsError, match=expected):
        train(small(tiny_folder, run), resume=True)


def test_resuming_a_finished_run_changes_nothing(finished: RunResult, tiny_folder: Path) -> None:
    kept = [files.METRICS_JSONL, files.EVAL_JSON, "final/model.safetensors", "best/model.safetensors"]
    before = [(finished.run / name).read_bytes() for name in kept]
    again = train(small(tiny_folder, finished.run, logging_steps=1, save_total_limit=5, eval_batch_size=2), resume=True)
    assert dataclasses.replace(again, scores={}) == dataclasses.replace(finished, scores={})
    assert [(finished.run / name).read_bytes() for name in kept] == before


@pytest.mark.parametrize("removed", [["checkpoints"], ["checkpoints", "final"], ["checkpoints", "run.json"]])
def test_a_finished_run_without_checkpoints_is_not_done_again(
    finished: RunResult, tiny_folder: Path, tmp_path: Path, removed: list[str]
) -> None:
    run = Path(shutil.copytree(finished.run, tmp_path / "run"))
    for name in removed:
        shutil.rmtree(run / name) if (run / name).is_dir() else (run / name).unlink()
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file() and path.name != files.LOCK}
    with pytest.raises(RunError, match=r"the run is over, without a checkpoint\. Choose another --output-dir"):
        train(small(tiny_folder, run), resume=True)
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.parametrize("change", [{"micro_batch": 99}, {"best_step": 99}])
def test_a_checkpoint_that_this_run_cannot_have_written_is_refused(
    finished: RunResult, tiny_folder: Path, tmp_path: Path, change: dict[str, int]
) -> None:
    run = Path(shutil.copytree(finished.run, tmp_path / "run"))
    checkpoint, _ = newest_checkpoint(run)
    assert checkpoint is not None
    state = {**json.loads((checkpoint / "trainer_state.json").read_text()), **change}
    (checkpoint / "trainer_state.json").write_text(json.dumps(state))
    manifest = json.loads((checkpoint / "manifest.json").read_text())
    manifest["trainer_state.json"] = hashlib.sha256((checkpoint / "trainer_state.json").read_bytes()).hexdigest()
    (checkpoint / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(RunError, match=f"{next(iter(change))} is 99, expected at most"):
        train(small(tiny_folder, run), resume=True)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"status": "finished"}'])
def test_resuming_a_run_with_a_damaged_run_json_is_one_line(
    finished: RunResult, tiny_folder: Path, tmp_path: Path, content: str
) -> None:
    run = Path(shutil.copytree(finished.run, tmp_path / "run"))
    (run / files.RUN_JSON).write_text(content)
    with pytest.raises(RunError, match=r"run\.json: ") as caught:
        train(small(tiny_folder, run), resume=True)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"train_file": ("missing.json",)}, DataError, "missing.json"),
        ({"model": "missing/folder/of/mine"}, ModelError, "missing/folder/of/mine: no such folder"),
        ({"learning_rate": -1.0}, SettingsError, "learning_rate is -1.0"),
        ({"device": "gpu"}, ModelError, "device is 'gpu'"),
        ({"max_seq_length": 600}, SettingsError, "Use --max-seq-length 512"),
    ],
    ids=["data", "model", "range", "device", "positions"],
)
def test_a_mistake_leaves_no_run_behind_so_that_it_can_be_mended(
    changes: dict[str, Any], error: type[AlbertQAError], message: str, tiny_folder: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    with pytest.raises(error, match=message):
        train(dataclasses.replace(small(tiny_folder, run), **changes))
    assert not (run / files.CONFIG_TOML).exists()


def test_a_tokenizer_with_more_tokens_than_the_model_is_refused(tiny_folder: Path, tmp_path: Path) -> None:
    model = save_albert(tiny_folder, tmp_path / "model", vocab_size=900)
    with pytest.raises(ModelError, match="the tokenizer has 1000 tokens, the model embeddings for 900; they do not"):
        train(small(model, tmp_path / "run", from_scratch=False))


def test_early_stopping_ends_the_run_with_all_its_files(tiny_folder: Path, tmp_path: Path) -> None:
    # A rate this small changes no prediction, so no evaluation is better than the first.
    settings = small(tiny_folder, tmp_path / "run", learning_rate=1e-12, eval_steps=1.0, early_stopping_patience=2)
    result = train(settings)
    assert (result.status, result.step, result.best_step) == ("stopped early", 3, 1)
    assert [row["is_best"] for row in rows_of(result.run)[1]] == [True, False, False]
    assert (result.run / files.FINAL / "model.safetensors").is_file()
    assert read_json(result.run / files.RUN_JSON)["status"] == "stopped early"
    again = train(settings, resume=True)
    assert (again.status, again.step) == ("stopped early", 3)


@pytest.mark.parametrize("metric", ["exact", "loss"])
def test_best_goes_by_the_chosen_metric(metric: Any, tiny_folder: Path, tmp_path: Path) -> None:
    result = train(
        small(
            tiny_folder, tmp_path / "run", metric_for_best_model=metric, eval_steps=1.0, max_steps=4, learning_rate=0.01
        )
    )
    evaluations = rows_of(result.run)[1]
    field, best = ("validation_loss", min) if metric == "loss" else ("exact", max)
    expected = best(row[field] for row in evaluations)
    assert result.best_step == next(row["step"] for row in evaluations if row[field] == expected)
    assert read_json(result.run / files.EVAL_JSON)["loss" if metric == "loss" else "exact"] == expected


def test_max_steps_overrides_the_epochs_and_fractions_are_of_an_epoch(tiny_folder: Path, tmp_path: Path) -> None:
    result = train(small(tiny_folder, tmp_path / "run", max_steps=5, eval_steps=0.5, save_steps=2.0))
    plan = read_json(result.run / files.RUN_JSON)["plan"]
    assert result.step == plan["total_steps"] == 5
    every = max(1, round(0.5 * plan["steps_per_epoch"]))
    assert [row["step"] for row in rows_of(result.run)[1]] == sorted({*range(every, 5, every), 5})
    assert sorted(path.name for path in (result.run / files.CHECKPOINTS).iterdir()) == [
        "step-00000004",
        "step-00000005",
    ]


def test_several_files_are_trained_on_as_one(tiny_folder: Path, tmp_path: Path) -> None:
    examples = load_examples("starter:train", limit=9)
    paths = []
    for number, part in enumerate((examples[:4], examples[4:])):
        path = tmp_path / f"part{number}.jsonl"
        lines = [
            json.dumps(
                {
                    "id": one.id,
                    "question": one.question,
                    "context": one.context,
                    "answers": {
                        "text": [gold.text for gold in one.golds],
                        "answer_start": [gold.answer_start for gold in one.golds],
                    },
                }
            )
            for one in part
        ]
        path.write_text("\n".join(lines))
        paths.append(str(path))
    several = train(small(tiny_folder, tmp_path / "several", train_file=tuple(paths), max_steps=3))
    one = train(small(tiny_folder, tmp_path / "one", max_train_examples=9, max_steps=3))
    facts, expected = (read_json(result.run / files.RUN_JSON)["data"]["train"] for result in (several, one))
    assert facts["sources"] == paths
    assert facts["content_sha256"] == expected["content_sha256"]
    losses, expected_losses = ([row["train_loss"] for row in rows_of(result.run)[0]] for result in (several, one))
    assert losses == expected_losses


def test_unanswerable_questions_make_a_v2_run(tiny_folder: Path, tmp_path: Path) -> None:
    v2 = {"train_file": ("starter-v2:train",), "validation_file": ("starter-v2:validation",)}
    result = train(small(tiny_folder, tmp_path / "run", max_eval_examples=40, max_steps=1, **v2))
    odds, predictions = (read_json(result.run / name) for name in (files.NULL_ODDS_JSON, files.PREDICTIONS_JSON))
    assert odds.keys() == predictions.keys()
    assert all(predictions[one] == "" for one, score_diff in odds.items() if score_diff > 0)
    facts = read_json(result.run / files.RUN_JSON)
    assert facts["version_2"] is True
    assert facts["data"]["validation"]["without_answer"] > 0
    assert {"HasAns_f1", "NoAns_f1", "best_f1", "best_f1_thresh"} <= result.scores.keys()


def test_a_rate_that_breaks_the_model_is_told_and_the_checkpoints_stay_whole(tiny_folder: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    with pytest.raises(RunError) as caught:
        train(small(tiny_folder, run, learning_rate=1e30, save_steps=1.0, eval_steps=100.0, epochs=8.0))
    assert "none of them was applied. Lower --learning-rate (now " in str(caught.value)
    failed = int(str(caught.value).split(":")[0].removeprefix("step "))
    steps, evaluations = rows_of(run)
    assert [row["step"] for row in steps] == list(range(1, failed + 1))
    assert [row.get("skipped", False) for row in steps] == [False] * (failed - 5) + [True] * 5
    assert evaluations == []
    checkpoint, warnings = newest_checkpoint(run)
    assert warnings == []
    assert checkpoint == run / files.CHECKPOINTS / f"step-{failed - 1:08d}"
    facts = read_json(run / files.RUN_JSON)
    assert (facts["status"], facts["step"], facts["failure"]) == ("failed", failed, str(caught.value))


def test_whatever_ends_a_run_is_written_down(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full_disk(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("albertqa.run.recipe.save_checkpoint", full_disk)
    settings = small(tiny_folder, tmp_path / "run", save_steps=1.0, augment=("crop",), augment_rate=1.0)
    with pytest.raises(OSError, match="No space left"):
        train(settings)
    facts = read_json(settings.output_dir / files.RUN_JSON)
    assert (facts["status"], facts["step"]) == ("failed", 1)
    assert "No space left" in facts["failure"]
    assert facts["augmentation"]["crop"]["seen"] == 16
    health = read_json(settings.output_dir / files.HEALTH_JSON)
    assert "terminated" in [finding["name"] for finding in health["findings"]]


@pytest.mark.parametrize("resume", [False, True])
def test_two_processes_do_not_train_in_one_folder(tiny_folder: Path, tmp_path: Path, resume: bool) -> None:
    settings = small(tiny_folder, tmp_path / "run", max_steps=1)
    if resume:
        train(settings)
    else:
        settings.output_dir.mkdir()
    before = {path.name: path.read_bytes() for path in settings.output_dir.glob("*.json*")}
    with locked(settings.output_dir), pytest.raises(RunError) as caught:
        train(settings, resume=resume)
    assert str(caught.value) == (
        f"{settings.output_dir}: another process is training there. Wait for it, stop it, or choose another "
        "--output-dir"
    )
    assert {path.name: path.read_bytes() for path in settings.output_dir.glob("*.json*")} == before


def test_weights_that_overflow_are_told_by_the_evaluation_too(tiny_folder: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    with pytest.raises(RunError, match=r"^step 1: validation loss is (nan|inf)"):
        train(small(tiny_folder, run, learning_rate=3e38, max_steps=1))
    assert newest_checkpoint(run) == (None, [])


def broken_model(tiny_folder: Path, folder: Path, value: float) -> Path:
    model = save_albert(tiny_folder, folder)
    tensors = load_file(model / "model.safetensors")
    tensors["qa_outputs.weight"].fill_(value)
    save_file(tensors, model / "model.safetensors", metadata={"format": "pt"})
    return model


def test_a_model_with_infinite_weights_is_refused(tiny_folder: Path, tmp_path: Path) -> None:
    model = broken_model(tiny_folder, tmp_path / "model", torch.inf)
    with pytest.raises(ModelError, match=r"qa_outputs\.weight"):
        train(small(model, tmp_path / "run", from_scratch=False))
    assert not (tmp_path / "run" / files.CONFIG_TOML).exists()


def test_a_model_whose_loss_overflows_from_the_start_ends_after_five_steps(tiny_folder: Path, tmp_path: Path) -> None:
    model = broken_model(tiny_folder, tmp_path / "model", torch.finfo(torch.float32).max)
    with pytest.raises(RunError, match=r"^step 5: loss is (nan|inf), .*, the 5th such step in a row"):
        train(small(model, tmp_path / "run", from_scratch=False, eval_steps=100.0, epochs=8.0))


def test_tensorboard_gets_the_numbers_of_the_record(tiny_folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="tensorboard is not installed (pip install 'albertqa[tensorboard]')")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    result = train(small(tiny_folder, tmp_path / "run", max_steps=3, report_to=("tensorboard",)))
    events = next((result.run / "trackers").rglob("events.out.tfevents.*"))
    board = EventAccumulator(str(events.parent))
    board.Reload()
    steps, evaluations = rows_of(result.run)
    assert [one.step for one in board.Scalars("train_loss")] == [1, 2, 3]
    assert [one.value for one in board.Scalars("train_loss")] == pytest.approx([row["train_loss"] for row in steps])
    assert board.Scalars("validation_loss")[0].value == pytest.approx(evaluations[0]["validation_loss"])


def test_a_tracker_that_is_not_installed_is_named_with_its_command(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("albertqa.run.trackers.find_spec", lambda _name: None)
    with pytest.raises(SettingsError) as caught:
        train(small(tiny_folder, tmp_path / "run", report_to=("tensorboard",)))
    assert str(caught.value) == "report_to: tensorboard is not installed. Run: pip install 'albertqa[tensorboard]'"
