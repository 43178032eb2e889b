"""Where a model contradicts the labels: windows whose most probable span is another, and far more probable."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from albertqa.decode.spans import WindowLogits

FAR = 3.0
"""A span that is exp(3), 20 times, as probable as the labelled one contradicts it.

Of 200 training questions, models that had just begun to read contradicted 12 % where labels were right, fewer than of
validation questions, and 36 % where a third of the labels was some words beside the answer.
"""


@dataclass(frozen=True)
class Agreement:
    """What a model says of labelled windows.

    Attributes:
        starts: First token of each window's most probable span; -1 where its logits are NaN.
        ends: Its last token, inclusive.
        times: How many times as probable as the labelled span it is.
        contradicts: Whether it has no token in common with the labelled one, and is far more probable.

    Shapes:
        starts, ends: (W,) int64
        times: (W,) float64
        contradicts: (W,) bool
    """

    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    times: NDArray[np.float64]
    contradicts: NDArray[np.bool_]


def label_agreement(
    logits: WindowLogits, start_positions: NDArray[np.integer], end_positions: NDArray[np.integer]
) -> Agreement:
    """Compare a model's most probable spans with the labels (W,): first and last token, both 0 without an answer."""
    first = logits.first_token[:-1]
    starts, ends = (_highest(part, logits.first_token) for part in (logits.start, logits.end))
    margins = (
        logits.start[first + starts].astype(np.float64)
        - logits.start[first + start_positions]
        + logits.end[first + ends]
        - logits.end[first + end_positions]
    )
    is_span = (starts > 0) & (ends >= starts) & (start_positions > 0)
    is_disjoint = (ends < start_positions) | (starts > end_positions)
    return Agreement(starts, ends, np.exp(np.minimum(margins, 50.0)), is_span & is_disjoint & (margins >= FAR))


def _highest(logits: NDArray[np.float32], first_token: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return each window's token with the highest logit, the first of several; -1 where they are NaN."""
    first = first_token[:-1]
    tokens = np.flatnonzero(logits == np.repeat(np.maximum.reduceat(logits, first), np.diff(first_token)))
    windows, at = np.unique(np.searchsorted(first, tokens, side="right") - 1, return_index=True)
    found = np.full(len(first), -1, dtype=np.int64)
    found[windows] = tokens[at] - first[windows]
    return found
