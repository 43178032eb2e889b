"""Checks of labels: do questions, answers and contexts belong together, and do training and validation data overlap?

Nothing here changes training. The facts go into ``run.json``, where the rules of `albertqa.health` read them. They are
cheap (texts are compared for a sample of the questions) and the same in every process.
"""

import re
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from albertqa.data.answer_units import answers_shift
from albertqa.data.example import Example, Gold, letters_and_digits

_SAMPLE = 1_000
# How many words on either side of an answer are searched for a question's words: about a sentence, and never all of a
# short context.
_NEAR_WORDS, _NEAR_SHARE = 12, 8
# A word in more than this share of the contexts ("the") does not help to find a place, one in more than this share of
# the questions ("number", where all ask for one) does not tell questions apart.
_COMMON_IN_CONTEXTS, _COMMON_IN_QUESTIONS = 0.1, 0.02
_PLACES = 16
_FREQUENT_WORDS = 100
# Of fewer words, too many are among the 100 most frequent by chance.
_FEWEST_TRAIN_WORDS, _FEWEST_VALIDATION_WORDS = 2_000, 200
# Inflected forms count as the word: "expedition's", "expeditions".
_STEM_LETTERS = 6

_WORD = re.compile(r"\w+")
# Scripts that put no space between words: Thai, Lao, Khmer, Japanese, Chinese.
_UNSPACED = re.compile(r"[\u0e00-\u0eff\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]")

_Words = tuple[list[int], list[str]]


def answer_statistics(examples: Sequence[Example]) -> dict[str, Any]:
    """Measure what distinguishes correct texts and answers from damaged ones.

    Args:
        examples: The data, at least one question.

    Returns:
        Facts for ``run.json``. ``nearness``: see `nearness`. ``repeated_questions``: questions asked before on the same
        context; ``contradicting_questions``: those of them whose first golds do not overlap. ``answers_shift``: see
        `albertqa.data.answer_units`. ``word_letters_mean``: mean length of the contexts' words.
        ``golds_at_end_percent``: golds with no further word after them in their context.
    """
    golds_of: defaultdict[tuple[str, str], list[tuple[Gold, ...]]] = defaultdict(list)
    for one in examples:
        golds_of[" ".join(one.question.split()), one.context].append(one.golds)
    contradicting = sum(
        golds != several[0] and not any(_overlap(gold, other) for gold in golds for other in several[0])
        for several in golds_of.values()
        for golds in several[1:]
    )
    words = [len(one.golds[0].text.split()) for one in examples if one.golds]
    at_end = [not _WORD.search(one.context, one.golds[0].answer_end) for one in examples if one.golds]
    return {
        "contexts": len({context for _, context in golds_of}),
        "repeated_questions": len(examples) - len(golds_of),
        "contradicting_questions": contradicting,
        "gold_words_mean": round(sum(words) / len(words), 3) if words else 0.0,
        "golds_at_end_percent": _percent(at_end),
        "word_letters_mean": _word_letters_mean(one.context for one in _sample(examples)),
        "upper_case_percent": _upper_case_percent(one.context for one in _sample(examples)),
        "nearness": nearness(examples),
        "answers_shift": answers_shift(examples),
    }


def shared_content(train: Sequence[Example], validation: Sequence[Example]) -> dict[str, float]:
    """Measure what training and validation data share: no text should be in both, the language should.

    Args:
        train: The training data.
        validation: The validation data.

    Returns:
        Facts for ``run.json``: ``shared_contexts_percent`` and ``shared_questions_percent`` (the same question on the
        same context) of the validation questions, ignoring case, punctuation and spaces. Where there is enough text,
        ``frequent_words_percent`` and ``frequent_words_percent_train``: the share of the 100 most frequent words of the
        training contexts in the validation and in the training contexts.
    """
    plain: dict[str, str] = {}
    contexts = {_plain(one.context, plain) for one in train}
    questions = {(_plain(one.question, {}), _plain(one.context, plain)) for one in train}
    here, there = (
        [word for context in dict.fromkeys(one.context for one in _sample(part)) for word in _words(context)[1]]
        for part in (validation, train)
    )
    frequent = {word for word, _ in Counter(there).most_common(_FREQUENT_WORDS)}
    facts = {
        "shared_contexts_percent": _percent(_plain(one.context, plain) in contexts for one in validation),
        "shared_questions_percent": _percent(
            (_plain(one.question, {}), _plain(one.context, plain)) in questions for one in validation
        ),
    }
    if len(there) >= _FEWEST_TRAIN_WORDS and len(here) >= _FEWEST_VALIDATION_WORDS:
        facts["frequent_words_percent"] = _percent(word in frequent for word in here)
        facts["frequent_words_percent_train"] = _percent(word in frequent for word in there)
    return facts


