"""Where an answer is in its context: at its stated start, or at the one place that it can mean.

A repair is proposed only where no other place fits; what could be at several places is reported as ambiguous.
"""

import difflib
import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache

from albertqa.data.example import Gold
from albertqa.data.problems import quoted
from albertqa.data.raw_rows import AmbiguousAnswers

Finding = tuple[str, str, str]
"""Kind, message, and what a repair does (empty where none is safe)."""

_SHOWN_PLACES = 4
_MAX_PLACES = 1_000
# Longer texts are no paragraphs, and comparing them takes long.
_MAX_FOLDED_CHARS = 1_000_000
_MAX_COMPARED = 200_000
_MIN_SIMILARITY = 0.6
# White space, ASCII with nothing after it that could join it, or one other character.
_PIECE = re.compile(r"\s+|(?P<letters>[!-~]+(?![^\x00-\x7f]))|.", re.DOTALL)
# Two letters of an alphabet whose words are written apart (Latin, Greek, Cyrillic), or two digits.
_JOINED = re.compile(r"[A-Za-z\u00c0-\u024f\u0370-\u052f\u1e00-\u1fff]{2}|\d{2}")
# Vowels and finals of Korean, which join the letter before them.
_JAMO = re.compile(r"[\u1160-\u11ff]")
# Curly quotes, primes and accents used as quotes; hyphens, dashes and minus signs.
_SAME = str.maketrans(
    dict.fromkeys("\u2018\u2019\u201a\u201b\u2032\u00b4\u0060", "'")
    | dict.fromkeys("\u201c\u201d\u201e\u201f\u2033", '"')
    | dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212\ufe58\ufe63\uff0d", "-")
)


@dataclass(frozen=True, slots=True)
class Alignment:
    """One answer in its place.

    Attributes:
        stated: As it is in the source; None where that is an error.
        repaired: At its place and without outer white space; None where no safe repair exists.
        findings: What was found on the way.
    """

    stated: Gold | None
    repaired: Gold | None
    findings: tuple[Finding, ...] = ()


def align(
    text: str,
    start: int | None,
    context: str,
    *,
    ambiguous: AmbiguousAnswers = "refuse",
    show_closest: bool = False,
) -> Alignment:
    """Find an answer's place.

    Args:
        text: The answer as stated, not empty.
        start: Its first character in the context as stated; None where nothing is stated.
        context: The paragraph.
        ambiguous: What to do where it is not at its start and occurs several times, or only inside a word
            (`ReadOptions.ambiguous_answers`).
        show_closest: Whether to look for the closest match of an answer that does not occur at all.

    Returns:
        The answer as it is, as repaired, and the findings.

    >>> align("no", 0, "I know").repaired
    >>> align("no", 0, "I say no").repaired
    Gold(text='no', answer_start=6)
    """
    if start is not None and context.startswith(text, start):
        return _trimmed(Gold(text, start), ())
    places = occurrences(context, text)
    if not places:
        return _not_in_context(text, start, context, show_closest)
    place = places[0]
    if len(places) > 1 or _is_cut(context, place, place + len(text)):
        return _ambiguous(text, start, context, places, ambiguous)
    if start is None:
        message = f"answer {quoted(text)} has no answer_start; it occurs once, at {place}"
        return _trimmed(Gold(text, place), (("missing-answer-start", message, f"set answer_start to {place}"),))
    message = f"{_misaligned(text, start, context)}, expected {quoted(text)} at {place}"
    finding = ("misaligned-answer", message, f"set answer_start to {place}")
    return Alignment(None, _trimmed(Gold(text, place), ()).repaired, (finding,))


def occurrences(context: str, text: str) -> list[int]:
    """Return the places where a text occurs, overlapping occurrences included; the first 1,000 at most."""
    places: list[int] = []
    place = context.find(text)
    while place >= 0 and len(places) < _MAX_PLACES:
        places.append(place)
        place = context.find(text, place + 1)
    return places


def similar_places(context: str, text: str) -> list[tuple[int, int]]:
    """Find a text whatever its case, its white space, its quotes and dashes, and the form of its accents (NFC, NFD).

    Returns:
        Start and end (half-open) of each place, in characters of the context.
    """
    if max(len(context), len(text)) > _MAX_FOLDED_CHARS:
        return []
    folded, starts, ends = _folded(context)
    wanted, _, _ = _folded(text.strip())
    places: list[tuple[int, int]] = []
    for at in occurrences(folded, wanted) if wanted else []:
        last = at + len(wanted) - 1
        # Half of a character's folded form, such as a letter without its accent, is not that character.
        whole = (at == 0 or starts[at - 1] != starts[at]) and (last + 1 == len(ends) or ends[last + 1] != ends[last])
        if whole:
            places.append((starts[at], ends[last]))
    return places


