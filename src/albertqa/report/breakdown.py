"""Scores by groups of questions: question word, answer length and type, context length and others."""

import re
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from albertqa.data.example import Example
from albertqa.report.outcome import Outcome, percents
from albertqa.scoring.interval import Interval, mean_interval
from albertqa.windows.sentences import sentence_at

NUM_RESAMPLES = 1000
"""Resamples for a group's interval; fewer than for the whole data, as there are dozens of groups."""

QUESTION_WORDS = ("what", "who", "how many/much", "when", "which", "where", "how", "why", "whose", "other")
_SAME_WORD = {"whom": "who", "what's": "what", "who's": "who", "where's": "where", "when's": "when"}
_ANSWER_BOUNDS = (1, 2, 3, 5, 10)
_ANSWER_LENGTHS = ("1 word", "2 words", "3 words", "4 to 5 words", "6 to 10 words", "11 words or more", "no answer")
_CONTEXT_BOUNDS = (75, 125, 175, 250)
_CONTEXT_LENGTHS = ("up to 75 words", "76 to 125", "126 to 175", "176 to 250", "251 or more")
_WINDOW_COUNTS = ("1 window", "2 windows", "3 windows or more")
_ANSWER_TYPES = ("number", "date", "name", "phrase", "no answer")
_OVERLAP_BOUNDS = (0.0, 0.25, 0.5, 0.75)
_OVERLAPS = ("none", "up to 25 %", "26 to 50 %", "51 to 75 %", "above 75 %", "no answer")

_MONTHS = "january|february|march|april|may|june|july|august|september|october|november|december"
_DAYS = "monday|tuesday|wednesday|thursday|friday|saturday|sunday"
_DATE = re.compile(
    rf"\b(?:{_MONTHS})\b(?=.*\d)|^(?:{_MONTHS}|{_DAYS})$|\b(?:{_DAYS}),|\b(?:1\d|20)\d\ds?\b|\bcentur(?:y|ies)\b|\d\s*(?:bc|ad|bce|ce)\b",
    re.IGNORECASE,
)
_NUMBERS_TEXT = """
    zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen
    eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety hundred thousand million billion trillion
    half third quarter dozen once twice first second fourth fifth sixth seventh eighth ninth tenth
"""
_STOP_TEXT = """
    a an and are as at be been being by can could did do does doing for from had has have having how i if in into is it
    its many may might much must of on one or s shall should such t than that the their them then there these they this
    those to was were what when where which who whom whose why will with would
"""
_SMALL_TEXT = "a an and at by de del der for from in la le of on or the to van von with"
_NUMBER_WORDS = frozenset(_NUMBERS_TEXT.split())
_NUMBER_START = re.compile(
    r"(?:about|around|over|nearly|almost|roughly|approximately|more than|less than)?\s*[-+$£€¥#]?\.?\d"
)
_SMALL_WORDS = frozenset(_SMALL_TEXT.split())
_STOP_WORDS = frozenset(_STOP_TEXT.split())
_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Facet:
    """One way to group questions: its names in the page's data and on the page, and how questions are grouped.

    Attributes:
        groups: The groups, in the order in which they are shown.
        of_question: The group of every question, as an index; -1 for none.
    """

    key: str
    title: str
    note: str
    groups: tuple[str, ...]
    of_question: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class GroupScore:
    """The scores of a run on one group, in percent."""

    questions: int
    exact: float
    f1: Interval


