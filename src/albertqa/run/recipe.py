"""The recipe, top to bottom: settings in, finished run directory out.

    data → windows → model → steps, with an evaluation at every interval → best/ and final/

Run it as ``albertqa train`` or `albertqa.train(Settings(...))`.
"""

import dataclasses
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path

import torch

from albertqa.config import Settings, load_settings, to_toml
from albertqa.errors import AlbertQAError, RunError, SettingsError
from albertqa.files import CONFIG_TOML, FINAL, write_text
from albertqa.model.load import resolve_model
from albertqa.model.world import World, open_world
from albertqa.run.callbacks import Callback, Checkpoints, RecordRows
from albertqa.run.checkpoint import Progress, load_checkpoint, newest_checkpoint, remove_checkpoints, save_checkpoint
from albertqa.run.evaluator import Evaluator
from albertqa.run.health_monitor import HealthMonitor
from albertqa.run.inspection import machine_facts, model_facts
from albertqa.run.interrupt import StopRequest
from albertqa.run.loop import plan_steps, train_steps
from albertqa.run.objective import build_objective
from albertqa.run.provenance import Provenance
from albertqa.run.setup import Learner, fit_steps, load_data, load_learner, set_up_device
from albertqa.run.step import Stepper
from albertqa.run.trackers import open_trackers
from albertqa.rundir.directory import locked, read_scores
from albertqa.rundir.rows import RowWriter
from albertqa.rundir.run_json import read_run_json
from albertqa.windows.tokenizer import load_tokenizer

_MAY_CHANGE_ON_RESUME = {
    *("output_dir", "logging_steps", "report_to", "save_total_limit", "eval_batch_size"),
    # On less memory, or without a compiler, sums are in another order, and of dropout there are other draws.
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


def train(settings: Settings, *, resume: bool = False, callbacks: Sequence[Callback] = ()) -> RunResult:
    """Fine-tune a model.

    Args:
        settings: The settings.
        resume: Go on with the run in `settings.output_dir` from its newest complete checkpoint.
        callbacks: Called with every message, step, evaluation and checkpoint (see `Callback`).

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
            result = _train(settings, device, world, request, callbacks, resume=resume)
            world.wait()
        return result


def _train(
    settings: Settings,
    device: torch.device,
    world: World,
    request: StopRequest,
    callbacks: Sequence[Callback],
    *,
    resume: bool,
) -> RunResult:
    run = settings.output_dir

    def say(text: str) -> None:
        for callback in callbacks:
            callback.on_message(text)

    # Data and windows; model, optimizer, plan.
    folder = resolve_model(settings.model)
    tokenizer = load_tokenizer(folder)
    data = load_data(settings, folder, tokenizer, say)
    learner = load_learner(settings, folder, tokenizer, device, data)
    plan = plan_steps(len(data.train.store), settings, settings)
    objective = build_objective(label_smoothing=settings.label_smoothing_factor, r_drop_alpha=settings.r_drop_alpha)
    provenance = Provenance(
        run,
        settings,
        data.facts,
        plan,
        data.version_2,
        model_facts(learner.model, tokenizer, settings.model),
        machine_facts(learner.model, learner.model.autocast_dtype, run),
        world.size,
    )
    world.require_agreement(provenance.identity())

    # Where the run is, and what fits the memory.
    progress = Progress()
    if resume:
        progress = _resumed(run, learner, say)
        say(f"resuming from step {progress.state.step} of {plan.total_steps}")
        if (before := read_run_json(run).world_size) != world.size:
            say(f"resuming with {world.size} processes, the run had {before}: same data order, sums in another order")
    trackers = open_trackers(settings.report_to, run, dataclasses.asdict(settings)) if world.is_main else []
    if not resume and world.is_main:
        # The folder is taken only now, so that a mistake in the settings, once corrected, does not find it taken.
        _refuse_taken(run)
        write_text(run / CONFIG_TOML, to_toml(settings))
    state, adaptation = progress.state, progress.adaptation
    if state.step < plan.total_steps:
        provenance.fit = fit_steps(settings, learner, data.train.store, objective, adaptation, say)
        adaptation.micro_batch, adaptation.recompute = min(
            world.gather((adaptation.micro_batch, adaptation.recompute)), key=lambda one: (one[0] or 0, not one[1])
        )
    if data.train.augmenter is not None:
        if progress.augmentation:
            data.train.augmenter.resume_counts(progress.augmentation)
        progress.augmentation = data.train.augmenter.counts

    # What happens beside the steps.
    evaluator = Evaluator(settings, data, learner, plan, progress.best, world, callbacks)
    every_callback: list[Callback] = []
    if world.is_main:
        provenance.write("running", progress)
        rows = RowWriter(run, progress.metrics_bytes)

        def save() -> None:
            progress.metrics_bytes = rows.sync()
            written = save_checkpoint(run, progress, learner.model, tokenizer, learner.optimizer)
            remove_checkpoints(written, keep=settings.save_total_limit)

        every_callback = [RecordRows(rows), *trackers, *callbacks, HealthMonitor(run, say), Checkpoints(save)]

    # The steps, and the end.
    may_recompute = settings.gradient_checkpointing is not False
    stepper = Stepper(
        learner.model,
        learner.optimizer,
        objective,
        settings,
        adaptation,
        world,
        may_recompute=may_recompute,
        say=say,
    )
    try:
        for callback in every_callback:
            callback.on_start(state.step, plan.total_steps)
        train_steps(
            stepper,
            data.train,
            settings,
            plan,
            state,
            callbacks=every_callback,
            evaluate=evaluator.evaluate,
            should_stop=lambda: request.signal_number is not None or progress.best.stopped_early,
        )
        status = "finished" if state.step == plan.total_steps else "interrupted"
        if status == "interrupted" and progress.best.stopped_early:
            status = "stopped early"
        if world.is_main:
            if status != "interrupted":
                learner.save(run / FINAL)
            provenance.write(status, progress)
    except Exception as error:
        # On a full disk, say, this fails too; what is reported is the error.
        with suppress(AlbertQAError, OSError):
            if world.is_main:
                provenance.write("failed", progress, str(error) or type(error).__name__)
        raise
    finally:
        for callback in every_callback:
            callback.on_end()
    return RunResult(run, status, state.step, progress.best.best_step, read_scores(run), request.signal_number)


def _resumed(run: Path, learner: Learner, say: Callable[[str], None]) -> Progress:
    """Put model, optimizer and random generators back to the newest undamaged checkpoint; return where the run was."""
    checkpoint, warnings = newest_checkpoint(run)
    for warning in warnings:
        say(f"warning: {warning}")
    if checkpoint is not None:
        return load_checkpoint(checkpoint, learner.model, learner.optimizer)
    if (run / FINAL).is_dir():
        raise RunError(f"{run}: the run is over and has no checkpoint to resume. Choose another --output-dir")
    return Progress()


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
            raise SettingsError(f"{run}: a resumed run keeps its settings: {'; '.join(changed)}")
        return
    _refuse_taken(run)
    if run.is_file():
        raise RunError(f"{run}: is a file, expected a folder for the run. Choose another --output-dir")
    run.mkdir(parents=True, exist_ok=True)


def _refuse_taken(run: Path) -> None:
    if (run / CONFIG_TOML).exists():
        raise RunError(f"{run}: already holds a run. Resume it with --resume, or choose another --output-dir")
