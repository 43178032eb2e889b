"""Several processes train what one trains, and none waits for one that is gone."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from albertqa.config import to_flags
from albertqa.model.world import World

from .cases import rows_in, small_run

PYTHON = Path(sys.executable)


@given(st.lists(st.integers(1, 512), min_size=1, max_size=40), st.integers(1, 8))
def test_every_item_is_one_process_s_and_loads_are_even(costs: list[int], size: int) -> None:
    shares = World(0, size).shares(np.array(costs))
    assert sorted(np.concatenate(shares).tolist()) == list(range(len(costs)))
    loads = [sum(costs[item] for item in share) for share in shares]
    assert max(loads) - min(loads) <= max(costs)


def torchrun(num_processes: int, arguments: list[str]) -> list[str]:
    """Return the command that trains in so many processes on this machine."""
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(num_processes)]
    return [str(PYTHON), *launch, "-m", "albertqa", *arguments]


@pytest.fixture
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    cache = str(tmp_path_factory.getbasetemp() / "cache")
    return {**os.environ, "OMP_NUM_THREADS": "1", "ALBERTQA_CACHE": cache}


def train(num_processes: int, arguments: list[str], environment: dict[str, str]) -> None:
    done = subprocess.run(torchrun(num_processes, arguments), env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]


def losses_of(run: Path) -> list[float]:
    return [row["train_loss"] for row in rows_in(run) if "train_loss" in row]


def command(model: Path, run: Path, **changes: Any) -> list[str]:
    settings = small_run(model, run, max_train_examples=41, max_steps=50, max_eval_examples=11, fit=False, **changes)
    return ["train", *to_flags(settings)]


@pytest.fixture(scope="module")
def alone(tiny_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fifty steps in one process."""
    run = tmp_path_factory.mktemp("world") / "alone"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([str(PYTHON), "-m", "albertqa", *command(tiny_weights, run)], env=environment, check=True)
    return run


@pytest.mark.parametrize("num_processes", [2, 4])
def test_fifty_steps_are_those_of_one_process(
    num_processes: int, alone: Path, tiny_weights: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    run = tmp_path / "run"
    train(num_processes, command(tiny_weights, run), environment)
    assert len(losses_of(run)) == 50
    np.testing.assert_allclose(losses_of(run), losses_of(alone), rtol=1e-5)
    found, expected = (json.loads((one / "eval.json").read_text()) for one in (run, alone))
    assert (found["exact"], found["f1"]) == (expected["exact"], expected["f1"])
    assert json.loads((run / "run.json").read_text())["world_size"] == num_processes
