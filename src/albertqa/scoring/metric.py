"""Exact match and F1 of one answer, as the official SQuAD scripts compute them.

The scripts for version 1.1 and 2.0 normalise alike and differ where nothing is left: in 1.1 an answer and a gold
that both normalise to nothing match exactly and still have F1 0; in 2.0 such golds do not count, and "no answer" is
the answer that equals "no answer".
"""

import re
import string
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from albertqa.errors import DataError

# Chinese characters, kana, Thai, Lao, Tibetan, Burmese and Khmer letters.
_UNSPACED = re.compile(r"[\u0e00-\u109f\u1780-\u17ff\u2e80-\u312f\u31a0-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
_ARTICLE = re.compile(r"\b(?:a|an|the)\b")
_DELETE_PUNCTUATION = str.maketrans("", "", string.punctuation)


@dataclass(frozen=True, slots=True)
class QuestionScore:
    """How well one question was answered.

    Attributes:
        exact: 1.0 for an exact match with some gold, else 0.0.
        f1: The largest token F1 with any gold, 0.0 to 1.0.
    """

    exact: float
    f1: float


def normalize_answer(text: str) -> str:
    """Reduce an answer to what the metric compares.

    Lower-cases, deletes ASCII punctuation, replaces articles by a space and collapses white space, in this order:
    "a-b" becomes the one word "ab", and Unicode punctuation stays.

    >>> normalize_answer("The  Bishop's, an Émigré – (1976)")
    'bishops émigré – 1976'

    Args:
        text: An answer or a gold.

    Returns:
        Words joined by single spaces; "" where nothing is left.
    """
    return " ".join(_ARTICLE.sub(" ", text.lower().translate(_DELETE_PUNCTUATION)).split())


def unspaced_note(gold_texts: Iterable[str]) -> str:
    """Return what to say of F1 where most golds are of a script without spaces between words; else ""."""
    texts = list(gold_texts)
    num_unspaced = sum(_UNSPACED.search(text) is not None for text in texts)
    if 2 * num_unspaced <= len(texts):
        return ""
    return (
        f"{num_unspaced:,} of {len(texts):,} golds are of a script without spaces between words: the official F1 "
        "counts such an answer as one word, and equals exact match there"
    )


def score_answer(prediction: str, gold_texts: Iterable[str], *, version_2: bool = False) -> QuestionScore:
    """Score one answer against its golds; the maxima of exact match and F1 are taken separately.

    >>> score_answer("the Rollo!", ["Rollo", "Duke Rollo"])
    QuestionScore(exact=1.0, f1=1.0)
    >>> score_answer("Duke Rollo", ["Rollo"])
    QuestionScore(exact=0.0, f1=0.6666666666666666)

    Args:
        prediction: The answer; "" says that there is none.
        gold_texts: Acceptable answers. None at all means "no answer", which only version 2.0 knows.
        version_2: Follow the script for SQuAD 2.0 instead of 1.1.

    Raises:
        DataError: There is no gold and `version_2` is false.

    Source:
        `evaluate-v1.1.py` and `evaluate-v2.0.py`, the official SQuAD scripts.
    """
    golds = [normalize_answer(text) for text in gold_texts]
    if version_2:
        golds = [gold for gold in golds if gold] or [""]
    if not golds:
        raise DataError("expected a gold answer, found none; only SQuAD 2.0 scoring (version_2) knows 'no answer'")
    answer = normalize_answer(prediction)
    if version_2 and not answer:
        # "No answer" has no tokens to overlap: it is wholly right or wholly wrong.
        right = float(golds == [""])
        return QuestionScore(right, right)
    return QuestionScore(float(answer in golds), max(_token_f1(answer.split(), gold.split()) for gold in golds))


def _token_f1(answer_tokens: list[str], gold_tokens: list[str]) -> float:
    num_same = (Counter(answer_tokens) & Counter(gold_tokens)).total()
    if num_same == 0:
        return 0.0
    # Through precision and recall, not 2·same / (a + b): the shorter form differs in the last digit.
    precision = num_same / len(answer_tokens)
    recall = num_same / len(gold_tokens)
    return (2 * precision * recall) / (precision + recall)
