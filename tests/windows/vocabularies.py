"""Folders of other encoders' vocabulary files, without a ``tokenizer.json``, trained on any texts."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import sentencepiece
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")


def wordpiece_folder(
    folder: Path, texts: Iterable[str], *, lower: bool = True, size: int = 800, model_type: str = "bert", **config: Any
) -> Path:
    """``vocab.txt`` as BERT's was made, the settings in ``tokenizer_config.json`` (none: no such file)."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lower)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(vocab_size=size, special_tokens=list(SPECIAL), show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    return vocab_txt_folder(folder, _by_id(tokenizer), model_type=model_type, **config)


def word_folder(folder: Path, texts: Iterable[str], **config: Any) -> Path:
    """``vocab.txt`` of the texts' own words, and of their characters for what is left."""
    splitting = pre_tokenizers.BertPreTokenizer()
    folding = normalizers.BertNormalizer(lowercase=False)
    found = dict.fromkeys(word for text in texts for word, _ in splitting.pre_tokenize_str(folding.normalize_str(text)))
    characters = sorted({character for word in found for character in word})
    pieces = [*SPECIAL, *found, *(one for one in characters if one not in found), *(f"##{one}" for one in characters)]
    return vocab_txt_folder(folder, pieces, do_lower_case=False, **config)


def vocab_txt_folder(folder: Path, pieces: Sequence[str], *, model_type: str = "bert", **config: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(pieces) + "\n", encoding="utf-8")
    write_json(folder / "config.json", {"model_type": model_type})
    if config:
        write_json(folder / "tokenizer_config.json", config)
    return folder


def byte_level_folder(folder: Path, texts: Iterable[str], *, size: int = 700, **config: Any) -> Path:
    """``vocab.json`` and ``merges.txt`` as RoBERTa's were made."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.model.save(str(folder))
    write_json(folder / "config.json", {"model_type": "roberta"})
    if config:
        write_json(folder / "tokenizer_config.json", config)
    return folder


def fairseq_folder(folder: Path, texts: Iterable[str], model_type: str, *, size: int = 600) -> Path:
    """``sentencepiece.bpe.model`` as XLM-R's and CamemBERT's were made."""
    folder.mkdir(parents=True, exist_ok=True)
    train_sentencepiece(folder / "sentencepiece.bpe.model", texts, size=size)
    write_json(folder / "config.json", {"model_type": model_type})
    return folder


def train_sentencepiece(path: Path, texts: Iterable[str], *, size: int, **settings: Any) -> None:
    sentences = [line for text in texts for line in text.splitlines()]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(sentences),
        model_prefix=str(path.with_suffix("")),
        vocab_size=size,
        model_type="unigram",
        minloglevel=2,
        hard_vocab_limit=False,
        **settings,
    )
    path.with_suffix(".vocab").unlink()


def albert_spiece(path: Path, texts: Iterable[str], *, size: int = 600, **settings: Any) -> Path:
    """A ``spiece.model`` with ALBERT's special tokens."""
    train_sentencepiece(
        path,
        texts,
        size=size,
        pad_id=0,
        unk_id=1,
        bos_id=-1,
        eos_id=-1,
        pad_piece="<pad>",
        unk_piece="<unk>",
        control_symbols="[CLS],[SEP],[MASK]",
        **settings,
    )
    return path


def _by_id(tokenizer: Tokenizer) -> list[str]:
    vocabulary = tokenizer.get_vocab()
    return sorted(vocabulary, key=vocabulary.__getitem__)
