"""The recipe, top to bottom: settings in, finished run directory out.

    data → windows → model → steps, with an evaluation at every interval → best/ and final/

Run it as ``albertqa train`` or `albertqa.train(Settings(...))`.
"""

import dataclasses
import json
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from albertqa import rundir
from albertqa.config import Settings, check_settings, load_settings, to_toml
from albertqa.errors import AlbertQAError, RunError, SettingsError
from albertqa.model.load import resolve_model
from albertqa.opening import Learner, RunData, make_room, open_data, open_device, open_learner
from albertqa.training.average import judged_weights
from albertqa.training.checkpoint import TrainState, load_checkpoint, newest_checkpoint
from albertqa.training.display import Display, Silent
from albertqa.training.interrupt import StopRequest
from albertqa.training.loop import Plan, plan_steps, train_steps
from albertqa.training.objective import Objective, build_objective
from albertqa.training.observed import observe
from albertqa.training.provenance import Provenance
from albertqa.training.trackers import Trackers
from albertqa.watch import Journal, RunWatcher
from albertqa.windows.tokenizer import load_tokenizer

# What may differ when a run goes on: nothing of these changes a result.
_FREE_ON_RESUME = {
    *("output_dir", "logging_steps", "report_to", "save_total_limit", "eval_batch_size", "gradient_checkpointing"),
    "cuda_graphs",
    # Where a run goes on with less memory, or with no compiler: sums in another order, and of dropout other draws.
    *("fit", "torch_compile"),
}


@dataclass(frozen=True)
class RunResult:
    """How a run ended.

    Attributes:
        run: The run directory.
        status: ``finished``, ``stopped early`` or ``interrupted``.
        step: Optimizer steps done.
        best_step: Step of ``best/``; 0 where nothing was evaluated yet.
        scores: Content of ``eval.json``, the evaluation of ``best/``; empty where nothing was evaluated yet.
        signal_number: The signal that interrupted it, or None.
    """

    run: Path
    status: str
    step: int
    best_step: int
    scores: dict[str, float | int]
    signal_number: int | None = None


def train(settings: Settings, *, resume: bool = False, display: Display | None = None) -> RunResult:
    """Fine-tune a model as the settings say.

    Args:
        settings: The settings.
        resume: Go on with the run in `settings.output_dir` from its newest whole checkpoint.
        display: Where to report; None: nowhere.

    Returns:
        How the run ended.

    Raises:
        AlbertQAError: Something the user can act on; nothing of the run is lost.
    """
    check_settings(settings)
    show = display or Silent()
    run = settings.output_dir
    _check_folder(run, settings, resume=resume)
    device = open_device(settings)

    # Data and windows; model, optimizer, schedule.
    folder = resolve_model(settings.model)
    tokenizer = load_tokenizer(folder)
    data = open_data(settings, tokenizer, show.say)
    learner = open_learner(settings, folder, tokenizer, device)
    observed = observe(learner.model, tokenizer, run)
    plan = _plan(settings, len(data.train))

    with rundir.held(run):
        # Where the run stands.
        state = _stand(run, data, learner, plan, show) if resume else TrainState()
        trackers = Trackers(settings.report_to, run, dataclasses.asdict(settings))
        if not resume:
            # The folder is taken only now, so that a mistake in the settings, once mended, does not find it occupied.
            _refuse_taken(run)
            rundir.write_text(run / rundir.CONFIG_TOML, to_toml(settings))

        # What the memory holds.
        objective = build_objective(label_smoothing=settings.label_smoothing_factor, r_drop_alpha=settings.r_drop_alpha)
        steps = plan.total_steps - state.step
        state, fit = make_room(settings, learner, data.train, objective, state, steps=steps, say=show.say)

        # The steps, with what is written of them.
        provenance = Provenance(
            run, settings, learner.model, tokenizer, data.facts, plan, data.version_2, fit, observed
        )
        provenance.write("running", state)
        journal = Journal(run, state.metrics_bytes, show, trackers)
        with StopRequest() as request, journal:
            watcher = RunWatcher(settings, data, learner, plan, journal, request, state)
            show.start(state.step, plan.total_steps)
            try:
                state = _do_steps(settings, data, learner, objective, plan, watcher, state)
            except Exception as error:
                # On a full disk, say, this fails too; what is told is the error.
                with suppress(AlbertQAError, OSError):
                    provenance.write("failed", watcher.state, str(error) or type(error).__name__)
                    journal.judge()
                raise

        # The end.
        is_done = state.step == plan.total_steps
        status = "finished" if is_done else "stopped early" if state.stopped_early else "interrupted"
        if status != "interrupted":
            with judged_weights(learner.average):
                learner.save(run / rundir.FINAL)
        provenance.write(status, replace(state, augmentation=data.augmentation))
        journal.judge()
        has_scores = state.best_value is not None
        scores = json.loads((run / rundir.EVAL_JSON).read_text(encoding="utf-8")) if has_scores else {}
        return RunResult(run, status, state.step, state.best_step, scores, request.signal_number)


