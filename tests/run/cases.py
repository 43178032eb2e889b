"""A listener for `train_steps`, and the call with a course's settings."""

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec
import torch

from albertqa.config import MonitoringConfig, OptimizerConfig, Settings
from albertqa.files import METRICS_JSONL
from albertqa.model.load import SpanModel, load_model
from albertqa.run.callbacks import Callback
from albertqa.run.checkpoint import Progress, TrainState, remove_checkpoints, save_checkpoint
from albertqa.run.loop import TrainingWindows, plan_steps, train_steps
from albertqa.run.objective import Objective, span_objective
from albertqa.run.optimizer import build_optimizer
from albertqa.run.step import Stepper
from albertqa.rundir.rows import EvaluationRow, StepRow
from albertqa.rundir.run_json import Plan
from albertqa.windows.store import WindowStore
from albertqa.windows.tokenizer import QATokenizer

from .reference import Course, Trained

# What clock and machine decide of a run's rows, and nothing else.
TIMED = {
    *("seconds", "data_seconds", "tokens_per_second", "eval_seconds", "windows_per_second"),
    *("disk_free_bytes", "swap_used_bytes"),
}


@dataclass
class Listener(Callback):
    """Writes down what the loop calls, and may ask it to stop after a step."""

    stop_after: int | None = None
    rows: list[dict[str, Any]] = field(default_factory=list)
    evaluated: list[int] = field(default_factory=list)
    saved: list[TrainState] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    def on_step(self, row: StepRow) -> None:
        self.rows.append(msgspec.to_builtins(row))

    def on_save(self, state: TrainState) -> None:
        self.saved.append(replace(state))

    def on_message(self, text: str) -> None:
        self.said.append(text)

    def evaluate(self, step: int) -> EvaluationRow:
        self.evaluated.append(step)
        return EvaluationRow(step=step, epoch=0.0, validation_loss=1.0, f1=0.0)

    def should_stop(self) -> bool:
        return self.stop_after is not None and bool(self.rows) and self.rows[-1]["step"] >= self.stop_after


def config_of(course: Course) -> OptimizerConfig:
    """Return a course's settings."""
    return OptimizerConfig(
        learning_rate=course.learning_rate,
        train_batch_size=course.micro_batch,
        gradient_accumulation_steps=course.accumulation,
        epochs=1,
        max_steps=course.total_steps,
        warmup_steps=course.warmup_steps,
        weight_decay=course.weight_decay,
        max_grad_norm=course.max_grad_norm,
        seed=course.seed,
    )


def plan_of(store: WindowStore, course: Course, **monitoring: Any) -> Plan:
    """Plan a course's steps."""
    return plan_steps(len(store), config_of(course), MonitoringConfig(**monitoring))


def open_model(folder: Path, course: Course, **changes: Any) -> tuple[SpanModel, torch.optim.AdamW]:
    """Load a model with its optimizer."""
    model = load_model(folder, device=torch.device("cpu"), **changes)
    return model, build_optimizer(model.model, config_of(course))


def go_on(
    model: SpanModel,
    optimizer: torch.optim.Optimizer,
    store: WindowStore,
    course: Course,
    listener: Listener,
    progress: Progress | None = None,
    *,
    windows: TrainingWindows | None = None,
    objective: Objective = span_objective,
    may_recompute: bool = True,
    **monitoring: Any,
) -> Progress:
    """Train from where a run is; return where it is then."""
    progress = progress or Progress()
    stepper = Stepper(
        model,
        optimizer,
        objective,
        config_of(course),
        progress.adaptation,
        may_recompute=may_recompute,
        say=listener.on_message,
    )
    train_steps(
        stepper,
        windows or TrainingWindows(store),
        config_of(course),
        plan_of(store, course, **monitoring),
        progress.state,
        callbacks=[listener],
        evaluate=listener.evaluate,
        should_stop=listener.should_stop,
    )
    return progress


def save(run: Path, progress: Progress, model: SpanModel, tokenizer: QATokenizer, optimizer: Any, *, keep: int) -> Path:
    """Save a checkpoint as a run does."""
    folder = save_checkpoint(run, progress, model, tokenizer, optimizer)
    remove_checkpoints(folder, keep=keep)
    return folder


def rows_in(run: Path) -> list[dict[str, Any]]:
    """Return the lines of a run's ``metrics.jsonl``."""
    return [json.loads(line) for line in (run / METRICS_JSONL).read_text().splitlines()]


def train_ours(folder: Path, store: WindowStore, course: Course) -> Trained:
    """Train a saved ALBERT by the project's own loop."""
    model, optimizer = open_model(folder, course)
    listener = Listener()
    go_on(model, optimizer, store, course, listener)
    return Trained(
        [row["train_loss"] for row in listener.rows], [row["grad_norm"] for row in listener.rows], model.model
    )


def small_run(model: Path, output_dir: Path, **changes: Any) -> Settings:
    """Return settings of a whole run of seconds: a saved tiny ALBERT on a few questions of the starter set."""
    settings = Settings(
        model=str(model),
        train_file=("starter:train",),
        validation_file=("starter:validation",),
        output_dir=output_dir,
        max_train_examples=12,
        max_eval_examples=6,
        max_seq_length=96,
        doc_stride=32,
        train_batch_size=8,
        epochs=2.0,
        learning_rate=1e-3,
        device="cpu",
        mixed_precision="no",
        num_threads=1,
    )
    return replace(settings, **changes)
