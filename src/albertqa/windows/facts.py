"""What a tokenizer makes of a data set: windows, lengths, and what the labels lose."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from albertqa.data.example import Example
from albertqa.windows.store import Window, WindowStore

_PERCENTILES = (5, 50, 95, 99, 100)
_CASES = 5


@dataclass(frozen=True)
class WindowFacts:
    """Facts of one data set under one tokenizer and window length.

    Attributes:
        windows: Number of windows.
        windows_without_answer_percent: Share of windows labelled CLS.
        window_tokens_mean: Mean real tokens of a window.
        window_tokens_percentiles: Real tokens of a window, by percentile.
        gold_tokens_percentiles: Tokens of the first gold, by percentile; empty where there is none.
        golds: Questions with an answer.
        golds_exact_percent: Share of first golds that labels → text give back to the letter.
        golds_changed: First few that come back otherwise: id, gold, what comes back.
        golds_in_no_window: First golds that no window holds whole, and so are never trained on.
        golds_too_long: First golds longer than `max_answer_length` tokens, never predicted whole.
        golds_too_long_cases: First few of them: id and tokens.
    """

    windows: int
    windows_without_answer_percent: float
    window_tokens_mean: float
    window_tokens_percentiles: dict[str, int]
    gold_tokens_percentiles: dict[str, int]
    golds: int
    golds_exact_percent: float
    golds_changed: tuple[dict[str, str], ...]
    golds_in_no_window: int
    golds_too_long: int
    golds_too_long_cases: tuple[dict[str, Any], ...]


def window_facts(store: WindowStore, examples: Sequence[Example], *, max_answer_length: int = 30) -> WindowFacts:
    """Measure windows and labels.

    Args:
        store: Windows of `examples`.
        examples: The data.
        max_answer_length: Longest answer predicted, tokens.

    Returns:
        The facts.
    """
    starts = store.columns["start_position"]
    gold_tokens: list[int] = []
    changed: list[dict[str, str]] = []
    too_long: list[dict[str, Any]] = []
    num_exact = num_lost = 0
    for index, example in enumerate(examples):
        if not example.golds:
            continue
        windows = range(int(store.first_window[index]), int(store.first_window[index + 1]))
        labelled = next((at for at in windows if starts[at] > 0), None)
        if labelled is None:
            num_lost += 1
            continue
        window = store[labelled]
        text = labelled_text(window, example)
        gold = example.golds[0].text
        num_exact += text == gold
        if text != gold and len(changed) < _CASES:
            changed.append({"id": example.id, "gold": gold, "labelled": text})
        tokens = window.end_position - window.start_position + 1
        gold_tokens.append(tokens)
        if tokens > max_answer_length:
            too_long.append({"id": example.id, "tokens": tokens})
    num_golds = len(gold_tokens) + num_lost
    return WindowFacts(
        windows=len(store),
        windows_without_answer_percent=round(100 * float((starts == 0).mean()), 3),
        window_tokens_mean=round(float(store.lengths.mean()), 2),
        window_tokens_percentiles=_percentiles(store.lengths),
        gold_tokens_percentiles=_percentiles(np.asarray(gold_tokens)),
        golds=num_golds,
        golds_exact_percent=round(100 * num_exact / num_golds, 3) if num_golds else 100.0,
        golds_changed=tuple(changed),
        golds_in_no_window=num_lost,
        golds_too_long=len(too_long),
        golds_too_long_cases=tuple(too_long[:_CASES]),
    )


def labelled_text(window: Window, example: Example) -> str:
    """Give the text that a window's labels stand for.

    Args:
        window: A window with an answer.
        example: Its example.

    Returns:
        The slice of the context from the start token's first to the end token's last character.
    """
    start_char = window.start_char[window.start_position - window.context_start]
    end_char = window.end_char[window.end_position - window.context_start]
    return example.context[start_char:end_char]


def _percentiles(values: "np.ndarray[Any, Any]") -> dict[str, int]:
    if not len(values):
        return {}
    found = np.percentile(values, _PERCENTILES, method="nearest")
    return {f"p{percent}": int(value) for percent, value in zip(_PERCENTILES, found, strict=True)}
