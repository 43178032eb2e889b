"""A trained model with its tokenizer and reader settings: what evaluation and answering start from."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypedDict, Unpack

import msgspec
import torch

from albertqa.config import DecodeConfig, DeviceConfig, WindowConfig
from albertqa.errors import ModelError
from albertqa.files import READER_JSON, model_folder, write_json
from albertqa.model.load import SpanModel, choose_device, choose_precision, load_model, resolve_model
from albertqa.schema import read_struct
from albertqa.windows.tokenizer import QATokenizer, check_embeddings, load_tokenizer


class ReaderChanges(TypedDict, total=False):
    """Reader settings given instead of a model's own (see `ReaderSettings`); None: the model's own."""

    max_seq_length: int | None
    doc_stride: int | None
    max_answer_length: int | None
    n_best_size: int | None
    null_score_diff_threshold: float | None
    version_2_with_negative: bool | None


@dataclass(frozen=True)
class ReaderSettings(DecodeConfig, WindowConfig):
    """How a model was trained to read: saved beside it as ``reader.json``, and the default of whoever uses it."""

    version_2_with_negative: bool | None = None
    """Whether "no answer" is an answer; None: not known, as the data says."""
    temperature: float | None = None
    """Divide the n-best scores by it before their softmax to get calibrated probabilities; None: not calibrated."""

    def save(self, folder: Path) -> None:
        """Write it into a model's folder."""
        write_json(folder / READER_JSON, msgspec.to_builtins(self))

    @classmethod
    def load(cls, folder: Path) -> "ReaderSettings":
        """Read it from a model's folder.

        Args:
            folder: The folder; a model that was trained by another tool has none.

        Returns:
            The settings; the recipe's where there are none.

        Raises:
            AlbertQAError: The file is damaged, or a number is out of range.
        """
        path = folder / READER_JSON
        if not path.is_file():
            return cls()
        remedy = "Put the file back as it was, or remove it"
        settings = read_struct(path, cls, remedy=remedy)
        problems = list(settings.problems())
        if settings.temperature is not None and not 0 < settings.temperature < float("inf"):
            problems.append(f"temperature is {settings.temperature}, expected above 0 and finite")
        if problems:
            raise ModelError(f"{path}: {'; '.join(problems)}. {remedy}")
        return settings

    def changed(self, **changes: Unpack[ReaderChanges]) -> "ReaderSettings":
        """Return the settings with some changed; those that are None stay.

        Raises:
            SettingsError: A number is out of range.
        """
        given: dict[str, Any] = {name: value for name, value in changes.items() if value is not None}
        settings = replace(self, **given)
        settings.check()
        return settings


@dataclass(frozen=True)
class Reader:
    """A trained question-answering model.

    Attributes:
        model: Encoder and span head, in evaluation mode.
        tokenizer: Its tokenizer.
        settings: How it reads.
        source: What the user called it.
    """

    model: SpanModel
    tokenizer: QATokenizer
    settings: ReaderSettings
    source: str


def load_reader(source: str | Path, device: DeviceConfig | None = None, **changes: Unpack[ReaderChanges]) -> Reader:
    """Load a trained model.

    Args:
        source: Run directory (its ``best/``), Transformers folder, or Hub name.
        device: Where it computes; its number of CPU threads, where set, is set for the whole process.
        changes: Reader settings instead of the model's own (see `ReaderSettings`); None: its own.

    Returns:
        The model with its tokenizer and settings.

    Raises:
        AlbertQAError: It is not there, damaged, was never trained to answer questions, or has too few positions.
    """
    device = device or DeviceConfig()
    device.check()
    folder = resolve_model(model_folder(source))
    settings = ReaderSettings.load(Path(folder)).changed(**changes)
    chosen = choose_device(device.device)
    if device.num_threads is not None:
        torch.set_num_threads(device.num_threads)
    tokenizer = load_tokenizer(folder)
    precision = choose_precision(device.mixed_precision, chosen)
    model = load_model(folder, device=chosen, precision=precision, needs_head=True)
    model.require_positions(settings.max_seq_length, str(source))
    check_embeddings(tokenizer, model.model.config.vocab_size, str(source))
    return Reader(model, tokenizer, settings, str(source))
