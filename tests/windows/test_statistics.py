"""Figures of windows and tokens: counted by hand, recounted plainly, and the published numbers on SQuAD's dev set."""

import dataclasses
import json
import math

import numpy as np
import pytest

from albertqa.data.example import Example, Gold
from albertqa.data.reading import load_examples
from albertqa.windows.build import windows_in_memory
from albertqa.windows.statistics import WindowStatistics, labelled_text, token_statistics, window_statistics
from albertqa.windows.store import WindowStore
from albertqa.windows.tokenizer import QATokenizer

from .cases import starter_examples


def test_facts_of_a_few_examples_are_those_counted_by_hand(tokenizer: QATokenizer) -> None:
    # "(1)" is "▁ ( 1 )", four tokens; a window of 23 has 13 context tokens beside the question.
    context = " ".join("(1)" for _ in range(10))
    assert len(tokenizer.encode_batch([context])[0]) == 40
    question = "(1)(1)"
    assert len(tokenizer.encode_batch([question])[0]) == 7
    some = [
        Example("none", question, context),
        Example("first", question, context, (Gold("(1) (1)", 0),)),
        Example("inside a token", question, "Nobody swam.", (Gold("obod", 1),)),
        Example("in no window", question, context, (Gold(context, 0),)),
    ]
    store = windows_in_memory(some, tokenizer, max_seq_length=23, doc_stride=4)
    # The labelled span begins at the last token that shares the first character: "(", not the lone "▁" before it.
    facts = window_statistics(store, some, max_answer_length=6)
    # 40 tokens by 13 with 4 in common: 0-13, 9-22, 18-31, 27-40.
    assert facts.windows == 4 + 4 + 1 + 4
    assert facts.windows_without_answer_percent == pytest.approx(100 * 11 / 13, abs=1e-3)
    short = len(tokenizer.encode_batch(["Nobody swam."])[0]) + 10
    assert facts.window_tokens_mean == pytest.approx((12 * 23 + short) / 13, abs=1e-2)
    assert (facts.window_tokens_percentiles["p50"], facts.window_tokens_percentiles["p100"]) == (23, 23)
    assert (facts.golds, facts.golds_in_no_window) == (3, 1)
    changed = labelled_text(store[8], some[2])
    assert facts.golds_exact_percent == pytest.approx(100 / 3, abs=1e-3)
    assert facts.golds_changed == ({"id": "inside a token", "gold": "obod", "labelled": changed},)
    assert "obod" in changed
    assert (facts.golds_too_long, facts.golds_too_long_cases) == (1, ({"id": "first", "tokens": 7},))
    assert facts.gold_tokens_percentiles["p100"] == 7


def test_facts_equal_a_plain_recount_of_the_starter_set(tokenizer: QATokenizer) -> None:
    some = starter_examples(version_2=True)
    store = windows_in_memory(some, tokenizer, max_seq_length=96, doc_stride=32)
    facts = window_statistics(store, some, max_answer_length=3)
    windows = [store[index] for index in range(len(store))]
    spans = {}
    for window in windows:
        if window.start_position and window.example_index not in spans:
            spans[window.example_index] = (
                window.end_position - window.start_position + 1,
                labelled_text(window, some[window.example_index]),
            )
    with_golds = [index for index, example in enumerate(some) if example.golds]
    assert 0 < len(with_golds) < len(some)
    exact = sum(spans[index][1] == some[index].golds[0].text for index in with_golds if index in spans)
    lengths = sorted(len(window.input_ids) for window in windows)
    assert facts.windows == len(windows)
    assert facts.window_tokens_mean == round(sum(lengths) / len(lengths), 2)
    assert facts.window_tokens_percentiles["p100"] == lengths[-1]
    assert facts.window_tokens_percentiles["p50"] == pytest.approx(float(np.median(lengths)), abs=1)
    assert facts.golds == len(with_golds)
    assert facts.golds_in_no_window == len(with_golds) - len(spans)
    assert facts.golds_exact_percent == round(100 * exact / len(with_golds), 3)
    assert facts.golds_too_long == sum(tokens > 3 for tokens, _ in spans.values())
    assert len(facts.golds_too_long_cases) == min(5, facts.golds_too_long)
    assert json.loads(json.dumps(dataclasses.asdict(facts)))["windows"] == facts.windows


def test_data_without_golds_have_facts_too(tokenizer: QATokenizer) -> None:
    some = [Example("a", "Who?", "Rollo swam.")]
    facts = window_statistics(windows_in_memory(some, tokenizer), some)
    assert (facts.golds, facts.golds_exact_percent, facts.gold_tokens_percentiles) == (0, 100.0, {})
    assert facts.windows_without_answer_percent == 100.0


@pytest.mark.real_data
def test_facts_of_squads_dev_set(dev_v1: list[Example], dev_v1_windows: WindowStore) -> None:
    facts: WindowStatistics = window_statistics(dev_v1_windows, dev_v1)
    assert (facts.windows, facts.golds) == (10_808, 10_570)
    assert (facts.golds_in_no_window, facts.golds_exact_percent, facts.golds_too_long) == (0, 99.3, 13)
    assert facts.golds_changed[0] == {"id": "5726487b5951b619008f6ee0", "gold": "Israel", "labelled": "Israeli"}
    assert facts.gold_tokens_percentiles == {"p5": 1, "p50": 3, "p95": 12, "p99": 21, "p100": 44}
    assert facts.window_tokens_percentiles == {"p5": 89, "p50": 166, "p95": 312, "p99": 384, "p100": 384}


