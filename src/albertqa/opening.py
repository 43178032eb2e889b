"""What training and the range test begin with, opened as the settings say: device, data, model, and room for them."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch

from albertqa import rundir
from albertqa.config import Settings
from albertqa.data.example import Example, has_unanswerable
from albertqa.data.read import load_several
from albertqa.data.soundness import shared_content
from albertqa.errors import SettingsError
from albertqa.model.compiled import compile_layer
from albertqa.model.load import SpanModel, choose_device, choose_precision, load_model
from albertqa.model.memory import keep_freed_memory
from albertqa.model.recompute import recompute_activations
from albertqa.scoring.metric import normalize_answer
from albertqa.training.average import WeightAverage
from albertqa.training.checkpoint import TrainState
from albertqa.training.fit import Fit, fit_to_memory
from albertqa.training.objective import Objective
from albertqa.training.observed import WeightSample, unknown_id
from albertqa.training.optimizer import build_optimizer
from albertqa.training.provenance import data_facts
from albertqa.windows.augmentation import Augmenter
from albertqa.windows.build import build_windows
from albertqa.windows.store import WindowStore
from albertqa.windows.tokenizer import QATokenizer, check_embeddings

# Compiling takes about as long as some hundred steps do.
_STEPS_WORTH_COMPILING = 1000


@dataclass(frozen=True)
class RunData:
    """What a run trains on and is evaluated on.

    Attributes:
        train: Training windows.
        train_ids: Ids of the training questions, by their index. The examples themselves are not kept: the windows are
            on the disk, and memory stays flat.
        augmenter: How an epoch sees the training windows; None: as they are.
        validation: Validation windows.
        examples: The validation data, with golds.
        version_2: Whether questions may have no answer.
        facts: What ``run.json`` tells of the training and the validation data.
    """

    train: WindowStore
    train_ids: pa.Array
    augmenter: Augmenter | None
    validation: WindowStore
    examples: list[Example]
    version_2: bool
    facts: dict[str, dict[str, Any]]

    def training_questions(self, windows: list[int]) -> list[str]:
        """Give the ids of the questions that training windows are of, each once."""
        examples = self.train.columns["example_index"][windows]
        return list(dict.fromkeys(self.train_ids.take(examples).to_pylist()))

    @property
    def augmentation(self) -> dict[str, dict[str, int]]:
        """What augmentation did so far, by way; empty without it."""
        return self.augmenter.counts if self.augmenter is not None else {}


@dataclass(frozen=True)
class Learner:
    """What learns.

    Attributes:
        model: The model.
        tokenizer: Its tokenizer.
        optimizer: Its optimizer.
        average: Moving average of its weights, which is evaluated and kept in their place; None: they are.
        start: Some of its weights as they were loaded.
    """

    model: SpanModel
    tokenizer: QATokenizer
    optimizer: torch.optim.Optimizer
    average: WeightAverage | None
    start: WeightSample

    def save(self, folder: Path) -> None:
        """Write model and tokenizer as a plain Transformers folder, whole or not at all."""
        building = folder.with_name(f".{folder.name}.building")
        shutil.rmtree(building, ignore_errors=True)
        building.mkdir()
        try:
            self.model.save(building)
            self.tokenizer.save(building)
            rundir.sync_folder(building)
            shutil.rmtree(folder, ignore_errors=True)
            building.rename(folder)
        finally:
            shutil.rmtree(building, ignore_errors=True)


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


def open_data(settings: Settings, tokenizer: QATokenizer, say: Callable[[str], None]) -> RunData:
    """Read training and validation data and make windows of them.

    Args:
        settings: The settings.
        tokenizer: The model's tokenizer.
        say: Takes a line for the user.

    Returns:
        The data.

    Raises:
        DataError: Something is wrong with them, or they are not fit for the augmentation.
    """
    train_examples = load_several(settings.train_file, limit=settings.max_train_examples)
    examples = load_several(settings.validation_file, limit=settings.max_eval_examples)
    version_2 = settings.version_2_with_negative
    if version_2 is None:
        version_2 = has_unanswerable(train_examples) or has_unanswerable(examples)
    build = partial(build_windows, max_seq_length=settings.max_seq_length, doc_stride=settings.doc_stride)
    train, validation = build(train_examples, tokenizer), build(examples, tokenizer)
    say(f"train: {len(train_examples):,} questions, {len(train):,} windows of {train.lengths.mean():.0f} tokens on "
        f"average; validation: {len(examples):,} questions, {len(validation):,} windows")  # fmt: skip
    judge = partial(data_facts, unknown_id=unknown_id(tokenizer), max_answer_length=settings.max_answer_length)
    facts = {
        "train": judge(settings.train_file, train_examples, train),
        "validation": judge(settings.validation_file, examples, validation) | shared_content(train_examples, examples),
    }
    augmenter = open_augmenter(settings, train, train_examples, tokenizer)
    # Arrow, as a list of so many strings takes several times the memory.
    train_ids = pa.array([example.id for example in train_examples])
    return RunData(train, train_ids, augmenter, validation, examples, version_2, facts)


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


def open_learner(settings: Settings, folder: str, tokenizer: QATokenizer, device: torch.device) -> Learner:
    """Load the model as a run begins with it, and build its optimizer.

    Args:
        settings: The settings.
        folder: The model's folder (see `resolve_model`).
        tokenizer: Its tokenizer.
        device: Where it shall compute.

    Returns:
        What learns; a head that the folder lacks is drawn from the seed.

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
    average = WeightAverage(model.model, settings.ema_decay) if settings.ema_decay else None
    return Learner(model, tokenizer, optimizer, average, WeightSample(model.model))


