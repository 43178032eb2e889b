"""How much memory does a training step take, against the number of its windows?

    python -m benchmarks.memory [--shapes base large] [--batches 1 4 16]

Forward, backward and optimizer step of albert-base's and albert-large's shapes with random weights, on real windows,
every batch with the same mix of short and long ones: ours, ours with activations recomputed in the backward pass
(`--gradient-checkpointing`), and Transformers' with every window padded to 384. Each cell is a new process: it builds
the model, does a step of one window as a warm-up, then one step. The figure is its peak minus its memory after the
model was built: resident memory on the CPU, PyTorch's own count on a GPU. Each runs in its usual precision: ours in
bf16 if the device has it in hardware, Transformers' in fp32.

A cell that would take more than four fifths of the free memory is stopped, and larger batches of it are left out.
"""

import sys
import tempfile
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from albertqa.model.freed_memory import keep_freed_memory
from albertqa.model.load import choose_device, choose_precision, load_model
from albertqa.model.memory import available_bytes, is_out_of_memory
from albertqa.run.objective import span_objective
from albertqa.run.optimizer import build_optimizer
from albertqa.windows.batches import pack
from albertqa.windows.store import Window
from benchmarks.data import real_questions, same_mix
from benchmarks.models import (
    LEARNING_RATE,
    MAX_LENGTH,
    SHAPES,
    load_plain,
    padded,
    save_random,
    seconds_of,
    step_config,
    update,
)
from benchmarks.processes import in_fresh_process, limit_bytes, peak_bytes, reset_peak, resident_bytes
from benchmarks.provenance import command_line, write_result

WAYS = ("ours", "ours_recomputed", "padded")
_MIB = 2**20
# Fewer on a CPU, where large batches take minutes; all of them: --batches 1 2 4 8 16 32.
_CPU_BATCHES = {"base": [1, 4, 16], "large": [1, 2, 4], "tiny": [1, 2]}
_GPU_BATCHES = [1, 2, 4, 8, 16, 32]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and write the result."""
    parser = command_line(__doc__, device=True)
    parser.add_argument("--shapes", choices=SHAPES, nargs="+", default=["base", "large"], help="models (base large)")
    parser.add_argument("--batches", type=int, nargs="+", metavar="N", help="windows of a step, rising")
    parser.add_argument("--questions", type=int, metavar="N", help="only the first so many questions")
    options = parser.parse_args(arguments)
    device = choose_device(options.device)
    if not sys.platform.startswith("linux"):
        raise SystemExit("memory.py: reads memory from /proc, which only Linux has")
    questions = real_questions(options.questions)
    store = questions.windows()
    limit = available_bytes(torch.device("cpu")) * 4 // 5
    rows: list[dict[str, Any]] = []
    for shape in options.shapes:
        batches = options.batches or (_CPU_BATCHES[shape] if device.type == "cpu" else _GPU_BATCHES)
        with tempfile.TemporaryDirectory() as folder:
            save_random(shape, folder, vocab_size=questions.tokenizer.vocab_size)
            for way in WAYS:
                for batch in batches:
                    windows = [store[at] for at in same_mix(store.lengths, batch)]
                    found = in_fresh_process(measure, way, folder, windows, str(device), limit)
                    tokens = sum(len(window.input_ids) for window in windows)
                    rows.append({"shape": shape, "way": way, "batch": batch, "real_tokens": tokens, **found})
                    print("  ".join(f"{name} {value}" for name, value in rows[-1].items()), flush=True)
                    if found["peak_mib"] is None:
                        break
    precision = choose_precision("auto", device)
    write_result(
        "memory",
        {
            "n": 1,
            "windows": questions.source,
            "precision_of_ours": str(precision or torch.float32),
            "precision_of_padded": str(torch.float32),
            "limit_mib": limit // _MIB if device.type == "cpu" else None,
            "mib_per_window": {
                shape: {
                    way: _slope([row for row in rows if (row["shape"], row["way"]) == (shape, way)]) for way in WAYS
                }
                for shape in options.shapes
            },
            "cells": rows,
        },
        options.output,
        device,
    )


def measure(way: str, folder: str, windows: list[Window], device_string: str, limit: int) -> dict[str, float | None]:
    """Measure one cell.

    Args:
        way: One of `WAYS`.
        folder: The model.
        windows: The windows of the step.
        device_string: Where.
        limit: Most bytes that it may take on a CPU.

    Returns:
        ``peak_mib`` and ``seconds`` of the step; None if the memory was too small.
    """
    device = torch.device(device_string)
    if device.type == "cpu":
        limit_bytes(limit)
    if way == "padded":
        plain = load_plain(folder, device).train()
        module: torch.nn.Module = plain
        optimizer = torch.optim.AdamW(plain.parameters(), lr=LEARNING_RATE, fused=True)
    else:
        model = load_model(folder, device=device, precision=choose_precision("auto", device))
        module = model.model.train()
        optimizer = build_optimizer(model.model, step_config(len(windows)))
        if way == "ours_recomputed":
            model.recompute_activations()
        if device.type == "cpu":
            # As training does; after the model was built, so that the step cannot use what building has freed.
            keep_freed_memory()

    def step(some: list[Window]) -> None:
        if way == "padded":
            inputs = padded(some, range(len(some)), MAX_LENGTH)
            loss = plain(**{name: values.to(device) for name, values in inputs.items()}).loss
        else:
            loss = span_objective(model, pack(some, range(len(some))).to(device)).mean()
        update(loss, module, optimizer)

    before = _memory_of(device)
    try:
        step(windows[:1])
        _reset_peak_of(device)
        seconds = seconds_of(lambda: step(windows), device)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return {"peak_mib": None, "seconds": None}
    return {"peak_mib": round((_peak_of(device) - before) / _MIB, 1), "seconds": round(seconds, 3)}


def _memory_of(device: torch.device) -> int:
    return resident_bytes() if device.type == "cpu" else torch.cuda.memory_allocated(device)


def _reset_peak_of(device: torch.device) -> None:
    if device.type == "cpu":
        reset_peak()
    else:
        torch.cuda.reset_peak_memory_stats(device)


def _peak_of(device: torch.device) -> int:
    return peak_bytes() if device.type == "cpu" else torch.cuda.max_memory_allocated(device)


def _slope(rows: list[dict[str, Any]]) -> float | None:
    """Return the memory of one more window, by a straight line through the cells; None for fewer than two."""
    fits = [row for row in rows if row["peak_mib"] is not None]
    if len(fits) < 2:
        return None
    return round(float(np.polyfit([row["batch"] for row in fits], [row["peak_mib"] for row in fits], 1)[0]), 1)


if __name__ == "__main__":
    main()
