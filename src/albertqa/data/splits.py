"""Split a data set by context."""

import random
from collections.abc import Sequence

from albertqa.data.example import Example
from albertqa.errors import DataError

FEWEST_CONTEXTS = 10


def split_by_context(examples: Sequence[Example], fraction: float, seed: int) -> tuple[list[Example], list[Example]]:
    """Split a data set into two parts that share no context.

    Args:
        examples: The data set.
        fraction: Share of the questions in the second part, about.
        seed: Which contexts it takes depends on it.

    Returns:
        Both parts, in the data set's order.

    Raises:
        DataError: There are too few contexts, or the fraction is not between 0 and 1.
    """
    if not 0 < fraction < 1:
        raise DataError(f"fraction is {fraction}, expected between 0 and 1")
    counts: dict[str, int] = {}
    for example in examples:
        counts[example.context] = counts.get(example.context, 0) + 1
    if len(counts) < FEWEST_CONTEXTS:
        raise DataError(
            f"splitting: {len(examples):,} questions on {len(counts)} contexts, expected at least {FEWEST_CONTEXTS} "
            "contexts. Name a validation file of its own: --validation-file"
        )
    contexts = list(counts)
    random.Random(seed).shuffle(contexts)
    held_out: set[str] = set()
    questions = 0
    for context in contexts[:-1]:
        if questions >= fraction * len(examples):
            break
        held_out.add(context)
        questions += counts[context]
    return (
        [example for example in examples if example.context not in held_out],
        [example for example in examples if example.context in held_out],
    )
