"""Training windows cropped at random, differently in every epoch; the answer stays exact.

A crop keeps a random run of neighbouring sentences of the context, with the whole answer in it. A window without an
answer is cropped like any other: otherwise its length would give the answer's absence away. Everything happens to the
tokens of a window when it is read: store, number of windows and their order stay, and what a window becomes follows
from seed, epoch and its position alone, so a resumed run repeats it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from albertqa.data.example import Example
from albertqa.windows.sentences import sentence_borders
from albertqa.windows.store import Int64Array, Window, WindowStore

# Keeps the draws apart from those of the data order, whose seed is (seed, epoch): NumPy ignores zeros at a seed's end.
_CROP = 1


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
            A view of the store; reading a window of it is counted.
        """
        drawn = np.random.default_rng([self._seed, epoch, _CROP]).random(len(self._store)) < self._rate
        return _EpochView(partial(self._read, epoch, drawn))

    def resume_counts(self, counts: Mapping[str, Mapping[str, int]]) -> None:
        """Continue the counts of the process that the run is resumed from."""
        self.counts = {way: dict(numbers) for way, numbers in counts.items()}

    def _read(self, epoch: int, drawn: NDArray[np.bool_], index: int) -> Window:
        """Return a window, cropped if it is drawn and has more than one sentence to choose from."""
        window, counts = self._store[index], self.counts["crop"]
        counts["seen"] += 1
        if not drawn[index]:
            return window
        cropped = self._crop(window, index, epoch)
        counts["impossible" if cropped is None else "changed"] += 1
        return cropped or window

    def _crop(self, window: Window, index: int, epoch: int) -> Window | None:
        context = str(self._contexts[int(self._store.columns["context_index"][index])].as_py())
        borders = sentence_borders(context, window.start_char, window.end_char)
        num_sentences = len(borders) - 1
        if num_sentences < 2:
            return None
        # The position goes in from 1, for the zeros at a seed's end.
        rng = np.random.default_rng([self._seed, epoch, _CROP, index + 1])
        if window.start_position:
            kept = (window.start_position - window.context_start, window.end_position - window.context_start)
        else:
            # Without an answer, a random sentence is kept in its place.
            kept = (int(borders[rng.integers(num_sentences)]),) * 2
        first, last = (int(np.searchsorted(borders, token, side="right")) - 1 for token in kept)
        # Each pair of a first sentence up to `first` and a last one from `last` on has the same chance, but for pair 0,
        # which is the whole context.
        num_lasts = num_sentences - last
        if (first + 1) * num_lasts == 1:
            return None
        before, after = divmod(int(rng.integers(1, (first + 1) * num_lasts)), num_lasts)
        return _cut(window, int(borders[before]), int(borders[num_sentences - after]))


def _cut(window: Window, first: int, end: int) -> Window:
    """Keep the context's tokens from `first` to before `end`, the answer's among them."""
    begin = window.context_start
    behind = begin + len(window.start_char)

    def kept(tokens: Int64Array) -> Int64Array:
        return np.concatenate([tokens[:begin], tokens[begin + first : begin + end], tokens[behind:]])

    return replace(
        window,
        input_ids=kept(window.input_ids),
        token_type_ids=kept(window.token_type_ids),
        start_char=window.start_char[first:end],
        end_char=window.end_char[first:end],
        # That of a window without an answer stays 0.
        start_position=max(0, window.start_position - first),
        end_position=max(0, window.end_position - first),
    )


@dataclass(frozen=True)
class _EpochView:
    """The windows as one epoch sees them."""

    read: Callable[[int], Window]

    def __getitem__(self, index: int) -> Window:
        return self.read(index)


def _context_texts(store: WindowStore, examples: Sequence[Example]) -> list[str]:
    """Return the text of each of the store's contexts."""
    indices = store.columns["context_index"][store.first_window[:-1]]
    texts = [""] * (int(indices.max(initial=-1)) + 1)
    for index, example in zip(indices, examples, strict=True):
        texts[index] = example.context
    return texts
