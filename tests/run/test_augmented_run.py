"""A run with augmentation goes from the command line to its end, says what was changed, and resumes to the last bit."""

import dataclasses
import json
import os
import signal
from pathlib import Path
from typing import Any, get_args

import pytest

from albertqa import files
from albertqa.cli import main
from albertqa.config import Augmentation, Settings
from albertqa.run.checkpoint import newest_checkpoint

from .cases import rows_in
from .processes import INTERRUPTED, finish_run, start_run, wait_for
from .test_resume import Whole, assert_same_outcome

WAYS: tuple[Augmentation, ...] = get_args(Augmentation)


def run_facts(run: Path) -> Any:
    return json.loads((run / files.RUN_JSON).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, tiny_folder: Path) -> Whole:
    """A run that nobody disturbed, with every way and a checkpoint at every third step."""
    settings = Settings(
        model=str(tiny_folder),
        train_file=("starter-v2:train",),
        validation_file=("starter-v2:validation",),
        output_dir=tmp_path_factory.mktemp("runs") / "whole",
        max_train_examples=96,
        max_eval_examples=8,
        from_scratch=True,
        learning_rate=1e-3,
        train_batch_size=8,
        epochs=2.0,
        save_steps=3.0,
        augment=WAYS,
        device="cpu",
        mixed_precision="no",
        num_threads=1,
    )
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("ALBERTQA_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        return Whole(settings, finish_run(settings))


def test_every_window_of_every_epoch_was_seen_once(whole: Whole) -> None:
    facts = run_facts(whole.settings.output_dir)
    assert facts["augmentation"].keys() == set(WAYS)
    for counts in facts["augmentation"].values():
        assert counts["seen"] == 2 * facts["data"]["train"]["windows"]
        drawn = counts["changed"] + counts["impossible"]
        assert 0.4 < drawn / counts["seen"] < 0.6
        assert counts["changed"] > 0.8 * drawn


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_run_with_augmentation_resumes_to_the_last_bit_and_counts_on(
    number: signal.Signals, whole: Whole, tmp_path: Path
) -> None:
    settings = dataclasses.replace(whole.settings, output_dir=tmp_path / "stopped")
    run = settings.output_dir
    process = start_run(settings)
    # In the second epoch, after a checkpoint within it.
    wait_for(process, run / files.CHECKPOINTS / "step-00000018")
    os.kill(process.pid or 0, number)
    process.join()
    assert process.exitcode == (INTERRUPTED if number == signal.SIGTERM else -number)
    process.close()
    checkpoint, _ = newest_checkpoint(run)
    assert checkpoint is not None
    if number == signal.SIGTERM:
        facts = run_facts(run)
        at = facts["step"] - facts["plan"]["steps_per_epoch"]
        assert facts["augmentation"]["crop"]["seen"] == facts["data"]["train"]["windows"] + 8 * at
    finish_run(settings, resume=True)
    assert_same_outcome(run, whole)
    assert run_facts(run)["augmentation"] == run_facts(whole.settings.output_dir)["augmentation"]


def test_a_run_that_crops_goes_from_the_command_line_to_its_end(
    tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [
        *("train", "--model", str(tiny_folder), "--from-scratch", "--device", "cpu", "--mixed-precision", "no"),
        *("--train-file", "starter:train", "--validation-file", "starter:validation"),
        *("--max-train-examples", "16", "--max-eval-examples", "4", "--epochs", "1", "--num-threads", "1"),
    ]
    losses = {}
    for name, augment in {"plain": [], "crop": ["--augment", "crop", "--augment-rate", "1"]}.items():
        assert main([*command, *augment, "--output-dir", str(tmp_path / name)]) == 0
        losses[name] = [row["train_loss"] for row in rows_in(tmp_path / name) if "train_loss" in row]
    assert losses["plain"] != losses["crop"]
    assert run_facts(tmp_path / "plain")["augmentation"] == {}
    facts = run_facts(tmp_path / "crop")
    assert facts["status"] == "finished"
    assert facts["augmentation"]["crop"]["seen"] == facts["data"]["train"]["windows"]
    assert facts["augmentation"]["crop"]["changed"] > 0.8 * facts["data"]["train"]["windows"]
    assert "finished" in capsys.readouterr().out
