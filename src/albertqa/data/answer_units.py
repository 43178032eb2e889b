"""Answers that are all off by the same number of characters, and were cut out of their contexts there.

A space stripped from the front of every context, a title put before it, an index that counts from one: each answer's
text agrees with its place, and neither is an answer. Between words the borders give it away.
"""

from collections.abc import Sequence

from albertqa.data.example import Example, Gold

_FARTHEST = 40
_FEWEST = 20
_SAMPLE = 1_000
# Sound answers begin and end with words in 95 % of cases and more; moved by anything else, in 10 %.
_SOUND, _OFF = 0.9, 0.5


def answers_shift(examples: Sequence[Example]) -> int | None:
    """Tell by how many characters all answers stand too far right.

    Args:
        examples: The data.

    Returns:
        The characters, negative for too far left; None where the answers are in their place, where no one number puts
        them there, and of fewer than 20 questions with an answer.
    """
    places = [(one.context, one.golds[0]) for one in examples if one.golds]
    places = places[:: max(1, len(places) // _SAMPLE)]
    if len(places) < _FEWEST:
        return None
    whole = {by: _whole_words(places, by) for by in range(-_FARTHEST, _FARTHEST + 1)}
    best = max(whole, key=lambda by: whole[by])
    others = max(share for by, share in whole.items() if by != best)
    return best if best and whole[best] >= _SOUND and others <= _OFF else None


def spell_shift(shift: int) -> str:
    """Spell how far answers are off: "7 characters too far right"."""
    characters = "1 character" if abs(shift) == 1 else f"{abs(shift)} characters"
    return f"{characters} too far {'right' if shift > 0 else 'left'}"


def moved_back(example: Example, shift: int) -> Example | None:
    """Move a question's answers to where they belong.

    Args:
        example: The question.
        shift: By how many characters its answers stand too far right.

    Returns:
        The question with other answers; None where one would leave the context.
    """
    golds = []
    for gold in example.golds:
        start, end = gold.answer_start - shift, gold.answer_end - shift
        if start < 0 or end > len(example.context):
            return None
        golds.append(Gold(example.context[start:end], start))
    return Example(example.id, example.question, example.context, tuple(golds), example.title)


def _whole_words(places: Sequence[tuple[str, Gold]], shift: int) -> float:
    """Give the share of the answers that, moved back by so many characters, begin and end with words."""
    return sum(
        _begins_word(context, gold.answer_start - shift) and _ends_word(context, gold.answer_end - shift)
        for context, gold in places
    ) / len(places)  # fmt: skip


def _begins_word(context: str, at: int) -> bool:
    if not 0 <= at < len(context) or context[at].isspace():
        return False
    return at == 0 or not (context[at - 1].isalnum() and context[at].isalnum())


def _ends_word(context: str, at: int) -> bool:
    if not 0 < at <= len(context) or context[at - 1].isspace():
        return False
    return at == len(context) or not (context[at - 1].isalnum() and context[at].isalnum())
