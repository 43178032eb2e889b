"""A cropped window keeps its answer exactly; what is cropped follows from seed and epoch alone."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from albertqa.data.example import Example, Gold
from albertqa.data.reading import load_examples
from albertqa.windows.augmentation import Augmenter
from albertqa.windows.build import windows_in_memory
from albertqa.windows.sentences import sentence_borders
from albertqa.windows.statistics import labelled_text
from albertqa.windows.store import Window, WindowStore
from albertqa.windows.tokenizer import QATokenizer, load_tokenizer

from .cases import assert_same_window, bert_like, examples, roberta_like, save_in, with_ids

SEEDS = st.integers(0, 2**40)


@dataclass(frozen=True)
class Data:
    """Examples with their windows.

    Attributes:
        examples: The examples.
        tokenizer: What tokenized them.
        store: Their windows.
    """

    examples: list[Example]
    tokenizer: QATokenizer
    store: WindowStore

    def __repr__(self) -> str:
        return f"Data({len(self.examples)} examples, {self.tokenizer!r}, {self.store.max_seq_length} tokens)"

    def augmenter(self, *, rate: float = 1.0, seed: int = 0) -> Augmenter:
        return Augmenter(self.store, self.examples, rate=rate, seed=seed)

    def own_text(self, window: Window) -> str:
        """Return the text of a window's context tokens."""
        context = self.examples[window.example_index].context
        return context[int(window.start_char[0]) : int(window.end_char[-1])] if len(window.start_char) else ""


def windows_of(some: list[Example], tokenizer: QATokenizer, max_seq_length: int = 384, doc_stride: int = 128) -> Data:
    store = windows_in_memory(some, tokenizer, max_seq_length=max_seq_length, doc_stride=doc_stride)
    return Data(some, tokenizer, store)


@pytest.fixture(scope="module")
def tokenizers(
    tokenizer: QATokenizer, starter_contexts: list[str], tmp_path_factory: pytest.TempPathFactory
) -> list[QATokenizer]:
    """ALBERT's form, BERT's (no mask token here), and RoBERTa's (two separators, one segment)."""
    folder = tmp_path_factory.mktemp("families")
    others: list[tuple[str, Callable[..., object]]] = [("bert", bert_like), ("roberta", roberta_like)]
    return [tokenizer, *(load_tokenizer(save_in(folder / name, build(starter_contexts))) for name, build in others)]


