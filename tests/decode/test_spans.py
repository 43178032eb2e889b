"""Decoding equals plain loops to the last tie, is verbatim, and never invents an answer."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from albertqa.config import DecodeConfig
from albertqa.data.example import Example
from albertqa.decode import spans
from albertqa.decode.spans import NO_ANSWER_SCORE_DIFF, Candidate, Prediction, WindowLogits
from albertqa.decode.spans import decode as decode_with
from albertqa.windows.build import windows_in_memory
from albertqa.windows.store import WindowStore
from albertqa.windows.tokenizer import QATokenizer
from benchmarks.plain_decode import slow_decode

from .cases import cases, logits_of, part

SETTINGS = st.fixed_dictionaries(
    {
        "n_best_size": st.sampled_from([20, 20, 1, 2, 5]),
        "max_answer_length": st.sampled_from([30, 30, 1, 3]),
        "version_2": st.booleans(),
        "null_score_diff_threshold": st.sampled_from([0.0, 0.0, -1.5, 1.0, 3.5, -7.25, 1e7, -1e7]),
    }
)


def decode(
    logits: WindowLogits, store: WindowStore, examples: list[Example], *, version_2: bool = False, **config: Any
) -> list[Prediction]:
    return decode_with(logits, store, examples, DecodeConfig(**config), version_2=version_2)


@given(data=st.data(), chosen=SETTINGS)
@settings(max_examples=250, deadline=None)
def test_decoding_equals_plain_loops(tokenizer: QATokenizer, data: st.DataObject, chosen: dict[str, object]) -> None:
    case = data.draw(cases(tokenizer))
    found = decode(case.logits, case.store, case.examples, **chosen)  # type: ignore[arg-type]
    expected = slow_decode(case.logits, case.store, case.examples, **chosen)  # type: ignore[arg-type]
    assert [one.id for one in found] == [example.id for example in case.examples]
    for one, slow in zip(found, expected, strict=True):
        assert one.text == slow.text
        assert (one.null_score, one.score_diff) == (slow.null_score, slow.score_diff)
        assert [_span(candidate) for candidate in one.n_best] == [
            (wanted.text, wanted.start_char, wanted.end_char, wanted.start_logit, wanted.end_logit)
            for wanted in slow.n_best
        ]
        assert [candidate.score for candidate in one.n_best] == [float(wanted.score) for wanted in slow.n_best]
        assert [candidate.probability for candidate in one.n_best] == pytest.approx(slow.probabilities, rel=1e-9)


@given(data=st.data(), chosen=SETTINGS)
@settings(max_examples=100, deadline=None)
def test_what_is_predicted_is_verbatim_ranked_and_sums_to_one(
    tokenizer: QATokenizer, data: st.DataObject, chosen: dict[str, object]
) -> None:
    case = data.draw(cases(tokenizer))
    for example, one in zip(
        case.examples,
        decode(case.logits, case.store, case.examples, **chosen),  # type: ignore[arg-type]
        strict=True,
    ):
        assert one.text in example.context
        scores = [candidate.score for candidate in one.n_best]
        assert scores == sorted(scores, reverse=True)
        for candidate in one.n_best:
            assert candidate.text == example.context[candidate.start_char : candidate.end_char]
            assert candidate.text.strip() == candidate.text
        if one.n_best:
            assert math.fsum(candidate.probability for candidate in one.n_best) == pytest.approx(1)
        nulls = [candidate for candidate in one.n_best if candidate.end_char == 0]
        assert len(nulls) == (1 if chosen["version_2"] else 0)


@given(data=st.data(), chosen=SETTINGS)
@settings(max_examples=100, deadline=None)
def test_a_prediction_does_not_depend_on_other_questions(
    tokenizer: QATokenizer, data: st.DataObject, chosen: dict[str, object]
) -> None:
    case = data.draw(cases(tokenizer, most_examples=4))
    assume(len(case.examples) > 1)
    together = decode(case.logits, case.store, case.examples, **chosen)  # type: ignore[arg-type]
    for index, one in enumerate(together):
        alone = part(case, tokenizer, index)
        assert decode(alone.logits, alone.store, alone.examples, **chosen) == [one]  # type: ignore[arg-type]


@given(data=st.data(), per_chunk=st.integers(1, 3))
@settings(max_examples=60, deadline=None)
def test_predictions_do_not_depend_on_how_the_windows_are_cut_into_chunks(
    tokenizer: QATokenizer, data: st.DataObject, per_chunk: int
) -> None:
    case = data.draw(cases(tokenizer))
    whole = decode(case.logits, case.store, case.examples, version_2=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spans, "_WINDOWS_PER_CHUNK", per_chunk)
        assert decode(case.logits, case.store, case.examples, version_2=True) == whole


@pytest.fixture
def decode_one(tokenizer: QATokenizer) -> Callable[..., Prediction]:
    """Decode one window whose context tokens have the given logits; the others have `outside`."""
    example = Example("a", "Who?", " ".join(["the"] * 5))
    store = windows_in_memory([example], tokenizer)
    first = store[0].context_start
    assert len(store[0].start_char) == 5

    def run(start: list[float], end: list[float], *, cls: float = -9.0, **chosen: object) -> Prediction:
        outside = np.full(int(store.lengths[0]), -9.0, dtype=np.float32)
        outside[0] = cls
        logits = [outside.copy(), outside.copy()]
        logits[0][first : first + 5], logits[1][first : first + 5] = start, end
        return decode(logits_of(store, *logits), store, [example], **chosen)[0]  # type: ignore[arg-type]

    return run


def test_of_equal_scores_the_earlier_start_then_the_earlier_end_wins(decode_one: Callable[..., Prediction]) -> None:
    flat = decode_one([1.0] * 5, [0.0, -0.0, 0.0, -0.0, 0.0], n_best_size=20)
    assert [(one.start_char // 4, one.end_char // 4) for one in flat.n_best[:6]] == [
        (0, 0),
        (0, 1),
        (0, 2),
        (0, 3),
        (0, 4),
        (1, 1),
    ]


def test_scores_are_added_in_single_precision_as_they_are_ranked(decode_one: Callable[..., Prediction]) -> None:
    # 2^24 + 1 is 2^24 in fp32: the two are equal there, and the earlier one wins.
    big = 2.0**24
    one = decode_one([big, big, 0, 0, 0], [0, 1.0, -5, -5, -5], n_best_size=2, max_answer_length=1)
    assert [candidate.start_char // 4 for candidate in one.n_best] == [0, 1]
    assert one.n_best[0].score == one.n_best[1].score == big


def test_the_longest_answer_has_max_answer_length_tokens(decode_one: Callable[..., Prediction]) -> None:
    start, end = [5.0, 0, 0, 0, 0], [0.0, 0, 1, 2, 5]
    assert decode_one(start, end, max_answer_length=5).text == "the the the the the"
    assert decode_one(start, end, max_answer_length=4).text == "the the the the"
    assert decode_one(start, end, max_answer_length=3).text == "the the the"


def test_tokens_outside_the_context_take_places_among_the_top_but_are_no_answers(tokenizer: QATokenizer) -> None:
    example = Example("a", "Who swam in the river?", "the river")
    store = windows_in_memory([example], tokenizer)
    window = store[0]
    logits = np.zeros(len(window.input_ids), dtype=np.float32)
    logits[: window.context_start] = 9
    logits[-1] = 9
    assert decode(logits_of(store, logits, logits), store, [example], n_best_size=3)[0].text == ""
    assert decode(logits_of(store, logits, logits), store, [example], n_best_size=99)[0].text == "the"


@pytest.mark.parametrize("context", ["", "the the"])
def test_where_no_span_is_valid_no_answer_is_invented(tokenizer: QATokenizer, context: str) -> None:
    example = Example("a", "Who?", context)
    store = windows_in_memory([example], tokenizer)
    length = int(store.lengths[0])
    # The best start stands behind the best end, or there is no context at all.
    start = np.arange(length, dtype=np.float32)
    logits = logits_of(store, start, -start)
    assert decode(logits, store, [example], n_best_size=1) == [Prediction("a", "", (), cls_score=0.0)]
    (one,) = decode(logits, store, [example], n_best_size=1, version_2=True, null_score_diff_threshold=1e5)
    assert one == Prediction("a", "", (Candidate("", 0, 0, 0.0, 0.0, 1.0),), 0.0, NO_ANSWER_SCORE_DIFF, 0.0)
    assert one.best_answer is None


def test_the_threshold_decides_between_answer_and_no_answer(decode_one: Callable[..., Prediction]) -> None:
    start, end = [3.0, 0, 0, 0, 0], [3.0, 0, 0, 0, 0]
    for cls, threshold, expected in [
        (3.0, 0.0, "the"),  # equal: the answer stays
        (3.25, 0.0, ""),
        (3.25, 0.5, "the"),
        (3.25, 0.49, ""),
        (2.0, -2.0, "the"),
        (2.0, -2.5, ""),
    ]:
        one = decode_one(start, end, cls=cls, version_2=True, null_score_diff_threshold=threshold)
        assert (one.text, one.null_score, one.score_diff) == (expected, 2 * cls, 2 * cls - 6.0)
        assert one.best_answer is not None
        assert one.best_answer.text == "the"


def test_the_null_score_is_the_least_over_a_questions_windows(tokenizer: QATokenizer) -> None:
    example = Example("a", "Who?", " ".join(["the"] * 30))
    store = windows_in_memory([example], tokenizer, max_seq_length=20, doc_stride=4)
    assert len(store) == 3
    start = np.zeros(int(store.lengths.sum()), dtype=np.float32)
    first = logits_of(store, start, start).first_token[:-1]
    start[first] = [5.0, -2.0, 7.0]
    (one,) = decode(logits_of(store, start, start.copy()), store, [example], version_2=True)
    assert (one.null_score, one.score_diff, one.text) == (-4.0, -4.0, "the")
    # Twenty answers are better: "no answer" comes on top of them, last.
    assert len(one.n_best) == 21
    assert _span(one.n_best[-1]) == ("", 0, 0, -2.0, -2.0)


def _span(one: Candidate) -> tuple[str, int, int, float, float]:
    return one.text, one.start_char, one.end_char, one.start_logit, one.end_logit
