"""What can be wrong with a data set: the kinds under stable names, and one finding with its place.

An *error* makes a question unusable as it is, and `load_examples` refuses the source. A *warning* changes what is
trained or measured and is accepted with one line in the log. A *note* is worth knowing and changes nothing.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from albertqa.errors import DataError, printable

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")

_SHOWN_CHARS = 60
_MAX_SHOWN_NUMBER = 10**18


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of problem: what it does to a data set (see the module's text), and the kind in a few words."""

    severity: Severity
    meaning: str


KINDS: Mapping[str, Kind] = {
    # The source cannot be read, or not to its end.
    "no-such-file": Kind("error", "there is no such file or folder"),
    "unreadable-file": Kind("error", "the file or folder cannot be opened as data"),
    "not-fetched": Kind("error", "the Hub's data set, or the file of Git LFS, was not fetched"),
    "too-large": Kind("error", "larger than the limits on unpacked data and memory"),
    "empty-file": Kind("error", "the file is empty"),
    "packed-file": Kind("error", "compressed or an archive; unpack it first"),
    "wrong-encoding": Kind("error", "the text is not in the expected encoding"),
    "broken-gzip": Kind("error", "the gzip stream is damaged or cut off"),
    "broken-json": Kind("error", "the text is not JSON"),
    "broken-csv": Kind("error", "the table's rows do not match its header"),
    "broken-parquet": Kind("error", "the Parquet file is damaged"),
    "broken-xlsx": Kind("error", "the Excel file is damaged"),
    "unknown-structure": Kind("error", "readable, but no form of question-answering data"),
    "no-questions": Kind("error", "there is no question"),
    "no-answers-column": Kind("error", "no row has answers or answer_text"),
    "swapped-columns": Kind("error", "two columns seem to be swapped"),
    # One question cannot be used as it is.
    "missing-key": Kind("error", "a required key is missing or null"),
    "wrong-type": Kind("error", "a field has the wrong type"),
    "lone-surrogate": Kind("error", "a lone surrogate (half a character) in a text"),
    "unreadable-answers": Kind("error", "the answers cell is neither JSON nor a Python or NumPy literal"),
    "uneven-answers": Kind("error", "the lists of texts and of answer_start differ in length"),
    "empty-id": Kind("error", "the id is empty or white space"),
    "empty-question": Kind("error", "the question is empty or white space"),
    "empty-context": Kind("error", "the context is empty or white space"),
    "empty-answer": Kind("error", "an empty answer; does it mean that the question has none?"),
    "duplicate-id": Kind("error", "the id belongs to an earlier question"),
    "misaligned-answer": Kind("error", "answer_start does not point at the answer's text"),
    "ambiguous-answer-start": Kind(
        "error", "no valid answer_start, and the answer occurs more than once, or only inside a word"
    ),
    "answer-not-in-context": Kind("error", "the answer does not occur in the context as it is written"),
    "impossible-with-answers": Kind("error", "is_impossible is true, but there are answers"),
    "answerable-without-answers": Kind("error", "is_impossible is false, but there is no answer"),
    # Found under a tokenizer only.
    "question-too-long": Kind("error", "the question leaves a window no room for the context"),
    "most-answers-changed": Kind("error", "most answers begin or end inside a token"),
    "answers-changed": Kind("warning", "answers begin or end inside a token"),
    "unknown-tokens": Kind("warning", "the tokenizer does not know much of the text"),
    # Accepted, but it changes what is trained or measured.
    "answer-start-unit": Kind("warning", "answer_start is counted in another unit; converted to characters"),
    "first-occurrence": Kind("warning", "no valid answer_start; the first occurrence was chosen, as asked"),
    "shifted-answer": Kind("warning", "all answers are off by the same number of characters"),
    "answer-outer-space": Kind("warning", "an answer begins or ends with white space"),
    "mixed-versions": Kind("warning", "SQuAD v1.1 and v2.0 are mixed"),
    "shared-context": Kind("warning", "the context is also in another file"),
    "shared-id": Kind("warning", "the id is also in another file"),
    # Worth knowing.
    "missing-answer-start": Kind("note", "no answer_start; the answer occurs once"),
    "empty-means-no-answer": Kind("note", "an empty answer, read as a question without an answer, as asked"),
    "skipped-question": Kind("note", "left out, as asked"),
    "missing-id": Kind("note", "no id; one is made from the row number"),
    "number-as-id": Kind("note", "the id is a number, read as text"),
    "duplicate-question": Kind("note", "the same question on the same context"),
}


@dataclass(frozen=True, slots=True)
class Problem:
    """One finding.

    Attributes:
        kind: A key of `KINDS`; stable, for machines.
        message: What was expected and what was found, on one line.
        file: The source as the user named it.
        place: The line, row or JSON path within the file; empty where the whole file is meant.
        question_id: The question's own id, where it has one.
        repair: What a repair does; empty where none is safe.
    """

    kind: str
    message: str
    file: str
    place: str = ""
    question_id: str = ""
    repair: str = ""

    @property
    def severity(self) -> Severity:
        """How bad this kind is."""
        return KINDS[self.kind].severity

    @property
    def is_error(self) -> bool:
        """Whether the question, or the file, cannot be used as it is."""
        return self.severity == "error"

    @property
    def repairable(self) -> bool:
        """Whether a repaired copy can be written without guessing."""
        return bool(self.repair)

    @property
    def where(self) -> str:
        """The file, and the question's id or else its place."""
        if self.question_id:
            return f"{self.file}: question {_short(self.question_id)}"
        return f"{self.file}: {self.place}" if self.place else self.file

    def __str__(self) -> str:
        return printable(f"{self.where}: {self.message}")

    def to_json(self) -> dict[str, object]:
        """Return the finding as a plain dictionary that any JSON writer takes."""
        return {
            "kind": self.kind,
            "severity": self.severity,
            "file": self.file,
            "place": self.place,
            # A lone surrogate fits into no UTF-8 output.
            "question_id": self.question_id.encode("utf-8", "backslashreplace").decode(),
            "message": self.message,
            "repairable": self.repairable,
            "repair": self.repair,
        }


class SourceError(DataError):
    """Nothing more can be read from a source; carries what a `Problem` needs."""

    def __init__(self, kind: str, message: str, place: str = "") -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.place = place


def quoted(value: object) -> str:
    """Return a value of a file as it is shown in a message: short, on one line, never failing.

    >>> quoted("Rollo"), quoted(7), quoted([1, 2])
    ("'Rollo'", '7', 'a list')
    """
    if isinstance(value, str):
        return repr(value if len(value) <= _SHOWN_CHARS else value[: _SHOWN_CHARS - 1] + "…")
    if value is None or isinstance(value, bool | float):
        return repr(value)
    if isinstance(value, int):
        return repr(value) if abs(value) < _MAX_SHOWN_NUMBER else "a number of more than 18 digits"
    return {"list": "a list", "dict": "an object"}.get(type(value).__name__, f"a {type(value).__name__}")


def listed(names: Iterable[object], most: int = 8) -> str:
    """Join the first few names, such as keys of any type, for a message."""
    found = [_short(str(name)) for name in names]
    shown = ", ".join(found[:most]) or "nothing"
    return f"{shown}, … ({len(found)} in all)" if len(found) > most else shown


def _short(text: str) -> str:
    """Return an id or key as it is where it is short and printable, else quoted."""
    return text if text.isprintable() and len(text) <= _SHOWN_CHARS else quoted(text)
