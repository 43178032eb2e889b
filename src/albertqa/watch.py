"""What a run does beside its steps: it writes down what happens, evaluates, and saves."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

from albertqa import rundir
from albertqa.config import Settings
from albertqa.errors import RunError
from albertqa.health.monitor import HealthMonitor
from albertqa.opening import Learner, RunData
from albertqa.scoring.evaluate import Evaluation, evaluate_windows, write_predictions
from albertqa.training.checkpoint import TrainState, save_checkpoint
from albertqa.training.display import Display
from albertqa.training.interrupt import StopRequest
from albertqa.training.loop import Plan, Record
from albertqa.training.observed import machine_state
from albertqa.training.trackers import Trackers


class Journal:
    """Where a run's lines go, all to each: record, trackers, display, doctor. Leaving it as a context closes it.

    Args:
        run: The run directory, with ``config.toml`` and ``run.json``.
        length_bytes: Keep this much of the record; what follows belongs to steps that are done again.
        show: What the user sees.
        trackers: What others draw curves from.

    Raises:
        RunError: The record is shorter than that.
    """

    def __init__(self, run: Path, length_bytes: int, show: Display, trackers: Trackers) -> None:
        self.show = show
        self._record, self._trackers = Record(run / rundir.METRICS_JSONL, length_bytes), trackers
        self._doctor = HealthMonitor(run, show.say)

    def stepped(self, row: dict[str, Any]) -> None:
        """Take a training step's line."""
        self._record.add(row)
        self._trackers.log(row)
        self.show.stepped(row)
        self._doctor.stepped(row)

    def evaluated(self, row: dict[str, Any]) -> None:
        """Take an evaluation's line."""
        self._record.add(row)
        self._trackers.log(row)
        self.show.evaluated(row)
        self._doctor.evaluated(row)

    def sync(self) -> int:
        """Bring the record to the disk; give its length in bytes."""
        return self._record.sync()

    def judge(self) -> None:
        """Let the doctor judge the run as its directory has it now."""
        self._doctor.finish()

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *_: object) -> None:
        self.show.stop()
        self._record.sync()
        self._record.close()
        self._trackers.close()


class RunWatcher:
    """Evaluates, saves and records as the loop goes (the `Watcher` of `train_steps`).

    Args:
        settings: The settings.
        data: What is trained on and evaluated on.
        learner: What learns.
        plan: The steps.
        journal: Where every line goes.
        request: Whether somebody asked the run to stop.
        state: Where the run stands.
    """

    def __init__(
        self,
        settings: Settings,
        data: RunData,
        learner: Learner,
        plan: Plan,
        journal: Journal,
        request: StopRequest,
        state: TrainState,
    ) -> None:
        self._settings, self._data, self._learner = settings, data, learner
        self._plan, self._journal, self._request = plan, journal, request
        self._state = state

    @property
    def state(self) -> TrainState:
        """Where the run stands, as far as it was told: for whoever has to say how it failed."""
        return replace(self._state, augmentation=self._data.augmentation)

    def stepped(self, row: dict[str, Any]) -> None:
        """Write a step down; windows without numbers by the questions they are of."""
        if "non_finite_windows" in row:
            row = {**row, "non_finite_windows": self._data.training_questions(row["non_finite_windows"])}
        self._state = replace(self._state, step=row["step"], seconds=row["seconds"], micro_batch=row["micro_batch"])
        self._journal.stepped(row)

    def evaluate(self, state: TrainState) -> TrainState:
        """Evaluate, write it down, keep the best model; give the state with what is now the best.

        Raises:
            RunError: The validation loss is no number.
        """
        evaluation = self._evaluation()
        if not math.isfinite(evaluation.loss):
            raise RunError(
                f"step {state.step}: validation loss is {evaluation.loss}; the training broke in the steps before. "
                "Lower --learning-rate or use --mixed-precision no; the last checkpoint is whole"
            )
        run, metric = self._settings.output_dir, self._settings.metric_for_best_model
        value = {"f1": evaluation.f1, "exact": evaluation.exact, "loss": -evaluation.loss}[metric]
        is_best = state.best_value is None or value > state.best_value
        row = {
            "step": state.step,
            "epoch": round(state.step / self._plan.steps_per_epoch, 6),
            "validation_loss": evaluation.loss,
            "exact": evaluation.exact,
            "f1": evaluation.f1,
            "eval_seconds": round(evaluation.seconds, 3),
            "is_best": is_best,
            **evaluation.habits,
            "weights_moved_percent": self._learner.start.moved_percent(self._learner.model.model),
            **machine_state(run),
        }
        self._journal.evaluated(row)
        if is_best:
            self._learner.save(run / rundir.BEST)
            write_predictions(run, evaluation.predictions)
            rundir.write_json(run / rundir.EVAL_JSON, {**evaluation.summary(), "step": state.step})
            self._state = replace(state, best_value=value, best_step=state.step, evaluations_since_best=0)
            return self._state
        since = state.evaluations_since_best + 1
        patience = self._settings.early_stopping_patience
        self._state = replace(state, evaluations_since_best=since, stopped_early=0 < patience <= since)
        return self._state

    def save(self, state: TrainState) -> None:
        """Write a checkpoint that knows how long the record is by then."""
        state = replace(state, metrics_bytes=self._journal.sync(), augmentation=self._data.augmentation)
        save_checkpoint(
            self._settings.output_dir,
            state,
            self._learner.model,
            self._learner.tokenizer,
            self._learner.optimizer,
            keep=self._settings.save_total_limit,
            average=self._learner.average,
        )

    def should_stop(self) -> bool:
        """Tell whether somebody asked the run to stop."""
        return self._request.signal_number is not None

    def say(self, line: str) -> None:
        """Show the user a line."""
        self._journal.show.say(line)

    def _evaluation(self) -> Evaluation:
        settings, windows, done = self._settings, self._data.validation, 0

        def progress(more: int) -> None:
            nonlocal done
            done += more
            self._journal.show.evaluating(done, len(windows))

        return evaluate_windows(
            self._learner.model,
            windows,
            self._data.examples,
            version_2=self._data.version_2,
            batch_size=settings.eval_batch_size,
            n_best_size=settings.n_best_size,
            max_answer_length=settings.max_answer_length,
            null_score_diff_threshold=settings.null_score_diff_threshold,
            progress=progress,
        )
