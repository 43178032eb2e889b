"""A listener for `train_steps`, and the call with a course's settings."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from albertqa.config import Settings
from albertqa.model.load import SpanModel, load_model
from albertqa.training.average import WeightAverage
from albertqa.run.checkpoint import TrainState
from albertqa.run.loop import Plan, plan_steps, train_steps
from albertqa.run.objective import Objective, span_objective
from albertqa.run.optimizer import build_optimizer
from albertqa.windows.store import WindowStore

from .reference import Course, Trained

# What clock and machine decide of a run's record, and nothing else.
TIMED = {
    *("seconds", "data_seconds", "tokens_per_second", "eval_seconds", "windows_per_second"),
    *("disk_free_bytes", "swap_used_bytes"),
}


@dataclass
class Listener:
    """Writes down what the loop calls, and may ask it to stop after a step."""

    stop_after: int | None = None
    stop_early_after: int | None = None
    rows: list[dict[str, Any]] = field(default_factory=list)
    evaluated: list[int] = field(default_factory=list)
    saved: list[TrainState] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    def stepped(self, row: dict[str, Any]) -> None:
        self.rows.append(row)

    def evaluate(self, state: TrainState) -> TrainState:
        self.evaluated.append(state.step)
        is_enough = self.stop_early_after is not None and state.step >= self.stop_early_after
        return TrainState(**{**vars(state), "stopped_early": is_enough})

    def save(self, state: TrainState) -> None:
        self.saved.append(state)

    def say(self, line: str) -> None:
        self.said.append(line)

    def should_stop(self) -> bool:
        return self.stop_after is not None and bool(self.rows) and self.rows[-1]["step"] >= self.stop_after


def plan_of(store: WindowStore, course: Course, **changes: Any) -> Plan:
    """Plan a course's steps."""
    return plan_steps(
        len(store),
        step_windows=course.micro_batch * course.accumulation,
        epochs=1,
        max_steps=course.total_steps,
        warmup_steps=course.warmup_steps,
        **changes,
    )


def open_model(folder: Path, course: Course, **changes: Any) -> tuple[SpanModel, torch.optim.AdamW]:
    """Load a model with its optimizer."""
    model = load_model(folder, device=torch.device("cpu"), **changes)
    optimizer = build_optimizer(model.model, learning_rate=course.learning_rate, weight_decay=course.weight_decay)
    return model, optimizer


def go_on(
    model: SpanModel,
    optimizer: torch.optim.Optimizer,
    store: WindowStore,
    course: Course,
    listener: Listener,
    state: TrainState | None = None,
    average: WeightAverage | None = None,
    *,
    objective: Objective = span_objective,
    may_recompute: bool = True,
    may_replay: bool = True,
    **plan: Any,
) -> TrainState:
    """Train from a state on."""
    return train_steps(
        model,
        store,
        optimizer,
        plan_of(store, course, **plan),
        listener,
        state=state or TrainState(),
        learning_rate=course.learning_rate,
        schedule="linear",
        micro_batch=course.micro_batch,
        accumulation=course.accumulation,
        max_grad_norm=course.max_grad_norm,
        seed=course.seed,
        objective=objective,
        average=average,
        may_recompute=may_recompute,
        may_replay=may_replay,
    )


def train_ours(folder: Path, store: WindowStore, course: Course) -> Trained:
    """Train a saved ALBERT by the project's own loop."""
    model, optimizer = open_model(folder, course)
    listener = Listener()
    go_on(model, optimizer, store, course, listener)
    return Trained(
        [row["train_loss"] for row in listener.rows], [row["grad_norm"] for row in listener.rows], model.model
    )


def small_run(model: Path, output_dir: Path, **changes: Any) -> Settings:
    """Give settings of a whole run of seconds: a saved tiny ALBERT on a few questions of the starter set."""
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
