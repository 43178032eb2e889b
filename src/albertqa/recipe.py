"""The recipe, top to bottom: settings in, finished run directory out.

    data → windows → model → steps, with an evaluation at every interval → best/ and final/

Run it as ``albertqa train`` or `albertqa.train(Settings(...))`.
"""

import dataclasses
import json
import math
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch

from albertqa import rundir
from albertqa.config import Settings, check_settings, load_settings, to_toml
from albertqa.data.example import Example, has_unanswerable
from albertqa.data.read import load_several
from albertqa.data.soundness import shared_content
from albertqa.errors import AlbertQAError, ModelError, RunError, SettingsError
from albertqa.health.monitor import HealthMonitor
from albertqa.model.compiled import compile_layer
from albertqa.model.load import SpanModel, choose_device, choose_precision, load_model, resolve_model
from albertqa.model.memory import keep_freed_memory
from albertqa.model.recompute import recompute_activations
from albertqa.scoring.evaluate import Evaluation, evaluate_windows, write_predictions
from albertqa.scoring.metric import normalize_answer
from albertqa.training.average import WeightAverage, judged_weights
from albertqa.training.checkpoint import TrainState, load_checkpoint, newest_checkpoint, save_checkpoint
from albertqa.training.display import Display, Silent
from albertqa.training.fit import fit_to_memory
from albertqa.training.interrupt import StopRequest
from albertqa.training.loop import Plan, Record, plan_steps, train_steps
from albertqa.training.objective import build_objective
from albertqa.training.observed import WeightSample, machine_state, observe, unknown_id
from albertqa.training.optimizer import build_optimizer
from albertqa.training.provenance import Provenance, data_facts
from albertqa.training.trackers import Trackers
from albertqa.windows.augment import Augmenter
from albertqa.windows.build import build_windows
from albertqa.windows.store import WindowStore
from albertqa.windows.tokenizer import QATokenizer, load_tokenizer

# What may differ when a run goes on: nothing of these changes a result.
_FREE_ON_RESUME = {
    *("output_dir", "logging_steps", "report_to", "save_total_limit", "eval_batch_size", "gradient_checkpointing"),
    *("torch_compile", "cuda_graphs"),
    # Where a run goes on with less memory: sums in another order, and where there is dropout other draws of it.
    "fit",
}

