"""One record as a reader finds it, before anything is believed: the fields of one question, or why there are none."""

from collections.abc import Mapping
from dataclasses import dataclass

FIELDS = ("id", "title", "question", "context", "answers", "answer_text", "answer_start", "is_impossible")
"""The keys of a flat row; any other is ignored."""


@dataclass(frozen=True, slots=True)
class Record:
    """The fields of one question.

    Attributes:
        place: Line, row or JSON path in the source.
        fields: Values by the names in `FIELDS`, of any type; other names are ignored.
        nested: Whether it comes from SQuAD's own JSON, where a question must have `answers` or be impossible.
    """

    place: str
    fields: Mapping[str, object]
    nested: bool = False


@dataclass(frozen=True, slots=True)
class Broken:
    """A record that cannot be read, though the ones after it can.

    Attributes:
        place: Line, row or JSON path in the source.
        kind: A key of `problem.KINDS`.
        message: What was expected and found.
        is_question: Whether one question is lost; else an article or paragraph with any number of them.
    """

    place: str
    kind: str
    message: str
    is_question: bool = True


def is_absent(value: object) -> bool:
    """Tell whether a field has no value: null, or the NaN that pandas writes for a missing cell."""
    return value is None or (isinstance(value, float) and value != value)
