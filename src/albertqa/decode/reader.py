"""A trained model with its tokenizer: what evaluation and answering start from."""

from dataclasses import dataclass
from pathlib import Path

from albertqa import rundir
from albertqa.model.load import SpanModel, choose_device, choose_precision, load_model, resolve_model
from albertqa.model.memory import keep_freed_memory
from albertqa.windows.tokenizer import QATokenizer, check_embeddings, load_tokenizer


@dataclass(frozen=True)
class Reader:
    """A trained question-answering model.

    Attributes:
        model: Encoder and span head.
        tokenizer: Its tokenizer.
        source: What the user called it.
    """

    model: SpanModel
    tokenizer: QATokenizer
    source: str


def load_reader(
    source: str | Path, *, max_seq_length: int, device: str = "auto", mixed_precision: str = "auto"
) -> Reader:
    """Load a trained model.

    Args:
        source: Run directory (its ``best/``), Transformers folder, or Hub name.
        max_seq_length: Most tokens of a window that it shall read.
        device: See `choose_device`.
        mixed_precision: See `choose_precision`.

    Returns:
        The model in evaluation mode, with its tokenizer.

    Raises:
        AlbertQAError: It is not there, damaged, was never trained to answer questions, or has too few positions.
    """
    folder = resolve_model(rundir.model_folder(source))
    chosen = choose_device(device)
    if chosen.type == "cpu":
        keep_freed_memory()
    tokenizer = load_tokenizer(folder)
    model = load_model(folder, device=chosen, precision=choose_precision(mixed_precision, chosen), needs_head=True)
    model.require_positions(max_seq_length, str(source))
    check_embeddings(tokenizer, int(model.model.config.vocab_size), str(source))
    return Reader(model, tokenizer, str(source))