def _closest_match(context: str, text: str) -> tuple[str, int] | None:
    """Return the part of a context most like a text, and where it begins; None: nothing is, or it would take long."""
    if not text or len(context) * len(text) > _MAX_COMPARED:
        return None
    block = difflib.SequenceMatcher(None, context.lower(), text.lower(), autojunk=False).find_longest_match()
    start = max(0, block.a - block.b)
    end = min(len(context), start + len(text))
    while start and context[start].isalnum() and context[start - 1].isalnum():
        start -= 1
    while end < len(context) and context[end].isalnum() and context[end - 1].isalnum():
        end += 1
    part = context[start:end].strip(" \t\r\n.,;:!?")
    alike = difflib.SequenceMatcher(None, part.lower(), text.lower(), autojunk=False).ratio()
    return (part, context.index(part, start)) if part and alike >= _MIN_SIMILARITY else None


@lru_cache(maxsize=64)
def _folded(text: str) -> tuple[str, list[int], list[int]]:
    """Return a text's folded form, and for each of its characters where the original one begins and ends."""
    folded: list[str] = []
    starts: list[int] = []
    ends: list[int] = []
    at = 0
    while match := _PIECE.match(text, at):
        piece, end = match[0], match.end()
        if match["letters"]:
            form = piece.translate(_SAME).lower()
            starts += range(at, end)
            ends += range(at + 1, end + 1)
        else:
            while end < len(text) and (unicodedata.combining(text[end]) or _JAMO.match(text, end)):
                end += 1
            piece = text[at:end]
            form = " " if piece.isspace() else unicodedata.normalize("NFD", piece.translate(_SAME)).casefold()
            starts += [at] * len(form)
            ends += [end] * len(form)
        folded.append(form)
        at = end
    return "".join(folded), starts, ends


def _trimmed(gold: Gold, findings: tuple[Finding, ...]) -> Alignment:
    trimmed = gold.text.strip()
    if trimmed == gold.text:
        return Alignment(gold, gold, findings)
    start = gold.answer_start + len(gold.text) - len(gold.text.lstrip())
    message = f"answer {quoted(gold.text)} at {gold.answer_start} begins or ends with white space"
    finding = ("answer-outer-space", message, f"trim it to {quoted(trimmed)} at {start}")
    return Alignment(gold, Gold(trimmed, start), (*findings, finding))


def _ambiguous(text: str, start: int | None, context: str, places: list[int], choice: AmbiguousAnswers) -> Alignment:
    shown = ", ".join(map(str, places[:_SHOWN_PLACES])) + (", …" if len(places) > _SHOWN_PLACES else "")
    occurs = f"occurs {len(places):,}{' or more' if len(places) == _MAX_PLACES else ''} times, at {shown}"
    if len(places) == 1:
        occurs = f"occurs only inside a word, at {shown}"
    if start is None:
        found = f"answer {quoted(text)} has no answer_start and {occurs}"
    else:
        found = f"{_misaligned(text, start, context)}, and {quoted(text)} {occurs}"
    if choice == "first":
        finding = ("first-occurrence", f"{found}; the first is taken", f"set answer_start to {places[0]}")
        return _trimmed(Gold(text, places[0]), (finding,))
    if choice == "skip":
        return Alignment(None, None, (("skipped-question", found, ""),))
    advice = "--ambiguous-answers first takes the first, --ambiguous-answers skip leaves such questions out"
    return Alignment(None, None, (("ambiguous-answer-start", f"{found}; {advice}", ""),))


def _not_in_context(text: str, start: int | None, context: str, show_closest: bool) -> Alignment:
    """Report an answer that does not occur as written; repair it where exactly one place differs in its form alone."""
    message = f"answer {quoted(text)} is not in the context"
    places = similar_places(context, text)
    chosen = [place for place in places if place[0] == start] or places
    if len(chosen) == 1 and (chosen[0][0] == start or not _is_cut(context, *chosen[0])):
        begin, end = chosen[0]
        gold = Gold(context[begin:end], begin)
        message = f"{message}, but {quoted(gold.text)} is, at {begin}"
        finding = ("answer-not-in-context", message, f"set it to {quoted(gold.text)} at {begin}")
        return Alignment(None, gold, (finding,))
    if places:
        begin, end = places[0]
        found = quoted(context[begin:end])
        where = f"is, inside a word, at {begin}" if len(places) == 1 else f"and its like are, at {len(places)} places"
        message = f"{message}, but {found} {where}"
    elif show_closest and (closest := _closest_match(context, text)) is not None:
        message = f"{message}; the closest is {quoted(closest[0])} at {closest[1]}"
    return Alignment(None, None, (("answer-not-in-context", message, ""),))


def _is_cut(context: str, start: int, end: int) -> bool:
    """Return whether a part of a context begins or ends inside a word or a number ("no" in "know")."""
    borders = context[max(0, start - 1) : start + 1], context[end - 1 : end + 1]
    return any(map(_JOINED.fullmatch, borders))


def _misaligned(text: str, start: int, context: str) -> str:
    stated = str(start) if abs(start) < 10**18 else "of absurd size"
    if 0 <= start < len(context):
        return f"answer_start {stated} gives {quoted(context[start : start + len(text)])}"
    return f"answer_start {stated} is outside the context (0 to {len(context) - 1})"
