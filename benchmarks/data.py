"""Data of the measurements: real questions and windows, copies of them, random logits; and processor cores."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from albertqa.data.example import Example
from albertqa.data.reading import load_examples
from albertqa.decode.spans import WindowLogits
from albertqa.windows.build import build_windows
from albertqa.windows.store import WindowStore
from albertqa.windows.tokenizer import QATokenizer, load_tokenizer
from benchmarks.provenance import usable_cores

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Questions:
    """Real questions with a tokenizer.

    Attributes:
        examples: The questions.
        tokenizer: ALBERT's own, if available.
        source: Name of the data, for the result.
    """

    examples: list[Example]
    tokenizer: QATokenizer
    source: str

    def windows(self) -> WindowStore:
        """Build their windows of 384 tokens with 128 overlap, or open them from the cache."""
        return build_windows(self.examples, self.tokenizer)


def real_questions(limit: int | None = None) -> Questions:
    """Return SQuAD's dev v1.1 with ALBERT's tokenizer if ``ALBERTQA_DATA`` has them, else the starter set.

    Args:
        limit: Only the first so many questions.
    """
    data = Path(os.environ.get("ALBERTQA_DATA", ROOT.parent / "shared" / "data"))
    if (data / "squad" / "dev-v1.1.json").is_file():
        examples = load_examples(data / "squad" / "dev-v1.1.json", limit=limit)
        return Questions(examples, load_tokenizer(data / "albert" / "spiece.model"), "SQuAD dev v1.1")
    from albertqa.model.starter_model import starter_encoder

    return Questions(load_examples("starter:train", limit=limit), load_tokenizer(starter_encoder()), "starter set")


def copies(examples: Sequence[Example], count: int) -> list[Example]:
    """Return so many questions: the real ones, then copies of them with other ids and contexts.

    The context of a copy ends with its number, so that there are as many contexts as in real data of this size.

    Args:
        examples: Real questions.
        count: How many.

    Returns:
        The questions; every answer is at its old position.
    """
    found = list(examples[:count])
    contexts: dict[tuple[str, int], str] = {}
    for at in range(len(found), count):
        number, example = at // len(examples), examples[at % len(examples)]
        context = contexts.setdefault((example.context, number), f"{example.context} {number}")
        found.append(replace(example, id=f"{example.id}-{number}", context=context))
    return found


def same_mix(lengths: NDArray[np.int32], count: int) -> list[int]:
    """Choose windows evenly by length, so that every batch has the same mix of short and long ones.

    Args:
        lengths: Real tokens of each window.
        count: How many to choose.

    Returns:
        Their indices.
    """
    order = np.argsort(lengths, kind="stable")
    return [int(order[int((at + 0.5) / count * len(order))]) for at in range(count)]


def drawn_logits(store: WindowStore, *, seed: int = 0, num_peaks: int = 3) -> WindowLogits:
    """Draw logits like a trained model's: noise, and in every window a few peaks.

    Args:
        store: The windows.
        seed: Seed of the draw.
        num_peaks: Peaks of a window; the first is the gold, if the window has one.

    Returns:
        Start and end logits of every token.
    """
    rng = np.random.default_rng(seed)
    lengths = store.lengths.astype(np.int64)
    first_token = np.concatenate([[0], np.cumsum(lengths)])
    num_tokens = int(first_token[-1])
    position = np.arange(num_tokens) - np.repeat(first_token[:-1], lengths)
    sides = []
    for label in ("start_position", "end_position"):
        logits = rng.normal(-6.0, 1.5, num_tokens)
        for peak in range(num_peaks):
            at = store.columns[label].astype(np.int64) if peak == 0 else rng.integers(0, lengths)
            height = np.repeat(rng.uniform(6.0, 14.0, len(store)), lengths)
            logits += height * np.exp(-np.abs(position - np.repeat(at, lengths)) / 2.0)
        sides.append(logits.astype(np.float32))
    return WindowLogits(sides[0], sides[1], first_token)


@contextmanager
def on_cores(count: int) -> Iterator[int]:
    """Restrict this thread, and those that it starts, to so many cores.

    Args:
        count: Cores.

    Yields:
        How many it has; fewer if the process may not use as many.
    """
    if not hasattr(os, "sched_setaffinity"):
        yield usable_cores()
        return
    allowed = os.sched_getaffinity(0)
    # The last ones: the system itself mostly runs on the first.
    os.sched_setaffinity(0, sorted(allowed)[-count:])
    try:
        yield usable_cores()
    finally:
        os.sched_setaffinity(0, allowed)
