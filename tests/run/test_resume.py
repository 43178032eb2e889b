"""A run that is killed at any moment and resumed ends as if nothing had happened: to the last bit."""

import dataclasses
import hashlib
import json
import os
import random
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from albertqa import files
from albertqa.config import Settings
from albertqa.run.checkpoint import newest_checkpoint

from .cases import TIMED, rows_in
from .processes import INTERRUPTED, finish_run, start_run, wait_for

NUM_KILLS = 20


@dataclass(frozen=True)
class Whole:
    """The run that nobody disturbed.

    Attributes:
        settings: Its settings.
        seconds: How long it took, from the start of its process to the end of it.
    """

    settings: Settings
    seconds: float


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, tiny_folder: Path) -> Whole:
    """A real run: two epochs with dropout, checkpoints every third step, evaluations after each epoch."""
    settings = Settings(
        model=str(tiny_folder),
        train_file=("starter:train",),
        validation_file=("starter:validation",),
        output_dir=tmp_path_factory.mktemp("runs") / "whole",
        max_train_examples=96,
        max_eval_examples=16,
        from_scratch=True,
        hidden_dropout=0.1,
        learning_rate=1e-3,
        train_batch_size=8,
        epochs=2.0,
        save_steps=3.0,
        device="cpu",
        mixed_precision="no",
        num_threads=1,
    )
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("ALBERTQA_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        # The first run builds the windows, and the server behind the processes; the second is the measure of time.
        finish_run(dataclasses.replace(settings, output_dir=settings.output_dir.with_name("first"), max_steps=1))
        return Whole(settings, finish_run(settings))


def without_times(value: dict[str, Any]) -> dict[str, Any]:
    return {key: one for key, one in value.items() if key not in TIMED}


def outcome(run: Path) -> dict[str, Any]:
    """Give all of a run that may not depend on what happened to it."""
    hashes = {
        f"{folder}/{path.name}": hashlib.sha256(path.read_bytes()).hexdigest()
        for folder in (files.BEST, files.FINAL)
        for path in sorted((run / folder).iterdir())
    }
    facts = json.loads((run / files.RUN_JSON).read_text())
    checkpoint, warnings = newest_checkpoint(run)
    return {
        "files": hashes,
        "metrics": [without_times(row) for row in rows_in(run)],
        "eval": without_times(json.loads((run / files.EVAL_JSON).read_text())),
        "predictions": (run / files.PREDICTIONS_JSON).read_text(),
        "n_best": (run / files.NBEST_JSON).read_text(),
        "run": {key: facts[key] for key in ("status", "step", "best_step", "plan", "data")},
        "checkpoints": sorted(path.name for path in (run / files.CHECKPOINTS).iterdir()),
        "newest": (checkpoint and checkpoint.name, warnings),
    }


def assert_same_outcome(run: Path, whole: Whole) -> None:
    found, expected = outcome(run), outcome(whole.settings.output_dir)
    for name in expected:
        assert found[name] == expected[name], name
    assert {path.name for path in run.iterdir() if path.is_dir()} == {files.BEST, files.FINAL, files.CHECKPOINTS}


def test_the_undisturbed_run_is_worth_disturbing(whole: Whole) -> None:
    rows = outcome(whole.settings.output_dir)["metrics"]
    steps = [row for row in rows if "train_loss" in row]
    assert [row["step"] for row in steps] == list(range(1, len(steps) + 1))
    assert len(steps) > 24
    assert len(rows) == len(steps) + 2
    assert steps[-1]["train_loss"] < steps[0]["train_loss"]


def test_a_run_killed_at_any_moment_and_resumed_ends_as_the_undisturbed_one(whole: Whole, tmp_path: Path) -> None:
    moments = random.Random(20)
    num_killed, num_from_checkpoint = 0, 0
    for kill in range(NUM_KILLS):
        settings = dataclasses.replace(whole.settings, output_dir=tmp_path / f"killed-{kill}")
        # One random moment in each twentieth of the run's duration.
        process = start_run(settings)
        process.join((kill + moments.random()) / NUM_KILLS * whole.seconds)
        process.kill()
        process.join()
        num_killed += process.exitcode == -signal.SIGKILL
        process.close()
        run = settings.output_dir
        num_from_checkpoint += newest_checkpoint(run)[0] is not None
        # A process that died before it claimed its folder left nothing to resume.
        finish_run(settings, resume=(run / files.CONFIG_TOML).exists())
        assert_same_outcome(run, whole)
    # On a busy machine moments shift; the claim must not become empty for it.
    assert num_killed >= NUM_KILLS // 2
    assert num_from_checkpoint >= NUM_KILLS // 4


def test_a_run_killed_while_it_writes_a_checkpoint_ends_as_the_undisturbed_one(whole: Whole, tmp_path: Path) -> None:
    settings = dataclasses.replace(whole.settings, output_dir=tmp_path / "killed")
    for step in (3, 9):
        process = start_run(settings, resume=settings.output_dir.exists())
        wait_for(process, settings.output_dir / files.CHECKPOINTS / f".step-{step:08d}.building")
        process.kill()
        process.join()
        process.close()
    finish_run(settings, resume=True)
    assert_same_outcome(settings.output_dir, whole)


def test_a_run_whose_newest_checkpoint_is_damaged_ends_as_the_undisturbed_one(whole: Whole, tmp_path: Path) -> None:
    settings = dataclasses.replace(whole.settings, output_dir=tmp_path / "damaged")
    process = start_run(settings)
    wait_for(process, settings.output_dir / files.CHECKPOINTS / "step-00000009")
    process.kill()
    process.join()
    process.close()
    newest, _ = newest_checkpoint(settings.output_dir)
    assert newest is not None
    (newest / "optimizer.safetensors").write_bytes(b"damaged")
    finish_run(settings, resume=True)
    assert_same_outcome(settings.output_dir, whole)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_run_asked_to_stop_saves_and_goes_on_where_it_was(
    number: signal.Signals, whole: Whole, tmp_path: Path
) -> None:
    settings = dataclasses.replace(whole.settings, output_dir=tmp_path / "stopped")
    run = settings.output_dir
    process = start_run(settings)
    wait_for(process, run / files.CHECKPOINTS / "step-00000006")
    os.kill(process.pid or 0, number)
    process.join()
    assert process.exitcode == INTERRUPTED
    process.close()
    facts = json.loads((run / files.RUN_JSON).read_text())
    checkpoint, _ = newest_checkpoint(run)
    assert facts["status"] == "interrupted"
    assert 6 <= facts["step"] < facts["plan"]["total_steps"]
    assert checkpoint == run / files.CHECKPOINTS / f"step-{facts['step']:08d}"
    assert not (run / files.FINAL).exists()
    assert len([row for row in rows_in(run) if "train_loss" in row]) == facts["step"]

    finish_run(settings, resume=True)
    assert_same_outcome(run, whole)
    assert len(json.loads((run / files.RUN_JSON).read_text())["started"]) == 2
