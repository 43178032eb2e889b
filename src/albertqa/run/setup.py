"""Set-up of training and of the range test: device, data, model, and how many windows fit the memory."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pyarrow as pa
import torch

from albertqa.config import DecodeConfig, Settings, WindowConfig
from albertqa.data.example import Example, has_unanswerable
from albertqa.data.reading import load_several
from albertqa.data.trained_on import TrainedOn
from albertqa.decode.reader_settings import ReaderSettings
from albertqa.errors import SettingsError
from albertqa.files import plural, write_folder
from albertqa.health.data_rules import measure, measure_windows
from albertqa.model.compiled import compile_layer
from albertqa.model.freed_memory import keep_freed_memory
from albertqa.model.load import SpanModel, choose_device, choose_precision, load_model
from albertqa.model.world import ALONE, World
from albertqa.run.checkpoint import Adaptation
from albertqa.run.fit import Fit, fit_to_memory
from albertqa.run.inspection import WeightSample
from albertqa.run.loop import TrainingWindows
from albertqa.run.objective import Objective, build_objective
from albertqa.run.optimizer import build_optimizer
from albertqa.run.step import Stepper
from albertqa.rundir.run_json import Data
from albertqa.windows.augmentation import Augmenter
from albertqa.windows.build import build_windows
from albertqa.windows.store import WindowStore
from albertqa.windows.tokenizer import QATokenizer, check_embeddings


@dataclass(frozen=True)
class RunData:
    """What a run trains on and is evaluated on.

    Attributes:
        train: Training windows. Their examples are not kept: the windows are on the disk, and memory stays flat.
        validation: Validation windows.
        examples: The validation data, with golds.
        version_2: Whether questions may have no answer.
        facts: What ``run.json`` has of the data.
        trained_on: The questions that the model will have been trained on, earlier runs included.
    """

    train: TrainingWindows
    validation: WindowStore
    examples: list[Example]
    version_2: bool
    facts: Data
    trained_on: TrainedOn


@dataclass
class Learner:
    """A model in training.

    Attributes:
        model: The model.
        tokenizer: Its tokenizer.
        optimizer: Its optimizer.
        objective: What its steps minimize.
        start: Some of its weights as they were loaded.
        reader: How it reads, saved with it; an evaluation adds what its probabilities are worth.
        trained_on: The questions that it was trained on, saved with it.
    """

    model: SpanModel
    tokenizer: QATokenizer
    optimizer: torch.optim.Optimizer
    objective: Objective
    start: WeightSample
    reader: ReaderSettings
    trained_on: TrainedOn

    def save(self, folder: Path) -> None:
        """Write a plain Transformers folder, with how the model reads and what it was trained on, atomically."""

        def write(building: Path) -> None:
            self.model.save(building)
            self.tokenizer.save(building)
            self.reader.save(building)
            self.trained_on.save(building)

        write_folder(folder, write)


def set_up_device(settings: Settings) -> torch.device:
    """Choose the device and set the process up for it: CPU threads, and memory that is kept.

    Raises:
        ModelError: This machine has no such device.
    """
    if settings.num_threads is not None:
        torch.set_num_threads(settings.num_threads)
    device = choose_device(settings.device)
    if device.type == "cuda" and ":" not in settings.device and "LOCAL_RANK" in os.environ:
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    if device.type == "cuda" and device.index is not None:
        # CUDA graphs are recorded on the current one.
        torch.cuda.set_device(device)
    if device.type == "cpu":
        keep_freed_memory()
    return device


def load_data(settings: Settings, folder: str, tokenizer: QATokenizer, say: Callable[[str], None]) -> RunData:
    """Read training and validation data and split them into windows.

    Args:
        settings: The settings.
        folder: The model's folder (see `resolve_model`).
        tokenizer: Its tokenizer.
        say: Takes a line for the user.

    Raises:
        DataError: Something is wrong with the data.
    """
    train_examples = load_several(settings.train_file, limit=settings.max_train_examples)
    examples = load_several(settings.validation_file, limit=settings.max_eval_examples)
    version_2 = settings.version_2_with_negative
    if version_2 is None:
        version_2 = has_unanswerable(train_examples) or has_unanswerable(examples)
    build = partial(build_windows, max_seq_length=settings.max_seq_length, doc_stride=settings.doc_stride)
    train, validation = build(train_examples, tokenizer), build(examples, tokenizer)
    say(
        f"train: {plural(len(train_examples), 'question')}, {plural(len(train), 'window')} of "
        f"{train.lengths.mean():.0f} tokens on average; "
        f"validation: {plural(len(examples), 'question')}, {plural(len(validation), 'window')}"
    )
    before = TrainedOn() if settings.from_scratch else TrainedOn.load(Path(folder))
    train_facts = measure(settings.train_file, train_examples)
    validation_facts = measure(settings.validation_file, examples, train=train_examples, trained_on=before)
    add_windows = partial(
        measure_windows, unknown_id=tokenizer.token_id("unk"), max_answer_length=settings.max_answer_length
    )
    facts = Data(
        train=add_windows(train_facts, train_examples, train),
        validation=add_windows(validation_facts, examples, validation),
    )
    ids = pa.array([example.id for example in train_examples])
    windows = TrainingWindows(train, ids, build_augmenter(settings, train, train_examples))
    return RunData(windows, validation, examples, version_2, facts, before.and_on(train_examples))


def build_augmenter(settings: Settings, store: WindowStore, examples: list[Example]) -> Augmenter | None:
    """Build what changes the training windows, where the settings ask for it."""
    if not settings.augment:
        return None
    return Augmenter(store, examples, rate=settings.augment_rate, seed=settings.seed)


def load_learner(
    settings: Settings, folder: str, tokenizer: QATokenizer, device: torch.device, data: RunData | None = None
) -> Learner:
    """Load the model as a run starts with it, and build its optimizer.

    Args:
        settings: The settings.
        folder: The model's folder (see `resolve_model`).
        tokenizer: Its tokenizer.
        device: Where it computes.
        data: What it will be trained on, where it is to be saved.

    Returns:
        The learner; a head that the folder lacks is drawn from the seed.

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
    _check_learner(model, tokenizer, settings)
    if settings.gradient_checkpointing:
        model.recompute_activations()
    names = (*WindowConfig.__dataclass_fields__, *DecodeConfig.__dataclass_fields__)
    reader = ReaderSettings(
        **{name: getattr(settings, name) for name in names}, version_2_with_negative=data is not None and data.version_2
    )
    return Learner(
        model,
        tokenizer,
        build_optimizer(model.model, settings),
        build_objective(label_smoothing=settings.label_smoothing_factor, r_drop_alpha=settings.r_drop_alpha),
        WeightSample(model.model),
        reader,
        data.trained_on if data is not None else TrainedOn(),
    )


