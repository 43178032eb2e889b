"""What a server needs of whatever answers its questions."""

from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias, Unpack

from albertqa.decode import ranking
from albertqa.decode.reader_settings import ReaderChanges, ReaderSettings

Pair: TypeAlias = tuple[str, str]
"""A question, and the text that should hold its answer."""


class Candidate(ranking.Candidate, Protocol):
    """One possible answer to a question on one text, verbatim from it; its text is "" for "no answer"."""

    @property
    def probability(self) -> float:
        """How likely it is right, from 0 to 1."""


class Answer(Candidate, Protocol):
    """The answer to a question on one text, and the candidates beside it."""

    @property
    def null_score(self) -> float | None:
        """Score of "no answer"; None where that is no answer."""

    @property
    def n_best(self) -> Sequence[Candidate]:
        """The best candidates, the answer first."""


class Answers(Protocol):
    """A trained model that answers questions; safe to use from several threads."""

    @property
    def settings(self) -> ReaderSettings:
        """How it reads."""

    def num_tokens(self, pairs: Sequence[Pair], **reader_settings: Unpack[ReaderChanges]) -> int:
        """Return how many tokens the model reads to answer questions.

        Args:
            pairs: The questions.
            reader_settings: Settings that differ from its own for this call; None: its own.
        """

    def answer_batch(
        self,
        pairs: Sequence[Pair],
        *,
        n_best: int,
        batch_size: int,
        progress: Callable[[int], None] | None,
        **reader_settings: Unpack[ReaderChanges],
    ) -> Sequence[Answer]:
        """Answer questions in forward passes of at most so many maximum-length windows.

        Args:
            pairs: The questions.
            n_best: Candidates of each.
            batch_size: Maximum-length windows of one forward pass.
            progress: Called after each forward pass; what it raises ends the work.
            reader_settings: As for `num_tokens`.
        """


class Documents(Protocol):
    """Documents that were indexed before; safe to use from several threads."""

    def documents(self) -> Sequence[str]:
        """Return their names."""

    def text(self, document: str) -> str:
        """Return a document's text.

        Raises:
            DataError: There is none of that name.
        """