@pytest.fixture(scope="module")
def starter() -> list[Example]:
    """Questions of all articles, half of them without an answer."""
    some = load_examples("starter-v2:train")
    without = [example for example in some if not example.has_answer]
    return [*without[::2], *[example for example in some if example.has_answer][:: 2 * len(some) // len(without)]]


@pytest.fixture(scope="module")
def many(starter: list[Example], tokenizers: list[QATokenizer]) -> list[Data]:
    """Short windows, so that contexts have several and most are full; and long ones with room."""
    return [
        *(windows_of(starter, tokenizer, 96, 32) for tokenizer in tokenizers),
        *(windows_of(starter, tokenizer) for tokenizer in tokenizers),
    ]


@pytest.fixture(scope="module")
def roomy(starter: list[Example], tokenizer: QATokenizer) -> Data:
    """Windows of whole contexts, nearly all of them with room for more."""
    return windows_of(starter, tokenizer, 512)


def assert_sound(data: Data, before: Window, after: Window) -> None:
    """Check all that must hold of a cropped window."""
    layout, length = data.store.layout, len(after.input_ids)
    # The form.
    assert after.example_index == before.example_index
    assert length <= data.store.max_seq_length
    context_end = length - len(layout.suffix)
    assert context_end - after.context_start == len(after.start_char) == len(after.end_char)
    assert after.input_ids[: len(layout.prefix)].tolist() == list(layout.prefix)
    middle = after.input_ids[after.context_start - len(layout.middle) : after.context_start]
    assert middle.tolist() == list(layout.middle)
    assert after.input_ids[context_end:].tolist() == list(layout.suffix)
    assert after.context_start > len(layout.prefix) + len(layout.middle)
    assert (after.token_type_ids[: after.context_start] == layout.question_segment).all()
    assert (after.token_type_ids[after.context_start :] == layout.context_segment).all()
    for name in ("input_ids", "token_type_ids", "start_char", "end_char"):
        assert getattr(after, name).dtype == getattr(before, name).dtype
    # The answer.
    assert (after.start_position > 0) == (before.start_position > 0)
    if before.start_position:
        answer = slice(after.start_position, after.end_position + 1)
        expected = before.input_ids[before.start_position : before.end_position + 1]
        assert after.input_ids[answer].tolist() == expected.tolist()
        example = data.examples[after.example_index]
        assert labelled_text(after, example) == labelled_text(before, example)
    else:
        assert (after.start_position, after.end_position) == (0, 0)
    # The context: one run of what it was, never nothing.
    assert len(after.start_char) or not len(before.start_char)
    whole, left = pairs(before), pairs(after)
    ids = after.input_ids[after.context_start : context_end].tolist()
    kept = before.input_ids[before.context_start :].tolist()
    # Tokens of one character share their offsets, so that a run may have several places.
    firsts = [at for at in range(len(whole) - len(left) + 1) if whole[at : at + len(left)] == left]
    assert any(ids == kept[at : at + len(ids)] for at in firsts)


def pairs(window: Window) -> list[tuple[int, int]]:
    return list(zip(window.start_char.tolist(), window.end_char.tolist(), strict=True))


@given(
    which=st.integers(0, 5),
    rate=st.sampled_from((0.5, 1.0)),
    seed=SEEDS,
    epoch=st.integers(0, 9),
    draw=st.data(),
)
@settings(max_examples=150, deadline=None)
def test_the_answer_stays_exact_whatever_is_done(
    many: list[Data],
    which: int,
    rate: float,
    seed: int,
    epoch: int,
    draw: st.DataObject,
) -> None:
    data = many[which]
    view = data.augmenter(rate=rate, seed=seed)(epoch)
    for index in draw.draw(st.sets(st.integers(0, len(data.store) - 1), min_size=1, max_size=12)):
        assert_sound(data, data.store[index], view[index])


@given(drawn=st.lists(examples(most_words=60), min_size=2, max_size=4), seed=SEEDS)
@settings(max_examples=100, deadline=None)
def test_odd_texts_keep_their_answers(tokenizer: QATokenizer, drawn: list[Example], seed: int) -> None:
    some = [
        replace(example, question=f"Which river {example.question}", title=f"t{example.id}")
        for example in with_ids(drawn)
    ]
    data = windows_of(some, tokenizer, 120, 10)
    view = data.augmenter(seed=seed)(0)
    for index in range(len(data.store)):
        assert_sound(data, data.store[index], view[index])


@pytest.mark.real_data
@pytest.mark.parametrize("name", ["dev-v1.1", "dev-v2.0"])
def test_squad_keeps_its_answers(real_data: Path, real_tokenizer: QATokenizer, name: str) -> None:
    some = load_examples(real_data / "squad" / f"{name}.json")[::12]
    data = windows_of(some, real_tokenizer)
    num_exact = 0
    view = data.augmenter(seed=7)(1)
    for index in range(0, len(data.store), 2):
        before, after = data.store[index], view[index]
        assert_sound(data, before, after)
        example = some[after.example_index]
        num_exact += bool(after.start_position) and labelled_text(after, example) == example.golds[0].text
    assert num_exact > 100


def test_a_rate_of_nothing_gives_the_very_same_windows(many: list[Data]) -> None:
    for data in many:
        view = data.augmenter(rate=0.0)(3)
        for index in range(0, len(data.store), 5):
            assert_same_window(view[index], data.store[index])


def test_a_rate_of_one_crops_nearly_all_windows(roomy: Data) -> None:
    augmenter = roomy.augmenter()
    view = augmenter(0)
    changed = [len(view[index].input_ids) < len(roomy.store[index].input_ids) for index in range(len(roomy.store))]
    assert np.mean(changed) > 0.97
    counts = {"seen": len(changed), "changed": sum(changed), "impossible": len(changed) - sum(changed)}
    assert augmenter.counts == {"crop": counts}


def test_full_windows_are_cropped_too(many: list[Data]) -> None:
    data = many[0]
    full = np.flatnonzero(data.store.lengths == data.store.max_seq_length)
    assert len(full) > 100
    augmenter = data.augmenter()
    for index in full:
        augmenter(0)[int(index)]
    assert augmenter.counts["crop"]["changed"] / len(full) > 0.8


def test_the_rate_is_the_share_of_windows_that_are_drawn(roomy: Data) -> None:
    augmenter = roomy.augmenter(rate=0.3)
    for epoch in range(3):
        view = augmenter(epoch)
        for index in range(len(roomy.store)):
            view[index]
    counts = augmenter.counts["crop"]
    assert counts["seen"] == 3 * len(roomy.store)
    assert abs((counts["changed"] + counts["impossible"]) / counts["seen"] - 0.3) < 0.05


@given(seed=SEEDS, epoch=st.integers(0, 5))
@settings(max_examples=15, deadline=None)
def test_seed_epoch_and_position_decide_and_nothing_else(roomy: Data, seed: int, epoch: int) -> None:
    one, other = roomy.augmenter(rate=0.5, seed=seed), roomy.augmenter(rate=0.5, seed=seed)
    some = range(0, len(roomy.store), 9)
    first = {index: one(epoch)[index] for index in some}
    # In another order, after another epoch, and from another augmenter.
    other(epoch + 1)[0]
    second = {index: other(epoch)[index] for index in reversed(some)}
    for index in some:
        assert_same_window(first[index], second[index])


def test_every_epoch_and_every_seed_sees_other_windows(roomy: Data) -> None:
    views = [roomy.augmenter()(0), roomy.augmenter()(1), roomy.augmenter(seed=1)(0)]
    some = range(0, len(roomy.store), 7)
    seen = [[view[index].input_ids.tolist() for index in some] for view in views]
    for one, other in combinations(seen, 2):
        assert np.mean([first != second for first, second in zip(one, other, strict=True)]) > 0.8


def test_a_cropped_context_is_a_run_of_whole_sentences(roomy: Data) -> None:
    augmenter = roomy.augmenter()
    num_kept, sides = set(), set()
    for epoch in range(3):
        view = augmenter(epoch)
        for index in range(len(roomy.store)):
            before, after = roomy.store[index], view[index]
            text = roomy.examples[before.example_index].context
            borders = sentence_borders(text, before.start_char, before.end_char).tolist()
            first = pairs(before).index(pairs(after)[0])
            assert first in borders
            assert first + len(after.start_char) in borders
            num_kept.add(borders.index(first + len(after.start_char)) - borders.index(first))
            sides.add((first > 0, first + len(after.start_char) < len(before.start_char)))
    assert sides >= {(True, False), (False, True), (True, True)}
    assert num_kept >= {1, 2, 3, 4, 5}


def test_windows_without_an_answer_lose_as_much_as_those_with_one(roomy: Data) -> None:
    view = roomy.augmenter()(0)
    shares: dict[bool, list[float]] = {True: [], False: []}
    for index in range(len(roomy.store)):
        before, after = roomy.store[index], view[index]
        shares[before.start_position > 0].append(len(after.start_char) / len(before.start_char))
    assert min(map(len, shares.values())) > 50
    assert abs(np.mean(shares[True]) - np.mean(shares[False])) < 0.1


def test_an_answer_over_a_border_keeps_both_sentences(tokenizer: QATokenizer) -> None:
    context = "It rained. Rollo swam. He was cold. He slept. It rained again."
    answer = "swam. He was"
    some = [Example("a", "What then?", context, (Gold(answer, context.index(answer)),))]
    data = windows_of(some, tokenizer)
    augmenter = data.augmenter()
    texts = {data.own_text(augmenter(epoch)[0]) for epoch in range(40)}
    assert len(texts) == 5
    assert all("Rollo swam. He was cold." in text for text in texts)


def test_a_context_of_one_sentence_is_not_cropped(tokenizer: QATokenizer) -> None:
    some = [Example("a", "Who swam?", "Rollo swam.", (Gold("Rollo", 0),)), Example("b", "Who?", "")]
    data = windows_of(some, tokenizer)
    augmenter = data.augmenter()
    for index in range(2):
        assert_same_window(augmenter(0)[index], data.store[index])
    assert augmenter.counts == {"crop": {"seen": 2, "changed": 0, "impossible": 2}}


def test_counts_are_resumed(roomy: Data) -> None:
    whole, first, second = (roomy.augmenter(rate=0.5) for _ in range(3))
    for index in range(40):
        whole(0)[index]
        first(0)[index] if index < 17 else None
    stored = {way: dict(counts) for way, counts in first.counts.items()}
    second.resume_counts(stored)
    for index in range(17, 40):
        second(0)[index]
    assert second.counts == whole.counts
    assert stored == first.counts
