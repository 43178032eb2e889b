"""Models of the measurements: ALBERT's shapes with random weights, the project's own steps, Transformers' batches."""

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

from albertqa.config import OptimizerConfig
from albertqa.model.load import SpanModel
from albertqa.run.checkpoint import Adaptation
from albertqa.run.objective import span_objective
from albertqa.run.optimizer import build_optimizer
from albertqa.run.step import Stepper
from albertqa.windows.batches import WindowSource, epoch_order

MAX_LENGTH = 384
SEED, LEARNING_RATE = 42, 3e-5
EMBEDDING_SIZE = 128

# As the published configurations have them; "tiny" is for trying a script out.
SHAPES: dict[str, dict[str, int]] = {
    "base": {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072},
    "large": {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096},
    "tiny": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64},
}


def save_random(shape: str, folder: Path | str, *, vocab_size: int = 30_000, dropout: float = 0.0) -> None:
    """Save an ALBERT with random weights; speed and memory do not depend on their values.

    Args:
        shape: One of `SHAPES`.
        folder: Where to.
        vocab_size: Tokens of its tokenizer.
        dropout: Dropout of hidden states and attention, as v1 has 0.1; 0, as v2.
    """
    config = AlbertConfig(
        vocab_size=vocab_size,
        embedding_size=EMBEDDING_SIZE,
        hidden_act="gelu_new",
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
        **SHAPES[shape],
    )
    torch.manual_seed(0)
    disable_progress_bar()
    AlbertForQuestionAnswering(config).save_pretrained(folder)


def load_plain(folder: Path | str, device: torch.device) -> AlbertForQuestionAnswering:
    """Load a model as Transformers itself runs it, in fp32 and in evaluation mode."""
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
    """Do the rest of a training step: backward, clip, step."""
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def step_config(batch: int) -> OptimizerConfig:
    """Return the recipe's settings of a step, with so many windows."""
    return OptimizerConfig(learning_rate=LEARNING_RATE, train_batch_size=batch, seed=SEED)


def stepper_of(model: SpanModel, batch: int) -> Stepper:
    """Return what does the recipe's steps; it ends the measurement where a run would have to adapt itself."""
    config = step_config(batch)
    optimizer = build_optimizer(model.model, config)
    return Stepper(model, optimizer, span_objective, config, Adaptation(), may_recompute=False, say=refuse)


def refuse(line: str) -> None:
    """End the measurement with a message."""
    raise SystemExit(f"{Path(sys.argv[0]).name}: {line}; nothing written")


def windows_of_step(num_windows: int, step: int, batch: int) -> NDArray[np.int64]:
    """Return the windows that a run takes in a step, counted from 0."""
    epoch, at = divmod(step, math.ceil(num_windows / batch))
    return epoch_order(num_windows, seed=SEED, epoch=epoch)[at * batch : (at + 1) * batch]


def seconds_of(work: Callable[[], object], device: torch.device) -> float:
    """Return the time of some work, until the device has done it."""
    begun = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - begun
