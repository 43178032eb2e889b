"""ALBERT's tokenization is SentencePiece's; the card's number of windows comes of it, whoever loads the tokenizer."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from tokenizers import Tokenizer

from albertqa.data.example import Example
from albertqa.data.reading import load_examples
from albertqa.windows.build import build_windows, windows_in_memory
from albertqa.windows.store import WindowStore
from albertqa.windows.tokenizer import QATokenizer, load_tokenizer

from .cases import texts
from .reference import SentencePieceAlbert

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Of `Palak/albert-base-v2_squad`: eval_samples.
CARD_WINDOWS = 10_808


@pytest.mark.real_data
@pytest.mark.parametrize("version", ["1.1", "2.0"])
def test_every_context_and_question_is_tokenized_as_by_sentencepiece(
    real_data: Path, real_spiece: Path, real_tokenizer: QATokenizer, real_saved_folder: Path, version: str
) -> None:
    examples = load_examples(real_data / "squad" / f"dev-v{version}.json")
    saved = load_tokenizer(real_saved_folder)
    sentencepiece = SentencePieceAlbert(real_spiece)
    contexts = list(dict.fromkeys(example.context for example in examples))
    assert len(contexts) > 1000
    for some in (contexts, [example.question for example in examples]):
        encodings = real_tokenizer.encode_batch(some)
        assert [encoding.tokens for encoding in encodings] == sentencepiece.encode(some, str)
        ids = sentencepiece.encode(some, int)
        assert [encoding.ids for encoding in encodings] == ids
        if some is contexts:
            assert [encoding.ids for encoding in saved.encode_batch(some)] == ids


@given(text=texts(most_words=12))
@settings(max_examples=200, deadline=None)
def test_odd_characters_are_tokenized_as_by_sentencepiece(
    spiece_model: Path, tokenizer: QATokenizer, text: str
) -> None:
    # Left out: a text that spells a control piece (the `tokenizers` library knows no such kind and gives that piece),
    # and U+001C, white space to Python alone.
    text = text.replace("<pad>", "").replace("\x1c", "")
    assert tokenizer.encode_batch([text])[0].ids == SentencePieceAlbert(spiece_model).encode([text], int)[0]


@pytest.mark.real_data
def test_dev_gives_the_cards_number_of_windows(dev_v1_windows: WindowStore) -> None:
    assert len(dev_v1_windows) == CARD_WINDOWS


@pytest.mark.real_data
def test_a_saved_tokenizer_is_the_same_tokenizer(
    real_saved_folder: Path, real_tokenizer: QATokenizer, dev_v1: list[Example], dev_v1_windows: WindowStore
) -> None:
    saved = load_tokenizer(real_saved_folder)
    assert saved.fingerprint == real_tokenizer.fingerprint
    assert load_tokenizer(real_saved_folder / "tokenizer.json").fingerprint == real_tokenizer.fingerprint
    assert len(build_windows(dev_v1, saved)) == CARD_WINDOWS == len(dev_v1_windows)


@pytest.mark.real_data
def test_transformers_makes_the_same_windows_from_a_saved_tokenizer(
    real_transformers: "PreTrainedTokenizerBase", dev_v1: list[Example]
) -> None:
    length = {}
    for texts_of in ({example.context for example in dev_v1}, {example.question.lstrip() for example in dev_v1}):
        some = list(texts_of)
        encoded = real_transformers(some, add_special_tokens=False)
        length |= {text: len(ids) for text, ids in zip(some, encoded["input_ids"], strict=True)}
    # What fits gives one window; only the rest is worth the time of encoding every pair.
    long = [one for one in dev_v1 if length[one.context] + length[one.question.lstrip()] + 3 > 384]
    encoded = real_transformers(
        [example.question.lstrip() for example in long],
        [example.context for example in long],
        truncation="only_second",
        max_length=384,
        stride=128,
        return_overflowing_tokens=True,
    )
    assert len(dev_v1) - len(long) + len(encoded["input_ids"]) == CARD_WINDOWS
    ours = windows_in_memory(long, load_tokenizer(Path(real_transformers.name_or_path)))
    assert encoded["overflow_to_sample_mapping"] == ours.columns["example_index"].tolist()
    for index in range(len(ours)):
        assert encoded["input_ids"][index] == ours[index].input_ids.tolist()
        assert encoded["token_type_ids"][index] == ours[index].token_type_ids.tolist()


@pytest.mark.real_data
def test_a_tokenizer_that_transformers_saved_again_is_accepted(
    real_transformers: "PreTrainedTokenizerBase", real_tokenizer: QATokenizer, dev_v1: list[Example], tmp_path: Path
) -> None:
    real_transformers.save_pretrained(str(tmp_path))
    again = load_tokenizer(tmp_path)
    assert again.layout == real_tokenizer.layout
    contexts = list(dict.fromkeys(example.context for example in dev_v1))[:300]
    for one, other in zip(again.encode_batch(contexts), real_tokenizer.encode_batch(contexts), strict=True):
        assert (one.ids, one.offsets) == (other.ids, other.offsets)


@pytest.mark.real_data
def test_the_digit_comma_rule_is_worth_two_windows(
    dev_v1: list[Example], real_tokenizer: QATokenizer, without_digit_comma_rule: Tokenizer
) -> None:
    variant = dataclasses.replace(real_tokenizer, backend=without_digit_comma_rule)
    assert (
        variant.encode_batch(["in 1976, 5, £5."])[0].tokens
        != real_tokenizer.encode_batch(["in 1976, 5, £5."])[0].tokens
    )
    assert len(windows_in_memory(dev_v1, variant)) == 10_806


def test_a_year_before_a_comma_is_a_token_of_its_own(tokenizer: QATokenizer) -> None:
    encoding = tokenizer.encode_batch(["In 1976, 5, and 1,000"])[0]
    assert not [token for token in encoding.tokens if token[-1] == "," and len(token) > 1]


def test_saved_tokenizers_open_in_transformers_with_segment_ids_by_default(
    tokenizer: QATokenizer, tmp_path: Path
) -> None:
    from transformers import AutoTokenizer

    tokenizer.save(tmp_path)
    theirs = AutoTokenizer.from_pretrained(str(tmp_path))
    encoded = theirs("Who gave (it)?", "The Normans gave their name.")
    inside = encoded.sequence_ids(0)
    last_of_question = len(inside) - 1 - inside[::-1].index(0)
    # [SEP] behind the question belongs to segment 0, the one behind the context to segment 1.
    assert encoded["token_type_ids"] == [0] * (last_of_question + 2) + [1] * (len(inside) - last_of_question - 2)
    assert encoded["input_ids"] == tokenizer.backend.encode("Who gave (it)?", "The Normans gave their name.").ids
    assert theirs.model_max_length == 512
