"""The training loop.

A step takes the next windows of the epoch's order, in micro-batches without padding, adds up their gradients so that
the loss is the mean over the step's windows, clips, and steps (`albertqa.training.step`). Where the run stands is one
number (steps done): epoch, position and learning rate follow from it, so a resumed run does what the uninterrupted one
would have done.

A CUDA GPU is one step ahead of the record: while it works on a step, the host packs and gives it the next, and only
then reads what the first one gave. Nothing is outstanding where the run evaluates, saves or ends.
"""

import json
import math
import os
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from albertqa.errors import RunError
from albertqa.model.load import SpanModel
from albertqa.training.average import WeightAverage, judged_weights
from albertqa.training.checkpoint import TrainState
from albertqa.training.objective import Objective, span_objective
from albertqa.training.optimizer import rate_factor
from albertqa.training.step import Begun, Stepper
from albertqa.windows.batches import WindowSource, epoch_order
from albertqa.windows.store import WindowStore

MOST_FAULTS = 5
"""Steps in a row whose loss or gradient is no number, with which a run ends."""


@dataclass(frozen=True)
class Plan:
    """How many steps there are and what happens when; all in optimizer steps.

    Attributes:
        steps_per_epoch: Steps of one pass over the windows.
        total_steps: Steps of the run.
        warmup_steps: Steps of the warm-up.
        eval_every_steps: Steps between evaluations.
        save_every_steps: Steps between checkpoints.
    """

    steps_per_epoch: int
    total_steps: int
    warmup_steps: int
    eval_every_steps: int
    save_every_steps: int


def plan_steps(
    num_windows: int,
    *,
    step_windows: int,
    epochs: float,
    max_steps: int | None = None,
    warmup_ratio: float = 0.0,
    warmup_steps: int = 0,
    eval_steps: float | None = None,
    save_steps: float | None = None,
) -> Plan:
    """Count a run's steps.

    Args:
        num_windows: Training windows.
        step_windows: Windows of one optimizer step; an epoch's last step may have fewer.
        epochs: Passes over the windows.
        max_steps: Steps in all, instead of the epochs.
        warmup_ratio: Share of all steps for the warm-up.
        warmup_steps: Its steps, instead of the share.
        eval_steps: Steps between evaluations, below 1 a fraction of an epoch, None an epoch.
        save_steps: Steps between checkpoints, likewise.

    Returns:
        The plan.
    """
    per_epoch = math.ceil(num_windows / step_windows)
    total = max_steps or max(1, math.ceil(epochs * per_epoch))

    def every(steps: float | None) -> int:
        if steps is None:
            return per_epoch
        return max(1, round(steps * per_epoch)) if steps < 1 else int(steps)

    return Plan(per_epoch, total, warmup_steps or math.ceil(warmup_ratio * total), every(eval_steps), every(save_steps))


class Watcher(Protocol):
    """What the loop calls as it goes; see `albertqa.watch`."""

    def stepped(self, row: dict[str, Any]) -> None:
        """Take one line of the record: a training step."""

    def evaluate(self, state: TrainState) -> TrainState:
        """Evaluate at this step; give the state with what is now the best."""
        ...

    def save(self, state: TrainState) -> None:
        """Write a checkpoint."""

    def should_stop(self) -> bool:
        """Tell whether somebody asked the run to stop."""
        ...

    def say(self, line: str) -> None:
        """Show the user a line: something went wrong, and the run got over it."""


