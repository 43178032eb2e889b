"""Find where the sentences of a text begin, by a small rule.

Augmentation cuts contexts there and keeps the answer whole by its tokens, so a wrong border only makes a cut context
read less well. The rule errs on the side of too few borders.
"""

import bisect
import functools
import re

import numpy as np

from albertqa.windows.store import Int32Array, Int64Array

# Stops or a line's end, what closes after them, and white space. One character class comes first: `re` looks for that
# fast, and for a choice of patterns slowly.
_BREAK = re.compile(r"[.!?…।؟。\uff01\uff1f\n][.!?…。\uff01\uff1f]*[\"'”\u2019»)\]」』\uff09]*\s*")
_IDEOGRAPHIC = "。\uff01\uff1f"
_OPENERS = "\"'“\u2018«(["
# Characters before a stop in which the word before it is looked for.
_WORD_CHARS = 20
# A full stop after these does not end a sentence. Single letters and words with a full stop inside ("J.", "U.S.",
# "e.g.") need no list.
_ABBREVIATIONS = frozenset(
    (
        *("adm", "capt", "col", "dr", "gen", "gov", "hon", "jr", "lt", "maj", "mr", "mrs", "ms", "pres", "prof"),
        *("rep", "rev", "sen", "sgt", "sr", "st", "ste", "ave", "bros", "co", "corp", "inc", "ltd", "mt", "ft"),
        *("approx", "ca", "cf", "ed", "eds", "est", "etc", "fig", "figs", "fl", "no", "nos", "nr", "op", "pp", "pt"),
        *("vol", "vols", "vs", "viz", "jan", "feb", "mar", "apr", "jun", "jul", "aug", "sep", "sept", "oct", "nov"),
        *("dec", "mon", "tue", "tues", "wed", "thu", "thur", "thurs", "fri"),
    )
)


def sentence_starts(text: str) -> list[int]:
    """Find where sentences begin.

    >>> sentence_starts("Dr. J. R. Smith paid 3.50. Why? He was late.")
    [0, 27, 32]

    Returns:
        Characters at which a sentence begins, in order; the first is the first one that is not white space. Nothing
        for a text without one.
    """
    first = len(text) - len(text.lstrip())
    if first == len(text):
        return []
    breaks = _BREAK.finditer(text, first)
    return [first, *(one.end() for one in breaks if one.end() < len(text) and _ends_sentence(text, one))]


def sentence_at(text: str, position: int) -> str:
    """Return the sentence that holds a character, without white space around it."""
    starts = _cached_starts(text)
    after = max(1, bisect.bisect_right(starts, position))
    return text[starts[after - 1] : starts[after] if after < len(starts) else None].strip() if starts else ""


@functools.lru_cache(maxsize=64)
def _cached_starts(text: str) -> list[int]:
    # Several questions in a row ask about one context.
    return sentence_starts(text)


def sentence_borders(text: str, start_char: Int32Array, end_char: Int32Array) -> Int64Array:
    """Find where sentences begin among the tokens of a text, or of a part of it.

    Returns:
        First token of each sentence, and the number of tokens last; a sentence cut off at an end counts as one. Only
        the last number, 0, where there are no tokens.

    Shapes:
        start_char, end_char: (C,) int32
        returns: (sentences + 1,) int64
    """
    num_tokens = len(start_char)
    if not num_tokens:
        return np.zeros(1, dtype=np.int64)
    # Of a long document only the part that the tokens stand for is looked at, and the word before it.
    first_char = max(0, int(start_char[0]) - _WORD_CHARS)
    starts = np.asarray(sentence_starts(text[first_char : int(end_char[-1])]), dtype=np.int64) + first_char
    borders = np.concatenate([[0], np.searchsorted(start_char, starts), [num_tokens]])
    return borders[np.diff(borders, prepend=-1) > 0]


def _ends_sentence(text: str, found: re.Match[str]) -> bool:
    """Return whether a sentence ends with a stop or a line's end."""
    matched = found[0]
    if matched[0] in _IDEOGRAPHIC or matched.count("\n") > 1:
        return True
    if matched[0] == "\n" or not matched[-1].isspace():
        return False
    after = found.end()
    while after < len(text) - 1 and text[after] in _OPENERS:
        after += 1
    # What closes after the stop closes a sentence, not an abbreviation.
    may_abbreviate = matched[0] == "." and matched[1].isspace()
    return not text[after].islower() and not (may_abbreviate and _abbreviates(text, found.start()))


def _abbreviates(text: str, stop: int) -> bool:
    """Return whether a full stop belongs to the word before it."""
    before = text[max(0, stop - _WORD_CHARS) : stop].split()
    word = before[-1].lstrip(_OPENERS) if before else ""
    has_stop_inside = "." in word and not word[0].isdigit()
    return (len(word) == 1 and word.isalpha()) or has_stop_inside or word.lower() in _ABBREVIATIONS
