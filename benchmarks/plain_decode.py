"""Decoding with plain loops, as `albertqa.decode.spans` documents it and `run_qa` does it: the reference for it."""

import math
from dataclasses import dataclass

import numpy as np

from albertqa.data.example import Example
from albertqa.decode.spans import NO_ANSWER_SCORE_DIFF, WindowLogits
from albertqa.windows.store import WindowStore


@dataclass(frozen=True)
class SlowCandidate:
    """A span of one window; "no answer" has no window."""

    score: np.float32
    window: int
    start: int
    end: int
    start_logit: float
    end_logit: float
    start_char: int = 0
    end_char: int = 0
    text: str = ""


@dataclass(frozen=True)
class SlowPrediction:
    """What `decode` must return."""

    text: str
    n_best: list[SlowCandidate]
    probabilities: list[float]
    null_score: float | None = None
    score_diff: float | None = None


def slow_decode(
    logits: WindowLogits,
    store: WindowStore,
    examples: list[Example],
    *,
    n_best_size: int,
    max_answer_length: int,
    version_2: bool,
    null_score_diff_threshold: float,
) -> list[SlowPrediction]:
    """Decode example by example, window by window, pair by pair."""
    predictions = []
    for index, example in enumerate(examples):
        found: list[SlowCandidate] = []
        nulls: list[SlowCandidate] = []
        for at in range(len(store)):
            if store[at].example_index != index:
                continue
            start = logits.start[logits.first_token[at] : logits.first_token[at + 1]]
            end = logits.end[logits.first_token[at] : logits.first_token[at + 1]]
            nulls.append(SlowCandidate(start[0] + end[0], at, 0, 0, float(start[0]), float(end[0])))
            found += _window_candidates(store, at, example, start, end, n_best_size, max_answer_length)
        found.sort(key=lambda one: (-one.score, one.window, one.start, one.end))
        found = found[:n_best_size]
        best = found[0].text if found else ""
        if not version_2:
            predictions.append(SlowPrediction(best, found, _softmax(found)))
            continue
        null = min(nulls, key=lambda one: (one.score, one.window))
        difference = float(null.score) - float(found[0].score) if found else NO_ANSWER_SCORE_DIFF
        better = [one for one in found if one.score >= null.score]
        worse = [one for one in found if one.score < null.score]
        n_best = [*better, null] if len(better) == n_best_size else [*better, null, *worse][:n_best_size]
        text = "" if difference > null_score_diff_threshold else best
        predictions.append(SlowPrediction(text, n_best, _softmax(n_best), float(null.score), difference))
    return predictions


def _window_candidates(
    store: WindowStore,
    at: int,
    example: Example,
    start: "np.ndarray[tuple[int], np.dtype[np.float32]]",
    end: "np.ndarray[tuple[int], np.dtype[np.float32]]",
    n_best_size: int,
    max_answer_length: int,
) -> list[SlowCandidate]:
    window = store[at]
    first, after = window.context_start, window.context_start + len(window.start_char)
    tokens = range(len(window.input_ids))
    found = []
    for s in sorted(tokens, key=lambda token: (-start[token], token))[:n_best_size]:
        for e in sorted(tokens, key=lambda token: (-end[token], token))[:n_best_size]:
            if not (first <= s <= e < after) or e - s + 1 > max_answer_length:
                continue
            start_char, end_char = int(window.start_char[s - first]), int(window.end_char[e - first])
            text = example.context[start_char:end_char]
            logit = (float(start[s]), float(end[e]))
            found.append(SlowCandidate(start[s] + end[e], at, s, e, *logit, start_char, end_char, text))
    return found


def _softmax(found: list[SlowCandidate]) -> list[float]:
    highest = max((float(one.score) for one in found), default=0.0)
    weights = [math.exp(float(one.score) - highest) for one in found]
    return [weight / math.fsum(weights) for weight in weights]
