"""What is measured with: ALBERT's shapes with random weights, the project's own loop, Transformers' padded batches."""

import math
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AlbertConfig, AlbertForQuestionAnswering
from transformers.utils.logging import disable_progress_bar

from albertqa.model.load import SpanModel
from albertqa.run.checkpoint import TrainState
from albertqa.run.loop import Plan, train_steps
from albertqa.windows.batches import WindowSource, epoch_order
from albertqa.windows.store import WindowStore

MAX_LENGTH = 384
SEED, LEARNING_RATE = 42, 3e-5

# As the published configurations have them; "tiny" is for trying a script out.
SHAPES: dict[str, dict[str, Any]] = {
    "base": {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072},
    "large": {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096},
    "tiny": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64},
}


def save_random(shape: str, folder: Path | str, *, vocab_size: int = 30_000) -> None:
    """Save an ALBERT v2 of a shape with random weights: speed and memory do not depend on their values.

    Args:
        shape: One of `SHAPES`.
        folder: Where to.
        vocab_size: Tokens that its tokenizer knows.
    """
    config = AlbertConfig(
        vocab_size=vocab_size,
        embedding_size=128,
        hidden_act="gelu_new",
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        **SHAPES[shape],
    )
    torch.manual_seed(0)
    disable_progress_bar()
    AlbertForQuestionAnswering(config).save_pretrained(folder)


def load_plain(folder: Path | str, device: torch.device) -> AlbertForQuestionAnswering:
    """Load a model as Transformers itself runs it.

    Args:
        folder: The model.
        device: Where it shall compute.

    Returns:
        The model, in fp32 and in evaluation mode.
    """
    disable_progress_bar()
    model: AlbertForQuestionAnswering = AlbertForQuestionAnswering.from_pretrained(folder)
    return model.to(device).eval()


def padded(source: WindowSource, indices: Sequence[int] | NDArray[np.int64], pad_to: int | None) -> dict[str, Any]:
    """Lay windows out as Transformers' collator does: one row a window, padded, with mask and labels.

    Args:
        source: The windows.
        indices: Which ones.
        pad_to: Tokens of a row; None: as many as the longest window has.

    Returns:
        The model's keyword arguments, on the CPU.

    Shapes:
        input_ids, token_type_ids, attention_mask: (W, pad_to) int64
        start_positions, end_positions: (W,) int64
    """
    windows = [source[int(index)] for index in indices]
    length = pad_to or max(len(window.input_ids) for window in windows)
    rows = {
        name: torch.zeros(len(windows), length, dtype=torch.long)
        for name in ("input_ids", "token_type_ids", "attention_mask")
    }
    for row, window in enumerate(windows):
        size = len(window.input_ids)
        rows["input_ids"][row, :size] = torch.from_numpy(window.input_ids)
        rows["token_type_ids"][row, :size] = torch.from_numpy(window.token_type_ids)
        rows["attention_mask"][row, :size] = 1
    rows["start_positions"] = torch.tensor([window.start_position for window in windows])
    rows["end_positions"] = torch.tensor([window.end_position for window in windows])
    return rows


def update(loss: torch.Tensor, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Do what follows a loss in every training step: backward, clip, step."""
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def refuse(line: str) -> None:
    """End the measurement at what a run would tell its user and get over: with that in it, it is none."""
    raise SystemExit(f"{Path(sys.argv[0]).name}: {line}; nothing written")


class Rows:
    """Watches a run without evaluations and checkpoints, and keeps its record (the `Watcher` of `train_steps`).

    Attributes:
        steps: The record's rows.
    """

    def __init__(self) -> None:
        self.steps: list[dict[str, Any]] = []

    def stepped(self, row: dict[str, Any]) -> None:
        """Keep the row."""
        self.steps.append(row)

    def evaluate(self, state: TrainState) -> TrainState:
        """Evaluate nothing."""
        return state

    def save(self, state: TrainState) -> None:
        """Save nothing."""

    def should_stop(self) -> bool:
        """Go on."""
        return False

    def say(self, line: str) -> None:
        """See `refuse`."""
        refuse(line)


def run_steps(
    model: SpanModel,
    store: WindowStore,
    optimizer: torch.optim.Optimizer,
    *,
    first: int,
    last: int,
    batch: int,
    learning_rate: float = LEARNING_RATE,
) -> list[dict[str, Any]]:
    """Train by the project's own loop, from one step to another.

    Args:
        model: The model.
        store: Training windows.
        optimizer: Its optimizer.
        first: Steps done before.
        last: Steps done after.
        batch: Windows of a step.
        learning_rate: Peak learning rate; it falls linearly to the last step.

    Returns:
        The record's rows.
    """
    rows = Rows()
    train_steps(
        model,
        store,
        optimizer,
        Plan(math.ceil(len(store) / batch), last, 0, last, last),
        rows,
        state=TrainState(step=first),
        learning_rate=learning_rate,
        schedule="linear",
        micro_batch=batch,
        accumulation=1,
        max_grad_norm=1.0,
        seed=SEED,
    )
    return rows.steps


def windows_of_step(num_windows: int, step: int, batch: int) -> NDArray[np.int64]:
    """Give the windows that `run_steps` takes in a step, counted from 0."""
    epoch, at = divmod(step, math.ceil(num_windows / batch))
    return epoch_order(num_windows, seed=SEED, epoch=epoch)[at * batch : (at + 1) * batch]


def seconds_of(work: Callable[[], object], device: torch.device) -> float:
    """Time some work, to the end of what it left the device to do."""
    begun = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - begun


def on_device(name: str, device: torch.device) -> str:
    """Give a result's name: a GPU's results do not replace the processor's."""
    return name if device.type == "cpu" else f"{name}-{device.type}"
