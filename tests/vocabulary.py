"""A small vocabulary of ALBERT's form, trained on any sentences."""

from collections.abc import Iterable
from pathlib import Path

from albertqa.windows.tokenizer import SPIECE_MODEL


def train_spiece(folder: Path, sentences: Iterable[str]) -> Path:
    """Train a SentencePiece model with 1,000 pieces and ALBERT's special ones; give its file."""
    import sentencepiece

    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(sentences),
        model_prefix=str(folder / "spiece"),
        vocab_size=1000,
        model_type="unigram",
        pad_id=0,
        unk_id=1,
        bos_id=-1,
        eos_id=-1,
        pad_piece="<pad>",
        unk_piece="<unk>",
        control_symbols="[CLS],[SEP],[MASK]",
        user_defined_symbols='(,),",-,.',
        minloglevel=2,
    )
    return folder / SPIECE_MODEL
