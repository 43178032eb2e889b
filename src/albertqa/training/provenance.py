"""Where a run's numbers come from: ``run.json``."""

import dataclasses
import json
import platform
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from albertqa import rundir
from albertqa.config import Settings
from albertqa.data.example import Example, content_sha256
from albertqa.data.label_checks import answer_statistics
from albertqa.model.load import SpanModel, choose_precision
from albertqa.model.processor import read_processor
from albertqa.training.checkpoint import TrainState
from albertqa.training.fit import Fit
from albertqa.training.loop import Plan
from albertqa.windows.soundness import token_soundness
from albertqa.windows.store import WindowStore
from albertqa.windows.tokenizer import QATokenizer


def data_facts(
    sources: Sequence[str],
    examples: Sequence[Example],
    store: WindowStore,
    *,
    unknown_id: int | None,
    max_answer_length: int,
) -> dict[str, Any]:
    """Give what identifies a data set, how large it is, and how sound.

    Args:
        sources: The files or names it was read from.
        examples: The data.
        store: Its windows.
        unknown_id: See `token_soundness`.
        max_answer_length: Longest answer predicted, tokens.

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
        **token_soundness(store, examples, unknown_id=unknown_id, max_answer_length=max_answer_length),
        **answer_statistics(examples),
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
        fit: What was measured of the memory before the run began or went on; None: nothing.
        observed: See `observe`.
    """

    run: Path
    settings: Settings
    model: SpanModel
    tokenizer: QATokenizer
    data: dict[str, dict[str, Any]]
    plan: Plan
    version_2: bool
    fit: Fit | None = None
    observed: dict[str, dict[str, Any]] = field(default_factory=dict)

    def write(self, status: str, state: TrainState, failure: str = "") -> None:
        """Write the file with the run's present status, and why it failed if it did."""
        path = self.run / rundir.RUN_JSON
        before = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        now = datetime.now(UTC).isoformat(timespec="seconds")
        started = before.get("started", []) + ([now] if status == "running" else [])
        model = self.model.model
        precision = choose_precision(self.settings.mixed_precision, self.model.device)
        facts = {
            "status": status,
            **({"failure": failure} if failure else {}),
            "started": started,
            "updated": now,
            "step": state.step,
            "best_step": state.best_step,
            "train_seconds": round(state.seconds, 3),
            "command": sys.argv,
            "seed": self.settings.seed,
            "plan": dataclasses.asdict(self.plan),
            "version_2": self.version_2,
            "fit": dataclasses.asdict(self.fit) if self.fit is not None else None,
            "micro_batch": state.micro_batch or self.settings.train_batch_size,
            "recompute": state.recompute,
            "fp32_since_step": state.fp32_since_step,
            "data": self.data,
            "augmentation": state.augmentation,
            "model": {
                "source": self.settings.model,
                "type": model.config.model_type,
                "parameters": model.num_parameters(),
                "trainable_parameters": model.num_parameters(only_trainable=True),
                "tokenizer_sha256": self.tokenizer.fingerprint,
                **self.observed.get("model", {}),
            },
            "machine": {
                "device": str(self.model.device),
                "device_name": device_name(self.model.device),
                # As the run began; see fp32_since_step.
                "precision": str(precision or torch.float32).removeprefix("torch."),
                "threads": torch.get_num_threads(),
                "platform": platform.platform(),
                **self.observed.get("machine", {}),
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
