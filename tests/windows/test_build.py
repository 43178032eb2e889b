"""Windows are `run_qa`'s: against a slow reference, against Transformers' own truncation, and by what must hold."""

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from albertqa.data.example import Example, Gold
from albertqa.errors import DataError
from albertqa.windows import build
from albertqa.windows.build import LongQuestionsError, count_tokens, slices, windows_in_memory
from albertqa.windows.statistics import check_tokenization, labelled_text
from albertqa.windows.store import Window, WindowStore
from albertqa.windows.tokenizer import QATokenizer

from .cases import assert_same_store, assert_same_window, examples, starter_examples, texts, with_ids
from .reference import slow_windows

if TYPE_CHECKING:
    from pathlib import Path

    from transformers import PreTrainedTokenizerBase

LENGTHS = st.tuples(st.integers(14, 48), st.integers(0, 10))


@given(drawn=st.lists(examples(), min_size=1, max_size=3), lengths=LENGTHS)
@settings(max_examples=250, deadline=None)
def test_windows_equal_the_slow_ones(tokenizer: QATokenizer, drawn: list[Example], lengths: tuple[int, int]) -> None:
    max_seq_length, doc_stride = lengths
    some = with_ids(drawn)
    slow = [slow_windows(example, tokenizer, max_seq_length, doc_stride) for example in some]
    if None in slow:
        with pytest.raises(DataError, match=f"question {some[slow.index(None)].id}: "):
            windows_in_memory(some, tokenizer, max_seq_length=max_seq_length, doc_stride=doc_stride)
        return
    store = windows_in_memory(some, tokenizer, max_seq_length=max_seq_length, doc_stride=doc_stride)
    expected = [(index, window) for index, windows in enumerate(slow) for window in windows or ()]
    assert len(store) == len(expected)
    assert store.num_examples == len(some)
    assert store.first_window.tolist() == [0, *np.cumsum([len(windows or ()) for windows in slow]).tolist()]
    for index, (example_index, window) in enumerate(expected):
        found = store[index]
        assert found.example_index == example_index
        assert found.input_ids.tolist() == window.input_ids
        assert found.token_type_ids.tolist() == window.token_type_ids
        assert found.context_start == window.context_start
        assert _offsets(found) == window.offsets
        assert (found.start_position, found.end_position) == (window.start_position, window.end_position)
        assert int(store.lengths[index]) == len(window.input_ids)


@given(example=examples(), lengths=LENGTHS)
@settings(max_examples=150, deadline=None)
def test_every_context_token_is_in_some_window_and_neighbours_overlap_by_doc_stride(
    tokenizer: QATokenizer, example: Example, lengths: tuple[int, int]
) -> None:
    store = _windows_or_none(example, tokenizer, lengths)
    assume(store is not None and len(store) > 0)
    assert store is not None
    ids = tokenizer.encode_batch([example.context])[0].ids
    max_seq_length, doc_stride = lengths
    counted = count_tokens([example], tokenizer, max_seq_length=max_seq_length, doc_stride=doc_stride)
    assert counted == store.lengths.sum()
    read: list[int] = []
    for index in range(len(store)):
        window = store[index]
        inside = window.input_ids[window.context_start : len(window.input_ids) - 1].tolist()
        assert len(inside) == len(window.start_char) == len(window.end_char)
        if index:
            assert len(store[index - 1].input_ids) == max_seq_length
            assert read[len(read) - doc_stride :] == inside[:doc_stride]
            assert len(inside) > doc_stride
        read += inside[doc_stride if index else 0 :]
        assert len(window.input_ids) <= max_seq_length
    assert read == ids