# Compiling takes about as long as some hundred steps do.
_STEPS_WORTH_COMPILING = 1000


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

    # Data and windows.
    folder = resolve_model(settings.model)
    tokenizer = load_tokenizer(folder)
    train_examples = load_several(settings.train_file, limit=settings.max_train_examples)
    eval_examples = load_several(settings.validation_file, limit=settings.max_eval_examples)
    version_2 = settings.version_2_with_negative
    if version_2 is None:
        version_2 = has_unanswerable(train_examples) or has_unanswerable(eval_examples)
    build = partial(build_windows, max_seq_length=settings.max_seq_length, doc_stride=settings.doc_stride)
    train_store, eval_store = build(train_examples, tokenizer), build(eval_examples, tokenizer)
    show.say(f"train: {len(train_examples):,} questions, {len(train_store):,} windows of "
             f"{train_store.lengths.mean():.0f} tokens on average; "
             f"validation: {len(eval_examples):,} questions, {len(eval_store):,} windows")  # fmt: skip
    judge = partial(data_facts, unknown_id=unknown_id(tokenizer), max_answer_length=settings.max_answer_length)
    facts = {
        "train": judge(settings.train_file, train_examples, train_store),
        "validation": judge(settings.validation_file, eval_examples, eval_store)
        | shared_content(train_examples, eval_examples),
    }
    augmenter = open_augmenter(settings, train_store, train_examples, tokenizer)
    # Arrow, as a list of so many strings takes several times the memory.
    train_ids = pa.array([example.id for example in train_examples])
    del train_examples  # the windows are on the disk; memory stays flat

    # Model, optimizer, schedule.
    model, optimizer = open_model(settings, folder, tokenizer, device)
    observed, weights = observe(model, tokenizer, run), WeightSample(model.model)
    plan = plan_steps(
        len(train_store),
        step_windows=settings.step_windows,
        epochs=settings.epochs,
        max_steps=settings.max_steps,
        warmup_ratio=settings.warmup_ratio,
        warmup_steps=settings.warmup_steps,
        eval_steps=settings.eval_steps,
        save_steps=settings.save_steps,
    )
    average = WeightAverage(model.model, settings.ema_decay) if settings.ema_decay else None

    # Where the run stands.
    state = TrainState()
    if resume:
        checkpoint, warnings = newest_checkpoint(run)
        for warning in warnings:
            show.say(f"warning: {warning}")
        if checkpoint is not None:
            state = load_checkpoint(checkpoint, model, optimizer, average)
            if augmenter is not None:
                augmenter.count_on(state.augmentation)
        show.say(f"going on from step {state.step} of {plan.total_steps}")
    trackers = Trackers(settings.report_to, run, dataclasses.asdict(settings))
    if not resume:
        # The folder is taken only now, so that a mistake in the settings, once mended, does not find it occupied.
        _refuse_taken(run)
        rundir.write_text(run / rundir.CONFIG_TOML, to_toml(settings))
    objective = build_objective(label_smoothing=settings.label_smoothing_factor, r_drop_alpha=settings.r_drop_alpha)

    # What the memory holds.
    may_recompute = settings.gradient_checkpointing is not False
    state = replace(state, recompute=may_recompute and (state.recompute or bool(settings.gradient_checkpointing)))
    if state.recompute:
        recompute_activations(model.model)
    elif _wants_compiled(settings, device, plan.total_steps - state.step) and (reason := compile_layer(model)):
        show.say(f"the layer is not compiled, which may be slower: {reason}")
    fit = None
    if settings.fit and state.step < plan.total_steps:
        fit = fit_to_memory(
            model,
            train_store,
            optimizer,
            objective,
            micro_batch=state.micro_batch or settings.train_batch_size,
            recompute=state.recompute,
            may_recompute=may_recompute,
            tokens=settings.max_seq_length if augmenter is not None else None,
        )
    if fit is not None:
        show.say(fit.summary())
        state = replace(state, micro_batch=fit.micro_batch, recompute=fit.recompute)

    provenance = Provenance(run, settings, model, tokenizer, facts, plan, version_2, fit, observed)
    provenance.write("running", state)
    record = Record(run / rundir.METRICS_JSONL, state.metrics_bytes)
    monitor = HealthMonitor(run, show.say)

    def evaluate() -> Evaluation:
        done = 0

        def progress(windows: int) -> None:
            nonlocal done
            done += windows
            show.evaluating(done, len(eval_store))

        return evaluate_windows(
            model,
            eval_store,
            eval_examples,
            version_2=version_2,
            batch_size=settings.eval_batch_size,
            n_best_size=settings.n_best_size,
            max_answer_length=settings.max_answer_length,
            null_score_diff_threshold=settings.null_score_diff_threshold,
            progress=progress,
        )

    def questions_of(windows: list[int]) -> list[str]:
        examples = train_store.columns["example_index"][windows]
        return list(dict.fromkeys(train_ids.take(examples).to_pylist()))

    # The steps.
    with StopRequest() as request:
        watcher = _RunWatcher(
            settings,
            model,
            tokenizer,
            optimizer,
            plan,
            record,
            trackers,
            show,
            request,
            evaluate,
            augmenter,
            average,
            questions_of,
            weights,
            monitor,
        )
        show.start(state.step, plan.total_steps)
        try:
            state = train_steps(
                model,
                train_store,
                optimizer,
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
                view_of_epoch=augmenter,
                average=average,
                may_recompute=may_recompute,
                may_replay=settings.cuda_graphs,
            )
        except AlbertQAError as error:
            provenance.write("failed", state, str(error))
            monitor.finish()
            raise
        finally:
            show.stop()
            record.sync()
            record.close()
            trackers.close()

    # The end.
    status = "finished" if state.step == plan.total_steps else "stopped early" if state.stopped_early else "interrupted"
    if status != "interrupted":
        with judged_weights(average):
            _save_model(run / rundir.FINAL, model, tokenizer)
    provenance.write(status, replace(state, augmentation=_counts(augmenter)))
    monitor.finish()
    scores = json.loads((run / rundir.EVAL_JSON).read_text(encoding="utf-8")) if state.best_value is not None else {}
    return RunResult(run, status, state.step, state.best_step, scores, request.signal_number)


