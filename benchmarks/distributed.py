"""How much faster do two processes train than one, and how much of a step is exchange?

    python -m benchmarks.distributed [--processes 2] [--steps 1] [--rounds 2]

albert-base's shape with random weights, batch 16, real windows (SQuAD dev v1.1 if ALBERTQA_DATA has it, else the
starter set), gloo on this machine. Compared on the same windows: one process with one thread, one process with as many
threads as there are processes, and the processes with one thread each, as `torchrun` starts them. Of a step the
exchange of gradients is timed by itself, after all processes are ready for it, and so is the time that they wait for
each other. `exchange_ms` is that of ten exchanges without a step between them.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from albertqa.model.freed_memory import keep_freed_memory
from albertqa.model.load import load_model
from albertqa.model.world import World, open_world
from benchmarks.data import real_questions
from benchmarks.models import LEARNING_RATE, SHAPES, save_random, stepper_of, windows_of_step
from benchmarks.provenance import command_line, spread, write_result

_BATCH = 16
_EXCHANGES = 10


@dataclass(frozen=True)
class TimedWorld(World):
    """Processes whose exchanges of gradients are timed.

    Attributes:
        waiting: Seconds of each wait for the slowest process.
        exchanging: Seconds of each exchange after that.
    """

    waiting: list[float] = field(default_factory=list)
    exchanging: list[float] = field(default_factory=list)

    def sum_(self, tensor: torch.Tensor) -> None:
        """Replace a tensor by its sum over all processes."""
        if self.size == 1:
            return
        begun = time.perf_counter()
        dist.barrier()
        ready = time.perf_counter()
        super().sum_(tensor)
        self.waiting.append(ready - begun)
        self.exchanging.append(time.perf_counter() - ready)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and write the result."""
    parser = command_line(__doc__, rounds=2)
    parser.add_argument("--processes", type=int, default=2, metavar="N", help="processes (2)")
    parser.add_argument("--steps", type=int, default=1, metavar="N", help="steps of a round (1)")
    parser.add_argument("--shape", choices=SHAPES, default="base", help="the model's shape (base)")
    parser.add_argument("--questions", type=int, metavar="N", help="only the first so many questions")
    parser.add_argument("--worker", metavar="FOLDER", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.worker:
        _work(Path(options.worker), options.steps, options.questions)
        return
    ways = {"1 process, 1 thread": (1, 1), "1 process": (1, options.processes), "processes": (options.processes, 1)}
    rounds: list[dict[str, dict[str, Any]]] = []
    with tempfile.TemporaryDirectory() as folder:
        questions = real_questions(options.questions)
        save_random(options.shape, folder, vocab_size=questions.tokenizer.vocab_size)
        for _ in range(options.rounds):
            words = ["--steps", str(options.steps), "--worker", folder]
            words += ["--questions", str(options.questions)] if options.questions else []
            found = {name: _launched(*way, words, Path(folder)) for name, way in ways.items()}
            rounds.append(found)
            print("  ".join(f"{name}: {one['tokens'] / one['seconds']:,.0f} tokens/s" for name, one in found.items()))
    together = [one["processes"] for one in rounds]

    def ratios(name: str) -> dict[str, float]:
        return spread([one[name]["seconds"] / one["processes"]["seconds"] for one in rounds])

    write_result(
        "distributed",
        {
            "n": options.rounds,
            "shape": options.shape,
            "batch": _BATCH,
            "steps_of_a_round": options.steps,
            "processes": options.processes,
            "backend": "gloo",
            "windows": questions.source,
            "exchanged_mib": round(together[0]["bytes"] / 2**20, 1),
            "real_tokens_per_second": {
                name: spread([one[name]["tokens"] / one[name]["seconds"] for one in rounds]) for name in ways
            },
            "times_as_fast_as_1_process_1_thread": ratios("1 process, 1 thread"),
            "times_as_fast_as_1_process": ratios("1 process"),
            "share_of_exchange": spread([sum(one["exchanging"]) / one["seconds"] for one in together]),
            "share_of_waiting": spread([sum(one["waiting"]) / one["seconds"] for one in together]),
            "exchange_ms": spread([1000 * seconds for one in together for seconds in one["alone"]]),
        },
        options.output,
    )


def _launched(processes: int, threads: int, words: Sequence[str], folder: Path) -> dict[str, Any]:
    """Run some steps in processes of their own; return what the first one measured."""
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    subprocess.run([sys.executable, *launch, "-m", "benchmarks.distributed", *words], env=environment, check=True)
    found: dict[str, Any] = json.loads((folder / "measured.json").read_text(encoding="utf-8"))
    return found


def _work(folder: Path, steps: int, questions: int | None) -> None:
    """Do a step to warm up, then the measured ones, as one of the processes."""
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    keep_freed_memory()
    with open_world("cpu") as joined:
        world = TimedWorld(joined.rank, joined.size)
        store = real_questions(questions).windows()
        model = load_model(folder, device=torch.device("cpu"))
        stepper = stepper_of(model, _BATCH)
        stepper.world = world
        batches = [
            [store[int(index)] for index in windows_of_step(len(store), number, _BATCH)] for number in range(steps + 1)
        ]
        stepper.step(batches[0][:4], 1, LEARNING_RATE)
        gradients = torch.zeros(sum(one.numel() for one in model.model.parameters()))
        world.exchanging.clear()
        for _ in range(_EXCHANGES):
            world.sum_(gradients)
        alone = [*world.exchanging]
        world.waiting.clear()
        world.exchanging.clear()
        world.wait()
        begun = time.perf_counter()
        found = [stepper.step(batch, number, LEARNING_RATE) for number, batch in enumerate(batches[1:], 2)]
        seconds = time.perf_counter() - begun
        if world.is_main:
            measured = {
                "seconds": seconds,
                "tokens": sum(one.tokens for one in found),
                "waiting": world.waiting,
                "exchanging": world.exchanging,
                "alone": alone,
                "bytes": sum(one.nbytes for one in model.model.parameters()),
            }
            (folder / "measured.json").write_text(json.dumps(measured), encoding="utf-8")


if __name__ == "__main__":
    main()
