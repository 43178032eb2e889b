"""Several processes train what one trains, and none waits for one that is gone."""

import dataclasses
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from sentencepiece import sentencepiece_model_pb2

from albertqa import files
from albertqa.config import Settings, to_flags
from albertqa.data.starter import starter_file
from albertqa.model.load import SpanModel
from albertqa.model.world import World
from albertqa.run import setup
from albertqa.run.checkpoint import newest_checkpoint
from albertqa.run.objective import span_objective
from albertqa.windows.batches import PackedBatch

from .cases import rows_in, small_run
from .processes import FINISHED, INTERRUPTED, REFUSED, STOPPED_EARLY, start_ranks, wait_for

PATIENCE_SECONDS = 60
DROPOUT = {"hidden_dropout": 0.1, "attention_dropout": 0.1, "head_dropout": 0.1}
NUM_KILLS = 10


@given(st.lists(st.integers(1, 512), min_size=1, max_size=40), st.integers(1, 8))
def test_every_item_is_one_process_s_and_loads_are_even(costs: list[int], size: int) -> None:
    shares = World(0, size).shares(np.array(costs))
    assert sorted(np.concatenate(shares).tolist()) == list(range(len(costs)))
    loads = [sum(costs[item] for item in share) for share in shares]
    assert max(loads) - min(loads) <= max(costs)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALBERTQA_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


def run_of(model: Path, run: Path, **changes: object) -> Settings:
    """Return the settings of a run of 50 steps, with 11 questions to evaluate on."""
    defaults = {"max_train_examples": 41, "max_steps": 50, "max_eval_examples": 11, "fit": False}
    return small_run(model, run, **{**defaults, **changes})


def finish(processes: list[ForkServerProcess], *, patience: float = 300) -> list[int | None]:
    """Wait for the end of processes, and return their exit codes."""
    deadline = time.monotonic() + patience
    for process in processes:
        process.join(max(0.0, deadline - time.monotonic()))
    codes = [process.exitcode for process in processes]
    for process in processes:
        process.kill()
        process.join()
        process.close()
    return codes


def train(settings: Settings, size: int, errors: Path, *, resume: bool = False) -> None:
    codes = finish(start_ranks([settings] * size, errors, resume=resume))
    assert codes == [FINISHED] * size, [path.read_text() for path in sorted(errors.iterdir())]


def lines_of(errors: Path, rank: int) -> list[str]:
    return (errors / f"{rank}.txt").read_text().splitlines()


def losses_of(run: Path) -> list[float]:
    return [row["train_loss"] for row in rows_in(run) if "train_loss" in row]


def weights_of(run: Path) -> list[str]:
    """Return the hashes of what a run ends with."""
    names = (f"{files.BEST}/model.safetensors", f"{files.FINAL}/model.safetensors", files.PREDICTIONS_JSON)
    return [hashlib.sha256((run / name).read_bytes()).hexdigest() for name in names]


@pytest.mark.parametrize(
    ("dropout", "size"),
    [
        pytest.param({}, 2, id="plain-2"),
        pytest.param({}, 4, id="plain-4", marks=pytest.mark.slow),
        pytest.param(DROPOUT, 2, id="dropout-2", marks=pytest.mark.slow),
        pytest.param(DROPOUT, 4, id="dropout-4"),
    ],
)
def test_fifty_steps_are_those_of_one_process(
    dropout: dict[str, float], size: int, tiny_weights: Path, tmp_path: Path
) -> None:
    for processes in (1, size):
        settings = run_of(tiny_weights, tmp_path / str(processes), **dropout)
        train(settings, processes, tmp_path / f"errors-{processes}")
    alone, run = tmp_path / "1", tmp_path / str(size)
    assert len(losses_of(alone)) == 50
    np.testing.assert_allclose(losses_of(run), losses_of(alone), rtol=1e-5)
    found, expected = (json.loads((one / files.EVAL_JSON).read_text()) for one in (run, alone))
    assert (found["exact"], found["f1"]) == (expected["exact"], expected["f1"])
    assert json.loads((run / files.RUN_JSON).read_text())["world_size"] == size


def torchrun(settings: Settings) -> list[str]:
    """Return the command that trains in two processes."""
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "albertqa", "train"]
    return [sys.executable, *launch, *to_flags(settings)]


