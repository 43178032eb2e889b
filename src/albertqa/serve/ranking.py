"""Which of several documents holds the answer."""

from collections.abc import Sequence
from dataclasses import dataclass

from albertqa.serve.protocols import Answer, Candidate


@dataclass(frozen=True)
class Ranked:
    """A candidate and where it comes from.

    Attributes:
        document: Index of its document.
        candidate: The candidate.
    """

    document: int
    candidate: Candidate


def rank(answers: Sequence[Answer], n_best: int) -> list[Ranked]:
    """Order the candidates of one question over several documents.

    Scores are logits of one model, so they can be compared over documents; probabilities, which are relative to the
    other candidates of a document, cannot. "No answer" comes first where no document has an answer, and is listed once.

    Args:
        answers: The question's answer in each document.
        n_best: Candidates to return.

    Returns:
        The candidates, what is answered first.
    """
    candidates = [Ranked(index, one) for index, answer in enumerate(answers) for one in answer.n_best]
    spans = [one for one in candidates if one.candidate.text]
    nulls = [one for one in candidates if not one.candidate.text]
    answered = {index for index, answer in enumerate(answers) if answer.text}
    # The candidates of a document that has an answer come before those of one that has none.
    spans.sort(key=lambda one: (one.document not in answered, -one.candidate.score))
    least = sorted(nulls, key=lambda one: one.candidate.score)[:1]
    ordered = [*spans[:1], *least, *spans[1:]] if answered else [*least, *spans]
    return ordered[:n_best]
