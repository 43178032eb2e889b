"""What a data set's tokens say about its soundness: does the model see its text, and training its answers?

As `albertqa.data.label_checks`: facts for ``run.json``, cheap, and changing nothing.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from albertqa.data.example import Example
from albertqa.windows.facts import labelled_text
from albertqa.windows.store import Window, WindowStore

_SAMPLE = 1_000


def token_soundness(
    store: WindowStore, examples: Sequence[Example], *, unknown_id: int | None, max_answer_length: int
) -> dict[str, Any]:
    """Measure what the windows of sound data have in common.

    Args:
        store: Windows of `examples`.
        examples: The data, at least one question.
        unknown_id: Id of the token for what the vocabulary lacks; None where nothing is unknown (byte-level).
        max_answer_length: Longest answer predicted, tokens.

    Returns:
        Facts for ``run.json``: ``uniform_loss``, the loss of a model to which all of a window is equally likely;
        means and percentages of a sample of the questions; counts of all golds. ``same_start_percent`` is the share of
        the golds that begin at the one place of their context at which most begin, ``golds_exact_percent`` that of
        those which labels give back to the letter: None where no window of the sample holds one.
    """
    windows = _sample(store)
    texts = [examples[window.example_index] for window in windows]
    tokens = np.concatenate([window.input_ids for window in windows])
    starts, ends = store.columns["start_position"], store.columns["end_position"]
    example_index = store.columns["example_index"]
    answered = np.fromiter((one.has_answer for one in examples), dtype=bool, count=len(examples))
    in_some_window, too_long = np.zeros_like(answered), np.zeros_like(answered)
    in_some_window[example_index[starts > 0]] = True
    too_long[example_index[(starts > 0) & (ends - starts >= max_answer_length)]] = True
    labelled = [(window, one) for window, one in zip(windows, texts, strict=True) if window.start_position > 0]
    places = Counter(window.start_position - window.context_start for window, _ in labelled)
    num_special = len(store.layout.prefix) + len(store.layout.middle)
    return {
        "uniform_loss": round(float(np.log(store.lengths).mean()), 4),
        "question_tokens_mean": _mean(window.context_start - num_special for window in windows),
        "context_tokens_mean": _mean(len(window.start_char) for window in windows),
        "unknown_tokens_percent": 0.0 if unknown_id is None else _percent(tokens == unknown_id),
        "golds": int(answered.sum()),
        "golds_in_no_window": int((answered & ~in_some_window).sum()),
        "golds_too_long": int(too_long.sum()),
        "golds_exact_percent": _percent([labelled_text(window, one) == one.golds[0].text for window, one in labelled]),
        "same_start_percent": round(100 * max(places.values(), default=0) / max(1, len(labelled)), 3),
    }


def _sample(store: WindowStore) -> list[Window]:
    """Give one window each of questions from all over the data: the first with the answer, where there is one."""
    starts = store.columns["start_position"]
    windows = []
    for index in np.unique(np.linspace(0, store.num_examples - 1, min(store.num_examples, _SAMPLE)).astype(np.int64)):
        first, end = int(store.first_window[index]), int(store.first_window[index + 1])
        inside = np.flatnonzero(starts[first:end])
        windows.append(store[first + (int(inside[0]) if len(inside) else 0)])
    return windows


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return round(sum(found) / len(found), 3) if found else 0.0


def _percent(values: Sequence[bool] | NDArray[np.bool_]) -> float | None:
    return round(100 * float(np.mean(values)), 3) if len(values) else None
