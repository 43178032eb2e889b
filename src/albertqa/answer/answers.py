"""Answers: from one text, and from several documents."""

from dataclasses import asdict, dataclass
from typing import Any

from albertqa.decode.spans import Candidate


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to one question.

    Attributes:
        text: The answer, verbatim from the context; "" for "no answer".
        start_char: Its first character in the context.
        end_char: The character after its last one.
        probability: How likely the answer is right, calibrated where the model is (`Answerer.is_calibrated`); else the
            same as `softmax`.
        softmax: Softmax of the scores over the question's best candidates.
        score: Start logit plus end logit.
        null_score: Score of "no answer"; None unless it was allowed.
        n_best: The best candidates, what is answered first, each span once. Their probabilities are scaled to that of
            the answer.
    """

    text: str
    start_char: int
    end_char: int
    probability: float
    softmax: float
    score: float
    null_score: float | None
    n_best: tuple[Candidate, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the answer as a plain dictionary."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class DocumentCandidate:
    """One possible answer and where it is.

    Attributes:
        text: The answer, verbatim from its document; "" for "no answer".
        document: Id of its document; None for "no answer".
        start_char: Its first character in the document.
        end_char: The character after its last one.
        probability: How likely it is right, judged from its document alone.
        score: Start logit plus end logit.
    """

    text: str
    document: str | None
    start_char: int
    end_char: int
    probability: float
    score: float


NOTHING = DocumentCandidate("", None, 0, 0, 0.0, 0.0)
""""No answer" where nothing was read."""


@dataclass(frozen=True, slots=True)
class DocumentAnswer:
    """The answer to one question from several documents.

    Attributes:
        answer: What is answered.
        null_score: The lowest score of "no answer" over the documents; None unless it was allowed.
        n_best: The best candidates over all documents, what is answered first.
    """

    answer: DocumentCandidate
    null_score: float | None
    n_best: tuple[DocumentCandidate, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the answer as a plain dictionary."""
        candidates = [asdict(one) for one in self.n_best]
        return {**asdict(self.answer), "null_score": self.null_score, "n_best": candidates}
