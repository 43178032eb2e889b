"""Replaced tokens are as BERT replaces them; special tokens stay."""

import dataclasses

import numpy as np
import pytest
from tokenizers import Tokenizer

from albertqa.windows.token_substitution import TokenSubstitution
from albertqa.windows.tokenizer import QATokenizer, load_tokenizer

from .cases import bert_like, roberta_like, save_in

ALL = np.ones(400, dtype=bool)


def many(noise: TokenSubstitution, tokens: np.ndarray, may_change: np.ndarray = ALL, rounds: int = 200) -> np.ndarray:
    """Replace again and again, (rounds, T)."""
    rows = [noise.replaced(tokens, may_change, np.random.default_rng(seed)) for seed in range(rounds)]
    assert all(row is not None for row in rows)
    return np.array(rows)


@pytest.fixture
def words(tokenizer: QATokenizer) -> np.ndarray:
    """400 ordinary tokens."""
    ids = tokenizer.encode_batch(["The Normans were people who gave their name to Normandy, a region in France. " * 40])
    return np.asarray(ids[0].ids[:400], dtype=np.int64)


def test_one_token_in_ten_is_chosen_and_eight_of_ten_are_masked(tokenizer: QATokenizer, words: np.ndarray) -> None:
    mask = tokenizer.backend.token_to_id("[MASK]")
    replaced = many(TokenSubstitution(tokenizer), words)
    assert 0.075 < (replaced == mask).mean() < 0.085
    exchanged = (replaced != mask) & (replaced != words)
    assert 0.008 < exchanged.mean() < 0.012
    assert len(np.unique(replaced[exchanged])) > 400


def test_random_tokens_are_ordinary_ones(tokenizer: QATokenizer, words: np.ndarray) -> None:
    mask = tokenizer.backend.token_to_id("[MASK]")
    replaced = many(TokenSubstitution(tokenizer), words)
    new = np.unique(replaced[(replaced != words) & (replaced != mask)])
    names = {tokenizer.backend.id_to_token(int(at)) for at in new}
    assert not names & {"[CLS]", "[SEP]", "[MASK]", "<pad>", "<unk>"}


def test_special_tokens_and_forbidden_ones_stay(tokenizer: QATokenizer, words: np.ndarray) -> None:
    words[::5] = tokenizer.backend.token_to_id("[SEP]")
    words[1::5] = tokenizer.backend.token_to_id("<unk>")
    may_change = np.arange(400) < 300
    replaced = many(TokenSubstitution(tokenizer), words, may_change)
    fixed = (np.arange(400) % 5 < 2) | ~may_change
    assert (replaced[:, fixed] == words[fixed]).all()
    assert (replaced[:, ~fixed] != words[~fixed]).any(axis=0).all()


def test_at_least_one_token_changes_however_few_there_are(tokenizer: QATokenizer, words: np.ndarray) -> None:
    replaced = many(TokenSubstitution(tokenizer), words[:2], ALL[:2])
    assert (replaced != words[:2]).any(axis=1).all()


def test_where_nothing_may_change_there_is_nothing(tokenizer: QATokenizer, words: np.ndarray) -> None:
    noise = TokenSubstitution(tokenizer)
    rng = np.random.default_rng(0)
    assert noise.replaced(words, ~ALL, rng) is None
    assert noise.replaced(words[:0], ALL[:0], rng) is None
    assert noise.replaced(np.asarray(tokenizer.layout.middle), ALL[:1], rng) is None


@pytest.mark.parametrize("build", [bert_like, roberta_like])
def test_without_a_mask_token_all_new_ones_are_random(
    build: object, starter_contexts: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    assert callable(build)
    backend: Tokenizer = build(starter_contexts)
    plain = load_tokenizer(save_in(tmp_path_factory.mktemp("plain"), backend))
    special = {at for at, token in plain.backend.get_added_tokens_decoder().items() if token.special}
    assert special
    tokens = np.asarray(plain.encode_batch(["The people of the river. " * 100])[0].ids[:400], dtype=np.int64)
    replaced = many(TokenSubstitution(plain), tokens)
    new = replaced != tokens
    assert 0.08 < new.mean() < 0.1
    assert len(np.unique(replaced[new])) > 300
    assert not special & set(np.unique(replaced).tolist())


def test_the_same_draws_give_the_same_tokens_from_a_tokenizer_opened_again(
    tokenizer: QATokenizer, words: np.ndarray
) -> None:
    again = dataclasses.replace(tokenizer, backend=Tokenizer.from_str(tokenizer.backend.to_str()), source="again")
    np.testing.assert_array_equal(many(TokenSubstitution(tokenizer), words), many(TokenSubstitution(again), words))