def test_counts_of_golds_are_those_of_the_window_statistics(tokenizer: QATokenizer) -> None:
    examples = load_examples("starter:train", limit=150)
    store = windows_in_memory(examples, tokenizer, max_seq_length=96, doc_stride=8)
    found = token_statistics(store, examples, unknown_id=1, max_answer_length=4)
    expected = window_statistics(store, examples, max_answer_length=4)
    assert found["golds"] == expected.golds == 150
    assert found["golds_in_no_window"] == expected.golds_in_no_window > 0
    assert found["golds_too_long"] == expected.golds_too_long > 0
    # The one is a share of the golds that some window holds, the other of all.
    exact = found["golds_exact_percent"] * (150 - expected.golds_in_no_window) / 150
    assert exact == pytest.approx(expected.golds_exact_percent, abs=1e-2)


def test_the_uniform_loss_is_that_of_a_model_to_which_all_tokens_are_alike(tokenizer: QATokenizer) -> None:
    import torch

    from albertqa.model.span_loss import span_losses
    from albertqa.windows.batches import pack

    examples = load_examples("starter:train", limit=20)
    store = windows_in_memory(examples, tokenizer, max_seq_length=96, doc_stride=32)
    batch = pack(store, range(len(store)))
    flat = torch.zeros(batch.num_tokens)
    found = token_statistics(store, examples, unknown_id=1, max_answer_length=30)
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
    found = token_statistics(store, examples, unknown_id=unknown, max_answer_length=30)
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
    found = token_statistics(store, examples, unknown_id=None, max_answer_length=30)
    assert (found["golds"], found["golds_exact_percent"], found["same_start_percent"]) == (0, None, 0.0)
    assert found["unknown_tokens_percent"] == 0.0


def test_of_answers_that_no_window_holds_none_is_said_to_be_inexact(tokenizer: QATokenizer) -> None:
    context = " ".join(["ship"] * 200)
    examples = [Example("1", "Which?", context, (Gold(context, 0),))]
    store = windows_in_memory(examples, tokenizer, max_seq_length=64, doc_stride=16)
    found = token_statistics(store, examples, unknown_id=1, max_answer_length=30)
    assert (found["golds"], found["golds_in_no_window"], found["golds_exact_percent"]) == (1, 1, None)


def test_unknown_text_is_counted_in_every_context_once(tokenizer: QATokenizer) -> None:
    known, unknown = "The ship came.", "☃☃☃☃ ☃☃☃☃ came"
    examples = [Example("1", "Who?", known), Example("2", "Who?", unknown), Example("3", "What?", unknown)]
    store = windows_in_memory(examples, tokenizer)
    figures = window_statistics(store, examples, unknown_id=1)
    tokens = [one.tokens for one in tokenizer.encode_batch([known, unknown])]
    assert figures.contexts == 2
    assert figures.contexts_mostly_unknown == 1
    snow = sum("☃" in token for token in tokens[1])
    assert figures.unknown_tokens_percent == pytest.approx(100 * snow / sum(map(len, tokens)), abs=1e-3)
    # 12 and 12 characters without white space.
    assert figures.unknown_text_percent == pytest.approx(100 * 8 / 24, abs=1e-3)
    assert window_statistics(store, examples).unknown_text_percent == 0


@pytest.mark.parametrize(
    ("inside", "kind"), [(0, None), (1, None), (2, "answers-changed"), (101, "most-answers-changed")]
)
def test_golds_that_do_not_survive_are_a_warning_or_an_error(
    tokenizer: QATokenizer, inside: int, kind: str | None
) -> None:
    whole, cut = Gold("Nobody", 0), Gold("obod", 1)
    some = [Example(f"q{at}", "Who?", "Nobody swam.", (cut if at < inside else whole,)) for at in range(199)]
    figures = window_statistics(windows_in_memory(some, tokenizer), some)
    assert figures.golds_changed_percent == pytest.approx(100 * inside / 199, abs=1e-3)
    problems = figures.problems("some.json")
    assert [problem.kind for problem in problems] == [kind] * (kind is not None)
    for problem in problems:
        assert problem.severity == ("error" if kind == "most-answers-changed" else "warning")
        otherwise = "inside a token and are trained and predicted otherwise: 'obod' of question 'q0' as "
        assert f"of 199 answers begin or end {otherwise}" in str(problem)


def test_invisible_characters_at_a_golds_ends_do_not_count(tokenizer: QATokenizer) -> None:
    context = "In \ufeffParis\u200b people swam."
    for text, start in (("Paris", 4), ("\ufeffParis", 3), ("Paris\u200b", 4)):
        example = Example("q", "Where?", context, (Gold(text, start),))
        store = windows_in_memory([example], tokenizer)
        assert labelled_text(store[0], example) == "\ufeffParis\u200b"
        assert window_statistics(store, [example]).golds_exact_percent == 100