def make_room(
    settings: Settings,
    learner: Learner,
    store: WindowStore,
    objective: Objective,
    state: TrainState,
    *,
    steps: int,
    say: Callable[[str], None],
) -> tuple[TrainState, Fit | None]:
    """Settle how the steps compute: recomputed, compiled or plain, and as many windows at a time as the memory holds.

    Args:
        settings: The settings.
        learner: What learns; its model computes that way afterwards.
        store: Training windows.
        objective: What the steps minimize.
        state: Where the run stands.
        steps: Steps that are still to be done.
        say: Takes a line for the user.

    Returns:
        The state with what was settled, and what was measured (None: nothing).
    """
    model, may_recompute = learner.model, settings.gradient_checkpointing is not False
    state = replace(state, recompute=may_recompute and (state.recompute or bool(settings.gradient_checkpointing)))
    if state.recompute:
        recompute_activations(model.model)
    elif _wants_compiled(settings, model.device, state.step + steps) and (reason := compile_layer(model)):
        say(f"the layer is not compiled, which may be slower: {reason}")
    if not settings.fit or steps <= 0:
        return state, None
    fit = fit_to_memory(
        model,
        store,
        learner.optimizer,
        objective,
        micro_batch=state.micro_batch or settings.train_batch_size,
        recompute=state.recompute,
        may_recompute=may_recompute,
        tokens=settings.max_seq_length if settings.augment else None,
    )
    if fit is None:
        return state, None
    say(fit.summary())
    return replace(state, micro_batch=fit.micro_batch, recompute=fit.recompute), fit


def _wants_compiled(settings: Settings, device: torch.device, steps: int) -> bool:
    """Tell by the plan, not by what is left of it: a resumed run goes on with the same kernels."""
    if settings.torch_compile is not None:
        return settings.torch_compile
    return device.type == "cuda" and steps >= _STEPS_WORTH_COMPILING


def _check_fit(model: SpanModel, tokenizer: QATokenizer, settings: Settings) -> None:
    """Refuse what the model cannot do: a tokenizer or window length without embeddings, R-Drop without dropout."""
    model.require_positions(settings.max_seq_length, settings.model)
    check_embeddings(tokenizer, int(model.model.config.vocab_size), settings.model)
    rates = [module.p for module in model.model.modules() if isinstance(module, torch.nn.Dropout)]
    if settings.r_drop_alpha and not settings.head_dropout and not any(rates):
        raise SettingsError(
            f"r_drop_alpha is {settings.r_drop_alpha:g}, but {settings.model} has no dropout, so both passes of R-Drop "
            "would be the same. Give it some: --hidden-dropout 0.1"
        )
