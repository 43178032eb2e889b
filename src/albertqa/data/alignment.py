"""Where an answer stands in its context: as stated, or the nearest place where its text occurs."""

from dataclasses import dataclass

from albertqa.data.example import Gold
from albertqa.data.problems import quoted

Finding = tuple[str, str, str]
"""Kind, message, and what a repair does (empty where none is safe)."""


@dataclass(frozen=True, slots=True)
class SettledGold:
    """One answer in its place.

    Attributes:
        stated: As it stands in the source; None where that is an error.
        repaired: Aligned and without outer white space; None where no safe repair exists.
        findings: What was found on the way.
    """

    stated: Gold | None
    repaired: Gold | None
    findings: tuple[Finding, ...] = ()


def settle(text: str, start: int | None, context: str) -> SettledGold:
    """Find an answer's place.

    Args:
        text: The answer as stated.
        start: Its first character in the context as stated; None where nothing is stated.
        context: The paragraph.

    Returns:
        The answer as it stands, as repaired, and the findings.

    >>> settle("olo", 0, "Rollo").repaired
    >>> settle("llo", 0, "Rollo").repaired
    Gold(text='llo', answer_start=2)
    """
    trimmed = text.strip()
    if not trimmed:
        message = f"expected an answer, found {quoted(text)}; a question without answer has an empty list of answers"
        return SettledGold(None, None, (("empty-answer", message, ""),))
    if start is not None and start >= 0 and context.startswith(text, start):
        gold = Gold(text, start)
        return SettledGold(gold, gold) if trimmed == text else _trimmed(gold, ())
    if (nearest := nearest_occurrence(context, text, start or 0)) is None:
        return _absent(text, trimmed, start, context)
    if start is not None:
        finding = ("misaligned-answer", _misaligned(text, start, nearest, context), f"set answer_start to {nearest}")
        return SettledGold(None, _trimmed(Gold(text, nearest), ()).repaired, (finding,))
    places = occurrences(context, text)
    if places == 1:
        message = f"answer {quoted(text)} has no answer_start; it occurs once, at {nearest}"
        finding = ("missing-answer-start", message, f"set answer_start to {nearest}")
    else:
        message = (
            f"answer {quoted(text)} has no answer_start and occurs {places} times; the first, at {nearest}, is taken"
        )
        finding = ("ambiguous-answer-start", message, f"set answer_start to the first, {nearest}")
    return _trimmed(Gold(text, nearest), (finding,))


def nearest_occurrence(context: str, text: str, start: int) -> int | None:
    """Find where a text occurs nearest to a stated place; of two equally near, the earlier.

    Args:
        context: The paragraph.
        text: What to find, exactly.
        start: The stated first character; any integer.

    Returns:
        The first character of the nearest occurrence, or None.
    """
    anchor = min(max(start, 0), len(context))
    before = context.rfind(text, 0, anchor + len(text))
    after = context.find(text, anchor)
    places = [place for place in (before, after) if place >= 0]
    return min(places, key=lambda place: abs(place - anchor), default=None)


def occurrences(context: str, text: str) -> int:
    """Count how often a text occurs, overlapping occurrences included."""
    count, place = 0, context.find(text)
    while place >= 0:
        count, place = count + 1, context.find(text, place + 1)
    return count


def _trimmed(gold: Gold, findings: tuple[Finding, ...]) -> SettledGold:
    trimmed = gold.text.strip()
    if trimmed == gold.text:
        return SettledGold(gold, gold, findings)
    start = gold.answer_start + len(gold.text) - len(gold.text.lstrip())
    message = f"answer {quoted(gold.text)} at {gold.answer_start} begins or ends with white space"
    finding = ("answer-outer-space", message, f"trim it to {quoted(trimmed)} at {start}")
    return SettledGold(gold, Gold(trimmed, start), (*findings, finding))


def _absent(text: str, trimmed: str, start: int | None, context: str) -> SettledGold:
    """Report an answer that does not occur as written; only its outer white space may safely be taken off."""
    message = f"answer {quoted(text)} is not in the context"
    nearest = nearest_occurrence(context, trimmed, start or 0)
    if nearest is not None:
        finding = (f"{message}; {quoted(trimmed)} is, at {nearest}", f"trim it to {quoted(trimmed)} at {nearest}")
        return SettledGold(None, Gold(trimmed, nearest), (("answer-not-in-context", *finding),))
    folded = context.lower().find(trimmed.lower())
    if folded >= 0 and len(context.lower()) == len(context):
        found = context[folded : folded + len(trimmed)]
        message = f"{message}, which has {quoted(found)} at {folded}"
    return SettledGold(None, None, (("answer-not-in-context", message, ""),))


def _misaligned(text: str, start: int, nearest: int, context: str) -> str:
    expected = f"expected {quoted(text)} at {nearest}"
    stated = str(start) if abs(start) < 10**18 else "of absurd size"
    if 0 <= start < len(context):
        return f"answer_start {stated} gives {quoted(context[start : start + len(text)])}, {expected}"
    return f"answer_start {stated} is outside the context (0 to {len(context) - 1}), {expected}"
