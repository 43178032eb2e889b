"""In which unit a file counts `answer_start`, and whether all answers are off by the same number of characters.

SQuAD counts Unicode characters. Programs in JavaScript, Java or C# count UTF-16 code units, others UTF-8 bytes; some
count on a text whose line ends were other ones, or from another place than the context's first character. Each of these
shows in no single answer, whose text often occurs several times, but in a file: one unit fits all of its answers.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate, pairwise
from math import log

from albertqa.data.alignment import occurrences
from albertqa.data.example import Example, Gold

# A unit that fits by chance is a guess: its chance, over all units tried, must be below this.
_MAX_CHANCE = 0.01
# Longer texts are no paragraphs, and counting in them takes long.
_MAX_CONTEXT_CHARS = 1_000_000
_CRLF_AS_ONE, _LF_AS_TWO = ", with CR LF counted as one", ", with LF counted as two"
# The ways of counting, each with a check whether it can make a difference in a context.
_ENCODINGS: dict[str, Callable[[str], bool]] = {
    "characters": lambda _: True,
    "UTF-16 code units": lambda context: not context.isascii() and max(context) > "\uffff",
    "UTF-8 bytes": lambda context: not context.isascii(),
}
_LINE_ENDS: dict[str, Callable[[str], bool]] = {
    "": lambda _: True,
    _CRLF_AS_ONE: lambda context: "\r\n" in context,
    _LF_AS_TWO: lambda context: context.count("\n") > context.count("\r\n"),
}

_FARTHEST = 40
_MIN_QUESTIONS = 20
_SAMPLE = 1_000
# Correct answers begin and end at words in 95 % of cases and more; moved by anything else, in 10 %.
_CORRECT, _OFF = 0.9, 0.5

Stated = tuple[str, str, int]
"""A context, an answer's text, and its start as stated."""


@dataclass(frozen=True, slots=True)
class AnswerUnit:
    """How a file counts `answer_start`.

    Attributes:
        encoding: `characters`, `UTF-16 code units` or `UTF-8 bytes`.
        line_ends: How it counts line ends, empty where as they are.
        shift: By how much all starts are too high, in that unit.
    """

    encoding: str
    line_ends: str = ""
    shift: int = 0

    def __str__(self) -> str:
        off = f" and {abs(self.shift)} too {'high' if self.shift > 0 else 'low'}" if self.shift else ""
        return f"in {self.encoding}{self.line_ends}{off}"

    def character(self, context: str, start: int) -> int | None:
        """Convert a start as stated to a character of the context; None where no character begins there."""
        offset = start - self.shift
        if self.encoding == "characters" and not self.line_ends:
            return offset if 0 <= offset < len(context) else None
        offsets = _offsets(context, self.encoding, self.line_ends)
        at = bisect_right(offsets, offset) - 1
        return at if 0 <= at < len(context) and offsets[at] == offset else None

    def stated(self, context: str, character: int) -> int:
        """Convert a character of the context to a start as this unit states it."""
        return _offsets(context, self.encoding, self.line_ends)[character] + self.shift


CHARACTERS = AnswerUnit("characters")


def find_unit(answers: Iterable[Stated]) -> AnswerUnit | None:
    """Find the one unit that fits every answer of a file.

    Answers, of a stated start of 0 or more, that do not occur in their context count for nothing. Where characters fit,
    nothing else is looked for.

    Returns:
        The unit; None where none fits all of them, where two do that disagree, or where the answers are so few or so
        frequent in their contexts that a wrong unit could fit them.
    """
    distinct = [one for one in dict.fromkeys(answers) if one[1] in one[0]]
    if all(context.startswith(text, start) for context, text, start in distinct):
        return CHARACTERS
    contexts = list(dict.fromkeys(context for context, _, _ in distinct))
    if max(map(len, contexts)) > _MAX_CONTEXT_CHARS:
        return None
    units = [
        AnswerUnit(encoding, line_ends)
        for encoding, differs in _ENCODINGS.items()
        if any(map(differs, contexts))
        for line_ends, occurs in _LINE_ENDS.items()
        if any(map(occurs, contexts))
    ]
    found = _only_fit(units[1:], distinct, free=0)
    return found or _only_fit(list(_shifted(units, distinct)), distinct, free=1)


