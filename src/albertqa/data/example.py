"""One question with its context and golds: the form every reader produces and everything downstream takes."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Gold:
    """One acceptable answer.

    Attributes:
        text: The answer, verbatim from the context.
        answer_start: Character offset of its first character in the context.
    """

    text: str
    answer_start: int

    @property
    def answer_end(self) -> int:
        """Character offset just after the last character (half-open)."""
        return self.answer_start + len(self.text)


@dataclass(frozen=True, slots=True)
class Example:
    """One question, its context, and its golds.

    Attributes:
        id: Unique within a data set.
        question: The question as written.
        context: The paragraph that should hold the answer.
        golds: Acceptable answers, the first is trained on; empty where the question has no answer.
        title: The article, where known.
    """

    id: str
    question: str
    context: str
    golds: tuple[Gold, ...] = ()
    title: str = ""

    @property
    def has_answer(self) -> bool:
        """Whether the question has an answer in its context."""
        return bool(self.golds)


def has_unanswerable(examples: Iterable[Example]) -> bool:
    """Check whether a data set is of the v2.0 kind: some question has no answer."""
    return any(not example.has_answer for example in examples)


def letters_and_digits(text: str) -> str:
    """Return a text without case, punctuation and white space, as which equal contents are found."""
    return "".join(filter(str.isalnum, text.casefold()))


def content_sha256(examples: Iterable[Example]) -> str:
    """Hash ids, questions, contexts and golds in their order.

    Returns:
        SHA-256 as 64 hexadecimal digits, equal in every process.
    """
    digest = hashlib.sha256()
    for example in examples:
        parts = [example.id, example.question, example.context]
        for gold in example.golds:
            parts += [gold.text, str(gold.answer_start)]
        # Lengths before the texts, so that no two lists of parts give the same bytes.
        data = [part.encode("utf-8", "surrogatepass") for part in parts]
        digest.update(",".join(str(len(part)) for part in data).encode() + b";" + b"".join(data))
    return digest.hexdigest()
