"""Examples for the tests: drawn texts, starter questions, and small tokenizers of other families."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

from albertqa.data.example import Example, Gold
from albertqa.data.reading import load_examples
from albertqa.data.starter import starter_file
from albertqa.windows.store import WINDOW_COLUMNS, Window, WindowStore

WORDS = (
    *("the", "Normans", "were", "people", "who", "in", "1976,", "5,000", "gave", "their", "name", "(oapec)", '"10"'),
    *("-", ".", "(", ")", "Rollo's", "e.g.", "``quoted''", "swam", "river", "£5", "xylophone"),
)
# Characters that change their number under NFKD, accent stripping or lower-casing, or that are white space to some.
ODD = (
    *(
        "½",
        "ﬁ",
        "é",
        "e\u0301",
        "…",
        "①",
        "ﷺ",
        "İ",
        "ß",
        "\uff15",
        "²",
        "\u00b4",
        "¨a",
        "™",
        "日本語",
        "한국",
        "😀",
        "नमस्ते",
        "Σας",
    ),
    *("\u200b", "\u00ad", "\ufeff", "\x07", "\x1c", "\ufffd", "▁", "a▁b", "[SEP]", "[CLS]", "<pad>"),
)
GAPS = (" ", " ", " ", "", "  ", "\n", "\t ", "\u00a0", "\u3000", "\u2009\u2009", "\u0085")


def texts(*, most_words: int, odd: bool = True) -> st.SearchStrategy[str]:
    """Words and white space of all kinds, possibly none."""
    words = st.sampled_from(WORDS + ODD if odd else WORDS)
    gaps = st.sampled_from(GAPS if odd else (" ",))
    return st.lists(st.tuples(words, gaps), max_size=most_words).map(lambda parts: "".join(map("".join, parts)))


@st.composite
def examples(draw: st.DrawFn, *, most_words: int = 40, odd: bool = True) -> Example:
    """One example; its gold, where it has one, is any slice of the context."""
    question = draw(texts(most_words=6, odd=odd))
    context = draw(texts(most_words=most_words, odd=odd))
    golds: tuple[Gold, ...] = ()
    if context and draw(st.booleans()):
        start = draw(st.integers(0, len(context) - 1))
        end = draw(st.integers(start + 1, min(len(context), start + 30)))
        golds = (Gold(context[start:end], start),)
    return Example("q", question, context, golds)


def with_ids(drawn: Sequence[Example]) -> list[Example]:
    """Number examples."""
    return [
        Example(f"q{number}", example.question, example.context, example.golds) for number, example in enumerate(drawn)
    ]


def starter_examples(count: int | None = None, *, version_2: bool = False) -> list[Example]:
    """The first examples of the bundled set."""
    return load_examples(starter_file("dev", version_2=version_2), limit=count)


def assert_same_window(one: Window, other: Window) -> None:
    """Compare two windows field by field."""
    assert one.example_index == other.example_index
    assert (one.context_start, one.start_position, one.end_position) == (
        other.context_start,
        other.start_position,
        other.end_position,
    )
    for name in ("input_ids", "token_type_ids", "start_char", "end_char"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)


def assert_same_store(one: WindowStore, other: WindowStore) -> None:
    """Compare two stores window by window."""
    assert (one.layout, one.max_seq_length, one.doc_stride) == (other.layout, other.max_seq_length, other.doc_stride)
    assert (len(one), one.num_examples) == (len(other), other.num_examples)
    for name in WINDOW_COLUMNS:
        np.testing.assert_array_equal(one.columns[name], other.columns[name], err_msg=name)
    np.testing.assert_array_equal(one.first_window, other.first_window)
    for index in range(len(one)):
        assert_same_window(one[index], other[index])


def bert_like(texts: Sequence[str]) -> Tokenizer:
    """A WordPiece tokenizer as BERT has it: ``[CLS] A [SEP] B [SEP]``, segments 0 and 1."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(
        vocab_size=600, special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]"], show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return tokenizer


def roberta_like(texts: Sequence[str], *, trim_offsets: bool = True) -> Tokenizer:
    """A byte-level BPE tokenizer as RoBERTa has it: ``<s> A </s></s> B </s>``, one segment."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=["<s>", "<pad>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.RobertaProcessing(
        ("</s>", 2), ("<s>", 0), trim_offsets=trim_offsets, add_prefix_space=False
    )
    return tokenizer


def save_in(folder: Path, tokenizer: Tokenizer) -> Path:
    """Write a ``tokenizer.json`` and give its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder
