"""Span logits → n-best answers, vectorised over windows.

Per window the top starts and top ends are crossed; pairs outside the context, reversed, or longer than
`max_answer_length` tokens are dropped; the rest of a question's windows are pooled and the best kept. No answer is ever
invented: where no pair is valid, there is none.

Ties: of equal logits the earlier token counts as the better; of equal scores the earlier window, then the earlier
start, then the earlier end.

Source: `postprocess_qa_predictions` of `run_qa.py` (Transformers); there ties are left to the sort, and a question
without a valid pair gets the answer "empty".
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from albertqa.config import DecodeConfig
from albertqa.data.example import Example
from albertqa.windows.store import Int64Array, WindowStore

Float32Array: TypeAlias = NDArray[np.float32]
UInt64Array: TypeAlias = NDArray[np.uint64]

# No null score can exceed a best answer that is not there; JSON has no infinity.
NO_ANSWER_SCORE_DIFF = 1e6

_WINDOWS_PER_CHUNK = 1024
_TOKEN_BITS = np.uint64(16)
_TOKEN_MASK = np.uint64(0xFFFF)
_PAIR_BITS = np.uint64(32)


@dataclass(frozen=True, slots=True)
class Candidate:
    """One possible answer.

    Attributes:
        text: The answer, verbatim from the context; "" for "no answer".
        start_char: First character in the context.
        end_char: Character after the last one.
        start_logit: Logit of the first token as start.
        end_logit: Logit of the last token as end.
        probability: Softmax of the scores over the question's n-best.
    """

    text: str
    start_char: int
    end_char: int
    start_logit: float
    end_logit: float
    probability: float

    @property
    def score(self) -> float:
        """Start logit plus end logit, added in fp32 as they are ranked."""
        return float(np.float32(self.start_logit) + np.float32(self.end_logit))


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a model answers to one question.

    Attributes:
        id: The example's id.
        text: The answer; "" for "no answer" and where no span is valid.
        n_best: Best candidates, best first; on v2.0 "no answer" is among them.
        null_score: v2.0: score of "no answer", the lowest over the windows; None on v1.1.
        score_diff: v2.0: null score minus the best answer's score; None on v1.1.
        cls_score: The null score, whether or not "no answer" is an answer; None where only files are known.
    """

    id: str
    text: str
    n_best: tuple[Candidate, ...]
    null_score: float | None = None
    score_diff: float | None = None
    cls_score: float | None = None

    @property
    def best_answer(self) -> Candidate | None:
        """The best candidate that is an answer, whatever the null score."""
        return next((candidate for candidate in self.n_best if candidate.end_char > candidate.start_char), None)


@dataclass(frozen=True)
class WindowLogits:
    """Logits of all windows of a store, laid end to end in the store's order.

    Attributes:
        start: Start logits.
        end: End logits.
        first_token: First position of each window in them, and their length last.

    Shapes:
        start, end: (T,) float32, T the tokens of all windows
        first_token: (W + 1,) int64
    """

    start: Float32Array
    end: Float32Array
    first_token: NDArray[np.int64]


def decode(
    logits: WindowLogits,
    store: WindowStore,
    examples: Sequence[Example],
    config: DecodeConfig | None = None,
    *,
    version_2: bool = False,
) -> list[Prediction]:
    """Turn logits into predictions, one an example, in order.

    Args:
        logits: Logits of every window of the store.
        store: The windows.
        examples: The examples that the store was built from, in its order.
        config: Candidates kept, longest answer, threshold of "no answer"; None: the recipe's.
        version_2: Whether "no answer" is a candidate.
    """
    config = config or DecodeConfig()
    # All arithmetic is done for all pairs at once; what is left to the loop is to make objects of it.
    window, start, end, score = _ranked_pairs(logits, store, config.n_best_size, config.max_answer_length)
    of_example = store.columns["example_index"][window]
    first = np.searchsorted(of_example, np.arange(len(examples) + 1), side="left")
    kept = np.arange(len(window)) - first[of_example] < config.n_best_size
    window, start, end, score = window[kept], start[kept], end[kept], score[kept]
    first = np.searchsorted(of_example[kept], np.arange(len(examples) + 1), side="left")
    start_char, end_char = (chars.tolist() for chars in _characters(store, window, start, end))
    start_logit = logits.start[logits.first_token[window] + start].tolist()
    end_logit = logits.end[logits.first_token[window] + end].tolist()
    null_start, null_end = logits.start[logits.first_token[:-1]], logits.end[logits.first_token[:-1]]
    cls_score = np.minimum.reduceat(null_start + null_end, store.first_window[:-1]).tolist()
    predictions = []
    for index, example in enumerate(examples):
        pairs = slice(first[index], first[index + 1])
        begins, ends = start_char[pairs], end_char[pairs]
        texts = [example.context[begin:end] for begin, end in zip(begins, ends, strict=True)]
        found = list(zip(texts, begins, ends, start_logit[pairs], end_logit[pairs], strict=True))
        scores, text = score[pairs], texts[0] if texts else ""
        null_score = difference = None
        if version_2:
            windows = slice(store.first_window[index], store.first_window[index + 1])
            lowest = int(np.argmin(null_start[windows] + null_end[windows]))
            null = ("", 0, 0, float(null_start[windows][lowest]), float(null_end[windows][lowest]))
            null_score = cls_score[index]
            difference = null_score - float(scores[0]) if found else NO_ANSWER_SCORE_DIFF
            if difference > config.null_score_diff_threshold:
                text = ""
            # Among the n-best by its score; appended where it would fall out of them.
            at = min(int(np.searchsorted(-scores, -np.float32(null_score), side="right")), config.n_best_size)
            most = config.n_best_size if at == config.n_best_size else config.n_best_size - 1
            found = [*found[:at], null, *found[at:most]]
            scores = np.concatenate([scores[:at], [np.float32(null_score)], scores[at:most]])
        n_best = _with_probabilities(found, scores)
        predictions.append(Prediction(example.id, text, n_best, null_score, difference, cls_score[index]))
    return predictions


