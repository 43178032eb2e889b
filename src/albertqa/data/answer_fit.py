"""Do answers belong to their questions? A question's rare words are near its own answer, not near others."""

import re
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from albertqa.data.example import Example, Gold

_SAMPLE = 1_000
# Words on either side of an answer in which a question's words are looked for: about a sentence, and never so many that
# they are all of a short context.
_NEAR_WORDS, _NEAR_SHARE = 12, 8
# A word in more than this share of the contexts ("the") does not say where in a context one is, and one in more than
# this share of the questions ("number", where all ask for one) not what is asked.
_COMMON_IN_CONTEXTS, _COMMON_IN_QUESTIONS = 0.1, 0.02
_PLACES = 16
# A question with so many rare words of the contexts has one of them in its own.
_SEVERAL_WORDS = 3
# Inflected forms count as the word: "expedition's", "expeditions".
_STEM_LETTERS = 6

# Vowel signs of the scripts of India belong to the word; Thai, Lao, Khmer, Japanese and Chinese have no spaces, and in
# Korean particles are written to the word: answers end before them.
WORD = re.compile(r"[\w\u0900-\u0dff]+")
UNSPACED = re.compile(r"[\u0e00-\u0eff\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")

Words: TypeAlias = tuple[list[int], list[str]]
"""First character and stem of each word of a text."""


