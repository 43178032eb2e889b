"""Provenance: where a run's numbers come from, written to ``run.json``."""

import dataclasses
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata

import msgspec

from albertqa.config import Settings
from albertqa.data.example import Example, content_sha256
from albertqa.data.label_checks import answer_statistics
from albertqa.files import RUN_JSON
from albertqa.run.checkpoint import Progress
from albertqa.run.fit import Fit
from albertqa.rundir.run_json import (
    Data,
    DataFacts,
    MachineFacts,
    ModelFacts,
    Plan,
    RunJson,
    read_run_json,
    write_run_json,
)
from albertqa.windows.statistics import token_statistics
from albertqa.windows.store import WindowStore


def data_facts(
    sources: Sequence[str],
    examples: Sequence[Example],
    store: WindowStore,
    *,
    unknown_id: int | None,
    max_answer_length: int,
    shared: Mapping[str, float] | None = None,
) -> DataFacts:
    """Measure what identifies a data set, how large it is, and how sound its labels are.

    Args:
        sources: The files or names it was read from.
        examples: The data.
        store: Its windows.
        unknown_id: See `token_statistics`.
        max_answer_length: Longest answer predicted, tokens.
        shared: What it shares with the training data (see `shared_content`).

    Returns:
        Facts for ``run.json``.
    """
    facts = {
        "sources": list(sources),
        "questions": len(examples),
        "without_answer": sum(not example.has_answer for example in examples),
        "content_sha256": content_sha256(examples),
        "windows": len(store),
        "windows_without_answer": int((store.columns["start_position"] == 0).sum()),
        "tokens": int(store.lengths.sum()),
        **token_statistics(store, examples, unknown_id=unknown_id, max_answer_length=max_answer_length),
        **answer_statistics(examples),
        **(shared or {}),
    }
    return msgspec.convert(facts, DataFacts)


@dataclass
class Provenance:
    """Writes a run's ``run.json``.

    Attributes:
        settings: The run's settings.
        data: Facts of the training and validation data.
        plan: The steps.
        version_2: Whether questions may have no answer.
        model: Facts of the model as it was loaded.
        machine: Facts of the machine.
        world_size: Processes that train together.
        fit: What was measured of the memory before the steps; None: nothing.
    """

    settings: Settings
    data: Data
    plan: Plan
    version_2: bool
    model: ModelFacts
    machine: MachineFacts
    world_size: int = 1
    fit: Fit | None = None

    def identity(self) -> dict[str, str]:
        """Return what the processes of a run must have in common, by name."""
        facts = {
            "the training data": self.data.train.content_sha256,
            "the validation data": self.data.validation.content_sha256,
            "the tokenizer": self.model.tokenizer_sha256,
            "the model": f"{self.model.type} of {self.model.parameters} parameters",
            **{f"the version of {name}": version for name, version in _versions().items()},
        }
        settings = {name: str(value) for name, value in dataclasses.asdict(self.settings).items()}
        return {**settings, **facts}

    def write(self, status: str, progress: Progress, failure: str = "") -> None:
        """Write the file with the run's status, and why it failed if it did."""
        run = self.settings.output_dir
        now = datetime.now(UTC).isoformat(timespec="seconds")
        started = read_run_json(run).started if (run / RUN_JSON).is_file() else []
        facts = RunJson(
            status=status,
            failure=failure,
            started=started + ([now] if status == "running" else []),
            updated=now,
            step=progress.state.step,
            best_step=progress.best.best_step,
            train_seconds=round(progress.state.seconds, 3),
            command=sys.argv,
            seed=self.settings.seed,
            plan=self.plan,
            version_2=self.version_2,
            fit=dataclasses.asdict(self.fit) if self.fit is not None else None,
            micro_batch=progress.adaptation.micro_batch or self.settings.train_batch_size,
            recompute=progress.adaptation.recompute,
            fp32_since_step=progress.adaptation.fp32_since_step,
            data=self.data,
            augmentation=progress.augmentation,
            model=self.model,
            machine=self.machine,
            versions=_versions(),
            world_size=self.world_size,
        )
        write_run_json(run, facts)


def _versions() -> dict[str, str]:
    libraries = {name: metadata.version(name) for name in ("albertqa", "torch", "tokenizers")}
    return {"python": platform.python_version(), **libraries}
