"""Sentence borders: where a reader would put them in plain cases, and never inside a word."""

import doctest
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings

from albertqa.data.reading import load_examples
from albertqa.data.starter import starter_file
from albertqa.windows import sentences
from albertqa.windows.build import windows_in_memory
from albertqa.windows.sentences import sentence_at, sentence_borders, sentence_starts
from albertqa.windows.tokenizer import QATokenizer

from .cases import texts


def cut(text: str) -> list[str]:
    starts = [*sentence_starts(text), len(text)]
    return [text[first:end].rstrip() for first, end in pairwise(starts)]


def test_the_sentence_that_holds_a_character() -> None:
    context = ' It rose 3.5 percent. "Why?" asked Dr. Who.\nNo one knew e.g. the cause.'
    assert sentence_at(context, 0) == sentence_at(context, 5) == "It rose 3.5 percent."
    assert sentence_at(context, context.index("Why")) == '"Why?" asked Dr. Who.'
    assert sentence_at(context, context.index("cause")) == "No one knew e.g. the cause."
    assert sentence_at(" ", 0) == ""


def test_the_example_in_the_docstring_holds() -> None:
    assert doctest.testmod(sentences).failed == 0


@pytest.mark.parametrize(
    "expected",
    [
        ["Rollo swam.", "He was cold!", "Was he?", "Yes…", "He was."],
        ['He said "stop."', "(She did.)", "\u201cWhy?\u201d", "\u2018No.\u2019", "So be it."],
        ["It cost $3.50 in 1976.", "1977 was dearer: 5,000.25 in all."],
        ["Dr. Smith of St. Mary's met J. R. R. Tolkien and Capt. Ahab in the U.S. Army."],
        ["Pieces, e.g. those of Fig. 3 (cf. No. 7), vs. others.", "All fit."],
        ["The so-called ... thing. of course went on"],
        ["A headline", "Then text.", "More."],
        ["One line\ngoes on in the next.", "New one."],
        ["これは文です。", "これも\uff01", "「そう\uff1f」", "はい"],
        ["यह एक वाक्य है।", "दूसरा।"],
    ],
)
def test_sentences_are_what_a_reader_takes_for_them(expected: list[str]) -> None:
    gap = "" if "。" in expected[0] else " "
    text = "A headline\n\nThen text. More." if expected[0] == "A headline" else gap.join(expected)
    assert cut(text) == expected


@pytest.mark.parametrize("text", ["", " \n\t", "\u3000"])
def test_a_text_of_nothing_has_no_sentence(text: str) -> None:
    assert sentence_starts(text) == []


@given(text=texts(most_words=60))
@settings(max_examples=200, deadline=None)
def test_sentences_begin_with_a_character_and_leave_nothing_out(text: str) -> None:
    starts = sentence_starts(text)
    assert starts == sorted(set(starts))
    assert all(0 <= start < len(text) for start in starts)
    assert not text[: starts[0] if starts else len(text)].strip()
    for start in starts[1:]:
        before = text[:start].rstrip()
        assert before[-1] in ".!?…।؟。\uff01\uff1f\"'”\u2019»)]」』\uff09" or "\n" in text[len(before) : start]
        assert len(before) < start or set(before) & {*"。\uff01\uff1f"}


def test_borders_are_the_tokens_at_which_sentences_begin(tokenizer: QATokenizer) -> None:
    examples = load_examples(starter_file("train"), limit=60)
    store = windows_in_memory(examples, tokenizer, max_seq_length=96, doc_stride=32)
    for index in range(len(store)):
        window = store[index]
        text = examples[window.example_index].context
        borders = sentence_borders(text, window.start_char, window.end_char)
        assert borders[0] == 0
        assert borders[-1] == len(window.start_char)
        assert (np.diff(borders) > 0).all()
        inside = {int(window.start_char[border]) for border in borders[1:-1]}
        first, end = int(window.start_char[0]), int(window.end_char[-1])
        # A window that begins within a sentence makes a piece of it.
        assert inside == {start for start in sentence_starts(text) if first < start < end}


def test_no_tokens_have_no_sentence() -> None:
    none = np.zeros(0, dtype=np.int32)
    assert sentence_borders("Some text.", none, none).tolist() == [0]
