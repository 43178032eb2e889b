"""Evaluation while a run trains: scores on the validation data, and the best model so far."""

import math
from collections.abc import Sequence
from dataclasses import replace

from albertqa.config import Settings
from albertqa.errors import RunError
from albertqa.files import BEST, EVAL_JSON, SUSPECTS_JSON, write_json
from albertqa.model.world import World
from albertqa.run.callbacks import Callback
from albertqa.run.checkpoint import BestModel
from albertqa.run.inspection import machine_state
from albertqa.run.setup import Learner, RunData
from albertqa.run.train_sample import TrainSample
from albertqa.rundir.rows import EvaluationRow
from albertqa.rundir.run_json import Plan
from albertqa.scoring.evaluation import Evaluation, evaluate_windows, fit_probabilities, write_predictions


class Evaluator:
    """Evaluates a run's model and keeps the best.

    Args:
        settings: The run's settings.
        data: The run's data.
        learner: The model.
        plan: The steps.
        best: The best model so far; kept up to date.
        world: The processes that share the windows; process 0 writes.
        callbacks: Told of the progress of an evaluation.
    """

    def __init__(
        self,
        settings: Settings,
        data: RunData,
        learner: Learner,
        plan: Plan,
        best: BestModel,
        world: World,
        callbacks: Sequence[Callback],
    ) -> None:
        self._settings, self._data, self._learner, self._plan = settings, data, learner, plan
        self.best, self._world, self._callbacks = best, world, callbacks
        self._sample = TrainSample(data.train, len(data.validation))

    def evaluate(self, step: int) -> EvaluationRow:
        """Evaluate after a number of steps; write ``best/`` and its files if it is the best so far.

        Raises:
            RunError: The validation loss is NaN or infinite.
        """
        evaluation = self._run_model()
        if not math.isfinite(evaluation.loss):
            raise RunError(
                f"step {step}: validation loss is {evaluation.loss}; the training broke in the steps before. "
                "Lower --learning-rate or use --mixed-precision no; the last checkpoint is complete"
            )
        run = self._settings.output_dir
        is_best = self._count(evaluation, step)
        if self._world.is_main and (is_best or self.best.stopped_early or step == self._plan.total_steps):
            self._calibrate(evaluation)
        if is_best and self._world.is_main:
            self._learner.save(run / BEST)
            write_predictions(run, evaluation.predictions)
            write_json(run / EVAL_JSON, {**evaluation.summary(), "step": step})
        statistics, settings = evaluation.answer_statistics, self._settings
        figures, suspects = self._sample.evaluate(self._learner.model, batch_size=settings.eval_batch_size)
        if self._world.is_main:
            write_json(run / SUSPECTS_JSON, {"step": step, "suspects": suspects})
        return EvaluationRow(
            step=step,
            epoch=round(step / self._plan.steps_per_epoch, 6),
            validation_loss=evaluation.loss,
            validation_loss_error=evaluation.loss_error,
            exact=evaluation.exact,
            f1=evaluation.f1,
            eval_seconds=round(evaluation.seconds, 3),
            is_best=is_best,
            weights_moved_percent=self._learner.start.moved_percent(self._learner.model.model),
            predicted_empty_percent=statistics.empty_percent,
            predicted_words_mean=statistics.words_mean,
            same_start=statistics.same_start,
            same_start_percent=statistics.same_start_percent,
            contradicted_percent=statistics.contradicted_percent,
            **figures,
            **machine_state(run),
        )

    def _count(self, evaluation: Evaluation, step: int) -> bool:
        """Update the best so far and early stopping; return whether this is the best."""
        best, metric = self.best, self._settings.metric_for_best_model
        value = {"f1": evaluation.f1, "exact": evaluation.exact, "loss": -evaluation.loss}[metric]
        if best.best_value is None or value > best.best_value:
            best.best_value, best.best_step, best.evaluations_since_best = value, step, 0
            return True
        best.evaluations_since_best += 1
        best.stopped_early = 0 < self._settings.early_stopping_patience <= best.evaluations_since_best
        return False

    def _calibrate(self, evaluation: Evaluation) -> None:
        """Fit the probabilities of the model as it is now; they are saved with it."""
        learner = self._learner
        confidence = fit_probabilities(
            learner.model, learner.tokenizer, learner.reader, evaluation, version_2=self._data.version_2
        )
        learner.reader = replace(learner.reader, confidence=confidence)

    def _run_model(self) -> Evaluation:
        windows, done = self._data.validation, 0

        def progress(more: int) -> None:
            nonlocal done
            done += more
            for callback in self._callbacks:
                callback.on_evaluation_progress(done, len(windows))

        return evaluate_windows(
            self._learner.model,
            windows,
            self._data.examples,
            self._settings,
            version_2=self._data.version_2,
            batch_size=self._settings.eval_batch_size,
            progress=progress,
            world=self._world,
        )
