"""The recipe, top to bottom: settings in, finished run directory out.

    data → windows → model → steps, with an evaluation at every interval → best/ and final/

Run it as ``albertqa train`` or `albertqa.train(Settings(...))`.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from albertqa.config import Settings, load_settings, to_toml
from albertqa.decode.reader_settings import ReaderSettings
from albertqa.errors import AlbertQAError, RunError, SettingsError
from albertqa.files import BEST, CHECKPOINTS, CONFIG_TOML, FINAL, RUN_JSON, remove_leftovers, write_text
from albertqa.model.load import resolve_model
from albertqa.model.world import World, open_world
from albertqa.run.callbacks import Callback, Checkpoints, RecordRows
from albertqa.run.checkpoint import Progress, load_checkpoint, newest_checkpoint, remove_checkpoints, save_checkpoint
from albertqa.run.evaluator import Evaluator
from albertqa.run.health_monitor import HealthMonitor
from albertqa.run.inspection import machine_facts, model_facts, weights_sha256
from albertqa.run.interrupt import StopRequest
from albertqa.run.loop import plan_steps, train_steps
from albertqa.run.provenance import Provenance
from albertqa.run.setup import fit_steps, load_data, load_learner, open_stepper, set_up_device
from albertqa.run.trackers import ExperimentTracker, open_trackers
from albertqa.rundir.directory import locked, read_scores
from albertqa.rundir.rows import RowWriter
from albertqa.rundir.run_json import read_run_json
from albertqa.windows.tokenizer import load_tokenizer

_MAY_CHANGE_ON_RESUME = {
    *("output_dir", "logging_steps", "report_to", "save_total_limit", "eval_batch_size"),
    # On less memory, or without a compiler, sums are in another order.
    *("gradient_checkpointing", "fit", "torch_compile"),
}
"""Settings that may differ when a run is resumed: none of them changes a result."""


@dataclass(frozen=True)
class RunResult:
    """How a run ended.

    Attributes:
        run: The run directory.
        status: ``finished``, ``stopped early`` or ``interrupted``.
        step: Optimizer steps done.
        best_step: Step of ``best/``; 0 before the first evaluation.
        scores: Content of ``eval.json``, the evaluation of ``best/``; empty before the first evaluation.
        signal_number: The signal that interrupted it, or None.
    """

    run: Path
    status: str
    step: int
    best_step: int
    scores: dict[str, float]
    signal_number: int | None = None


def train(
    settings: Settings,
    *,
    resume: bool = False,
    callbacks: Sequence[Callback] = (),
    should_stop: Callable[[], bool] = lambda: False,
) -> RunResult:
    """Fine-tune a model.

    Args:
        settings: The settings.
        resume: Go on with the run in `settings.output_dir` from its newest complete checkpoint.
        callbacks: Called with every message, step, evaluation and checkpoint (see `Callback`).
        should_stop: Asked after every step; where it says so, the run is interrupted, with a checkpoint.

    Returns:
        How the run ended.

    Raises:
        AlbertQAError: Something the user can act on; nothing of the run is lost.
    """
    settings.check()
    device = set_up_device(settings)
    with open_world(device.type) as world:
        # Process 0 alone writes and reports.
        if not world.is_main:
            callbacks = ()
        else:
            _check_folder(settings.output_dir, settings, resume=resume)
        world.wait()
        with locked(settings.output_dir) if world.is_main else nullcontext(), StopRequest() as request:
            if world.is_main:
                remove_leftovers(settings.output_dir)
                remove_leftovers(settings.output_dir / CHECKPOINTS)
            training = _Training(settings, device, world, callbacks)
            training.resume() if resume else training.start()
            training.fit()
            result = training.run(request, should_stop)
            world.wait()
        return result


class _Training:
    """A run from its data to its end: prepared, then `start` or `resume`, `fit` and `run`."""

    def __init__(self, settings: Settings, device: torch.device, world: World, callbacks: Sequence[Callback]) -> None:
        """Prepare data and windows, model and optimizer, and the plan of the steps."""
        self._settings, self._world, self._callbacks = settings, world, callbacks
        self._folder = settings.output_dir
        source = resolve_model(settings.model)
        self._tokenizer = load_tokenizer(source)
        self._data = load_data(settings, source, self._tokenizer, self._say)
        self._learner = load_learner(settings, source, self._tokenizer, device, self._data)
        self._plan = plan_steps(len(self._data.train.store), settings, settings)
        self._progress = Progress()
        model = self._learner.model
        self._provenance = Provenance(
            settings,
            self._data.facts,
            self._plan,
            self._data.version_2,
            model_facts(model, self._tokenizer, settings.model),
            machine_facts(model, self._folder),
            world.size,
        )
        if world.size > 1:
            weights = {"the SHA-256 of the weights": weights_sha256(model.model)}
            world.require_agreement({**self._provenance.identity(), **weights})

    def start(self) -> None:
        """Take the run directory.

        Only now, so that a mistake in the settings, once corrected, does not find it taken.
        """
        self._trackers = self._open_trackers()
        if self._world.is_main:
            _refuse_taken(self._folder)
            write_text(self._folder / CONFIG_TOML, to_toml(self._settings))

    def resume(self) -> None:
        """Put model, optimizer and random generators back to the newest undamaged checkpoint."""
        # A run that was killed at once has none yet.
        facts = read_run_json(self._folder) if (self._folder / RUN_JSON).is_file() else None
        checkpoint, warnings = newest_checkpoint(self._folder)
        for warning in warnings:
            self._say(f"warning: {warning}")
        if checkpoint is not None:
            self._progress = load_checkpoint(checkpoint, self._learner.model, self._learner.optimizer)
            self._check_progress(checkpoint)
        elif (self._folder / FINAL).is_dir() or (facts is not None and facts.status in {"finished", "stopped early"}):
            raise RunError(f"{self._folder}: the run is over, without a checkpoint. Choose another --output-dir")
        self._say(f"resuming from step {self._progress.state.step} of {self._plan.total_steps}")
        before = self._world.size if facts is None else facts.world_size
        if before != self._world.size:
            self._say(f"{self._world.size} processes, {before} before: same data order, sums in another order")
        self._trackers = self._open_trackers()

    def _check_progress(self, checkpoint: Path) -> None:
        """Refuse a checkpoint whose numbers this run cannot have written."""
        step, micro_batch = self._progress.state.step, self._progress.adaptation.micro_batch or 1
        for name, value, most in (
            ("step", step, self._plan.total_steps),
            ("best_step", self._progress.best.best_step, step),
            ("micro_batch", micro_batch, self._settings.train_batch_size),
        ):
            if value > most:
                raise RunError(
                    f"{checkpoint}: {name} is {value:,}, expected at most {most:,}. Start again in another --output-dir"
                )

    def fit(self) -> None:
        """Fit the steps to the memory, of the smallest machine if there are several."""
        adaptation = self._progress.adaptation
        if self._progress.state.step == self._plan.total_steps:
            return
        self._provenance.fit = fit_steps(self._settings, self._learner, self._data.train.store, adaptation, self._say)
        everywhere = self._world.gather((adaptation.micro_batch or 0, adaptation.recompute))
        adaptation.micro_batch = min(micro_batch for micro_batch, _ in everywhere) or None
        adaptation.recompute = any(recompute for _, recompute in everywhere)

    def run(self, request: StopRequest, should_stop: Callable[[], bool]) -> RunResult:
        """Do the steps; write the final model and how the run ended."""
        state, best = self._progress.state, self._progress.best
        evaluator = Evaluator(self._settings, self._data, self._learner, self._plan, best, self._world, self._callbacks)
        adaptation = self._progress.adaptation
        stepper = open_stepper(self._settings, self._learner, adaptation, self._say, self._world)
        with self._writing() as callbacks:
            for callback in callbacks:
                callback.on_start(state.step, self._plan.total_steps)
            train_steps(
                stepper,
                self._data.train,
                self._settings,
                self._plan,
                state,
                callbacks=callbacks,
                evaluate=evaluator.evaluate,
                should_stop=lambda: request.signal_number is not None or best.stopped_early or should_stop(),
            )
            is_done = state.step == self._plan.total_steps
            status = "finished" if is_done else "stopped early" if best.stopped_early else "interrupted"
            if self._world.is_main:
                if status != "interrupted":
                    self._save_final()
                self._provenance.write(status, self._progress)
        scores = read_scores(self._folder)
        return RunResult(self._folder, status, state.step, best.best_step, scores, request.signal_number)

    def _save_final(self) -> None:
        """Write the final model; a run that was interrupted right before this has its probabilities in ``best/``."""
        learner, best = self._learner, self._folder / BEST
        if learner.reader.confidence is None and self._progress.best.best_step == self._progress.state.step:
            learner.reader = replace(learner.reader, confidence=ReaderSettings.load(best).confidence)
        learner.save(self._folder / FINAL)

    @contextmanager
    def _writing(self) -> Iterator[list[Callback]]:
        """Yield what writes and reports beside the steps, in process 0 only, and end it however they end."""
        if not self._world.is_main:
            yield []
            return
        self._provenance.write("running", self._progress)
        rows = RowWriter(self._folder, self._progress.metrics_bytes)
        if (augmenter := self._data.train.augmenter) is not None:
            if self._progress.augmentation:
                augmenter.resume_counts(self._progress.augmentation)
            self._progress.augmentation = augmenter.counts

        def save() -> None:
            self._progress.metrics_bytes = rows.sync()
            model, optimizer = self._learner.model, self._learner.optimizer
            written = save_checkpoint(self._folder, self._progress, model, self._tokenizer, optimizer)
            remove_checkpoints(written, keep=self._settings.save_total_limit)

        monitor = HealthMonitor(self._folder, self._say)
        callbacks = [RecordRows(rows), *self._trackers, *self._callbacks, monitor, Checkpoints(save)]
        try:
            yield callbacks
        except Exception as error:
            # On a full disk, say, this fails too; what is reported is the error.
            with suppress(AlbertQAError, OSError):
                self._provenance.write("failed", self._progress, str(error) or type(error).__name__)
            raise
        finally:
            for callback in callbacks:
                callback.on_end()

    def _open_trackers(self) -> list[ExperimentTracker]:
        names = self._settings.report_to if self._world.is_main else ()
        return open_trackers(names, self._folder, dataclasses.asdict(self._settings))

    def _say(self, text: str) -> None:
        for callback in self._callbacks:
            callback.on_message(text)


def _check_folder(run: Path, settings: Settings, *, resume: bool) -> None:
    """Refuse a run directory that holds another run, or none to resume; create it where it is missing."""
    config = run / CONFIG_TOML
    if resume:
        if not config.is_file():
            raise RunError(f"{run}: no run to resume there (no {CONFIG_TOML}). Start it without --resume")
        before = load_settings(config, is_run=True)
        changed = [
            f"{field.name} is {getattr(settings, field.name)}, the run has {getattr(before, field.name)}"
            for field in dataclasses.fields(Settings)
            if field.name not in _MAY_CHANGE_ON_RESUME and getattr(settings, field.name) != getattr(before, field.name)
        ]
        if changed:
            remedy = "Leave the flags out"
            if settings.num_threads != before.num_threads is None:
                remedy += "; other threads from here on: OMP_NUM_THREADS=N, and results then differ in the last digits"
            raise SettingsError(f"{run}: a resumed run keeps its settings: {'; '.join(changed)}. {remedy}")
        return
    _refuse_taken(run)
    if run.is_file():
        raise RunError(f"{run}: is a file, expected a folder for the run. Choose another --output-dir")
    run.mkdir(parents=True, exist_ok=True)


def _refuse_taken(run: Path) -> None:
    if (run / CONFIG_TOML).exists():
        raise RunError(f"{run}: already holds a run. Resume it with --resume, or choose another --output-dir")
