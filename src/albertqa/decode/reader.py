"""A trained model with its tokenizer and reader settings: what evaluation and answering start from."""

from dataclasses import dataclass
from pathlib import Path
from typing import Unpack

import torch

from albertqa.config import DeviceConfig
from albertqa.decode.reader_settings import ReaderChanges, ReaderSettings
from albertqa.files import model_folder
from albertqa.model.load import SpanModel, choose_device, choose_precision, load_model, resolve_model
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
