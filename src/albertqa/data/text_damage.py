"""Signs that texts were damaged on their way into a file: markup, wrong encodings, copies, parts in the wrong field."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from albertqa.data.answer_fit import UNSPACED, WORD
from albertqa.data.example import Example, Gold, letters_and_digits

MARKUP = re.compile(
    r"</?(?!(?:P|Table|Tr|Td|Th|Ul|Ol|Li|Dl|Dd|Dt)\b)[a-zA-Z][a-zA-Z0-9]{0,15}(?:\s[^<>]{0,500})?/?>|&(?:[a-zA-Z]{2,8}|#\d{1,6}|#x[0-9a-fA-F]{1,6});"
)
"""A tag or a character reference of HTML; not the tags with which Natural Questions, as in MRQA, marks paragraphs."""
# UTF-8 of Latin, Cyrillic and punctuation read as Latin-1 or cp1252, and what stands for an unreadable byte.
_MOJIBAKE = re.compile("[\u00c3\u00c2\u00d0\u00d1][\u0080-\u00bf\u0152-\u0161\u2018-\u203a\u2122]|\u00e2\u20ac|\ufffd")
_SENTENCE_ENDS = ".!?\u3002\uff01\uff1f\u0964\u061f"
_SENTENCE_LETTERS = 15
LONG_WORD = 20
"""Letters of a word that hardly any word has."""
_SHORTEST = 20
# So short, a question's letters are in a context by chance.
_SHORT_QUESTION = 13


def damage_statistics(examples: Sequence[Example], contexts: Sequence[str]) -> dict[str, Any]:
    """Measure what distinguishes correct texts from damaged ones.

    Args:
        examples: The data, at least one question.
        contexts: A sample of the contexts, each once.

    Returns:
        Facts for ``run.json``. Of the contexts: ``word_letters_mean``, the mean length of their words, of scripts that
        put spaces between words; ``upper_case_percent``, of the letters that have case, in percent; and in percent of
        the contexts ``markup_percent``, with HTML (0 to 1 in correct data, 5 where there are a hundred questions);
        ``mojibake_percent``, read in a wrong encoding (0 to 5); ``doubled_percent``, that say everything twice (0);
        ``long_words_percent``, the letters in words of 20 letters and more (0 to 1, German 3). Of the questions:
        ``long_questions_percent``, twice as long as their contexts, or with next to no text (0);
        ``questions_in_contexts_percent``, that their context repeats (0). Of the golds: ``golds_in_questions_percent``,
        whose text is in their question (0 to 2, of a hundred 5); ``same_answer_percent``, with the text that most have
        (0 to 2, of a hundred 5); ``whole_sentences_percent``, that begin and end where sentences do (0 to 3, on one
        subject 10).
    """
    plain = {context: letters_and_digits(context) for context in dict.fromkeys(one.context for one in examples)}
    asked = [letters_and_digits(one.question) for one in examples]
    golds = [
        (letters_and_digits(one.golds[0].text), question)
        for one, question in zip(examples, asked, strict=True)
        if one.golds
    ]
    answers = Counter(gold for gold, _ in golds)
    letters = [len(word) for context in contexts for word in WORD.findall(context) if not UNSPACED.search(word)]
    upper, lower = (sum(sum(map(case, context)) for context in contexts) for case in (str.isupper, str.islower))
    return {
        "word_letters_mean": mean(letters),
        "upper_case_percent": share_percent(upper, upper + lower),
        "markup_percent": percent(MARKUP.search(context) is not None for context in contexts),
        "mojibake_percent": percent(is_mojibake(context) for context in contexts),
        "doubled_percent": percent(is_doubled(plain[context]) for context in contexts),
        "long_words_percent": share_percent(sum(one for one in letters if one >= LONG_WORD), sum(letters)),
        "long_questions_percent": percent(is_long_question(one) for one in examples),
        "questions_in_contexts_percent": percent(
            is_asked_in_context(question, plain[one.context]) for one, question in zip(examples, asked, strict=True)
        ),
        "golds_in_questions_percent": percent(is_answered_in_question(gold, question) for gold, question in golds),
        "same_answer_percent": share_percent(max(answers.values(), default=0), len(golds)),
        "whole_sentences_percent": percent(
            is_whole_sentence(one.context, one.golds[0]) for one in examples if one.golds
        ),
    }


def is_mojibake(text: str) -> bool:
    """Return whether a text was read in another encoding than it was written in."""
    return not text.isascii() and _MOJIBAKE.search(text) is not None


def is_doubled(plain: str) -> bool:
    """Return whether a text, of which these are the letters and digits, says everything twice."""
    half, odd = divmod(len(plain), 2)
    return not odd and len(plain) >= _SHORTEST and plain[:half] == plain[half:]


def is_long_question(example: Example) -> bool:
    """Return whether a question is far longer than its context, or has next to no text."""
    return len(example.question) > 2 * len(example.context) or len(example.question) < 4


def is_whole_sentence(context: str, gold: Gold) -> bool:
    """Return whether an answer is one sentence or several, and not a few words."""
    before, after = context[: gold.answer_start].rstrip(), context[gold.answer_end :].lstrip()
    is_end = not after or after[0] in _SENTENCE_ENDS or gold.text[-1:] in _SENTENCE_ENDS
    return is_end and (not before or before[-1] in _SENTENCE_ENDS) and len(gold.text) >= _SENTENCE_LETTERS


def is_asked_in_context(question: str, context: str) -> bool:
    """Return whether a question is in its context, word by word; of both, the letters and digits."""
    return len(question) >= _SHORT_QUESTION and question in context


def is_answered_in_question(gold: str, question: str) -> bool:
    """Return whether a gold is in its question; of both, the letters and digits."""
    return bool(gold) and gold in question


def share_percent(part: float, whole: float) -> float:
    """Return a share in percent, to three digits; 0 of nothing."""
    return round(100 * part / max(1, whole), 3)


def percent(values: Iterable[bool]) -> float:
    """Return the percentage of values that are true."""
    found = list(values)
    return share_percent(sum(found), len(found))


def mean(values: Iterable[float]) -> float:
    """Return a mean, to three digits; 0 of nothing."""
    found = list(values)
    return round(sum(found) / max(1, len(found)), 3)
