"""How much faster is a training step than Transformers' own, on the same windows?

    python -m benchmarks.train_throughput [--rounds 15] [--device cuda]

albert-base's shape with random weights, batch 16, real windows (SQuAD dev v1.1 if ALBERTQA_DATA has it, else the
starter set). Rounds alternate: B, ours on B's windows, and, in every third round, since it takes as long as ten of
them, A and ours on A's windows; ratios are computed round by round, each on the same windows. Ours is the project's own
step, packing included, as `albertqa train` runs it. A and B get their batches ready-made, without the cost of a data
loader. Each has a process of its own, as in use, and waits while another computes; in one process their freed memory
would be mixed. B_kept is B in a process where freed memory is kept, as in ours. What the machine gives may change from
minute to minute where others use it, too: the fastest product is measured in every round.

A: run_qa's defaults: fp32, every window padded to 384, `gelu_new` as Transformers computes it.
B: run_qa's best flags: padded to the longest of the step, windows grouped by length, bf16 if the device has it in
   hardware (else fp32; the result says which). Its windows are those of 50 steps sorted by length: some of its steps
   have short windows, others long ones.
"""

import math
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from albertqa.model.compiled import compile_layer
from albertqa.model.freed_memory import keep_freed_memory
from albertqa.model.load import choose_device, choose_precision, load_model
from albertqa.windows.store import WindowStore
from benchmarks.baseline import Baseline
from benchmarks.data import real_questions
from benchmarks.models import (
    EMBEDDING_SIZE,
    LEARNING_RATE,
    MAX_LENGTH,
    SHAPES,
    padded,
    refuse,
    save_random,
    seconds_of,
    stepper_of,
    windows_of_step,
)
from benchmarks.processes import OwnProcess
from benchmarks.provenance import command_line, spread, write_result

_ROUNDS_OF_A = 3
# Transformers sorts the windows of so many steps by length where it groups them.
_GROUPED_STEPS = 50
# Large enough for the device to reach its peak.
_GEMM_SIZES = {"cpu": (2048, 4096), "cuda": (4096, 8192)}


class Ours:
    """The project's own steps, as `albertqa train` runs them.

    Args:
        folder: The model.
        device: Where it computes.
        precision: Type of the matrix products; None: fp32.
        batch: Windows of a step.
        questions: Only the first so many.
        compiles: Whether its layer is compiled.
    """

    def __init__(
        self,
        folder: str,
        device: torch.device,
        precision: torch.dtype | None,
        batch: int,
        questions: int | None,
        compiles: bool,
    ) -> None:
        if device.type == "cpu":
            keep_freed_memory()
        self._device, self._store = device, real_questions(questions).windows()
        model = load_model(folder, device=device, precision=precision)
        if compiles and (reason := compile_layer(model)) is not None:
            refuse(f"the layer is not compiled: {reason}")
        self._stepper = stepper_of(model, batch)

    def train(self, steps: list[NDArray[np.int64]]) -> float:
        """Do a step for each set of windows; return the seconds."""
        return seconds_of(partial(self._steps, steps), self._device)

    def _steps(self, steps: list[NDArray[np.int64]]) -> None:
        for indices in steps:
            self._stepper.step([self._store[int(index)] for index in indices], 1, LEARNING_RATE)