class FitMeasure:
    """Measures how well answers fit their questions, on a sample of the questions."""

    def __init__(self, examples: Sequence[Example]) -> None:
        self.sample = spread([one for one in examples if one.golds], _SAMPLE)
        self._words = {context: words_of(context) for context in dict.fromkeys(one.context for one in self.sample)}
        self._asked = [set(words_of(one.question)[1]) for one in self.sample]
        self._golds: defaultdict[str, set[Gold]] = defaultdict(set)
        for one in examples:
            if one.golds and one.context in self._words:
                self._golds[one.context].add(one.golds[0])
        in_contexts = Counter(word for _, words in self._words.values() for word in set(words))
        in_questions = Counter(word for words in self._asked for word in words)
        most_contexts = max(1.0, _COMMON_IN_CONTEXTS * len(self._words))
        most_questions = max(10.0, _COMMON_IN_QUESTIONS * len(self.sample))
        self._rare = {
            word
            for word, count in in_contexts.items()
            if count <= most_contexts and in_questions[word] <= most_questions
        }

    def others_fit_better(self, at: int) -> float | None:
        """Return the share of other answers on the context of a question in `sample` that fit it better than its own.

        An answer fits better if more of the question's rare words are near it. The other answers are those of other
        questions; where there are none, places all over the context, if it is not short.

        Returns:
            0 where its own fits best, 1 where all others fit better, not counting those that fit as well; None where
            all fit alike.
        """
        one = self.sample[at]
        words, own, rare = self._words[one.context], one.golds[0], self._rare_words(at, one.context)
        if not rare:
            return None
        others = [gold for gold in self._golds[one.context] if not overlap(gold, own)] or _places(words, own)
        near, own_near = [_near(words, gold, rare) for gold in others], _near(words, own, rare)
        better, worse = sum(count > own_near for count in near), sum(count < own_near for count in near)
        return better / (better + worse) if better + worse else None

    def is_at_home(self, at: int) -> bool:
        """Return whether a question has a rare word in common with its context."""
        return bool(self._rare_words(at, self.sample[at].context))

    def is_elsewhere(self, at: int) -> bool:
        """Return whether a question has a rare word in common with some other context; not where there is no other."""
        own = self.sample[at].context
        others = (self.sample[at - shift].context for shift in range(len(self.sample) // 2, len(self.sample)))
        other = next((context for context in others if context != own), None)
        return other is not None and bool(self._rare_words(at, other))

    def is_strange(self, at: int) -> bool | None:
        """Return whether a question has several rare words of the contexts and none of them in its own; None: few."""
        words = self._asked[at] & self._rare
        if len(words) < _SEVERAL_WORDS:
            return None
        return words.isdisjoint(self._words[self.sample[at].context][1])

    def _rare_words(self, at: int, context: str) -> set[str]:
        return self._asked[at].intersection(self._words[context][1]) & self._rare


def answer_fit(examples: Sequence[Example]) -> dict[str, Any] | None:
    """Measure how well answers fit their questions.

    Returns:
        ``questions`` compared; ``others_fit_better``, the mean of `FitMeasure.others_fit_better`, and its standard
        ``error``: 0.12 to 0.20 where answers belong to their questions (SQuAD's dev sets, SQuADShifts, the starter set,
        XQuAD in ten languages), 0.31 to 0.37 where two in five belong to another question on the same context, and 0.5
        or more where all do or lie anywhere; ``at_home`` and ``elsewhere``, the shares of the questions with a rare
        word in their own and in some other question's context; ``strange``, the share of the ``asked`` questions, those
        with several rare words of the contexts, that have none of them in their own: 0 to 0.07 where questions belong
        to their contexts, also of a hundred questions, 0.2 to 0.32 where three in ten belong to others; ``quarters``,
        the same for each quarter of the data, in order, as one of several files may be wrong (None: nothing to
        compare). None where no question can be compared.
    """
    measure = FitMeasure(examples)
    count = len(measure.sample)
    shares = [measure.others_fit_better(at) for at in range(count)]
    contexts = [one.context for one in measure.sample]
    found = _mean(shares, contexts)
    if found is None:
        return None
    strange = [measure.is_strange(at) for at in range(count)]
    quarters = [
        {**part, **_strange(strange[begin:end])} if (part := _mean(shares[begin:end], contexts[begin:end])) else None
        for begin, end in ((count * at // 4, count * (at + 1) // 4) for at in range(4))
    ]
    home = sum(map(measure.is_at_home, range(count))) / count
    elsewhere = sum(map(measure.is_elsewhere, range(count))) / count
    return {
        **found,
        "at_home": round(home, 4),
        "elsewhere": round(elsewhere, 4),
        **_strange(strange),
        "quarters": quarters,
    }


def _strange(known: Sequence[bool | None]) -> dict[str, float]:
    asked = [one for one in known if one is not None]
    return {"asked": len(asked), "strange": round(sum(asked) / max(1, len(asked)), 4)}


def overlap(one: Gold, other: Gold) -> bool:
    """Return whether two answers on the same context have a character in common."""
    return one.answer_start < other.answer_end and other.answer_start < one.answer_end


def _mean(shares: Sequence[float | None], contexts: Sequence[str]) -> dict[str, float] | None:
    of_context = [(share, context) for share, context in zip(shares, contexts, strict=True) if share is not None]
    known: NDArray[np.float64] = np.asarray([share for share, _ in of_context], dtype=np.float64)
    if not len(known):
        return None
    # As of a share: of few questions that all agree, the spread says nothing.
    mean = float(known.mean())
    error = (
        ((mean + 1 / len(known)) / len(known)) ** 0.5 if mean in {0.0, 1.0} else float(known.std()) / len(known) ** 0.5
    )
    # Questions on one context are alike.
    sums: defaultdict[str, float] = defaultdict(float)
    for share, context in of_context:
        sums[context] += share - mean
    error = max(error, sum(one * one for one in sums.values()) ** 0.5 / len(known))
    return {"questions": len(known), "others_fit_better": round(mean, 4), "error": round(error, 4)}


def words_of(text: str) -> Words:
    """Return where the words of a text begin, and their stems; pairs of letters where there are no spaces."""
    starts: list[int] = []
    stems: list[str] = []
    for match in WORD.finditer(text):
        word = match[0].casefold()
        if UNSPACED.search(word):
            pairs = range(max(1, len(word) - 1))
            starts += (match.start() + at for at in pairs)
            stems += (word[at : at + 2] for at in pairs)
        else:
            starts.append(match.start())
            stems.append(word[:_STEM_LETTERS])
    return starts, stems


def _near(words: Words, gold: Gold, wanted: set[str]) -> int:
    """Count the wanted words in and around an answer."""
    starts, stems = words
    reach = max(1, min(_NEAR_WORDS, len(stems) // _NEAR_SHARE))
    before, after = bisect_left(starts, gold.answer_start), bisect_left(starts, gold.answer_end)
    return len(wanted.intersection(stems[max(0, before - reach) : after + reach]))


def _places(words: Words, own: Gold) -> list[Gold]:
    """Return places of the own answer's length all over the context; none in a short one, where all are near it."""
    starts, _ = words
    if len(starts) < _NEAR_WORDS * _NEAR_SHARE:
        return []
    places = [Gold(own.text, start) for start in spread(starts, _PLACES)]
    return [gold for gold in places if not overlap(gold, own)]


def spread(items: Sequence[Any], most: int) -> list[Any]:
    """Return at most so many items from all over a sequence."""
    at = np.unique(np.linspace(0, max(0, len(items) - 1), min(len(items), most)).astype(np.int64))
    return [items[index] for index in at.tolist()]
