"""What a model was trained on: hashes of questions, saved with it, so that later data can be compared with them."""

import hashlib
import heapq
from collections.abc import Iterable
from pathlib import Path

import msgspec

from albertqa.data.example import Example, letters_and_digits
from albertqa.files import TRAINED_ON_JSON, write_json
from albertqa.schema import read_struct

_MOST = 4096
"""Hashes kept, the lowest of all; the share of other data that they know is that of all hashes, but for chance."""


class TrainedOn(msgspec.Struct, frozen=True):
    """The questions that a model was trained on, as far as hashes tell.

    Attributes:
        questions: How many there were, in all runs that led to the model.
        hashes: The lowest hashes of question and context, in order.
    """

    questions: int = 0
    hashes: tuple[str, ...] = ()

    @classmethod
    def load(cls, folder: Path) -> "TrainedOn":
        """Read it from a model's folder; a model that was trained by another tool says nothing.

        Raises:
            RunError: The file is damaged.
        """
        path = folder / TRAINED_ON_JSON
        if not path.is_file():
            return cls()
        return read_struct(path, cls, remedy="Put the file back as it was, or remove it")

    def save(self, folder: Path) -> None:
        """Write it into a model's folder."""
        write_json(folder / TRAINED_ON_JSON, msgspec.to_builtins(self))

    def and_on(self, examples: Iterable[Example]) -> "TrainedOn":
        """Return what a model was trained on that is now trained on further questions."""
        new = [_hash(one) for one in examples]
        return TrainedOn(self.questions + len(new), tuple(heapq.nsmallest(_MOST, {*self.hashes, *new})))

    def percent_of(self, examples: Iterable[Example]) -> float | None:
        """Return the percentage of questions that the model was trained on; None where that is not known."""
        known, is_whole = set(self.hashes), len(self.hashes) < _MOST
        asked = [one for one in map(_hash, examples) if is_whole or one <= self.hashes[-1]]
        return round(100 * sum(one in known for one in asked) / len(asked), 3) if known and asked else None


def _hash(example: Example) -> str:
    """Hash a question and its context, whatever their case, punctuation and spaces."""
    plain = f"{letters_and_digits(example.question)}\n{letters_and_digits(example.context)}"
    return hashlib.blake2b(plain.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