def _characters(
    store: WindowStore, window: Int64Array, start: Int64Array, end: Int64Array
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return first character and character after the last one, in their contexts, of token spans."""
    start_char, end_char = np.empty(len(window), dtype=np.int32), np.empty(len(window), dtype=np.int32)
    order = np.argsort(window, kind="stable")
    borders = np.searchsorted(window[order], np.arange(len(store) + 1))
    for index in np.flatnonzero(np.diff(borders)).tolist():
        of_window = order[borders[index] : borders[index + 1]]
        context_start, starts, ends = store.characters(index)
        start_char[of_window] = starts[start[of_window] - context_start]
        end_char[of_window] = ends[end[of_window] - context_start]
    return start_char, end_char


def _with_probabilities(
    found: Sequence[tuple[str, int, int, float, float]], scores: Float32Array
) -> tuple[Candidate, ...]:
    if not found:
        return ()
    weights = np.exp(scores.astype(np.float64) - float(scores.max()))
    probabilities = (weights / weights.sum()).tolist()
    return tuple([Candidate(*one, p) for one, p in zip(found, probabilities, strict=True)])


def _ranked_pairs(
    logits: WindowLogits, store: WindowStore, n_best_size: int, max_answer_length: int
) -> tuple[Int64Array, Int64Array, Int64Array, Float32Array]:
    """Return the valid pairs of all windows: window, start token, end token, score; by example, best first."""
    parts = [
        _pairs_of(logits, store, first, min(first + _WINDOWS_PER_CHUNK, len(store)), n_best_size, max_answer_length)
        for first in range(0, len(store), _WINDOWS_PER_CHUNK)
    ]
    window, key = (np.concatenate(column) for column in zip(*parts, strict=True))
    start = (_TOKEN_MASK - ((key >> _TOKEN_BITS) & _TOKEN_MASK)).astype(np.int64)
    end = (_TOKEN_MASK - (key & _TOKEN_MASK)).astype(np.int64)
    begin = logits.first_token[window]
    score = logits.start[begin + start] + logits.end[begin + end]
    order = np.lexsort((end, start, window, -score, store.columns["example_index"][window]))
    return window[order], start[order], end[order], score[order]


def _pairs_of(
    logits: WindowLogits, store: WindowStore, first: int, last: int, n_best_size: int, max_answer_length: int
) -> tuple[Int64Array, UInt64Array]:
    """Return the best valid pairs of windows first..last as (window, key); a greater key is a better pair."""
    lengths = store.lengths[first:last].astype(np.int64)
    begin = logits.first_token[first:last]
    column = np.arange(int(lengths.max()))
    inside = column < lengths[:, None]
    at = np.minimum(begin[:, None] + column, len(logits.start) - 1)
    top_start = _top_tokens(logits.start[at], inside, n_best_size)
    top_end = _top_tokens(logits.end[at], inside, n_best_size)
    num_context = (store.columns["end_token"] - store.columns["first_token"])[first:last].astype(np.int64)
    context_end = lengths - len(store.layout.suffix)
    context_start = (context_end - num_context)[:, None, None]
    start, end = top_start[:, :, None], top_end[:, None, :]
    in_context = (start >= context_start) & (end < context_end[:, None, None])
    valid = in_context & (end >= start) & (end - start < max_answer_length)
    safe_start, safe_end = np.maximum(start, 0), np.maximum(end, 0)
    score = logits.start[begin[:, None, None] + safe_start] + logits.end[begin[:, None, None] + safe_end]
    tokens = (_TOKEN_MASK - safe_start.astype(np.uint64)) << _TOKEN_BITS | (_TOKEN_MASK - safe_end.astype(np.uint64))
    key = np.where(valid, _to_ordered(score) << _PAIR_BITS | tokens, np.uint64(0)).reshape(last - first, -1)
    key = _greatest(key, n_best_size)
    row, at_pair = np.nonzero(key)
    return row.astype(np.int64) + first, key[row, at_pair]


def _top_tokens(values: Float32Array, inside: NDArray[np.bool_], n_best_size: int) -> Int64Array:
    """Return the positions (W, N) of the greatest logits (W, T) of each row; -1 where a row has fewer tokens."""
    tokens = _TOKEN_MASK - np.arange(values.shape[1], dtype=np.uint64)
    key = _greatest(np.where(inside, _to_ordered(values) << _TOKEN_BITS | tokens, np.uint64(0)), n_best_size)
    return np.where(key > 0, (_TOKEN_MASK - (key & _TOKEN_MASK)).astype(np.int64), -1)


def _greatest(keys: UInt64Array, most: int) -> UInt64Array:
    kept = min(most, keys.shape[1])
    return np.partition(keys, keys.shape[1] - kept, axis=1)[:, -kept:]


def _to_ordered(values: Float32Array) -> UInt64Array:
    """Map fp32 to integers of 32 bits in the same order, so that rank and tie-break fit one sortable key."""
    # -0.0 + 0.0 is 0.0: the two zeros are equal as logits and must be as keys.
    bits = (values.astype(np.float32) + np.float32(0.0)).view(np.uint32)
    negative = bits >> np.uint32(31) == 1
    return np.where(negative, ~bits, bits | np.uint32(1 << 31)).astype(np.uint64)
