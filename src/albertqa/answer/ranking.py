"""Which of several texts holds the answer: candidates of one question over texts, in one order.

A reader's scores say where in a text the answer is, given that it is there; that it is there, the question's words say
better. So texts are ordered by the sum of both: the score of a text's best candidate, and how many of the question's
words are near it, rare ones counting more (Okapi BM25 over the texts themselves).
"""

import math
from collections import Counter
from collections.abc import Sequence

from albertqa.answer.answers import NOTHING, Answer, DocumentAnswer, DocumentCandidate
from albertqa.data.answer_fit import words_of
from albertqa.decode.spans import Candidate

WORDS_WEIGHT = 8.0
"""What it is worth, in units of the score, that all words of a question are near the answer (docs/experiments.md)."""

_NEAR_CHARS = 1_000
"""Characters on either side of a candidate in which the question's words are looked for: about a paragraph."""
_K1, _B = 1.2, 0.75


def rank_answers(
    question: str, texts: Sequence[str], answers: Sequence[Answer], places: Sequence[tuple[str, int]], n_best: int
) -> DocumentAnswer:
    """Answer a question from several texts.

    Args:
        question: The question.
        texts: The texts, at least one.
        answers: What is answered from each.
        places: The document of each text, and where the text begins in it.
        n_best: Candidates to return: what is answered is first, and those of one text are in its own order. Texts with
            an answer come before those that say "no answer", which is listed once: first where no text has an answer,
            else behind the answer.
    """
    candidates = []
    for index, at in _rank(question, texts, answers)[:n_best]:
        one, (document, first) = answers[index].n_best[at], places[index]
        if not one.text:
            candidates.append(DocumentCandidate("", None, 0, 0, one.probability, one.score))
            continue
        start, end = first + one.start_char, first + one.end_char
        candidates.append(DocumentCandidate(one.text, document, start, end, one.probability, one.score))
    nulls = [one.null_score for one in answers if one.null_score is not None]
    return DocumentAnswer(candidates[0] if candidates else NOTHING, min(nulls, default=None), tuple(candidates))


def _rank(question: str, texts: Sequence[str], answers: Sequence[Answer]) -> list[tuple[int, int]]:
    """Return each candidate, best first, as the index of its text and its index among those of the text."""
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