def facets_of(examples: Sequence[Example], num_windows: Sequence[int] | None) -> list[Facet]:
    """Group questions in every way that the page shows, if at least two groups have questions.

    Args:
        examples: The questions.
        num_windows: Number of windows of each question; None if unknown.
    """

    def facet(key: str, title: str, note: str, groups: tuple[str, ...], place: Callable[[Example], int]) -> Facet:
        return Facet(key, title, note, groups, tuple(map(place, examples)))

    facets = [
        facet(
            "answerable",
            "Has an answer",
            "Whether the data has an answer.",
            ("HasAns", "NoAns"),
            lambda example: 0 if example.has_answer else 1,
        ),
        facet(
            "word",
            "Question word",
            "The first question word anywhere in the question: “In what year …” counts as what.",
            QUESTION_WORDS,
            lambda example: QUESTION_WORDS.index(question_word(example.question)),
        ),
        facet("length", "Answer length", "Words of the first gold answer.", _ANSWER_LENGTHS, _answer_length),
        facet(
            "type",
            "Answer type",
            "Guessed from the first gold answer: digits and number words; years, months and days; capitals.",
            _ANSWER_TYPES,
            lambda example: _ANSWER_TYPES.index(answer_type(example.golds[0].text) if example.golds else "no answer"),
        ),
        facet(
            "overlap",
            "Lexical overlap",
            "Share of the question's content words that are in the sentence of the first gold answer; low where the "
            "question paraphrases the context.",
            _OVERLAPS,
            _overlap_group,
        ),
        facet(
            "context",
            "Context length",
            "Words of the context.",
            _CONTEXT_LENGTHS,
            lambda example: bisect_left(_CONTEXT_BOUNDS, len(example.context.split())),
        ),
    ]
    if num_windows is not None:
        of_question = tuple(bisect_left((1, 2), number) for number in num_windows)
        note = "Number of overlapping windows of the context."
        facets.append(Facet("windows", "Windows", note, _WINDOW_COUNTS, of_question))
    return [one for one in facets if len(set(one.of_question)) > 1]


def group_scores(facet: Facet, outcomes: Sequence[Outcome]) -> list[GroupScore | None]:
    """Score a run's answers to the questions of a facet: one score for each group, None where it has no questions."""
    group = np.asarray(facet.of_question)
    exact, f1 = percents(outcomes).T
    scores: list[GroupScore | None] = []
    for index in range(len(facet.groups)):
        members = np.flatnonzero(group == index)
        if not len(members):
            scores.append(None)
            continue
        interval = mean_interval(f1[members].tolist(), num_resamples=NUM_RESAMPLES)
        scores.append(GroupScore(len(members), float(exact[members].mean()), interval))
    return scores


def question_word(question: str) -> str:
    """Return the question word of a question.

    >>> [question_word(text) for text in ("In what year did it open?", "How many were there?", "Name the king.")]
    ['what', 'how many/much', 'other']
    """
    tokens: list[str] = re.findall(r"[a-z]+(?:'s)?", question.lower())
    for token, following in zip(tokens, [*tokens, ""][1:], strict=True):
        word = _SAME_WORD.get(token, token)
        if word == "how":
            return "how many/much" if following in ("many", "much") else "how"
        if word in QUESTION_WORDS and word != "other":
            return word
    return "other"


def answer_type(text: str) -> str:
    """Guess the type of an answer from its form.

    >>> [answer_type(text) for text in ("24 million", "24 June 1999", "Levi's Stadium", "because of the heat")]
    ['number', 'date', 'name', 'phrase']
    """
    words = text.split()
    first = words[0].lower().strip(",.") if words else ""
    if _DATE.search(text) and len(words) <= 8:
        return "date"
    if _NUMBER_START.match(text.lower()) or (first.split("-")[0] in _NUMBER_WORDS and len(words) <= 4):
        return "number"
    content = [word for word in words if word.lower().strip(",.") not in _SMALL_WORDS and word[:1].isalpha()]
    if content and all(word[0].isupper() for word in content):
        return "name"
    return "phrase"


def lexical_overlap(example: Example) -> float | None:
    """Return the share of a question's content words in the sentence of its first gold answer; None without either."""
    if not example.golds:
        return None
    asked = _content_words(example.question)
    if not asked:
        return None
    sentence = sentence_at(example.context, example.golds[0].answer_start)
    return len(asked & _content_words(sentence)) / len(asked)


def _content_words(text: str) -> frozenset[str]:
    return frozenset(word for word in _WORD.findall(text.lower()) if word not in _STOP_WORDS)


def _answer_length(example: Example) -> int:
    if not example.golds:
        return len(_ANSWER_LENGTHS) - 1
    return bisect_left(_ANSWER_BOUNDS, len(example.golds[0].text.split()))


def _overlap_group(example: Example) -> int:
    if not example.golds:
        return len(_OVERLAPS) - 1
    overlap = lexical_overlap(example)
    return -1 if overlap is None else bisect_left(_OVERLAP_BOUNDS, overlap)
