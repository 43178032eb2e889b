"""Transformers' own model and training step, as `run_qa` has them.

Baselines run in a process of their own (`processes.OwnProcess`), as they do for users of Transformers: albertqa makes
the allocator keep freed memory (`model/freed_memory.py`), and in one process the baseline would benefit from that, too.
How much is measured as well, with a second `Baseline` whose freed memory is kept.
"""

from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.models import LEARNING_RATE, load_plain, seconds_of, update

# Keyword arguments of the model, on the CPU.
Batch: TypeAlias = dict[str, Any]


class Baseline:
    """An ALBERT as Transformers runs it.

    Args:
        folder: The model.
        device: Where it computes.
    """

    def __init__(self, folder: Path | str, device: torch.device) -> None:
        self._model, self._device = load_plain(folder, device), device
        self._optimizer = torch.optim.AdamW(self._model.parameters(), lr=LEARNING_RATE, fused=True)

    def train(self, batches: list[Batch], dtype: torch.dtype | None) -> float:
        """Do a training step for each batch; return the seconds.

        Args:
            batches: The batches.
            dtype: Type of the matrix products under autocast; None: fp32.
        """
        self._model.train()
        return seconds_of(partial(self._steps, batches, dtype), self._device)

    def evaluate(
        self, batches: list[Batch], dtype: torch.dtype | None = None
    ) -> tuple[float, list[NDArray[np.float32]]]:
        """Compute logits and move them to the CPU; return the seconds, and every window's start logits.

        Args:
            batches: The batches.
            dtype: Type of the matrix products under autocast; None: fp32.
        """
        self._model.eval()
        found: list[torch.Tensor] = []
        with torch.autocast(self._device.type, dtype=dtype, enabled=dtype is not None):
            seconds = seconds_of(partial(self._logits, batches, found), self._device)
        return seconds, [row.float().numpy() for row in found]

    def _steps(self, batches: list[Batch], dtype: torch.dtype | None) -> None:
        for batch in batches:
            inputs = {name: values.to(self._device, non_blocking=True) for name, values in batch.items()}
            with torch.autocast(self._device.type, dtype=dtype, enabled=dtype is not None):
                loss = self._model(**inputs).loss
            update(loss, self._model, self._optimizer)

    def _logits(self, batches: list[Batch], found: list[torch.Tensor]) -> None:
        with torch.inference_mode():
            for batch in batches:
                names = ("input_ids", "token_type_ids", "attention_mask")
                output = self._model(**{name: batch[name].to(self._device) for name in names})
                output.end_logits.cpu()
                found.extend(output.start_logits.cpu())
