"""Training runs in processes of their own, which a test may kill.

One server imports PyTorch and Transformers once and forks a process for every run, so that starting one costs next to
nothing and a kill falls into the run itself.
"""

import multiprocessing
import os
import random
import sys
import time
from collections.abc import Callable, Sequence
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from albertqa.config import Settings

FINISHED, REFUSED, INTERRUPTED, STOPPED_EARLY = 0, 2, 3, 4

_CONTEXT = multiprocessing.get_context("forkserver")
# What a run imports as it goes, and pytest, the main module, which every child imports again.
_CONTEXT.set_forkserver_preload(
    [
        "pytest",
        "albertqa.run.recipe",
        "accelerate",
        "pandas",
        "sentencepiece.sentencepiece_model_pb2",
        "torch._dynamo",
    ]
)


def start(work: Callable[..., object], *arguments: object) -> ForkServerProcess:
    """Call a function in a process of its own."""
    process = _CONTEXT.Process(target=work, args=arguments)
    process.start()
    return process


def start_run(settings: Settings, *, resume: bool = False) -> ForkServerProcess:
    """Start a training run; its exit code is `FINISHED` or `INTERRUPTED`."""
    process = _CONTEXT.Process(target=_train, args=(settings, resume))
    process.start()
    return process


def start_ranks(
    settings: Sequence[Settings],
    errors: Path,
    *,
    resume: bool = False,
    folders: Sequence[Path] = (),
    plant: Callable[[int], None] | None = None,
) -> list[ForkServerProcess]:
    """Start one training run in several processes, as `torchrun` does, but with nobody who ends them.

    Args:
        settings: Each process's settings.
        errors: Folder for what each prints to standard error, ``0.txt`` and so on.
        resume: Whether the run is resumed.
        folders: Current folder of each, where they differ.
        plant: Called in each with its number, before it trains.
    """
    errors.mkdir(exist_ok=True)
    world = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(random.SystemRandom().randrange(20_000, 30_000))}
    started = []
    for rank, one in enumerate(settings):
        environment = {**world, "WORLD_SIZE": str(len(settings)), "RANK": str(rank), "LOCAL_RANK": str(rank)}
        folder = folders[rank] if folders else Path.cwd()
        told = (one, resume, environment, errors / f"{rank}.txt", folder, plant)
        process = _CONTEXT.Process(target=_train_rank, args=told)
        process.start()
        started.append(process)
    return started


def finish_run(settings: Settings, *, resume: bool = False) -> float:
    """Run to the end; give the seconds it took."""
    begun = time.monotonic()
    process = start_run(settings, resume=resume)
    process.join()
    seconds = time.monotonic() - begun
    assert process.exitcode == FINISHED, f"exit code {process.exitcode}"
    process.close()
    return seconds


def wait_for(process: ForkServerProcess, path: Path) -> None:
    """Wait until a run has made a file or folder."""
    while not path.exists():
        assert process.is_alive(), f"ended with exit code {process.exitcode} before it made {path}"
        time.sleep(0.002)


def _train_rank(
    settings: Settings,
    resume: bool,
    environment: dict[str, str],
    errors: Path,
    folder: Path,
    plant: Callable[[int], None] | None,
) -> None:
    from albertqa.cli.output import warn
    from albertqa.errors import AlbertQAError

    os.environ.update(environment)
    os.chdir(folder)
    if plant is not None:
        plant(int(environment["RANK"]))
    sys.stderr = errors.open("w", buffering=1)
    try:
        _train(settings, resume)
    except AlbertQAError as error:
        # As the command line reports it.
        warn(str(error))
        sys.exit(REFUSED)


def _train(settings: Settings, resume: bool) -> None:
    from albertqa.run.recipe import train

    result = train(settings, resume=resume)
    sys.exit({"finished": FINISHED, "interrupted": INTERRUPTED, "stopped early": STOPPED_EARLY}[result.status])