def open_device(settings: Settings) -> torch.device:
    """Choose the device and set the process up for it: CPU threads, and memory that is kept.

    Args:
        settings: The settings.

    Returns:
        The device.

    Raises:
        ModelError: This machine has no such device.
    """
    if settings.num_threads is not None:
        torch.set_num_threads(settings.num_threads)
    device = choose_device(settings.device)
    if device.type == "cpu":
        keep_freed_memory()
    return device


def open_model(
    settings: Settings, folder: str, tokenizer: QATokenizer, device: torch.device
) -> tuple[SpanModel, torch.optim.Optimizer]:
    """Load the model as a run begins with it, and build its optimizer.

    Args:
        settings: The settings.
        folder: The model's folder (see `resolve_model`).
        tokenizer: Its tokenizer.
        device: Where it shall compute.

    Returns:
        Model and optimizer; a head that the folder lacks is drawn from the seed.

    Raises:
        AlbertQAError: Model, tokenizer and settings do not fit together.
    """
    torch.manual_seed(settings.seed)
    model = load_model(
        folder,
        device=device,
        precision=choose_precision(settings.mixed_precision, device),
        from_scratch=settings.from_scratch,
        hidden_dropout=settings.hidden_dropout,
        attention_dropout=settings.attention_dropout,
        head_dropout=settings.head_dropout,
    )
    _check_fit(model, tokenizer, settings)
    if settings.gradient_checkpointing and not recompute_activations(model.model):
        raise SettingsError(
            f"gradient_checkpointing is set, but {settings.model} ({model.model.config.model_type}) has no layers that "
            "can recompute their activations. Leave it out"
        )
    optimizer = build_optimizer(
        model.model,
        learning_rate=settings.learning_rate,
        betas=(settings.adam_beta1, settings.adam_beta2),
        epsilon=settings.adam_epsilon,
        weight_decay=settings.weight_decay,
    )
    return model, optimizer


def open_augmenter(
    settings: Settings, store: WindowStore, examples: Sequence[Example], tokenizer: QATokenizer
) -> Augmenter | None:
    """Build what changes the training windows, where the settings ask for it.

    Args:
        settings: The settings.
        store: Training windows.
        examples: The examples that they are of.
        tokenizer: The model's tokenizer.

    Returns:
        A view of the windows for every epoch; None: they stay as they are.

    Raises:
        DataError: The data are not fit for it.
    """
    if not settings.augment:
        return None
    return Augmenter(
        store,
        examples,
        tokenizer,
        ways=settings.augment,
        rate=settings.augment_rate,
        seed=settings.seed,
        normalize=normalize_answer,
    )


def _wants_compiled(settings: Settings, device: torch.device, steps: int) -> bool:
    if settings.torch_compile is not None:
        return settings.torch_compile
    return device.type == "cuda" and steps >= _STEPS_WORTH_COMPILING


