"""Which of several texts holds the answer: candidates of one question over texts, in one order.

A reader's scores say where in a text the answer is, given that it is there; that it is there, the question's words say
better. So texts are ordered by the sum of both: the score of a text's best candidate, and how many of the question's
words are near it, rare ones counting more (Okapi BM25 over the texts themselves).
"""

import math
from collections import Counter
from collections.abc import Sequence
from typing import Protocol

from albertqa.data.answer_fit import words_of

WORDS_WEIGHT = 8.0
"""What it is worth, in units of the score, that all words of a question are near the answer (docs/experiments.md)."""

_NEAR_CHARS = 1_000
"""Characters on either side of a candidate in which the question's words are looked for: about a paragraph."""
_K1, _B = 1.2, 0.75


class Candidate(Protocol):
    """One possible answer; its text is "" for "no answer"."""

    @property
    def text(self) -> str:
        """The answer."""

    @property
    def start_char(self) -> int:
        """Its first character."""

    @property
    def end_char(self) -> int:
        """The character after its last one."""

    @property
    def score(self) -> float:
        """Start logit plus end logit."""


class Answer(Candidate, Protocol):
    """The answer to a question on one text, and the candidates beside it."""

    @property
    def n_best(self) -> Sequence[Candidate]:
        """The best candidates, what is answered first."""


def rank(question: str, texts: Sequence[str], answers: Sequence[Answer]) -> list[tuple[int, int]]:
    """Order the candidates of one question over several texts.

    Args:
        question: The question.
        texts: The texts.
        answers: What is answered from each.

    Returns:
        Each candidate as the index of its text, and its index among those of the text. What is answered is first; those
        of one text are in its own order. Texts with an answer come before those that say "no answer", which is listed
        once: first where no text has an answer, else behind the answer.
    """
    best = [next((one for one in answer.n_best if one.text), None) for answer in answers]
    near = word_scores(question, [_near(text, one) for text, one in zip(texts, best, strict=True)])
    spans, nulls = [], []
    for index, answer in enumerate(answers):
        for at, one in enumerate(answer.n_best):
            if one.text:
                spans.append((not answer.text, -(one.score + WORDS_WEIGHT * near[index]), (index, at)))
            else:
                nulls.append((one.score, (index, at)))
    ordered = [place for *_, place in sorted(spans)]
    least = [min(nulls)[1]] if nulls else []
    has_answer = any(answer.text for answer in answers)
    return [*ordered[:1], *least, *ordered[1:]] if has_answer else [*least, *ordered]


def word_scores(question: str, texts: Sequence[str]) -> list[float]:
    """Return how many of a question's words each text has: about 0 for none, 1 for all; rare words count more.

    Source:
        Okapi BM25 (k1 1.2, b 0.75) with Lucene's idf, which is never negative, divided by the idf of all words found.
    """
    counts = [Counter(words_of(text)[1]) for text in texts]
    lengths = [sum(one.values()) for one in counts]
    mean = max(sum(lengths) / max(len(texts), 1), 1.0)
    scores, total = [0.0] * len(texts), 0.0
    for word in dict.fromkeys(words_of(question)[1]):
        having = sum(word in one for one in counts)
        if not having:
            continue
        idf = math.log(1 + (len(texts) - having + 0.5) / (having + 0.5))
        total += idf
        for index, one in enumerate(counts):
            if word in one:
                norm = _K1 * (1 - _B + _B * lengths[index] / mean)
                scores[index] += idf * one[word] * (_K1 + 1) / (one[word] + norm)
    return [score / total if total else 0.0 for score in scores]


def _near(text: str, candidate: Candidate | None) -> str:
    if candidate is None:
        return ""
    return text[max(0, candidate.start_char - _NEAR_CHARS) : candidate.end_char + _NEAR_CHARS]
