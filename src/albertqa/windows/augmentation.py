"""Training windows cropped at random, differently in every epoch; the answer stays exact.

A crop keeps a random run of neighbouring sentences of the context, with the whole answer in it. A window without an
answer is cropped like any other: otherwise its length would give the answer's absence away. Everything happens to the
tokens of a window when it is read: store, number of windows and their order stay, and what a window becomes follows
from seed, epoch and its position alone, so a resumed run repeats it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from albertqa.data.example import Example
from albertqa.windows.sentences import sentence_borders
from albertqa.windows.store import Int32Array, Int64Array, Window, WindowStore, join
from albertqa.windows.tokenizer import PairLayout

# Keeps the draws apart from those of the data order, whose seed is (seed, epoch): NumPy ignores zeros at a seed's end.
_CROP = 1


@dataclass(frozen=True, slots=True)
class _Parts:
    """A window taken apart.

    Attributes:
        example: Position of its example.
        question: Tokens of the question.
        context: Tokens of the context.
        start_char: First character of each context token.
        end_char: Character after the last one of each context token.
        answer: The answer's first and last token among the context's, or None.
    """

    example: int
    question: Int64Array
    context: Int64Array
    start_char: Int32Array
    end_char: Int32Array
    answer: tuple[int, int] | None

    @classmethod
    def of(cls, window: Window, layout: PairLayout) -> "_Parts":
        begin = window.context_start
        has_answer = window.start_position >= begin
        return cls(
            window.example_index,
            question=window.input_ids[len(layout.prefix) : begin - len(layout.middle)],
            context=window.input_ids[begin : begin + len(window.start_char)],
            start_char=window.start_char,
            end_char=window.end_char,
            answer=(window.start_position - begin, window.end_position - begin) if has_answer else None,
        )

    def window(self, layout: PairLayout) -> Window:
        input_ids, token_type_ids, begin = join(layout, self.question, self.context)
        return Window(
            example_index=self.example,
            input_ids=input_ids,
            token_type_ids=token_type_ids,
            context_start=begin,
            start_char=self.start_char,
            end_char=self.end_char,
            start_position=begin + self.answer[0] if self.answer else 0,
            end_position=begin + self.answer[1] if self.answer else 0,
        )

    def cut(self, first: int, end: int) -> "_Parts":
        """Keep the context's tokens from `first` to before `end`, the answer's among them."""
        return replace(
            self,
            context=self.context[first:end],
            start_char=self.start_char[first:end],
            end_char=self.end_char[first:end],
            answer=(self.answer[0] - first, self.answer[1] - first) if self.answer else None,
        )


class Augmenter:
    """Crops the windows of an epoch.

    Args:
        store: The windows.
        examples: The data they were built of; only the texts of their contexts are kept.
        rate: Share of the windows to crop, from 0 to 1.
        seed: Seed of all draws.

    Attributes:
        counts: Under ``crop`` the windows ``seen``, those ``changed``, and those drawn but ``impossible`` to crop.
    """

    def __init__(self, store: WindowStore, examples: Sequence[Example], *, rate: float, seed: int) -> None:
        self._store, self._rate, self._seed = store, rate, seed
        # Arrow keeps the texts of a large data set in a fraction of the memory that a list takes.
        self._contexts = pa.array(_context_texts(store, examples), pa.large_string())
        self.counts = {"crop": {"seen": 0, "changed": 0, "impossible": 0}}

    def __call__(self, epoch: int) -> "_EpochView":
        """Return the windows as an epoch sees them: as many as in the store, in the same order.

        Args:
            epoch: The epoch, from 0.

        Returns:
            A view of the store; reading a window of it counts.
        """
        drawn = np.random.default_rng([self._seed, epoch, _CROP]).random(len(self._store)) < self._rate
        return _EpochView(self, epoch, drawn)

    def resume_counts(self, counts: Mapping[str, Mapping[str, int]]) -> None:
        """Continue the counts of the process that the run is resumed from."""
        self.counts = {way: dict(numbers) for way, numbers in counts.items()}

    def read(self, index: int, epoch: int, *, is_drawn: bool) -> Window:
        """Return a window, cropped if it is drawn and has more than one sentence to choose from.

        Args:
            index: Position of the window.
            epoch: The epoch.
            is_drawn: Whether it is to be cropped.
        """
        window, counts = self._store[index], self.counts["crop"]
        counts["seen"] += 1
        if not is_drawn:
            return window
        cropped = self._crop(_Parts.of(window, self._store.layout), index, epoch)
        counts["impossible" if cropped is None else "changed"] += 1
        return window if cropped is None else cropped.window(self._store.layout)

    def _crop(self, parts: _Parts, index: int, epoch: int) -> _Parts | None:
        context = str(self._contexts[int(self._store.columns["context_index"][index])].as_py())
        borders = sentence_borders(context, parts.start_char, parts.end_char)
        num_sentences = len(borders) - 1
        if num_sentences < 2:
            return None
        # The position goes in from 1, for the zeros at a seed's end.
        rng = np.random.default_rng([self._seed, epoch, _CROP, index + 1])
        # Without an answer, a random sentence is kept in its place.
        kept = parts.answer or (int(borders[rng.integers(num_sentences)]),) * 2
        first, last = (int(np.searchsorted(borders, token, side="right")) - 1 for token in kept)
        # Each pair of a first sentence up to `first` and a last one from `last` on has the same chance, but for pair 0,
        # which is the whole context.
        num_lasts = num_sentences - last
        if (first + 1) * num_lasts == 1:
            return None
        before, after = divmod(int(rng.integers(1, (first + 1) * num_lasts)), num_lasts)
        return parts.cut(int(borders[before]), int(borders[num_sentences - after]))


@dataclass(frozen=True)
class _EpochView:
    """The windows as one epoch sees them.

    Attributes:
        augmenter: Crops them.
        epoch: The epoch.
        drawn: Which windows it crops, (W,) bool.
    """

    augmenter: Augmenter
    epoch: int
    drawn: NDArray[np.bool_]

    def __getitem__(self, index: int) -> Window:
        return self.augmenter.read(index, self.epoch, is_drawn=bool(self.drawn[index]))


def _context_texts(store: WindowStore, examples: Sequence[Example]) -> list[str]:
    """Return the text of each of the store's contexts."""
    indices = store.columns["context_index"][store.first_window[:-1]]
    texts = [""] * (int(indices.max(initial=-1)) + 1)
    for index, example in zip(indices, examples, strict=True):
        texts[index] = example.context
    return texts
