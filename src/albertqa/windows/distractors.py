"""Text that has nothing to do with a question, to be read beside its context."""

from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from albertqa.data.example import Example
from albertqa.errors import DataError
from albertqa.windows.sentences import sentence_borders
from albertqa.windows.store import Int32Array, Int64Array, Window, WindowStore

_UNKNOWN = -1
# Windows drawn for one distractor, and how many of another article are looked at: enough that a set of two articles
# of unlike size, or a gold as common as "5", finds something.
_DRAWS = 64
_TRIES = 8
# Hardly a sentence is shorter.
_LEAST_TOKENS = 8
_PARAGRAPH_SHARE = 0.5


class Distractors:
    """Draws sentences or whole paragraphs of other articles than a window's own.

    Another article has another title. Where titles are missing, another context will do for a question with an answer,
    since no distractor holds a gold; for one without, nobody could tell whether it brings an answer.

    Args:
        store: The windows to draw for and from.
        examples: The data they were built of; nothing of it is kept but what is needed.
        contexts: Text of each context of the store.
        normalize: Reduces a text to what the metric compares.

    Raises:
        DataError: There is no second article, or a question without an answer has no title.
    """

    def __init__(
        self, store: WindowStore, examples: Sequence[Example], contexts: pa.Array, normalize: Callable[[str], str]
    ) -> None:
        _refuse_unfit(examples)
        self._store, self._contexts, self._normalize = store, contexts, normalize
        numbers: dict[str, int] = {}
        articles = [numbers.setdefault(one.title, len(numbers)) if one.title else _UNKNOWN for one in examples]
        self._articles: Int32Array = np.asarray(articles, dtype=np.int32)
        self._golds = pa.array(
            [[gold.text for gold in example.golds] for example in examples], pa.large_list(pa.large_string())
        )

    def draw(self, index: int, room: int, rng: np.random.Generator) -> Int64Array | None:
        """Draw a distractor for a window.

        Args:
            index: The window.
            room: Most tokens.
            rng: Decides which.

        Returns:
            Its token ids, (n,) int64, or None where nothing was found: no room, or every draw held a gold.
        """
        if room < _LEAST_TOKENS:
            return None
        example = int(self._store.columns["example_index"][index])
        golds = [self._normalize(gold) for gold in self._golds[example].as_py()]
        drawn = rng.integers(len(self._store), size=_DRAWS)
        for at in drawn[self._is_elsewhere(index, example, drawn, has_answer=bool(golds))][:_TRIES]:
            other = self._store[int(at)]
            text: str = self._contexts[int(self._store.columns["context_index"][at])].as_py()
            part = _part(other, text, room, rng)
            if part is None:
                continue
            chars = slice(int(other.start_char[part.start]), int(other.end_char[part.stop - 1]))
            reduced = self._normalize(text[chars])
            # A gold of nothing but punctuation is "" here and in every text: its question gets no distractor.
            if not any(gold in reduced for gold in golds):
                return other.input_ids[other.context_start :][part]
        return None

    def _is_elsewhere(self, index: int, example: int, others: Int64Array, *, has_answer: bool) -> NDArray[np.bool_]:
        columns = self._store.columns
        articles = self._articles[columns["example_index"][others]]
        is_other = (articles != self._articles[example]) | (articles == _UNKNOWN)
        if not has_answer:
            is_other &= articles != _UNKNOWN
        elsewhere: NDArray[np.bool_] = is_other & (columns["context_index"][others] != columns["context_index"][index])
        return elsewhere


def _part(window: Window, text: str, room: int, rng: np.random.Generator) -> slice | None:
    """Choose the context's tokens as a whole, where they fit, or a run of sentences that fits."""
    num_tokens = len(window.start_char)
    if 0 < num_tokens <= room and rng.random() < _PARAGRAPH_SHARE:
        return slice(0, num_tokens)
    borders = sentence_borders(text, window.start_char, window.end_char)
    fitting = np.flatnonzero(np.diff(borders) <= room)
    if not len(fitting):
        return None
    first = int(fitting[rng.integers(len(fitting))])
    farthest = int(np.searchsorted(borders, borders[first] + room, side="right")) - 1
    return slice(int(borders[first]), int(borders[rng.integers(first + 1, farthest + 1)]))


def _refuse_unfit(examples: Sequence[Example]) -> None:
    if len({example.title or example.context for example in examples}) < 2:
        raise DataError(
            "training data: expected a second article to take distractors from, found one only. "
            "Leave distractor out of --augment, or train on more"
        )
    for example in examples:
        if not example.has_answer and not example.title:
            raise DataError(
                f"question {example.id}: has no answer and no title; a distractor could be of the same article and "
                "answer it. Give titles, or leave distractor out of --augment"
            )
