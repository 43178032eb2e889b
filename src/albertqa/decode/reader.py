"""A trained model with its tokenizer and reader settings: what evaluation and answering start from."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypedDict, Unpack

import msgspec

from albertqa.config import Backend, DecodeConfig, DeviceConfig, WindowConfig
from albertqa.errors import ModelError, SettingsError
from albertqa.files import READER_JSON, model_folder, write_json
from albertqa.model.onnx_model import OnnxModel, has_onnx, resolve_onnx
from albertqa.model.window_model import WindowModel
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

    model: WindowModel
    tokenizer: QATokenizer
    settings: ReaderSettings
    source: str


def load_reader(
    source: str | Path,
    device: DeviceConfig | None = None,
    *,
    backend: Backend = "auto",
    **changes: Unpack[ReaderChanges],
) -> Reader:
    """Load a trained model.

    Args:
        source: Run directory (its ``best/``), Transformers folder, folder of `albertqa export`, or Hub name.
        device: Where it computes; its number of CPU threads, where set, is set for the whole process with PyTorch.
        backend: ``torch``, ``onnx`` (an exported model, without PyTorch), or ``auto``: ``onnx`` where the folder has an
            exported model and no other weights.
        changes: Reader settings instead of the model's own (see `ReaderSettings`); None: its own.

    Returns:
        The model with its tokenizer and settings.

    Raises:
        AlbertQAError: It is not there, damaged, was never trained to answer questions, or has too few positions.
    """
    device = device or DeviceConfig()
    device.check()
    given = model_folder(source)
    if backend == "auto":
        backend = "onnx" if has_onnx(Path(given)) and not _has_weights(Path(given)) else "torch"
    folder = resolve_onnx(given) if backend == "onnx" else _resolve_torch(given)
    settings = ReaderSettings.load(folder).changed(**changes)
    tokenizer = load_tokenizer(folder)
    model = (_open_onnx if backend == "onnx" else _open_torch)(folder, device)
    model.require_positions(settings.max_seq_length, str(source))
    check_embeddings(tokenizer, model.vocab_size, str(source))
    return Reader(model, tokenizer, settings, str(source))


def _has_weights(folder: Path) -> bool:
    """Report whether a folder has weights for PyTorch, in one file or several."""
    return any(next(folder.glob(pattern), None) is not None for pattern in ("model*.safetensors", "pytorch_model*.bin"))


def _resolve_torch(source: str) -> Path:
    # PyTorch is loaded where it computes, and nowhere else.
    from albertqa.model.load import resolve_model

    return Path(resolve_model(source))


def _open_torch(folder: Path, device: DeviceConfig) -> WindowModel:
    import torch

    from albertqa.model.load import choose_device, choose_precision, load_model

    chosen = choose_device(device.device)
    if device.num_threads is not None:
        torch.set_num_threads(device.num_threads)
    precision = choose_precision(device.mixed_precision, chosen)
    return load_model(folder, device=chosen, precision=precision, needs_head=True)


def _open_onnx(folder: Path, device: DeviceConfig) -> WindowModel:
    if device.mixed_precision not in {"auto", "no"}:
        raise SettingsError(
            f"mixed_precision is {device.mixed_precision}, but an exported model computes as it was exported. "
            "Use --mixed-precision auto"
        )
    return OnnxModel(folder, device=device.device, num_threads=device.num_threads)
