"""What tokens say about their soundness: shares and counts equal those of a plain recount."""

import math

import pytest

from albertqa.data.example import Example, Gold
from albertqa.data.reading import load_examples
from albertqa.windows.build import windows_in_memory
from albertqa.windows.facts import window_facts
from albertqa.windows.soundness import token_soundness
from albertqa.windows.tokenizer import QATokenizer


def test_counts_of_golds_are_those_of_the_window_facts(tokenizer: QATokenizer) -> None:
    examples = load_examples("starter:train", limit=150)
    store = windows_in_memory(examples, tokenizer, max_seq_length=96, doc_stride=8)
    found = token_soundness(store, examples, unknown_id=1, max_answer_length=4)
    expected = window_facts(store, examples, max_answer_length=4)
    assert found["golds"] == expected.golds == 150
    assert found["golds_in_no_window"] == expected.golds_in_no_window > 0
    assert found["golds_too_long"] == expected.golds_too_long > 0
    # The one is a share of the golds that some window holds, the other of all.
    exact = found["golds_exact_percent"] * (150 - expected.golds_in_no_window) / 150
    assert exact == pytest.approx(expected.golds_exact_percent, abs=1e-2)


def test_the_uniform_loss_is_that_of_a_model_to_which_all_tokens_are_alike(tokenizer: QATokenizer) -> None:
    import torch

    from albertqa.model.packed import span_losses
    from albertqa.windows.batches import pack

    examples = load_examples("starter:train", limit=20)
    store = windows_in_memory(examples, tokenizer, max_seq_length=96, doc_stride=32)
    batch = pack(store, range(len(store)))
    flat = torch.zeros(batch.num_tokens)
    found = token_soundness(store, examples, unknown_id=1, max_answer_length=30)
    assert found["uniform_loss"] == pytest.approx(float(span_losses(flat, flat, batch).mean()), abs=1e-4)


def test_lengths_unknown_tokens_and_the_commonest_start_are_recounted(tokenizer: QATokenizer) -> None:
    context = "The ship ☃☃☃ came."
    examples = [
        Example("1", "Who?", context, (Gold("The ship", 0),)),
        Example("2", "What?", context, (Gold("The", 0),)),
        Example("3", "When?", context, (Gold("came", 13),)),
        Example("4", "Why?", context),
    ]
    store = windows_in_memory(examples, tokenizer)
    unknown = tokenizer.backend.token_to_id("<unk>")
    found = token_soundness(store, examples, unknown_id=unknown, max_answer_length=30)
    windows = [store[at] for at in range(4)]
    ids = [int(one) for window in windows for one in window.input_ids]
    assert ids.count(unknown) >= 4
    assert found["unknown_tokens_percent"] == pytest.approx(100 * ids.count(unknown) / len(ids), abs=1e-3)
    questions = tokenizer.encode_batch([one.question for one in examples])
    assert found["question_tokens_mean"] == pytest.approx(sum(len(one) for one in questions) / 4, abs=1e-3)
    assert found["context_tokens_mean"] == len(tokenizer.encode_batch([context])[0])
    assert found["same_start_percent"] == pytest.approx(100 * 2 / 3, abs=1e-3)
    assert math.exp(found["uniform_loss"]) == pytest.approx(len(ids) / 4, rel=0.05)


def test_data_without_answers_has_facts_too(tokenizer: QATokenizer) -> None:
    examples = [Example("1", "Who?", "Nobody came.")]
    store = windows_in_memory(examples, tokenizer)
    found = token_soundness(store, examples, unknown_id=None, max_answer_length=30)
    assert (found["golds"], found["golds_exact_percent"], found["same_start_percent"]) == (0, None, 0.0)
    assert found["unknown_tokens_percent"] == 0.0


def test_of_answers_that_no_window_holds_none_is_said_to_be_inexact(tokenizer: QATokenizer) -> None:
    context = " ".join(["ship"] * 200)
    examples = [Example("1", "Which?", context, (Gold(context, 0),))]
    store = windows_in_memory(examples, tokenizer, max_seq_length=64, doc_stride=16)
    found = token_soundness(store, examples, unknown_id=1, max_answer_length=30)
    assert (found["golds"], found["golds_in_no_window"], found["golds_exact_percent"]) == (1, 1, None)