def _only_fit(units: Sequence[AnswerUnit], answers: Sequence[Stated], *, free: int) -> AnswerUnit | None:
    """Return the unit that fits, where there is one and it is no coincidence.

    Of the answers, `free` prove nothing, as the units were made of them.
    """
    fitting = [unit for unit in units if _fits(unit, answers)]
    if len({tuple(unit.character(context, start) for context, _, start in answers) for unit in fitting}) != 1:
        return None
    # The chance of each answer to be found where a wrong unit points. A start of 0 often means "not known".
    chances = sorted(
        log(len(occurrences(context, text)) / (len(context) - len(text) + 1))
        for context, text, start in answers
        if start > 0
    )[free:]
    return fitting[0] if chances and log(len(units)) + sum(chances) < log(_MAX_CHANCE) else None


def _shifted(units: Sequence[AnswerUnit], answers: Sequence[Stated]) -> Iterator[AnswerUnit]:
    """Yield every unit with every shift that brings the answer with the fewest occurrences to one of them."""
    context, text, start = min(answers, key=lambda one: len(occurrences(one[0], one[1])))
    for unit in units:
        for place in occurrences(context, text):
            if shift := start - unit.stated(context, place):
                yield AnswerUnit(unit.encoding, unit.line_ends, shift)


def _fits(unit: AnswerUnit, answers: Iterable[Stated]) -> bool:
    return all(
        (at := unit.character(context, start)) is not None and context.startswith(text, at)
        for context, text, start in answers
    )


@lru_cache(maxsize=256)
def _offsets(context: str, encoding: str, line_ends: str) -> list[int]:
    """Return where each character of a context begins, counted in a unit, and where the last one ends."""
    if encoding == "UTF-16 code units":
        lengths = [2 if character > "\uffff" else 1 for character in context]
    elif encoding == "UTF-8 bytes":
        lengths = [len(character.encode("utf-8", "surrogatepass")) for character in context]
    else:
        lengths = [1] * len(context)
    if line_ends:
        for at, (before, character) in enumerate(pairwise(" " + context)):
            if character != "\n":
                continue
            if before == "\r" and line_ends == _CRLF_AS_ONE:
                lengths[at - 1] = 0
            elif before != "\r" and line_ends == _LF_AS_TWO:
                lengths[at] = 2
    return list(accumulate(lengths, initial=0))


def answers_shift(examples: Sequence[Example]) -> int | None:
    """Return by how many characters all answers, cut out of their contexts, are too far right.

    Returns:
        The characters, negative for too far left; None where the answers are in their place, where no one number puts
        them there, and of fewer than 20 questions with an answer.
    """
    places = [(one.context, one.golds[0]) for one in examples if one.golds]
    places = places[:: max(1, len(places) // _SAMPLE)]
    if len(places) < _MIN_QUESTIONS:
        return None
    whole = {
        by: sum(_is_whole(context, gold, by) for context, gold in places) / len(places)
        for by in range(-_FARTHEST, _FARTHEST + 1)
    }
    best = max(whole, key=lambda by: whole[by])
    others = max(share for by, share in whole.items() if by != best)
    return best if best and whole[best] >= _CORRECT and others <= _OFF else None


def spell_shift(shift: int) -> str:
    """Return how far answers are off in words: "7 characters too far right"."""
    characters = "1 character" if abs(shift) == 1 else f"{abs(shift)} characters"
    return f"{characters} too far {'right' if shift > 0 else 'left'}"


def moved_back(example: Example, shift: int) -> Example | None:
    """Move answers that are so many characters too far right; one that is whole words only where it is stays.

    Returns:
        The question, with other answers where they moved; None where one would leave the context, or begin or end with
        white space there.
    """
    golds = []
    for gold in example.golds:
        start, end = gold.answer_start - shift, gold.answer_end - shift
        if _is_whole(example.context, gold, 0) and not _is_whole(example.context, gold, shift):
            golds.append(gold)
            continue
        text = example.context[max(start, 0) : end]
        if start < 0 or end > len(example.context) or text != text.strip():
            return None
        golds.append(Gold(text, start))
    return Example(example.id, example.question, example.context, tuple(golds), example.title)


def _is_whole(context: str, gold: Gold, shift: int) -> bool:
    """Return whether an answer, moved back by so many characters, begins and ends at words."""
    start, end = gold.answer_start - shift, gold.answer_end - shift
    if not 0 <= start < end <= len(context) or context[start].isspace() or context[end - 1].isspace():
        return False
    return not (is_inside_word(context, start) or is_inside_word(context, end))


def is_inside_word(context: str, at: int) -> bool:
    """Return whether a letter or digit is on either side of a place."""
    return 0 < at < len(context) and context[at - 1].isalnum() and context[at].isalnum()