def _plan(settings: Settings, num_windows: int) -> Plan:
    return plan_steps(
        num_windows,
        step_windows=settings.step_windows,
        epochs=settings.epochs,
        max_steps=settings.max_steps,
        warmup_ratio=settings.warmup_ratio,
        warmup_steps=settings.warmup_steps,
        eval_steps=settings.eval_steps,
        save_steps=settings.save_steps,
    )


def _stand(run: Path, data: RunData, learner: Learner, plan: Plan, show: Display) -> TrainState:
    """Put everything back to the newest whole checkpoint, if there is one, and say so."""
    state = TrainState()
    checkpoint, warnings = newest_checkpoint(run)
    for warning in warnings:
        show.say(f"warning: {warning}")
    if checkpoint is not None:
        state = load_checkpoint(checkpoint, learner.model, learner.optimizer, learner.average)
        if data.augmenter is not None:
            data.augmenter.count_on(state.augmentation)
    show.say(f"going on from step {state.step} of {plan.total_steps}")
    return state


def _do_steps(
    settings: Settings,
    data: RunData,
    learner: Learner,
    objective: Objective,
    plan: Plan,
    watcher: RunWatcher,
    state: TrainState,
) -> TrainState:
    return train_steps(
        learner.model,
        data.train,
        learner.optimizer,
        plan,
        watcher,
        state=state,
        learning_rate=settings.learning_rate,
        schedule=settings.lr_scheduler_type,
        micro_batch=settings.train_batch_size,
        accumulation=settings.gradient_accumulation_steps,
        max_grad_norm=settings.max_grad_norm,
        seed=settings.seed,
        objective=objective,
        view_of_epoch=data.augmenter,
        average=learner.average,
        may_recompute=settings.gradient_checkpointing is not False,
        may_replay=settings.cuda_graphs,
    )


def _check_folder(run: Path, settings: Settings, *, resume: bool) -> None:
    """Refuse a run directory that holds another run, or none to go on with; make it where it is not there."""
    config = run / rundir.CONFIG_TOML
    if resume:
        if not config.is_file():
            raise RunError(f"{run}: no run to resume there (no {rundir.CONFIG_TOML}). Start it without --resume")
        before = load_settings(config)
        changed = [
            f"{field.name} is {getattr(settings, field.name)}, the run has {getattr(before, field.name)}"
            for field in dataclasses.fields(Settings)
            if field.name not in _FREE_ON_RESUME and getattr(settings, field.name) != getattr(before, field.name)
        ]
        if changed:
            raise SettingsError(f"{run}: a resumed run keeps its settings: {'; '.join(changed)}")
        return
    _refuse_taken(run)
    if run.is_file():
        raise RunError(f"{run}: is a file, expected a folder for the run. Choose another --output-dir")
    run.mkdir(parents=True, exist_ok=True)


def _refuse_taken(run: Path) -> None:
    if (run / rundir.CONFIG_TOML).exists():
        raise RunError(f"{run}: already holds a run. Go on with it: --resume, or choose another --output-dir")
