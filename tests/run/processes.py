"""Training runs in processes of their own, which a test may kill.

One server imports PyTorch and Transformers once and forks a process for every run, so that starting one costs next to
nothing and a kill falls into the run itself.
"""

import multiprocessing
import sys
import time
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from albertqa.config import Settings

FINISHED, INTERRUPTED = 0, 3

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


def start_run(settings: Settings, *, resume: bool = False) -> ForkServerProcess:
    """Start a training run; its exit code is `FINISHED` or `INTERRUPTED`."""
    process = _CONTEXT.Process(target=_train, args=(settings, resume))
    process.start()
    return process


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


def _train(settings: Settings, resume: bool) -> None:
    from albertqa.run.recipe import train

    result = train(settings, resume=resume)
    sys.exit({"finished": FINISHED, "interrupted": INTERRUPTED}[result.status])