class _RunWatcher:
    """Evaluates, saves and records as the loop goes (the `Watcher` of `train_steps`)."""

    def __init__(
        self,
        settings: Settings,
        model: SpanModel,
        tokenizer: QATokenizer,
        optimizer: torch.optim.Optimizer,
        plan: Plan,
        record: Record,
        trackers: Trackers,
        show: Display,
        request: StopRequest,
        evaluate: Callable[[], Evaluation],
        augmenter: Augmenter | None,
        average: WeightAverage | None,
        questions_of: Callable[[list[int]], list[str]],
        weights: WeightSample,
        monitor: HealthMonitor,
    ) -> None:
        self._settings, self._model, self._tokenizer, self._optimizer = settings, model, tokenizer, optimizer
        self._plan, self._record, self._trackers, self._show = plan, record, trackers, show
        self._request, self._evaluate, self._augmenter = request, evaluate, augmenter
        self._average, self._questions_of = average, questions_of
        self._weights, self._monitor = weights, monitor

    def stepped(self, row: dict[str, Any]) -> None:
        if "non_finite_windows" in row:
            row = {**row, "non_finite_windows": self._questions_of(row["non_finite_windows"])}
        self._record.add(row)
        self._trackers.log(row)
        self._show.stepped(row)
        self._monitor.stepped(row)

    def evaluate(self, state: TrainState) -> TrainState:
        evaluation = self._evaluate()
        if not math.isfinite(evaluation.loss):
            raise RunError(
                f"step {state.step}: validation loss is {evaluation.loss}; the training broke in the steps before. "
                "Lower --learning-rate or use --mixed-precision no; the last checkpoint is whole"
            )
        metric = self._settings.metric_for_best_model
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
            "weights_moved_percent": self._weights.moved_percent(self._model.model),
            **machine_state(self._settings.output_dir),
        }
        self._record.add(row)
        self._trackers.log(row)
        self._show.evaluated(row)
        self._monitor.evaluated(row)
        if is_best:
            run = self._settings.output_dir
            _save_model(run / rundir.BEST, self._model, self._tokenizer)
            write_predictions(run, evaluation.predictions)
            rundir.write_json(run / rundir.EVAL_JSON, {**evaluation.summary(), "step": state.step})
            return replace(state, best_value=value, best_step=state.step, evaluations_since_best=0)
        since = state.evaluations_since_best + 1
        patience = self._settings.early_stopping_patience
        return replace(state, evaluations_since_best=since, stopped_early=0 < patience <= since)

    def save(self, state: TrainState) -> None:
        state = replace(state, metrics_bytes=self._record.sync(), augmentation=_counts(self._augmenter))
        keep = self._settings.save_total_limit
        save_checkpoint(
            self._settings.output_dir,
            state,
            self._model,
            self._tokenizer,
            self._optimizer,
            keep=keep,
            average=self._average,
        )

    def should_stop(self) -> bool:
        return self._request.signal_number is not None

    def say(self, line: str) -> None:
        self._show.say(line)


def _counts(augmenter: Augmenter | None) -> dict[str, dict[str, int]]:
    return augmenter.counts if augmenter is not None else {}


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


def _check_fit(model: SpanModel, tokenizer: QATokenizer, settings: Settings) -> None:
    """Refuse what the model cannot do: a tokenizer or window length without embeddings, R-Drop without dropout."""
    model.require_positions(settings.max_seq_length, settings.model)
    rows = int(model.model.config.vocab_size)
    if tokenizer.vocab_size > rows:
        raise ModelError(
            f"{settings.model}: the tokenizer has {tokenizer.vocab_size} tokens, the model embeddings for {rows}; "
            "they do not belong together"
        )
    rates = [module.p for module in model.model.modules() if isinstance(module, torch.nn.Dropout)]
    if settings.r_drop_alpha and not settings.head_dropout and not any(rates):
        raise SettingsError(
            f"r_drop_alpha is {settings.r_drop_alpha:g}, but {settings.model} has no dropout, so both passes of R-Drop "
            "would be the same. Give it some: --hidden-dropout 0.1"
        )


def _save_model(folder: Path, model: SpanModel, tokenizer: QATokenizer) -> None:
    """Write a plain Transformers folder, whole or not at all."""
    building = folder.with_name(f".{folder.name}.building")
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir()
    try:
        model.save(building)
        tokenizer.save(building)
        rundir.sync_folder(building)
        shutil.rmtree(folder, ignore_errors=True)
        building.rename(folder)
    finally:
        shutil.rmtree(building, ignore_errors=True)