def nearness(examples: Sequence[Example]) -> dict[str, Any] | None:
    """Compare how many rare words of a question are near its own gold, and near other places of the same context.

    Where labels belong to their questions there are two to six times as many near the own gold (SQuAD's dev sets,
    SQuADShifts, the starter set); where labels were shuffled within their contexts, or are anywhere, the numbers are
    equal. The other places are the golds of other questions, or places all over the context where there are none.

    Args:
        examples: The data.

    Returns:
        ``questions`` compared, mean number of words near the ``own`` gold and near the ``others``, their ``ratio`` and
        its standard error; ``at_home`` and ``elsewhere``, the shares of the questions with some rare word in their own
        context and in another question's; ``quarters``, the same comparison for each quarter of the data, in order
        (None: nothing to compare), as one of several files may be damaged. None where no question can be compared.
    """
    sample = _sample([one for one in examples if one.golds])
    words_of = {context: _words(context) for context in dict.fromkeys(one.context for one in sample)}
    golds_of: defaultdict[str, set[Gold]] = defaultdict(set)
    for one in examples:
        if one.golds and one.context in words_of:
            golds_of[one.context].add(one.golds[0])
    in_contexts = Counter(word for _, words in words_of.values() for word in set(words))
    asked = [set(_words(one.question)[1]) for one in sample]
    in_questions = Counter(word for words in asked for word in words)
    most_contexts = max(1.0, _COMMON_IN_CONTEXTS * len(words_of))
    most_questions = max(10.0, _COMMON_IN_QUESTIONS * len(sample))

    def rare_words(question: set[str], context: str) -> set[str]:
        return {
            word
            for word in question.intersection(words_of[context][1])
            if in_contexts[word] <= most_contexts and in_questions[word] <= most_questions
        }

    quarters: tuple[list[tuple[float, float]], ...] = ([], [], [], [])
    at_home = elsewhere = 0
    for at, (one, question) in enumerate(zip(sample, asked, strict=True)):
        rare = rare_words(question, one.context)
        at_home += bool(rare)
        elsewhere += bool(rare_words(question, sample[at - len(sample) // 2].context))
        words, own = words_of[one.context], one.golds[0]
        others = [gold for gold in golds_of[one.context] if not _overlap(gold, own)] or _places(words[0], own)
        if rare and others:
            near = [_near(words, gold, rare) for gold in others]
            quarters[4 * at // len(sample)].append((_near(words, own, rare), sum(near) / len(near)))
    found = _compared([pair for quarter in quarters for pair in quarter])
    shares = {"at_home": at_home / max(1, len(sample)), "elsewhere": elsewhere / max(1, len(sample))}
    if found is None:
        return None
    rounded = {name: round(share, 4) for name, share in shares.items()}
    return {**found, **rounded, "quarters": [_compared(quarter) for quarter in quarters]}


def _compared(counts: Sequence[tuple[float, float]]) -> dict[str, float] | None:
    """Compare the means of pairs of counts: own, others."""
    if not counts:
        return None
    own, others = np.asarray(counts, dtype=np.float64).T
    # Half a word more on either side, so that none near other places is a number, too.
    own_mean, others_mean = ((part.sum() + 0.5) / len(counts) for part in (own, others))
    ratio = own_mean / others_mean
    # The spread of a ratio of means by linearization (Cochran, Sampling Techniques, chapter 6).
    error = (own - ratio * others).std() / (others_mean * len(counts) ** 0.5)
    means = {"own": own.mean(), "others": others.mean(), "ratio": ratio, "ratio_error": error}
    return {"questions": len(counts), **{name: round(float(value), 4) for name, value in means.items()}}


def _words(text: str) -> _Words:
    """Return where a text's words begin, and their stems; pairs of letters where words are not spaced."""
    starts: list[int] = []
    stems: list[str] = []
    for match in _WORD.finditer(text):
        word = match[0].casefold()
        if _UNSPACED.search(word):
            starts += range(match.start(), match.start() + max(1, len(word) - 1))
            stems += [word[at : at + 2] for at in range(max(1, len(word) - 1))]
        else:
            starts.append(match.start())
            stems.append(word[:_STEM_LETTERS])
    return starts, stems


def _near(words: _Words, gold: Gold, wanted: set[str]) -> int:
    """Count the wanted words in and around a gold."""
    starts, stems = words
    reach = max(1, min(_NEAR_WORDS, len(stems) // _NEAR_SHARE))
    before, after = bisect_left(starts, gold.answer_start), bisect_left(starts, gold.answer_end)
    return len(wanted.intersection(stems[max(0, before - reach) : after + reach]))


def _places(starts: Sequence[int], own: Gold) -> list[Gold]:
    """Return places of the own gold's length all over the context."""
    places = [Gold(own.text, starts[at]) for at in _spread(len(starts), _PLACES)]
    return [gold for gold in places if not _overlap(gold, own)]


def _overlap(one: Gold, other: Gold) -> bool:
    return one.answer_start < other.answer_end and other.answer_start < one.answer_end


def _sample(examples: Sequence[Example]) -> list[Example]:
    """Return examples from all over the data."""
    return [examples[at] for at in _spread(len(examples), _SAMPLE)]


def _spread(count: int, most: int) -> list[int]:
    return sorted({int(at) for at in np.linspace(0, count - 1, min(count, most))}) if count else []


def _plain(text: str, known: dict[str, str]) -> str:
    if text not in known:
        known[text] = letters_and_digits(text)
    return known[text]


def _upper_case_percent(texts: Iterable[str]) -> float:
    """Return the share of upper case among the letters that have case."""
    upper = lower = 0
    for text in dict.fromkeys(texts):
        upper += sum(map(str.isupper, text))
        lower += sum(map(str.islower, text))
    return round(100 * upper / max(1, upper + lower), 3)


def _word_letters_mean(texts: Iterable[str]) -> float:
    """Return the mean length of the words of scripts that put spaces between words; 0 where there are none."""
    lengths = [len(word) for text in dict.fromkeys(texts) for word in _WORD.findall(text) if not _UNSPACED.search(word)]
    return round(sum(lengths) / len(lengths), 3) if lengths else 0.0


def _percent(values: Iterable[bool]) -> float:
    found = list(values)
    return round(100 * sum(found) / max(1, len(found)), 3)
