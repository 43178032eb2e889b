"""Splitting a data set in two: whole contexts, never a context's questions."""

import hashlib
from collections import defaultdict
from collections.abc import Sequence

from albertqa.data.example import Example, letters_and_digits
from albertqa.errors import DataError


def split_by_context(examples: Sequence[Example], fraction: float, seed: int) -> tuple[list[Example], list[Example]]:
    """Split off a part to validate on.

    Contexts that differ only in case, punctuation and white space count as one. The order in which contexts are chosen
    is a hash of seed and context, so neither the order of the examples nor other contexts change it. Contexts with and
    without questions that have no answer are split alike, so both parts have about the same share of them.

    Args:
        examples: The data, of at least two contexts.
        fraction: Which share of the questions to split off, between 0 and 1; about, as contexts stay whole.
        seed: Any integer; the same one gives the same split in every process.

    Returns:
        The part to train on and the part to validate on, each in the order of the examples; neither is empty.

    Raises:
        DataError: A fraction that is not between 0 and 1, or a single context.
    """
    if not 0 < fraction < 1:
        raise DataError(f"split: expected a fraction between 0 and 1, found {fraction}")
    by_context: defaultdict[str, list[Example]] = defaultdict(list)
    for example in examples:
        by_context[letters_and_digits(example.context) or example.context].append(example)
    if len(by_context) < 2:
        raise DataError("split: expected at least 2 different contexts, found fewer; add data for validation")
    ranked = sorted(by_context, key=lambda context: _rank(context, seed))
    groups: defaultdict[frozenset[bool], list[str]] = defaultdict(list)
    for context in ranked:
        groups[frozenset(example.has_answer for example in by_context[context])].append(context)
    chosen: set[str] = set()
    wanted, taken = 0.0, 0
    # What one group's whole contexts take too much or too little is made up for in the next.
    for contexts in groups.values():
        wanted += fraction * sum(len(by_context[context]) for context in contexts)
        for context in contexts:
            if taken + len(by_context[context]) / 2 <= wanted:
                chosen.add(context)
                taken += len(by_context[context])
    chosen = chosen or {min(ranked[:2], key=lambda context: len(by_context[context]))}
    if len(chosen) == len(ranked):
        chosen.remove(ranked[-1])
    validation = {example.context for context in chosen for example in by_context[context]}
    return (
        [example for example in examples if example.context not in validation],
        [example for example in examples if example.context in validation],
    )


def _rank(context: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}:{context}".encode("utf-8", "surrogatepass")).digest()