@pytest.mark.slow
def test_torchrun_ends_soon_after_one_of_its_processes(tiny_weights: Path, tmp_path: Path) -> None:
    settings = run_of(tiny_weights, tmp_path / "run", max_steps=100_000, save_steps=5.0)
    with (tmp_path / "errors.txt").open("w") as errors:
        launcher = subprocess.Popen(torchrun(settings), stdout=subprocess.DEVNULL, stderr=errors)
        while not any((tmp_path / "run").glob("checkpoints/step-*")):
            assert launcher.poll() is None
            time.sleep(0.1)
        ranks = [one for one in psutil.Process(launcher.pid).children(recursive=True) if "albertqa" in one.cmdline()]
        assert len(ranks) == 2
        ranks[1].kill()
        assert launcher.wait(timeout=PATIENCE_SECONDS) != 0
    lines = [line for line in (tmp_path / "errors.txt").read_text().splitlines() if line.startswith("albertqa: ")]
    assert len(lines) == 1
    assert lines[0].startswith("albertqa: lost another process of this run")


def test_torchrun_trains_in_two_processes(tiny_weights: Path, tmp_path: Path) -> None:
    settings = run_of(tiny_weights, tmp_path / "run", max_steps=3)
    done = subprocess.run(torchrun(settings), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert len(losses_of(tmp_path / "run")) == 3
    # Process 0 alone reports.
    assert done.stdout.count("look at it:") == 1


@pytest.fixture(scope="module")
def whole(tiny_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A run of two processes that nobody disturbed."""
    folder = tmp_path_factory.mktemp("whole")
    settings = run_of(tiny_weights, folder / "run", **DROPOUT, save_steps=7.0, eval_steps=20.0)
    train(settings, 2, folder / "errors")
    return settings


def kill_and_resume(whole: Settings, rank: int, moment: float, folder: Path) -> None:
    """Kill a process at a moment of the run, from 0 to 1; the other one ends, and the resumed run is the same."""
    settings = dataclasses.replace(whole, output_dir=folder / "run")
    written = (whole.output_dir / files.METRICS_JSONL).stat().st_size
    processes = start_ranks([settings] * 2, folder / "errors")
    metrics = settings.output_dir / files.METRICS_JSONL
    # By what it has written, not by the clock: other work on the machine must not make it end before.
    while processes[rank].is_alive() and (metrics.stat().st_size if metrics.exists() else 0) < moment * written:
        processes[rank].join(0.001)
    os.kill(processes[rank].pid or 0, signal.SIGKILL)
    codes = finish(processes, patience=PATIENCE_SECONDS)
    if codes[1 - rank] != FINISHED:
        (line,) = lines_of(folder / "errors", 1 - rank)
        assert line.startswith("albertqa: lost another process of this run")
        assert line.endswith("Resume with the same command and --resume")
        assert codes[1 - rank] == REFUSED
    is_taken = (settings.output_dir / files.CONFIG_TOML).exists()
    if newest_checkpoint(settings.output_dir)[0] is not None or not (settings.output_dir / files.FINAL).exists():
        train(settings, 2, folder / "errors", resume=is_taken)
    assert weights_of(settings.output_dir) == weights_of(whole.output_dir)
    assert losses_of(settings.output_dir) == losses_of(whole.output_dir)


@pytest.mark.parametrize(("rank", "moment"), [(0, 0.8), (1, 0.6)])
def test_a_process_is_killed_and_the_resumed_run_is_the_same(
    rank: int, moment: float, whole: Settings, tmp_path: Path
) -> None:
    kill_and_resume(whole, rank, moment, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("kill", range(NUM_KILLS))
def test_a_process_is_killed_at_any_moment(kill: int, whole: Settings, tmp_path: Path) -> None:
    moments = random.Random(kill)
    kill_and_resume(whole, moments.randrange(2), (kill + moments.random()) / NUM_KILLS, tmp_path)


def test_a_run_resumes_in_another_number_of_processes_with_the_same_data(whole: Settings, tmp_path: Path) -> None:
    settings = dataclasses.replace(whole, output_dir=tmp_path / "run")
    processes = start_ranks([settings] * 2, tmp_path / "errors")
    wait_for(processes[0], settings.output_dir / files.CHECKPOINTS / "step-00000007")
    # All decide together what one is asked.
    os.kill(processes[1].pid or 0, signal.SIGTERM)
    assert finish(processes) == [INTERRUPTED] * 2
    train(settings, 1, tmp_path / "errors", resume=True)
    np.testing.assert_allclose(losses_of(settings.output_dir), losses_of(whole.output_dir), rtol=1e-5)
    assert json.loads((settings.output_dir / files.RUN_JSON).read_text())["world_size"] == 1


class Faulty:
    """An objective that fails once, in one process.

    Args:
        call: Which call fails, from 1.
        error: What it raises; None: it returns NaN.
    """

    def __init__(self, call: int, error: Exception | None) -> None:
        self._call, self._error, self._calls = call, error, 0

    def __call__(self, model: SpanModel, batch: PackedBatch) -> torch.Tensor:
        self._calls += 1
        losses = span_objective(model, batch)
        if self._calls != self._call:
            return losses
        if self._error is not None:
            raise self._error
        return losses * torch.nan


def run_out_of_memory(rank: int) -> None:
    if rank == 1:
        error = torch.OutOfMemoryError("CUDA out of memory (no GPU is here: planted by a test)")
        setup.build_objective = lambda **_: Faulty(2, error)  # type: ignore[assignment]


def run_into_nan(rank: int) -> None:
    if rank == 1:
        setup.build_objective = lambda **_: Faulty(3, None)  # type: ignore[assignment]


def test_memory_that_one_process_lacks_is_lacking_for_all(tiny_weights: Path, tmp_path: Path) -> None:
    for name, plant in (("whole", None), ("short", run_out_of_memory)):
        settings = run_of(tiny_weights, tmp_path / name, max_steps=5, **DROPOUT)
        assert finish(start_ranks([settings] * 2, tmp_path / f"errors-{name}", plant=plant)) == [FINISHED] * 2
    np.testing.assert_allclose(losses_of(tmp_path / "short"), losses_of(tmp_path / "whole"), rtol=1e-5)
    rows = [row for row in rows_in(tmp_path / "short") if "train_loss" in row]
    assert [row.get("out_of_memory", False) for row in rows] == [False, True, False, False, False]
    assert rows[-1]["micro_batch"] < rows[0]["micro_batch"]


def test_a_step_that_is_nan_in_one_process_is_skipped_by_all(tiny_weights: Path, tmp_path: Path) -> None:
    settings = run_of(tiny_weights, tmp_path / "run", max_steps=5)
    assert finish(start_ranks([settings] * 2, tmp_path / "errors", plant=run_into_nan)) == [FINISHED] * 2
    rows = [row for row in rows_in(tmp_path / "run") if "train_loss" in row]
    assert [row.get("skipped", False) for row in rows] == [False, False, True, False, False]


def test_processes_stop_early_together(tiny_weights: Path, tmp_path: Path) -> None:
    changes = {"eval_steps": 1.0, "early_stopping_patience": 1, "metric_for_best_model": "exact"}
    settings = run_of(tiny_weights, tmp_path / "run", **changes)
    assert finish(start_ranks([settings] * 2, tmp_path / "errors")) == [STOPPED_EARLY] * 2


def refusals(processes: list[ForkServerProcess], errors: Path) -> list[str]:
    """Return the one line that each process ends with, without its remedy."""
    assert finish(processes) == [REFUSED] * len(processes)
    lines = [line for rank in range(len(processes)) for line in lines_of(errors, rank)]
    assert len(lines) == len(processes)
    remedy = "; start all processes of a run with the same command, data and versions"
    assert all(line.endswith(remedy) for line in lines)
    return [line.removesuffix(remedy).removeprefix("albertqa: ") for line in lines]


def test_processes_with_other_settings_are_refused_before_the_first_step(tiny_weights: Path, tmp_path: Path) -> None:
    settings = run_of(tiny_weights, tmp_path / "run")
    both = [settings, dataclasses.replace(settings, learning_rate=2e-3)]
    refused = refusals(start_ranks(both, tmp_path / "errors"), tmp_path / "errors")
    assert refused == ["learning_rate is 0.001 in process 0 and 0.002 in process 1"] * 2
    assert not (settings.output_dir / files.CONFIG_TOML).exists()


@pytest.mark.parametrize(
    ("other", "named"),
    [
        ("train.json", "the training data is "),
        ("model/spiece.model", "the tokenizer is "),
        ("model/model.safetensors", "the SHA-256 of the weights is "),
    ],
)
def test_processes_with_other_files_are_refused_before_the_first_step(
    other: str, named: str, tiny_weights: Path, tmp_path: Path
) -> None:
    folders = [tmp_path / "host-0", tmp_path / "host-1"]
    for folder in folders:
        shutil.copytree(tiny_weights, folder / "model")
        shutil.copyfile(starter_file("train", version_2=False), folder / "train.json")
    path = folders[1] / other
    if path.suffix == ".json":
        path.write_text(path.read_text().replace("the", "teh", 1))
    elif path.suffix == ".model":
        proto = sentencepiece_model_pb2.ModelProto.FromString(path.read_bytes())
        proto.pieces[-1].score -= 1
        path.write_bytes(proto.SerializeToString())
    else:
        weights = load_file(path)
        weights["qa_outputs.bias"] = weights["qa_outputs.bias"] + 1
        save_file(weights, path)
    settings = run_of(Path("model"), tmp_path / "run", train_file=("train.json",))
    processes = start_ranks([settings] * 2, tmp_path / "errors", folders=folders)
    for line in refusals(processes, tmp_path / "errors"):
        assert line.startswith(named)
        assert " in process 0 and " in line
    assert not (settings.output_dir / files.CONFIG_TOML).exists()
