"""A small vocabulary of ALBERT's form, trained on any sentences, and a tiny ALBERT with it."""

import json
from collections.abc import Iterable
from pathlib import Path

from albertqa.windows.tokenizer import SPIECE_MODEL

TINY_ALBERT = {
    "architectures": ["AlbertForQuestionAnswering"],
    "model_type": "albert",
    "embedding_size": 16,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_hidden_groups": 1,
    "inner_group_num": 1,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "hidden_act": "gelu_new",
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
    "pad_token_id": 0,
    "bos_token_id": 2,
    "eos_token_id": 3,
}


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


def save_tiny_albert(folder: Path, spiece_model: Path) -> Path:
    """Write a model folder without weights: config of a tiny ALBERT and its tokenizer, for training from scratch."""
    (folder / SPIECE_MODEL).write_bytes(spiece_model.read_bytes())
    (folder / "config.json").write_text(json.dumps({**TINY_ALBERT, "vocab_size": 1000}))
    return folder
