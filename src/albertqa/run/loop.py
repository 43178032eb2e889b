"""The training loop.

A step takes the next windows of the epoch's order, adds up their gradients in micro-batches without padding so that the
loss is the mean over the step's windows, clips, and steps (`albertqa.run.step`). Where a run is follows from the steps
done: epoch, position and learning rate, so a resumed run does what the uninterrupted one would have done.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pyarrow as pa
from msgspec import UNSET
from numpy.typing import NDArray

from albertqa.config import MonitoringConfig, OptimizerConfig
from albertqa.run.callbacks import Callback
from albertqa.run.checkpoint import TrainState
from albertqa.run.optimizer import scheduled_rate
from albertqa.run.step import Stepper
from albertqa.rundir.rows import EvaluationRow, StepRow
from albertqa.rundir.run_json import Plan
from albertqa.windows.augmentation import Augmenter
from albertqa.windows.batches import WindowSource, epoch_order
from albertqa.windows.store import WindowStore


@dataclass(frozen=True)
class TrainingWindows:
    """The windows that a run trains on.

    Attributes:
        store: The windows.
        ids: Id of each example, by the windows' `example_index`; None: not known. An Arrow array: a list of so many
            strings takes several times the memory.
        augmenter: Changes the windows, differently in every epoch; None: they stay as they are.
    """

    store: WindowStore
    ids: pa.Array | None = None
    augmenter: Augmenter | None = None

    def epoch(self, epoch: int) -> WindowSource:
        """Return the windows as an epoch sees them, in the store's order."""
        return self.augmenter(epoch) if self.augmenter is not None else self.store

    def question_ids(self, windows: NDArray[np.int64]) -> list[str]:
        """Return the ids of the questions that windows are of, each once."""
        examples = self.store.columns["example_index"][windows]
        ids = self.ids.take(examples).to_pylist() if self.ids is not None else map(str, examples)
        return list(dict.fromkeys(ids))


def plan_steps(num_windows: int, optimizer: OptimizerConfig, monitoring: MonitoringConfig) -> Plan:
    """Count a run's steps.

    Args:
        num_windows: Training windows; an epoch's last step may have fewer than the others.
        optimizer: Windows of a step, epochs or steps, warm-up.
        monitoring: When to evaluate and save.
    """
    per_epoch = math.ceil(num_windows / optimizer.step_windows)
    total = optimizer.max_steps or max(1, math.ceil(optimizer.epochs * per_epoch))

    def every(steps: float | None) -> int:
        if steps is None:
            return per_epoch
        return max(1, round(steps * per_epoch)) if steps < 1 else int(steps)

    return Plan(
        steps_per_epoch=per_epoch,
        total_steps=total,
        warmup_steps=optimizer.warmup_steps or math.ceil(optimizer.warmup_ratio * total),
        eval_every_steps=every(monitoring.eval_steps),
        save_every_steps=every(monitoring.save_steps),
    )


def train_steps(
    stepper: Stepper,
    windows: TrainingWindows,
    config: OptimizerConfig,
    plan: Plan,
    state: TrainState,
    *,
    callbacks: Sequence[Callback] = (),
    evaluate: Callable[[int], EvaluationRow] | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    learning_rate: Callable[[int], float] | None = None,
) -> None:
    """Train until the plan is done or something asks the run to stop.

    Args:
        stepper: Does the steps.
        windows: Training windows.
        config: Windows of a step, seed of the data order, learning-rate schedule.
        plan: The steps.
        state: How far the run is; kept up to date.
        callbacks: Called with every step, evaluation and checkpoint, in order.
        evaluate: Evaluates after a number of steps; None: never.
        should_stop: Whether to stop after the step that was just done, with a checkpoint.
        learning_rate: Learning rate of a step, counted from 0; None: the settings' schedule.

    Raises:
        RunError: The memory does not hold one window, or loss or gradient is NaN or infinite in step after step.
    """
    rate_at = learning_rate or partial(scheduled_rate, config, plan)
    order: NDArray[np.int64] = np.empty(0, dtype=np.int64)
    order_epoch, view = -1, windows.epoch(0)
    stopping = stepper.world.any(should_stop())
    while state.step < plan.total_steps and not stopping:
        started = time.perf_counter()
        epoch, position = divmod(state.step, plan.steps_per_epoch)
        if epoch != order_epoch:
            order, order_epoch = epoch_order(len(windows.store), seed=config.seed, epoch=epoch), epoch
            view = windows.epoch(epoch)
        indices = order[position * config.step_windows : (position + 1) * config.step_windows]
        # Read once: a step that is done again must see the same augmented windows.
        batch = [view[int(index)] for index in indices]
        data_seconds = time.perf_counter() - started

        rate = rate_at(state.step)
        step = stepper.step(batch, state.step + 1, rate)
        seconds = time.perf_counter() - started
        state.step += 1
        state.seconds += seconds
        row = StepRow(
            step=state.step,
            epoch=round(state.step / plan.steps_per_epoch, 6),
            train_loss=step.loss if math.isfinite(step.loss) else None,
            learning_rate=rate,
            grad_norm=step.norm if math.isfinite(step.norm) else None,
            tokens=step.tokens,
            tokens_per_second=round(step.tokens / seconds, 1),
            seconds=round(state.seconds, 3),
            data_seconds=round(data_seconds, 6),
            micro_batch=step.micro_batch,
            out_of_memory=step.ran_out_of_memory or UNSET,
            skipped=bool(step.faulty_windows) or UNSET,
            non_finite_windows=windows.question_ids(indices[list(step.faulty_windows)]) or UNSET,
        )
        for callback in callbacks:
            callback.on_step(row)
        stepper.check_faults(step, state.step, rate)

        is_last = state.step == plan.total_steps
        if evaluate is not None and (is_last or state.step % plan.eval_every_steps == 0):
            evaluation = evaluate(state.step)
            for callback in callbacks:
                callback.on_evaluation(evaluation)
        stopping = stepper.world.any(should_stop())
        if is_last or stopping or state.step % plan.save_every_steps == 0:
            for callback in callbacks:
                callback.on_save(state)
            stopping = stepper.world.any(should_stop())
