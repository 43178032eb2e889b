"""A trained model with its tokenizer and reader settings: what evaluation and answering start from."""

from dataclasses import dataclass
from pathlib import Path
from typing import Unpack

from albertqa.config import Backend, DeviceConfig
from albertqa.decode.reader_settings import ReaderChanges, ReaderSettings
from albertqa.errors import SettingsError
from albertqa.files import model_folder
from albertqa.model.onnx_model import OnnxModel, has_onnx, resolve_onnx
from albertqa.model.window_model import WindowModel
from albertqa.windows.tokenizer import QATokenizer, check_embeddings, load_tokenizer


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