class Record:
    """The run's record, ``metrics.jsonl``: append-only, one JSON object a line.

    Args:
        path: The file.
        length_bytes: Keep this much of it; what follows belongs to steps that are done again.

    Raises:
        RunError: The file is shorter than that.
    """

    def __init__(self, path: Path, length_bytes: int = 0) -> None:
        # Unbuffered, so that whoever watches the run sees every step at once.
        self._file: IO[bytes] = path.open("ab", buffering=0)
        found_bytes = self._file.tell()
        if found_bytes < length_bytes:
            self._file.close()
            raise RunError(
                f"{path}: has {found_bytes} bytes, the checkpoint was written when it had {length_bytes}; lines are "
                "lost. Put the file back, or start anew in another --output-dir"
            )
        self._file.truncate(length_bytes)
        # Truncating leaves the position where it was, and `sync` tells the position.
        self._file.seek(length_bytes)

    def add(self, row: dict[str, Any]) -> None:
        """Append one line."""
        self._file.write(json.dumps(row, allow_nan=False).encode() + b"\n")

    def sync(self) -> int:
        """Bring everything to the disk; give the record's length in bytes."""
        os.fsync(self._file.fileno())
        return self._file.tell()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def train_steps(
    model: SpanModel,
    store: WindowStore,
    optimizer: torch.optim.Optimizer,
    plan: Plan,
    watcher: Watcher,
    *,
    state: TrainState,
    learning_rate: float,
    schedule: str | Callable[[int], float],
    micro_batch: int,
    accumulation: int,
    max_grad_norm: float,
    seed: int,
    objective: Objective = span_objective,
    view_of_epoch: Callable[[int], WindowSource] | None = None,
    average: WeightAverage | None = None,
    may_recompute: bool = True,
    may_replay: bool = True,
) -> TrainState:
    """Train until the plan is done, the run stops early, or somebody stops it.

    Args:
        model: The model.
        store: Training windows.
        optimizer: Its optimizer.
        plan: The steps.
        watcher: Called with every step, and when the plan says to evaluate or save.
        state: Where the run stands.
        learning_rate: Peak learning rate.
        schedule: Name (see `rate_factor`), or the factor on the peak learning rate by the number of the step from 0.
        micro_batch: Windows of one forward and backward.
        accumulation: Micro-batches of one step.
        max_grad_norm: Clip the gradient to this norm; 0: never.
        seed: Seed of the data order.
        objective: What the steps minimize.
        view_of_epoch: How an epoch sees the windows (augmented, say), by its number from 0; None: as they are.
        average: Moving average of the weights, which evaluations see in their place; None: they see the weights.
        may_recompute: Whether activations may be recomputed where the memory does not hold a window otherwise.
        may_replay: Whether a GPU may replay forward and backward from recordings (see `albertqa.model.replay`).

    Returns:
        Where the run stands now.

    Raises:
        RunError: The memory does not hold one window, or loss or gradient is no number in step after step.
    """
    step_windows = micro_batch * accumulation
    stepper = Stepper(
        model,
        optimizer,
        objective,
        state=state,
        micro_batch=micro_batch,
        max_grad_norm=max_grad_norm,
        may_recompute=may_recompute,
        may_replay=may_replay,
        say=watcher.say,
    )
    order: NDArray[np.int64] = np.empty(0, dtype=np.int64)
    order_epoch = -1
    view: WindowSource = store
    outstanding = _Outstanding(stepper, watcher)
    is_stopping = watcher.should_stop()
    while state.step < plan.total_steps and not state.stopped_early and not is_stopping:
        started = time.perf_counter()
        epoch, at = divmod(state.step, plan.steps_per_epoch)
        if epoch != order_epoch:
            order, order_epoch = epoch_order(len(store), seed=seed, epoch=epoch), epoch
            view = view_of_epoch(epoch) if view_of_epoch is not None else store
        factor = (
            rate_factor(state.step, total_steps=plan.total_steps, warmup_steps=plan.warmup_steps, schedule=schedule)
            if isinstance(schedule, str)
            else schedule(state.step)
        )
        rate = learning_rate * factor
        for group in optimizer.param_groups:
            group["lr"] = rate
        indices = order[at * step_windows : (at + 1) * step_windows]
        # Taken once: a step that is done again must not see them changed anew.
        windows = [view[int(index)] for index in indices]
        data_seconds = time.perf_counter() - started
        fitting = (state.micro_batch, state.recompute)
        try:
            given, state = stepper.begin(windows, state)
        except RunError:
            outstanding.read(state)
            raise
        if average is not None:
            average.update(given.number, given.is_applied)
        state = replace(state, step=given.number)
        ran_out = fitting != (state.micro_batch, state.recompute)
        outstanding.add(_Given(given, indices, state.step / plan.steps_per_epoch, rate, started, data_seconds, ran_out))
        last = state.step == plan.total_steps
        is_evaluated = last or state.step % plan.eval_every_steps == 0
        is_saved = last or state.step % plan.save_every_steps == 0
        state = outstanding.read(state, but=int(stepper.may_run_ahead and not (is_evaluated or is_saved)))
        if is_evaluated:
            with judged_weights(average):
                state = watcher.evaluate(state)
        is_stopping = watcher.should_stop()
        if is_stopping:
            state = outstanding.read(state)
        if is_saved or is_stopping or state.stopped_early:
            watcher.save(state)
            is_stopping = watcher.should_stop()
    return state


@dataclass(frozen=True)
class _Given:
    """A step that the device was given, and what the record will have of it; times in seconds.

    `ran_out` is whether the memory did not hold it as the run had it before.
    """

    begun: Begun
    indices: NDArray[np.int64]
    epoch: float
    learning_rate: float
    started: float
    data_seconds: float
    ran_out: bool


class _Outstanding:
    """Steps that the device was given and nobody has read yet, oldest first."""

    def __init__(self, stepper: Stepper, watcher: Watcher) -> None:
        self._stepper, self._watcher = stepper, watcher
        self._given: deque[_Given] = deque()
        self._last_read = 0.0

    def add(self, given: _Given) -> None:
        """Add a step."""
        self._given.append(given)

    def read(self, state: TrainState, *, but: int = 0) -> TrainState:
        """Wait for the steps, and record them.

        Args:
            state: Where the run stands.
            but: So many of the newest are left.

        Returns:
            The state with what was learned of their numbers.

        Raises:
            RunError: Loss or gradient is no number in step after step.
        """
        while len(self._given) > but:
            state = self._record(self._given.popleft(), state)
        return state

    def _record(self, given: _Given, state: TrainState) -> TrainState:
        step, state = self._stepper.finish(given.begun, state)
        now = time.perf_counter()
        # Where steps overlap, a step's time is what it adds.
        seconds = now - max(given.started, self._last_read)
        self._last_read = now
        state = replace(state, seconds=state.seconds + seconds)
        row = {
            "step": given.begun.number,
            "epoch": round(given.epoch, 6),
            "train_loss": step.loss if math.isfinite(step.loss) else None,
            "learning_rate": given.learning_rate,
            "grad_norm": step.norm if math.isfinite(step.norm) else None,
            "tokens": step.tokens,
            "tokens_per_second": round(step.tokens / seconds, 1),
            "seconds": round(state.seconds, 3),
            "data_seconds": round(given.data_seconds, 6),
            "micro_batch": step.micro_batch,
        }
        if given.ran_out:
            row |= {"out_of_memory": True}
        if step.faulty_windows:
            row |= {"skipped": True, "non_finite_windows": given.indices[list(step.faulty_windows)].tolist()}
        self._watcher.stepped(row)
        if state.faults_in_a_row >= MOST_FAULTS:
            raise RunError(
                f"step {given.begun.number}: loss is {step.loss:g}, gradient norm {step.norm:g}, the {MOST_FAULTS}th "
                "step in a row with such numbers; none of them was applied. Lower --learning-rate (now "
                f"{given.learning_rate:g}), or look at the windows that metrics.jsonl names; the last checkpoint is "
                "whole"
            )
        return state
