"""Text survives tokens: every character belongs to a token, and labels give golds back, in any script."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from albertqa.data.example import Example, Gold
from albertqa.data.reading import load_examples
from albertqa.decode.spans import WindowLogits, decode
from albertqa.windows.build import windows_in_memory
from albertqa.windows.offsets import token_characters
from albertqa.windows.statistics import check_tokenization, is_exact, labelled_text
from albertqa.windows.tokenizer import QATokenizer, load_tokenizer

from .cases import bert_like, roberta_like, save_in
from .reference import slow_characters
from .vocabularies import SPECIAL, vocab_txt_folder, word_folder

LANGUAGES = ("ar", "de", "en", "es", "hi", "ro", "ru", "tr", "vi", "zh")
# Combining marks, vowel signs, variation selectors, joiners, zero-width and byte-order marks, controls, white space.
SCRIPTS = st.text(
    st.one_of(
        st.sampled_from(
            "ab 5,.-\n\t\u0301\u0327\u200b\ufeff\u200d\ufe0f\u20e3\u093f\u094d\u0902नमसतदकé½ﬁİß❤☀⭐日本語가\u3099か"
        ),
        st.characters(codec="utf-8"),
    ),
    max_size=40,
)


@pytest.fixture(scope="session")
def cases(real_data: Path) -> Path:
    folder = real_data.parent / "cases"
    if not folder.is_dir():
        pytest.skip(f"no input cases at {folder}")
    return folder


@pytest.fixture(scope="session")
def kinds(
    tokenizer: QATokenizer, starter_contexts: list[str], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, QATokenizer]:
    """A tokenizer of each kind."""
    root = tmp_path_factory.mktemp("kinds")
    return {
        "unigram": tokenizer,
        "wordpiece": load_tokenizer(save_in(root / "bert", bert_like(starter_contexts))),
        "byte-level": load_tokenizer(save_in(root / "roberta", roberta_like(starter_contexts))),
        "byte-level, spaces in offsets": load_tokenizer(
            save_in(root / "spaces", roberta_like(starter_contexts, trim_offsets=False))
        ),
    }


def spans_of(text: str, tokenizer: QATokenizer) -> list[tuple[int, int]]:
    offsets = np.asarray(tokenizer.encode_batch([text])[0].offsets, dtype=np.int32).reshape(-1, 2)
    start_char, end_char = token_characters(text, offsets)
    return list(zip(start_char.tolist(), end_char.tolist(), strict=True))


@pytest.mark.parametrize("kind", ["unigram", "wordpiece", "byte-level", "byte-level, spaces in offsets"])
@given(text=SCRIPTS)
@settings(max_examples=300, deadline=None)
def test_every_character_but_white_space_belongs_to_a_token(
    kinds: dict[str, QATokenizer], kind: str, text: str
) -> None:
    encoding = kinds[kind].encode_batch([text])[0]
    spans = spans_of(text, kinds[kind])
    assume(spans)
    covered = {at for start, end in spans for at in range(start, end)}
    assert [at for at, character in enumerate(text) if at not in covered and not character.isspace()] == []
    assert spans == slow_characters(text, encoding.offsets)
    # Labels are found by bisection.
    assert all(one[0] <= other[0] and one[1] <= other[1] for one, other in pairwise(spans))


@pytest.mark.parametrize("kind", ["unigram", "wordpiece", "byte-level", "byte-level, spaces in offsets"])
@given(data=st.data(), context=SCRIPTS)
@settings(max_examples=300, deadline=None)
def test_a_gold_of_whole_tokens_comes_back_in_any_script(
    kinds: dict[str, QATokenizer], kind: str, data: st.DataObject, context: str
) -> None:
    spans = spans_of(context, kinds[kind])
    assume(spans)
    first = data.draw(st.integers(0, len(spans) - 1), label="first token")
    last = data.draw(st.integers(first, len(spans) - 1), label="last token")
    start, end = spans[first][0], spans[last][1]
    assume(context[start:end].strip() and is_whole(spans, start, end))
    example = Example("q", "Who?", context, (Gold(context[start:end], start),))
    window = windows_in_memory([example], kinds[kind])[0]
    assert labelled_text(window, example) == context[start:end]


def is_whole(spans: list[tuple[int, int]], start: int, end: int) -> bool:
    """Tell whether no token is partly inside a slice of the text, and some token begins and one ends with it."""
    overlapping = [one for one in spans if one[0] < end and one[1] > start]
    return (
        bool(overlapping) and min(one for one, _ in overlapping) == start and max(one for _, one in overlapping) == end
    )


# With SentencePiece's own offsets, "café" in five code points came back as "cafe", and golds before a dropped character
# with the word behind it.
COMBINING = {
    "nfd-cafe": "cafe\u0301",
    "nfd-rene": "Rene\u0301",
    "hi-1": "दिल्ली",
    "hi-2": "मुंबई",
    "heart": "❤\ufe0f",
    "five": "5\ufe0f\u20e3",
    "stars": "⭐\ufe0f⭐\ufe0f",
    "said": "Ann said 5\ufe0f\u20e3",
    # One token has one text: with the zero-width spaces on both sides of it.
    "zw-1": "\u200bParis\u200b",
    "zw-2": "\u200bParis\u200b",
}


@pytest.mark.real_data
@pytest.mark.parametrize("kind", ["albert", "words"])
@pytest.mark.parametrize("name", ["french-nfd", "hindi", "emoji-vs16", "zero-width"])
def test_golds_at_dropped_characters_come_back(
    cases: Path, real_tokenizer: QATokenizer, name: str, kind: str, tmp_path: Path
) -> None:
    some = load_examples(cases / "combining" / f"{name}.json")
    tokenizer = real_tokenizer
    if kind == "words":
        tokenizer = load_tokenizer(word_folder(tmp_path, [one.context for one in some]))
    store = windows_in_memory(some, tokenizer)
    for index, example in enumerate(some):
        assert labelled_text(store[index], example) == COMBINING[example.id]
        assert is_exact(store[index], example)
    figures, problems = check_tokenization(name, some, tokenizer)
    assert figures["golds_exact_percent"] == 100
    assert {problem.kind for problem in problems} <= {"unknown-tokens"}


@pytest.mark.real_data
@pytest.mark.parametrize(("name", "answer"), [("french-nfd", "nfd-cafe"), ("hindi", "hi-1"), ("emoji-vs16", "said")])
def test_a_prediction_is_the_whole_word(cases: Path, real_tokenizer: QATokenizer, name: str, answer: str) -> None:
    some = [one for one in load_examples(cases / "combining" / f"{name}.json") if one.id == answer]
    store = windows_in_memory(some, real_tokenizer)
    start, end = (np.zeros(int(store.lengths[0]), dtype=np.float32) for _ in range(2))
    start[store[0].start_position] = end[store[0].end_position] = 9
    logits = WindowLogits(start, end, np.asarray([0, len(start)]))
    assert decode(logits, store, some)[0].text == some[0].golds[0].text == COMBINING[answer]


@pytest.mark.real_data
def test_special_tokens_that_a_text_spells_are_text(cases: Path, real_tokenizer: QATokenizer) -> None:
    some = load_examples(cases / "limits" / "special-tokens.json")
    tokens = real_tokenizer.encode_batch([some[0].context])[0].tokens
    assert " ".join(tokens[3:7]) == "▁ < unk >"
    store = windows_in_memory(some, real_tokenizer)
    assert [labelled_text(store[index], one) for index, one in enumerate(some)] == ["<pad>", "unk"]


@pytest.mark.real_data
def test_a_chinese_albert_with_vocab_txt_only_gives_its_golds_back(cases: Path, tmp_path: Path) -> None:
    some = load_examples(cases / "limits" / "chinese.json")
    characters = dict.fromkeys("".join(one.context + one.question for one in some))
    tokenizer = load_tokenizer(vocab_txt_folder(tmp_path, [*SPECIAL, *characters], model_type="albert"))
    figures, problems = check_tokenization("chinese.json", some, tokenizer)
    assert (figures["golds_exact_percent"], figures["unknown_text_percent"], problems) == (100, 0, [])


# Share of the golds that labels give back: ALBERT's SentencePiece, and a WordPiece of the file's own words. The rest
# begin or end inside a token: of Arabic, Hindi and Chinese a run of unknown text is one token to ALBERT, and a word
# with its ending is one to the WordPiece.
SURVIVING: dict[str, tuple[float, float]] = {
    "ar": (85.3, 98.1), "de": (100.0, 99.7), "en": (99.9, 99.9), "es": (99.9, 99.8), "hi": (97.1, 99.5),
    "ro": (100.0, 100.0), "ru": (98.8, 99.7), "tr": (99.8, 99.7), "vi": (99.9, 99.8), "zh": (79.7, 100.0),
}  # fmt: skip


@pytest.mark.real_data
@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("kind", ["albert", "words"])
def test_every_gold_that_is_not_inside_a_token_survives(
    real_data: Path, real_tokenizer: QATokenizer, language: str, kind: str, tmp_path: Path
) -> None:
    some = load_examples(real_data / "xquad" / f"xquad.{language}.json")
    tokenizer = real_tokenizer
    if kind == "words":
        tokenizer = load_tokenizer(word_folder(tmp_path, [one.context for one in some]))
    store = windows_in_memory(some, tokenizer, max_seq_length=4096, doc_stride=128)
    contexts = list(dict.fromkeys(one.context for one in some))
    spans = {
        text: slow_characters(text, encoding.offsets)
        for text, encoding in zip(contexts, tokenizer.encode_batch(contexts), strict=True)
    }
    survived = 0
    for index, example in enumerate(some):
        gold = example.golds[0]
        survived += is_exact(store[index], example)
        if is_whole(spans[example.context], gold.answer_start, gold.answer_end):
            assert labelled_text(store[index], example) == gold.text
    assert len(some) == 1190
    assert round(100 * survived / len(some), 1) == SURVIVING[language][kind == "words"]


# Unknown text in percent, contexts that are mostly unknown, and what `check` says.
UNKNOWN: dict[str, tuple[float, int, list[str]]] = {
    "en": (0.1, 0, []),
    "tr": (4.2, 0, ["unknown-tokens"]),
    "hi": (95.3, 240, ["answers-changed", "unknown-tokens"]),
    "zh": (85.7, 237, ["answers-changed", "unknown-tokens"]),
}


@pytest.mark.real_data
@pytest.mark.parametrize("language", list(UNKNOWN))
def test_a_tokenizer_that_does_not_fit_the_language_is_reported(
    real_data: Path, real_tokenizer: QATokenizer, language: str
) -> None:
    name = f"xquad.{language}.json"
    figures, problems = check_tokenization(name, load_examples(real_data / "xquad" / name), real_tokenizer)
    percent, mostly, kinds_found = UNKNOWN[language]
    assert round(figures["unknown_text_percent"], 1) == percent
    assert (figures["contexts"], figures["contexts_mostly_unknown"]) == (240, mostly)
    assert [problem.kind for problem in problems] == kinds_found
    assert {problem.severity for problem in problems} <= {"warning"}
    if problems:
        assert "does not fit the language" in problems[-1].message