def fit_steps(
    settings: Settings,
    learner: Learner,
    store: WindowStore,
    adaptation: Adaptation,
    say: Callable[[str], None],
) -> Fit | None:
    """Decide how the steps compute: recomputed, compiled or plain, and as many windows at a time as the memory holds.

    Args:
        settings: The settings.
        learner: The model; it computes that way afterwards.
        store: Training windows.
        adaptation: What is known from before; updated with what is decided.
        say: Takes a line for the user.

    Returns:
        What was measured; None: nothing.
    """
    model, may_recompute = learner.model, settings.gradient_checkpointing is not False
    adaptation.recompute = may_recompute and (adaptation.recompute or bool(settings.gradient_checkpointing))
    if adaptation.recompute:
        model.recompute_activations()
    elif settings.torch_compile and (reason := compile_layer(model)):
        say(f"the layers are not compiled, which may be slower: {reason}")
    if not settings.fit:
        return None
    fit = fit_to_memory(
        model,
        store,
        learner.optimizer,
        learner.objective,
        micro_batch=adaptation.micro_batch or settings.train_batch_size,
        recompute=adaptation.recompute,
        may_recompute=may_recompute,
    )
    if fit is not None:
        say(fit.summary())
        adaptation.micro_batch, adaptation.recompute = fit.micro_batch, fit.recompute
    return fit


def open_stepper(
    settings: Settings, learner: Learner, adaptation: Adaptation, say: Callable[[str], None], world: World = ALONE
) -> Stepper:
    """Return what does the steps, as `fit_steps` decided (see `Stepper`)."""
    return Stepper(
        learner.model,
        learner.optimizer,
        learner.objective,
        settings,
        adaptation,
        world,
        may_recompute=settings.gradient_checkpointing is not False,
        say=say,
    )


def _check_learner(model: SpanModel, tokenizer: QATokenizer, settings: Settings) -> None:
    """Refuse what the model cannot do: a tokenizer or window length without embeddings, R-Drop without dropout."""
    model.require_positions(settings.max_seq_length, settings.model)
    check_embeddings(tokenizer, model.model.config.vocab_size, settings.model)
    if settings.r_drop_alpha and not model.has_dropout:
        raise SettingsError(
            f"r_drop_alpha is {settings.r_drop_alpha:g}, but {settings.model} has no dropout, so both passes of R-Drop "
            "would be the same. Give it some: --hidden-dropout 0.1"
        )