@given(num_tokens=st.integers(0, 200), step=st.integers(1, 60), doc_stride=st.integers(0, 60))
def test_slices_are_as_few_as_can_be(num_tokens: int, step: int, doc_stride: int) -> None:
    room = doc_stride + step
    found = list(slices(num_tokens, room, doc_stride))
    assert found[0][0] == 0
    assert found[-1][1] == num_tokens
    assert [after[0] - before[0] for before, after in pairwise(found)] == [step] * (len(found) - 1)
    assert all(end - first == room for first, end in found[:-1])
    assert len(found) == 1 + max(0, -(-(num_tokens - room) // step))


@given(data=st.data(), context=texts(most_words=40), lengths=LENGTHS)
@settings(max_examples=200, deadline=None)
def test_a_gold_of_whole_tokens_survives_labels_and_back(
    tokenizer: QATokenizer, data: st.DataObject, context: str, lengths: tuple[int, int]
) -> None:
    doc_stride = lengths[1]
    offsets = _offsets(windows_in_memory([Example("all", "", context)], tokenizer, max_seq_length=9999)[0])
    assume(offsets)
    first = data.draw(st.integers(0, len(offsets) - 1), label="first token")
    last = data.draw(st.integers(first, min(first + doc_stride, len(offsets) - 1)), label="last token")
    start_char, end_char = offsets[first][0], offsets[last][1]
    # Tokens that share a character with a token outside the gold cannot stand for it alone.
    assume(all(start >= start_char for start, end in offsets if end > start_char and start < end_char))
    assume(all(end <= end_char for start, end in offsets if end > start_char and start < end_char))
    gold = Gold(context[start_char:end_char], start_char)
    example = Example("q", "Who?", context, (gold,))
    store = _windows_or_none(example, tokenizer, lengths)
    assume(store is not None)
    assert store is not None
    labelled = [store[index] for index in range(len(store)) if store[index].start_position]
    # A gold no longer than the overlap and one token is whole in some window.
    assert labelled
    assert {labelled_text(window, example) for window in labelled} == {gold.text}


@pytest.mark.parametrize("folder_of", ["tiny", pytest.param("real", marks=pytest.mark.real_data)])
@pytest.mark.parametrize("lengths", [(384, 128), (96, 32)])
def test_windows_equal_transformers_own(
    folder_of: str, lengths: tuple[int, int], request: pytest.FixtureRequest, tmp_path: "Path"
) -> None:
    from transformers import AutoTokenizer

    tokenizer: QATokenizer = request.getfixturevalue("tokenizer" if folder_of == "tiny" else "real_tokenizer")
    tokenizer.save(tmp_path)
    theirs: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(str(tmp_path))
    some = starter_examples(300) if folder_of == "tiny" else request.getfixturevalue("dev_v1")[::35]
    max_seq_length, doc_stride = lengths
    store = windows_in_memory(some, tokenizer, max_seq_length=max_seq_length, doc_stride=doc_stride)
    encoded = theirs(
        [example.question.lstrip() for example in some],
        [example.context for example in some],
        truncation="only_second",
        max_length=max_seq_length,
        stride=doc_stride,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
    )
    assert len(some) >= 300
    assert encoded["overflow_to_sample_mapping"] == store.columns["example_index"].tolist()
    for index in range(len(store)):
        window = store[index]
        assert encoded["input_ids"][index] == window.input_ids.tolist()
        assert encoded["token_type_ids"][index] == window.token_type_ids.tolist()
        inside = [at for at, sequence in enumerate(encoded.sequence_ids(index)) if sequence == 1]
        assert inside[0] == window.context_start
        assert [encoded["offset_mapping"][index][at] for at in inside] == _offsets(window)


@pytest.mark.real_data
@pytest.mark.parametrize("version", ["1.1", "2.0"])
def test_real_golds_survive_labels_and_back(
    real_data: "Path", real_tokenizer: QATokenizer, version: str, dev_v1: list[Example], dev_v1_windows: WindowStore
) -> None:
    from albertqa.data.reading import load_examples

    if version == "1.1":
        some, store = dev_v1, dev_v1_windows
    else:
        some = load_examples(real_data / "squad" / "dev-v2.0.json")
        store = build.build_windows(some, real_tokenizer)
    starts = store.columns["start_position"]
    exact = lost = 0
    for index, example in enumerate(some):
        labelled = [at for at in range(*store.first_window[index : index + 2]) if starts[at]]
        if not example.golds:
            assert not labelled
            continue
        lost += not labelled
        texts_back = {labelled_text(store[at], example) for at in labelled}
        # What a token holds beyond the gold comes along ("1970s" for "1970"), and nothing is ever cut off.
        assert all(example.golds[0].text in text for text in texts_back)
        exact += texts_back == {example.golds[0].text}
    golds = sum(example.has_answer for example in some)
    assert lost == 0
    assert exact / golds > 0.99


def test_a_question_is_stripped_on_the_left_only(tokenizer: QATokenizer) -> None:
    asked = [Example("a", "\n  Who swam? ", "Rollo swam."), Example("b", "Who swam? ", "Rollo swam.")]
    store = windows_in_memory(asked, tokenizer)
    assert store[0].input_ids.tolist() == store[1].input_ids.tolist()


def test_a_tokenizer_that_counts_white_space_sees_the_question_stripped_on_the_left(
    starter_contexts: list[str], tmp_path: "Path"
) -> None:
    from albertqa.windows.tokenizer import load_tokenizer

    from .cases import roberta_like, save_in

    counting = load_tokenizer(save_in(tmp_path, roberta_like(starter_contexts)))
    asked = [Example(name, text, "Rollo swam.") for name, text in (("a", " \tWho? "), ("b", "Who? "), ("c", "Who?"))]
    store = windows_in_memory(asked, counting)
    assert store[0].input_ids.tolist() == store[1].input_ids.tolist()
    assert len(store[1].input_ids) == len(store[2].input_ids) + 1


@pytest.mark.parametrize("context", ["", " ", "\n\t\u00a0"])
def test_a_context_without_text_gives_one_window_labelled_cls(tokenizer: QATokenizer, context: str) -> None:
    golds = (Gold(context, 0),) if context else ()
    store = windows_in_memory([Example("a", "Who?", context, golds)], tokenizer)
    window = store[0]
    assert len(store) == 1
    assert (window.start_position, window.end_position, len(window.start_char)) == (0, 0, 0)
    assert window.input_ids[-2:].tolist() == [3, 3]
    assert window.token_type_ids[-2:].tolist() == [0, 1]


def test_a_question_too_long_is_refused_in_one_line(tokenizer: QATokenizer) -> None:
    fits, long = "who " * 5, "who " * 33
    ids = len(tokenizer.encode_batch([long])[0])
    context = " ".join(["normans"] * 40)
    asked = [Example("x1", fits, context), Example("x2", long, context)]
    with pytest.raises(DataError) as error:
        windows_in_memory(asked, tokenizer, max_seq_length=50, doc_stride=16)
    assert str(error.value) == (
        f"question x2: has {ids} tokens and leaves {50 - 3 - ids} of 50 for the context, expected more than doc_stride "
        "(16). Shorten the question, raise --max-seq-length or lower --doc-stride"
    )


def test_all_questions_too_long_are_listed_in_one_pass(
    tokenizer: QATokenizer, tmp_path: "Path", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "_EXAMPLES_PER_CHUNK", 2)
    context = " ".join(["normans"] * 40)
    asked = [Example(f"x{number}", "who " * (33 if number % 2 else 3), context) for number in range(7)]
    with pytest.raises(LongQuestionsError) as error:
        build.build_windows(asked, tokenizer, max_seq_length=50, doc_stride=16, cache=tmp_path)
    assert [question_id for question_id, _ in error.value.questions] == ["x1", "x3", "x5"]
    found = (
        f"has {ids_of(asked[1], tokenizer)} tokens and leaves {47 - ids_of(asked[1], tokenizer)} of 50 for the context"
    )
    clauses = [f"question {name}: {found}, expected more than doc_stride (16)" for name in ("x1", "x3", "x5")]
    assert str(error.value) == f"{'; '.join(clauses)}. {LongQuestionsError.remedy}"
    assert list(tmp_path.glob("*/windows.arrow")) == []
    # `check` says the same of each, and goes on with the others.
    figures, problems = check_tokenization("some.json", asked, tokenizer, max_seq_length=50, doc_stride=16)
    assert [str(one) for one in problems[:3]] == [
        f"some.json: {clause}. {LongQuestionsError.remedy}" for clause in clauses
    ]
    assert {one.kind for one in problems[:3]} == {"question-too-long"}
    assert all(one.is_error for one in problems[:3])
    rest = [one for one in asked if one.id not in ("x1", "x3", "x5")]
    assert figures["windows"] == len(windows_in_memory(rest, tokenizer, max_seq_length=50, doc_stride=16))
    figures, _ = check_tokenization("some.json", asked[1::2], tokenizer, max_seq_length=50, doc_stride=16)
    assert figures == {"windows": 0}


def ids_of(example: Example, tokenizer: QATokenizer) -> int:
    return len(tokenizer.encode_batch([example.question])[0])


def test_hundreds_of_questions_too_long_are_counted(tokenizer: QATokenizer) -> None:
    context = " ".join(["normans"] * 40)
    asked = [Example(f"x{number}", "who " * 33, context) for number in range(103)]
    with pytest.raises(
        LongQuestionsError, match=r"question x99: has \d+ tokens and .*; and 3 more\. Shorten the question"
    ):
        windows_in_memory(asked, tokenizer, max_seq_length=50, doc_stride=16)


def test_a_long_question_is_no_problem_where_the_context_fits_beside_it(tokenizer: QATokenizer) -> None:
    question = "who " * 30
    ids = len(tokenizer.encode_batch([question])[0])
    context = tokenizer.encode_batch(["rollo swam"])[0]
    length = ids + len(context) + 3
    store = windows_in_memory([Example("a", question, "rollo swam")], tokenizer, max_seq_length=length, doc_stride=16)
    assert store.lengths.tolist() == [length]
    with pytest.raises(DataError):
        windows_in_memory([Example("a", question, "rollo swam")], tokenizer, max_seq_length=length - 1, doc_stride=16)


def test_only_the_first_gold_is_labelled(tokenizer: QATokenizer) -> None:
    context = "Rollo swam and Rollo sang."
    golds = (Gold("Rollo", 15), Gold("Rollo", 0), Gold("sang", 21))
    example = Example("a", "Who?", context, golds)
    window = windows_in_memory([example], tokenizer)[0]
    assert int(window.start_char[window.start_position - window.context_start]) == 15
    assert labelled_text(window, example) == "Rollo"


def test_a_window_without_the_whole_gold_is_labelled_cls(tokenizer: QATokenizer) -> None:
    context = " ".join(f"({number})" for number in range(60))
    seen = set()
    for number in range(59):
        text = f"({number}) ({number + 1})"
        gold = Gold(text, context.index(text))
        example = Example("a", "Who?", context, (gold,))
        store = windows_in_memory([example], tokenizer, max_seq_length=40, doc_stride=12)
        for index in range(len(store)):
            window = store[index]
            first_char, end_char = int(window.start_char[0]), int(window.end_char[-1])
            whole = first_char <= gold.answer_start and end_char >= gold.answer_end
            assert (window.start_position > 0) == (window.end_position > 0) == whole
            seen.add((whole, first_char < gold.answer_end and end_char > gold.answer_start))
    assert {(True, True), (False, False), (False, True)} <= seen


@given(drawn=st.lists(examples(most_words=8), min_size=1, max_size=7), per_chunk=st.integers(1, 3))
@settings(max_examples=60, deadline=None)
def test_windows_do_not_depend_on_how_the_data_are_cut_into_chunks(
    tokenizer: QATokenizer, drawn: list[Example], per_chunk: int
) -> None:
    # Contexts come again in later chunks, as they do where a data set is shuffled.
    some = with_ids([*drawn, *reversed(drawn)])
    whole = windows_in_memory(some, tokenizer)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "_EXAMPLES_PER_CHUNK", per_chunk)
        chunked = windows_in_memory(some, tokenizer)
    assert_same_store(whole, chunked)
    distinct = len({example.context for example in some})
    assert chunked.columns["context_index"].max() + 1 == distinct


@given(drawn=st.lists(examples(most_words=20), min_size=2, max_size=4))
@settings(max_examples=60, deadline=None)
def test_an_examples_windows_do_not_depend_on_its_neighbours(tokenizer: QATokenizer, drawn: list[Example]) -> None:
    some = with_ids(drawn)
    together = windows_in_memory(some, tokenizer, max_seq_length=60, doc_stride=8)
    for index, example in enumerate(some):
        alone = windows_in_memory([example], tokenizer, max_seq_length=60, doc_stride=8)
        first = int(together.first_window[index])
        for at in range(len(alone)):
            found, expected = together[first + at], alone[at]
            assert found.example_index == index
            assert_same_window(
                Window(0, *(getattr(found, name) for name in Window.__slots__ if name != "example_index")), expected
            )


def test_windows_of_more_than_one_real_chunk_point_at_their_own_texts(tokenizer: QATokenizer) -> None:
    contexts = [f"number {number} swam in the river {number % 7}." for number in range(900)]
    some = [Example(f"q{at}", f"Who is {at}?", contexts[at * 7 % 900]) for at in range(2100)]
    store = windows_in_memory(some, tokenizer)
    assert len(store) == len(some)
    ids = {context: encoding.ids for context, encoding in zip(contexts, tokenizer.encode_batch(contexts), strict=True)}
    questions = tokenizer.encode_batch([example.question for example in some])
    for index, (example, question) in enumerate(zip(some, questions, strict=True)):
        assert store[index].input_ids.tolist() == [2, *question.ids, 3, *ids[example.context], 3]
    assert int(store.columns["context_index"].max()) == 899


def _windows_or_none(example: Example, tokenizer: QATokenizer, lengths: tuple[int, int]) -> WindowStore | None:
    try:
        return windows_in_memory([example], tokenizer, max_seq_length=lengths[0], doc_stride=lengths[1])
    except DataError:
        return None


def _offsets(window: Window) -> list[tuple[int, int]]:
    return list(zip(window.start_char.tolist(), window.end_char.tolist(), strict=True))
