"""Distractors are whole sentences of another article, fit into the window, and hold no gold."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from albertqa.data.example import Example, Gold
from albertqa.data.read import load_examples
from albertqa.errors import DataError
from albertqa.scoring.metric import normalize_answer
from albertqa.windows.augmentation import NOWHERE, Augmenter
from albertqa.windows.build import windows_in_memory
from albertqa.windows.sentences import sentence_starts
from albertqa.windows.store import Window
from albertqa.windows.tokenizer import QATokenizer

from .cases import assert_same_window

augmented = partial(Augmenter, ways=("distractor",), rate=1.0, seed=3, normalize=normalize_answer)


def distractor(window: Window) -> list[int]:
    ids = window.input_ids[window.context_start :][: len(window.start_char)]
    return [int(token) for token in ids[window.start_char == NOWHERE]]


def position(tokens: list[int], some: list[int]) -> int | None:
    return next((at for at in range(len(tokens) - len(some) + 1) if tokens[at : at + len(some)] == some), None)


def test_distractors_are_sentences_of_another_article_without_a_gold(tokenizer: QATokenizer) -> None:
    examples = load_examples("starter-v2:train", limit=160)
    # Room for two paragraphs of many small tokens.
    store = windows_in_memory(examples, tokenizer, max_seq_length=1000)
    contexts = {example.context: example.title for example in examples}
    encodings = dict(zip(contexts, tokenizer.encode_batch(list(contexts)), strict=True))
    view = augmented(store, examples, tokenizer)(0)
    num_whole, sides = 0, []
    for index in range(len(store)):
        window = view[index]
        example = examples[window.example_index]
        found = distractor(window)
        if not found:
            continue
        sources = [text for text, one in encodings.items() if position(one.ids, found) is not None]
        assert {contexts[text] for text in sources} - {example.title}
        text = sources[0]
        at = position(encodings[text].ids, found)
        assert at is not None
        first, end = encodings[text].offsets[at][0], encodings[text].offsets[at + len(found) - 1][1]
        starts = sentence_starts(text)
        assert first in starts
        assert end == len(text) or text[end:].lstrip() in {text[start:] for start in starts}
        for gold in example.golds:
            assert normalize_answer(gold.text) not in normalize_answer(text[first:end])
        num_whole += (first, end) == (0, len(text))
        sides.append(bool(window.start_char[0] == NOWHERE))
    assert len(sides) > 0.9 * len(store)
    assert 0.1 < num_whole / len(sides) < 0.9
    assert 0.4 < np.mean(sides) < 0.6


def swimmers(count: int, *, golds_in: int) -> list[Example]:
    """Articles of one sentence; the first `golds_in` of them have the first one's gold in them."""
    texts = [f"On day {at} the {'Duke of Rouen' if at < golds_in else 'king'} swam far." for at in range(count)]
    first = Example("q0", "Who swam?", texts[0], (Gold("the Duke of Rouen", 9),), "t0")
    others = [Example(f"q{at}", "When?", text, (Gold(text[:12], 0),), f"t{at}") for at, text in enumerate(texts)]
    return [first, *others[1:]]


def test_a_text_with_the_gold_in_it_is_never_joined(tokenizer: QATokenizer) -> None:
    examples = swimmers(10, golds_in=9)
    store = windows_in_memory(examples, tokenizer)
    clean = tokenizer.encode_batch([examples[9].context])[0].ids
    augmenter = augmented(store, examples, tokenizer)
    found = [distractor(augmenter(epoch)[0]) for epoch in range(20)]
    assert found.count(clean) + found.count([]) == 20
    assert found.count(clean) > 5


def test_where_every_text_holds_the_gold_the_window_stays(tokenizer: QATokenizer) -> None:
    examples = swimmers(6, golds_in=6)
    store = windows_in_memory(examples, tokenizer)
    augmenter = augmented(store, examples, tokenizer)
    assert_same_window(augmenter(0)[0], store[0])
    assert augmenter.counts == {"distractor": {"seen": 1, "changed": 0, "impossible": 1}}


@pytest.mark.parametrize("max_seq_length", [64, 96, 200])
def test_a_distractor_takes_no_more_than_the_room_there_is(tokenizer: QATokenizer, max_seq_length: int) -> None:
    examples = load_examples("starter:train", limit=60)
    store = windows_in_memory(examples, tokenizer, max_seq_length=max_seq_length, doc_stride=8)
    view = augmented(store, examples, tokenizer)(0)
    lengths = np.asarray([len(view[index].input_ids) for index in range(len(store))])
    assert lengths.max() <= max_seq_length
    assert (lengths >= store.lengths).all()
    assert (lengths > store.lengths).any()


def test_a_small_article_finds_distractors_in_a_large_one_and_the_other_way_round(tokenizer: QATokenizer) -> None:
    examples = [replace(example, title="large") for example in swimmers(40, golds_in=1)]
    examples[5] = replace(examples[5], title="small")
    store = windows_in_memory(examples, tokenizer)
    augmenter = augmented(store, examples, tokenizer)
    small = tokenizer.encode_batch([examples[5].context])[0].ids
    found = [distractor(augmenter(epoch)[index]) for epoch in range(5) for index in range(40) if index != 5]
    assert all(one in (small, []) for one in found)
    assert found.count(small) > len(found) / 2
    assert all(distractor(augmenter(epoch)[5]) not in (small, []) for epoch in range(5))


def test_without_titles_another_context_is_another_article(tokenizer: QATokenizer) -> None:
    examples = [replace(example, title="") for example in swimmers(8, golds_in=1)]
    store = windows_in_memory(examples, tokenizer)
    view = augmented(store, examples, tokenizer)(0)
    for index, example in enumerate(examples):
        assert distractor(view[index]) not in ([], tokenizer.encode_batch([example.context])[0].ids)


def test_an_unanswerable_question_without_a_title_is_refused(tokenizer: QATokenizer) -> None:
    examples = [*swimmers(4, golds_in=1), Example("q9", "Why?", "Nobody knows.")]
    store = windows_in_memory(examples, tokenizer)
    with pytest.raises(DataError, match=r"^question q9: has no answer and no title; .* leave distractor out"):
        augmented(store, examples, tokenizer)


def test_an_unanswerable_question_gets_text_of_a_known_article_only(tokenizer: QATokenizer) -> None:
    examples = [replace(example, title="") for example in swimmers(20, golds_in=1)]
    examples[3] = replace(examples[3], golds=(), title="t3")
    examples[4] = replace(examples[4], title="t4")
    store = windows_in_memory(examples, tokenizer)
    augmenter = augmented(store, examples, tokenizer)
    known = tokenizer.encode_batch([examples[4].context])[0].ids
    found = [distractor(augmenter(epoch)[3]) for epoch in range(20)]
    assert found.count(known) + found.count([]) == 20
    assert found.count(known) > 10


@pytest.mark.parametrize("title", ["one", ""])
def test_data_of_one_article_are_refused(tokenizer: QATokenizer, title: str) -> None:
    examples = [replace(example, title=title) for example in swimmers(3 if title else 1, golds_in=1)]
    store = windows_in_memory(examples, tokenizer)
    with pytest.raises(DataError, match="training data: expected a second article to take distractors from"):
        augmented(store, examples, tokenizer)
