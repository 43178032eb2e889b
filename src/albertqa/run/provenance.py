"""Provenance: where a run's numbers come from, written to ``run.json``."""

import dataclasses
import platform
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata

from albertqa.config import Settings
from albertqa.files import RUN_JSON
from albertqa.run.checkpoint import Progress
from albertqa.run.fit import Fit
from albertqa.rundir.run_json import Data, MachineFacts, ModelFacts, Plan, RunJson, read_run_json, write_run_json


@dataclass
class Provenance:
    """Writes a run's ``run.json``; what its fields hold, `RunJson` says."""

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
