"""Does training without padding learn the same as a plain loop, and bf16 the same as fp32?

    python -m benchmarks.learning [--steps 300] [--device cuda] [--rounded-bf16]

fp32: the starter encoder trains on the starter set for 300 steps of 4 windows with the recipe's learning rate, by the
project's loop and, from the same weights on the same windows in the same order, by a plain Transformers + PyTorch loop
(`benchmarks.plain_loop`). The figure is the largest relative difference of a step's losses. It grows with steps and
learning rate, as training amplifies rounding: the result has both curves. Both run on the CPU.

bf16: if the device has it in hardware, the final F1 of the quickstart's training in both precisions, three seeds each.
Elsewhere `--rounded-bf16` computes its matrix products in fp32 and rounds them (`benchmarks.rounded_bf16`); the result
says so, and has the F1 of bf16, but not its time. Half an hour on 2 cores.
"""

import tempfile
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
import torch

from albertqa.cli.quickstart import quickstart_settings
from albertqa.config import MonitoringConfig, Precision
from albertqa.data.reading import load_examples
from albertqa.model.freed_memory import keep_freed_memory
from albertqa.model.load import choose_device, has_fast_bf16, load_model
from albertqa.model.starter_model import starter_encoder
from albertqa.run.callbacks import Callback
from albertqa.run.checkpoint import TrainState
from albertqa.run.loop import TrainingWindows, plan_steps, train_steps
from albertqa.run.recipe import train
from albertqa.rundir.rows import StepRow
from albertqa.windows.build import build_windows
from albertqa.windows.tokenizer import load_tokenizer
from benchmarks.models import LEARNING_RATE, SEED, step_config, stepper_of
from benchmarks.plain_loop import Course, train_plainly
from benchmarks.provenance import command_line, write_result
from benchmarks.rounded_bf16 import RoundedProducts

_BATCH = 4
# Short windows, so that 300 steps take minutes.
_MAX_LENGTH, _OVERLAP = 96, 24


class Losses(Callback):
    """Keeps the losses of the steps."""

    def __init__(self) -> None:
        self.found: list[float] = []

    def on_step(self, row: StepRow) -> None:
        """Keep a step's loss."""
        self.found.append(row.loss)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and write the result."""
    parser = command_line(__doc__, device=True)
    parser.add_argument("--steps", type=int, default=300, metavar="N", help="steps compared in fp32 (300)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[42, 1, 2], metavar="SEED", help="of bf16 (42 1 2)")
    parser.add_argument("--rounded-bf16", action="store_true", help="compare bf16 without the hardware, too")
    parser.add_argument("--questions", type=int, metavar="N", help="only the first so many, of both parts")
    options = parser.parse_args(arguments)
    device = choose_device(options.device)
    keep_freed_memory()
    result: dict[str, Any] = {"n": options.steps, "fp32": compare_loops(options.steps)}
    print(f"fp32: losses differ by {result['fp32']['largest_relative_difference']:.2e} at most", flush=True)
    if has_fast_bf16(device) or options.rounded_bf16:
        result["bf16"] = compare_precisions(options.seeds, device, questions=options.questions)
    else:
        result["bf16"] = "not measured: no bf16 in hardware here"
    write_result("learning", result, options.output, device)


def compare_loops(num_steps: int) -> dict[str, Any]:
    """Train with both loops.

    Args:
        num_steps: Steps.

    Returns:
        Largest relative difference of a step's losses, and both curves.
    """
    cpu = torch.device("cpu")
    encoder = starter_encoder()
    store = build_windows(
        load_examples("starter:train"), load_tokenizer(encoder), max_seq_length=_MAX_LENGTH, doc_stride=_OVERLAP
    )
    config = replace(step_config(_BATCH), max_steps=num_steps)
    with tempfile.TemporaryDirectory() as folder:
        torch.manual_seed(SEED)
        load_model(encoder, device=cpu).save(Path(folder))
        losses = Losses()
        train_steps(
            stepper_of(load_model(folder, device=cpu), _BATCH),
            TrainingWindows(store),
            config,
            plan_steps(len(store), config, MonitoringConfig()),
            TrainState(),
            callbacks=[losses],
        )
        course = Course(
            learning_rate=LEARNING_RATE, total_steps=num_steps, micro_batch=_BATCH, max_grad_norm=1.0, seed=SEED
        )
        expected = np.array(train_plainly(Path(folder), store, course, attention="sdpa").losses)
    found = np.array(losses.found)
    tenth = max(1, num_steps // 10)
    return {
        "steps": num_steps,
        "batch": _BATCH,
        "learning_rate": LEARNING_RATE,
        "max_seq_length": _MAX_LENGTH,
        "threads": torch.get_num_threads(),
        "largest_relative_difference": float(f"{np.max(np.abs(found - expected) / expected):.3g}"),
        "mean_loss_of_first_tenth": round(float(found[:tenth].mean()), 4),
        "mean_loss_of_last_tenth": round(float(found[-tenth:].mean()), 4),
        "losses": {"ours": found.round(7).tolist(), "plain": expected.round(7).tolist()},
    }


def compare_precisions(seeds: Sequence[int], device: torch.device, *, questions: int | None = None) -> dict[str, Any]:
    """Train in fp32 and in bf16, one run for each seed.

    Args:
        seeds: The seeds.
        device: Where.
        questions: Questions to train on, and to evaluate; None: all.

    Returns:
        F1 of each run, the difference of the means, and the standard deviation over seeds.
    """
    f1: dict[str, list[float]] = {"fp32": [], "bf16": []}
    precisions: dict[str, Precision] = {"fp32": "no", "bf16": "bf16"}
    is_rounded = not has_fast_bf16(device)
    for seed in seeds:
        for name, precision in precisions.items():
            with (
                tempfile.TemporaryDirectory() as folder,
                RoundedProducts() if is_rounded and precision == "bf16" else nullcontext(),
            ):
                settings = replace(
                    quickstart_settings(Path(folder) / "run", seed=seed),
                    max_train_examples=questions,
                    max_eval_examples=questions,
                    # Once, at the end: the final F1, not the best.
                    eval_steps=1e9,
                    save_steps=1e9,
                    mixed_precision=precision,
                    device=str(device),
                )
                f1[name].append(train(settings).scores["f1"])
        print(f"seed {seed}: f1 " + ", ".join(f"{name} {values[-1]:.2f}" for name, values in f1.items()), flush=True)
    difference = mean(f1["bf16"]) - mean(f1["fp32"])
    noise = stdev(f1["fp32"]) if len(seeds) > 1 else None
    return {
        "seeds": list(seeds),
        "how": "computed in fp32 and rounded" if is_rounded else "in hardware",
        "f1": f1,
        "difference_of_means": round(difference, 3),
        "sd_over_seeds_fp32": None if noise is None else round(noise, 3),
        "is_within_seed_noise": None if noise is None else abs(difference) <= noise,
    }


if __name__ == "__main__":
    main()