class BaselineKeepingMemory(Baseline):
    """A baseline with our allocator setting."""

    def __init__(self, folder: str, device: torch.device) -> None:
        if device.type == "cpu":
            keep_freed_memory()
        super().__init__(folder, device)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and write the result."""
    parser = command_line(__doc__, rounds=15, device=True)
    parser.add_argument("--steps", type=int, metavar="N", help="steps of each kind in a round (cpu: 1, cuda: 20)")
    parser.add_argument("--warm-up", type=int, metavar="N", help="steps of each kind before (cpu: 1, cuda: 20)")
    parser.add_argument("--batch", type=int, default=16, metavar="N", help="windows of a step (16)")
    parser.add_argument("--shape", choices=SHAPES, default="base", help="the model's shape (base)")
    parser.add_argument("--dropout", type=float, default=0.0, help="dropout, as ALBERT v1 has 0.1 (0, as v2)")
    parser.add_argument("--mixed-precision", choices=["auto", "no"], default="auto", help="no: B in fp32, too (auto)")
    parser.add_argument("--seconds", type=float, default=math.inf, metavar="S", help="no further round after so many")
    parser.add_argument("--compile", action="store_true", help="compile our layer")
    parser.add_argument("--questions", type=int, metavar="N", help="only the first so many questions")
    options = parser.parse_args(arguments)
    begun = time.perf_counter()
    device = choose_device(options.device)
    is_cpu = device.type == "cpu"
    if is_cpu:
        keep_freed_memory()  # for the fastest product
    steps: int = options.steps or (1 if is_cpu else 20)
    warm_up: int = options.warm_up or (1 if is_cpu else 20)
    batch: int = options.batch
    questions = real_questions(options.questions)
    store = questions.windows()
    bf16 = choose_precision(options.mixed_precision, device)
    best = "ours" if bf16 is not None else "ours_fp32"
    precisions = {"ours_fp32": None} if bf16 is None else {"ours_fp32": None, "ours": bf16}
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        save_random(options.shape, folder, vocab_size=questions.tokenizer.vocab_size, dropout=options.dropout)

        def start(make: Callable[..., object], *settings: object) -> OwnProcess:
            return stack.enter_context(OwnProcess(make, folder, device, *settings))

        baseline, kept = start(Baseline), start(BaselineKeepingMemory)
        ours = {
            name: start(Ours, precision, batch, options.questions, options.compile)
            for name, precision in precisions.items()
        }
        rng = np.random.default_rng(0)
        rows: list[dict[str, float]] = []
        peaks: list[float] = []
        rounds = []
        first = 0
        for count in (warm_up, *[steps] * options.rounds):
            random = [windows_of_step(len(store), step, batch) for step in range(first, first + count)]
            rounds.append((random, _grouped(store, first, count, batch, rng)))
            first += count
        # On a GPU every shape is recorded first, as it is in the first minutes of a run.
        for random, grouped in () if is_cpu else rounds * 2:
            ours[best].call("train", random + grouped)
        for number, (random, grouped) in enumerate(rounds):
            if rows and time.perf_counter() - begun > options.seconds:
                break
            a = [padded(store, indices, MAX_LENGTH) for indices in random]
            b = [padded(store, indices, None) for indices in grouped]
            seconds = {"B": baseline.call("train", b, bf16)}
            seconds["ours_on_B"] = ours[best].call("train", grouped)
            seconds["B_kept"] = kept.call("train", b, bf16)
            if number % _ROUNDS_OF_A == 0 or not rows:
                seconds["A"] = baseline.call("train", a, None)
                for name, one in ours.items():
                    seconds[name] = one.call("train", random)
            peak = _gemm_peak(bf16 or torch.float32, device)
            row = {name: _tokens(store, grouped if "B" in name else random) / value for name, value in seconds.items()}
            if number:  # the first round is the warm-up
                rows.append(row)
                peaks.append(peak)
                print("  ".join(f"{name} {value:,.0f} tokens/s" for name, value in row.items()), flush=True)
    operations = _operations_per_token(SHAPES[options.shape], store.lengths)
    pairs = dict.fromkeys([(best, "A"), ("ours_on_B", "B"), ("ours_on_B", "B_kept"), ("ours_fp32", "A")])
    write_result(
        "train-throughput" + "-dropout" * (options.dropout > 0) + "-fp32" * (options.mixed_precision == "no"),
        {
            "n": len(rows),
            "shape": options.shape,
            "batch": batch,
            "steps_of_a_round": steps,
            "is_compiled": options.compile,
            "dropout": options.dropout,
            "windows": questions.source,
            "mean_real_tokens": round(float(store.lengths.mean()), 1),
            "precision_of_B_and_ours": str(bf16 or torch.float32),
            "threads": torch.get_num_threads(),
            "real_tokens_per_second": {name: spread([row[name] for row in rows if name in row]) for name in rows[0]},
            "ratios": {
                f"{name} / {other}": spread([row[name] / row[other] for row in rows if {name, other} <= row.keys()])
                for name, other in pairs
            },
            "gemm_peak_gflops": spread([peak / 1e9 for peak in peaks]),
            "share_of_gemm_peak": spread(
                [row["ours_on_B"] * operations / peak for row, peak in zip(rows, peaks, strict=True)]
            ),
        },
        options.output,
        device,
    )


def _tokens(store: WindowStore, steps: list[NDArray[np.int64]]) -> int:
    """Count the real tokens of some steps."""
    return sum(int(store.lengths[one].sum()) for one in steps)


def _grouped(
    store: WindowStore, first: int, steps: int, batch: int, rng: np.random.Generator
) -> list[NDArray[np.int64]]:
    """Return the windows of some steps as Transformers groups them by length."""
    near = [windows_of_step(len(store), first + step, batch) for step in range(max(_GROUPED_STEPS, steps))]
    pool = np.unique(np.concatenate(near))
    pool = pool[np.argsort(-store.lengths[pool], kind="stable")]
    groups = [pool[at : at + batch] for at in range(0, len(pool) - batch + 1, batch)]
    return [groups[int(at)] for at in rng.permutation(len(groups))[:steps]]


def _operations_per_token(shape: dict[str, int], lengths: NDArray[np.int32]) -> float:
    """Count the operations of matrix products per token in a step: two forward, four backward for each weight."""
    hidden = shape["hidden_size"]
    layer = 4 * hidden**2 + 2 * hidden * shape["intermediate_size"]
    # Every token attends to all tokens of its window; long windows have more tokens, and each attends to more.
    attended = float((lengths.astype(np.float64) ** 2).sum() / lengths.sum())
    return 6 * (EMBEDDING_SIZE * hidden + shape["num_hidden_layers"] * (layer + 2 * hidden * attended))


def _gemm_peak(dtype: torch.dtype, device: torch.device) -> float:
    """Measure the fastest matrix product of a large size, in operations a second."""
    rates = []
    for size in _GEMM_SIZES[device.type]:
        left, right = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
        seconds = [seconds_of(partial(torch.matmul, left, right), device) for _ in range(5)]
        rates.append(2 * size**3 / min(seconds))
    return max(rates)


if __name__ == "__main__":
    main()
