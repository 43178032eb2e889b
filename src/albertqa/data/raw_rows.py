"""One row as a format's reader finds it, before anything is checked; and what a user may say about the columns."""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from albertqa.config import flag
from albertqa.data.problems import SourceError, listed

FIELDS = (
    "id",
    "title",
    "question",
    "context",
    "answers",
    "answers.text",
    "answers.answer_start",
    "answer_text",
    "answer_start",
    "is_impossible",
)
"""The fields of a row; any other key or column is ignored."""

ANSWER_FIELDS = ("answers", "answers.text", "answer_text", "is_impossible")
"""The fields that tell whether a question has an answer."""

EmptyAnswers = Literal["refuse", "unanswerable", "skip"]
AmbiguousAnswers = Literal["refuse", "first", "skip"]

# Beyond these no number is an id, and no float is exact.
_MAX_NUMBER, _MAX_EXACT_FLOAT = 10**40, 2**53
_WHOLE_NUMBER = re.compile(r"(-?\d{1,18})(?:\.0*)?")


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """What the reader cannot know from a file alone; the defaults fit files that follow their format."""

    question_column: Annotated[str | None, flag()] = None
    """Column or key of the question; unset: `question`."""
    context_column: Annotated[str | None, flag()] = None
    """Column or key of the context; unset: `context`."""
    answer_column: Annotated[str | None, flag()] = None
    """Column or key of the answer, plain text or structured; unset: `answers` or `answer_text`."""
    answer_start_column: Annotated[str | None, flag()] = None
    """Column or key of the answer's first character; unset: `answer_start`."""
    id_column: Annotated[str | None, flag()] = None
    """Column or key of the id; unset: `id`."""
    title_column: Annotated[str | None, flag()] = None
    """Column or key of the title; unset: `title`."""
    encoding: Annotated[str | None, flag()] = None
    """Encoding of a text file, such as cp1252; unset: UTF-8, or what its byte-order mark says."""
    delimiter: Annotated[str | None, flag()] = None
    """What separates the cells of a text table, one character or `tab`; unset: found in the header."""
    sheet: Annotated[str | None, flag()] = None
    """Name of the sheet of an Excel file; unset: the first."""
    empty_answers: EmptyAnswers = "refuse"
    """What an empty answer means: nothing that may be guessed, a question without an answer, or a row to leave out."""
    ambiguous_answers: AmbiguousAnswers = "refuse"
    """Which place an answer without a valid start has, if it occurs several times or only inside a word: none,
    the first, or leave it out."""
    max_unpacked_bytes: int = 2 * 2**30
    """The largest file to read, unpacked."""

    @property
    def names(self) -> dict[str, str]:
        """Under which name a file has each field of `FIELDS`."""
        own = {
            "question": self.question_column,
            "context": self.context_column,
            "answer_text": self.answer_column,
            "answer_start": self.answer_start_column,
            "id": self.id_column,
            "title": self.title_column,
        }
        unread = ("answers", "answers.text", "answers.answer_start") if self.answer_column else ()
        return {field: own.get(field) or field for field in FIELDS if field not in unread}


@dataclass(frozen=True, slots=True)
class Row:
    """The fields of one question.

    Attributes:
        place: Line, row or JSON path in the source.
        fields: Values of any type, by the names of `FIELDS`.
        keys: Every key or column that it has, those that are not read included.
        nested: Whether it comes from SQuAD's own JSON, where a question must have `answers` or be impossible.
    """

    place: str
    fields: Mapping[str, object]
    keys: Collection[object] = ()
    nested: bool = False


@dataclass(frozen=True, slots=True)
class BrokenRow:
    """A row that cannot be read, though the ones after it can.

    Attributes:
        place: Line, row or JSON path in the source.
        kind: A key of `problems.KINDS`.
        message: What was expected and found.
        is_question: Whether one question is lost; else an article or paragraph with any number of them.
    """

    place: str
    kind: str
    message: str
    is_question: bool = True


Rows = Iterator[Row | BrokenRow]


def table_columns(header: Sequence[object], options: ReadOptions) -> dict[str, str]:
    """Return the fields that a table has, each with the name of its column.

    Raises:
        SourceError: There is no question or context, or a column that is read is there twice.
    """
    names = options.names
    columns = {field: name for field, name in names.items() if name in header}
    missing = [name for field, name in names.items() if name != field and name not in header]
    if missing or "question" not in columns or "context" not in columns:
        raise SourceError("unknown-structure", columns_message(missing, header))
    twice = [name for name in columns.values() if list(header).count(name) > 1]
    if twice:
        raise SourceError("unknown-structure", f"expected each column once, found {listed(twice)} more than once")
    return columns


def columns_message(missing: Sequence[str], found: Iterable[object]) -> str:
    """Return what to say of data without the fields of a question, or without names (`missing`) that the user gave."""
    if missing:
        return f"expected the column {listed(missing)}; found {listed(found)}"
    return (
        f"expected the columns question, context and answers (or answer_text); found {listed(found)}. "
        "Name yours with --question-column, --context-column and --answer-column"
    )


def row_fields(row: Mapping[str, object], names: Mapping[str, str]) -> dict[str, object]:
    """Return the fields of a row that has them under these names (`ReadOptions.names`)."""
    return {field: row[name] for field, name in names.items() if name in row}


def is_absent(value: object) -> bool:
    """Check whether a field has no value: null, or the NaN that pandas writes for a missing cell."""
    return value is None or (isinstance(value, float) and value != value)


def number_as_text(value: object) -> str | None:
    """Return a whole number as text; None for anything else, and for numbers that nobody writes as an id."""
    if isinstance(value, float) and abs(value) < _MAX_EXACT_FLOAT and value.is_integer():
        value = int(value)  # pandas turns a column of whole numbers with a gap into floats
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < _MAX_NUMBER:
        return str(value)
    return None


def text_as_number(text: str) -> int | None:
    """Return the whole number that a cell's text spells; None for anything else."""
    match = _WHOLE_NUMBER.fullmatch(text.strip())
    return int(match[1]) if match else None
