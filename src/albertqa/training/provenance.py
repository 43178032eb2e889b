"""Where a run's numbers come from: ``run.json``."""

import dataclasses
import json
import platform
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from albertqa import rundir
from albertqa.config import Settings
from albertqa.data.content import content_sha256
from albertqa.data.example import Example
from albertqa.model.load import SpanModel
from albertqa.model.processor import read_processor
from albertqa.training.checkpoint import TrainState
from albertqa.training.loop import Plan
from albertqa.windows.store import WindowStore
from albertqa.windows.tokenizer import QATokenizer


def data_facts(sources: Sequence[str], examples: Sequence[Example], store: WindowStore) -> dict[str, Any]:
    """Give what identifies a data set and how large it is.

    Args:
        sources: The files or names it was read from.
        examples: The data.
        store: Its windows.

    Returns:
        Facts for ``run.json``.
    """
    return {
        "sources": list(sources),
        "questions": len(examples),
        "without_answer": sum(not example.has_answer for example in examples),
        "content_sha256": content_sha256(examples),
        "windows": len(store),
        "windows_without_answer": int((store.columns["start_position"] == 0).sum()),
        "tokens": int(store.lengths.sum()),
    }


@dataclass(frozen=True)
class Provenance:
    """Where a run's numbers come from: the content of ``run.json``.

    Attributes:
        run: The run directory.
        settings: Its settings.
        model: The model.
        tokenizer: Its tokenizer.
        data: Facts of the training and validation data.
        plan: The steps.
        version_2: Whether questions may have no answer.
    """

    run: Path
    settings: Settings
    model: SpanModel
    tokenizer: QATokenizer
    data: dict[str, dict[str, Any]]
    plan: Plan
    version_2: bool

    def write(self, status: str, state: TrainState) -> None:
        """Write the file with the run's present status."""
        path = self.run / rundir.RUN_JSON
        before = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        now = datetime.now(UTC).isoformat(timespec="seconds")
        started = before.get("started", []) + ([now] if status == "running" else [])
        model = self.model.model
        facts = {
            "status": status,
            "started": started,
            "updated": now,
            "step": state.step,
            "best_step": state.best_step,
            "train_seconds": round(state.seconds, 3),
            "command": sys.argv,
            "seed": self.settings.seed,
            "plan": dataclasses.asdict(self.plan),
            "version_2": self.version_2,
            "data": self.data,
            "model": {
                "source": self.settings.model,
                "type": model.config.model_type,
                "parameters": model.num_parameters(),
                "trainable_parameters": model.num_parameters(only_trainable=True),
                "tokenizer_sha256": self.tokenizer.fingerprint,
            },
            "machine": {
                "device": str(self.model.device),
                "device_name": device_name(self.model.device),
                "precision": str(self.model.autocast_dtype or torch.float32).removeprefix("torch."),
                "threads": torch.get_num_threads(),
                "platform": platform.platform(),
            },
            "versions": {
                "python": platform.python_version(),
                **{name: metadata.version(name) for name in ("albertqa", "torch", "transformers", "tokenizers")},
            },
        }
        rundir.write_json(path, facts)


def device_name(device: torch.device) -> str:
    """Give the name of the GPU or processor that a device stands for."""
    return str(torch.cuda.get_device_name(device)) if device.type == "cuda" else read_processor().name
