"""Contexts that were tokenized before are not tokenized again, and what is kept is bounded."""

import threading
from collections.abc import Iterable

import numpy as np
import pytest

from albertqa.answer import remembered
from albertqa.answer.remembered import TokenizedContexts
from albertqa.windows.build import ContextTokens, tokenize_contexts
from albertqa.windows.tokenizer import QATokenizer, load_tokenizer
from decode.cases import starter_examples


@pytest.fixture(scope="module")
def tokenizer(spiece_model: object) -> QATokenizer:
    return load_tokenizer(str(spiece_model))


@pytest.fixture
def tokenized(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The contexts that were really tokenized."""
    seen: list[str] = []

    def spy(texts: Iterable[str], tokenizer: QATokenizer) -> dict[str, ContextTokens]:
        texts = list(texts)
        seen.extend(texts)
        return tokenize_contexts(texts, tokenizer)

    monkeypatch.setattr(remembered, "tokenize_contexts", spy)
    return seen


def contexts() -> list[str]:
    return list(dict.fromkeys(example.context for example in starter_examples(60)))


def test_a_context_is_tokenized_once(tokenizer: QATokenizer, tokenized: list[str]) -> None:
    texts, kept = contexts(), TokenizedContexts(1_000_000)
    expected = tokenize_contexts(texts, tokenizer)
    for asked in (texts[:3], texts, texts[::-1]):
        found = kept.tokenize(asked, tokenizer)
        assert list(found) == asked
        for text in asked:
            for one, other in zip(found[text], expected[text], strict=True):
                np.testing.assert_array_equal(one, other)
    assert tokenized == texts
    assert kept.num_tokens == sum(len(expected[text][0]) for text in texts)


def test_the_contexts_read_longest_ago_are_dropped_first(tokenizer: QATokenizer, tokenized: list[str]) -> None:
    texts = contexts()[:4]
    sizes = [len(tokens[0]) for tokens in tokenize_contexts(texts, tokenizer).values()]
    kept = TokenizedContexts(sum(sizes[:3]))
    kept.tokenize(texts[:3], tokenizer)
    kept.tokenize(texts[:1], tokenizer)
    kept.tokenize(texts[3:], tokenizer)
    assert kept.num_tokens <= sum(sizes[:3])
    tokenized.clear()
    kept.tokenize([texts[0], texts[3]], tokenizer)
    assert tokenized == []
    kept.tokenize([texts[1]], tokenizer)
    assert tokenized == [texts[1]]


def test_a_context_larger_than_all_that_may_be_kept_is_not(tokenizer: QATokenizer, tokenized: list[str]) -> None:
    text = contexts()[0]
    kept = TokenizedContexts(10)
    assert kept.tokenize([text], tokenizer).keys() == kept.tokenize([text], tokenizer).keys() == {text}
    assert tokenized == [text, text]
    assert kept.num_tokens == 0


def test_several_threads_may_use_it(tokenizer: QATokenizer) -> None:
    texts = contexts()
    expected = tokenize_contexts(texts, tokenizer)
    kept = TokenizedContexts(2 * len(expected[texts[0]][0]))
    wrong: list[str] = []

    def work(seed: int) -> None:
        for at in np.random.default_rng(seed).integers(len(texts), size=60):
            tokens = kept.tokenize([texts[at]], tokenizer)[texts[at]]
            if not all(np.array_equal(*pair) for pair in zip(tokens, expected[texts[at]], strict=True)):
                wrong.append(texts[at])

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert 0 <= kept.num_tokens <= 2 * len(expected[texts[0]][0])
