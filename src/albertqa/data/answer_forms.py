"""The answers of one record, in any of the forms people write them, as pairs of text and stated start."""

import ast
import json
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field

from albertqa.data.problems import Problem, listed, quoted
from albertqa.data.rows import Record, is_absent

StatedAnswer = tuple[str, int | None]
"""An answer's text and its start as stated, None where none is stated."""

_NUMPY_PRINT = re.compile(r"\b(?:array\(|np\.\w+\()")
_NUMBER_TEXT = re.compile(r"-?\d{1,18}")


@dataclass(slots=True)
class Faults:
    """What is wrong with one record, gathered while it is read.

    Attributes:
        file: The source as the user named it.
        place: Where the record stands.
        question_id: Its own id, once known.
        found: The findings so far.
    """

    file: str
    place: str
    question_id: str = ""
    found: list[Problem] = field(default_factory=list)

    def add(self, kind: str, message: str, repair: str = "") -> None:
        """Note one finding.

        Args:
            kind: A key of `problem.KINDS`.
            message: What was expected and found.
            repair: What a repair does; empty where none is safe.
        """
        self.found.append(Problem(kind, message, self.file, self.place, self.question_id, repair))

    @property
    def unusable(self) -> bool:
        """Whether the record cannot be used as it stands."""
        return any(problem.is_error for problem in self.found)

    @property
    def beyond_repair(self) -> bool:
        """Whether some error has no safe repair."""
        return any(problem.is_error and not problem.repairable for problem in self.found)


def stated_answers(record: Record, faults: Faults) -> list[StatedAnswer] | None:
    """Read a record's answers, from `answers` or else from `answer_text` and `answer_start`.

    `answers` may be Hugging Face's form `{"text": [...], "answer_start": [...]}`, SQuAD's list of objects, a list of
    plain texts, or one of these written into a cell as JSON or as a Python literal. Null, or an empty `answer_text`,
    means that the question has no answer.

    Args:
        record: The record.
        faults: Where findings go.

    Returns:
        The answers as stated; None where they cannot be read.
    """
    fields = record.fields
    answers = fields.get("answers")
    if isinstance(answers, str):
        answers = _parsed_cell(answers, faults)
        if answers is _UNREADABLE:
            return None
    if is_absent(answers):
        if record.nested:
            return _no_answers_key(fields, faults)
        text = fields.get("answer_text")
        return [] if text == "" else _from_columns(text, fields.get("answer_start"), faults)
    if isinstance(answers, Mapping):
        if "text" not in answers:
            faults.add("missing-key", f"expected answers with the key 'text', found {listed(answers)}")
            return None
        return _from_columns(answers["text"], answers.get("answer_start"), faults)
    if isinstance(answers, list | tuple):
        return _all_or_none([_from_item(item, faults) for item in answers])
    faults.add("wrong-type", f"expected answers as an object or a list, found {quoted(answers)}")
    return None


_UNREADABLE = object()


def _parsed_cell(cell: str, faults: Faults) -> object:
    try:
        return json.loads(cell)
    except (ValueError, RecursionError):
        pass
    if _NUMPY_PRINT.search(cell):
        faults.add(
            "unreadable-answers",
            "the answers cell holds numpy's print form, array([...]), which cannot be read back; "
            "write the data frame with to_json(path, orient='records', lines=True) or to_parquet",
        )
        return _UNREADABLE
    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # Python warns of odd escapes inside the literal; it is the file's, not ours
            return ast.literal_eval(cell.strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        faults.add(
            "unreadable-answers",
            f"expected answers as JSON or a Python literal, found {quoted(cell)}; put plain text under answer_text",
        )
        return _UNREADABLE


def _no_answers_key(fields: Mapping[str, object], faults: Faults) -> list[StatedAnswer] | None:
    if fields.get("is_impossible") is True:
        return []
    faults.add("missing-key", "expected the key 'answers' with a list; it is absent or null")
    return None


def _from_columns(texts: object, starts: object, faults: Faults) -> list[StatedAnswer] | None:
    """Pair a list of texts with its list of starts, or one text with one start."""
    if is_absent(texts):
        return []
    if not isinstance(texts, list | tuple):
        texts = [texts]
        starts = starts if isinstance(starts, list | tuple) else [starts]
    if is_absent(starts) or (isinstance(starts, list | tuple) and not starts):
        starts = [None] * len(texts)
    if not isinstance(starts, list | tuple):
        faults.add("wrong-type", f"expected a list of answer_start, found {quoted(starts)}")
        return None
    if len(starts) != len(texts):
        faults.add("uneven-answers", f"expected as many answer_start as texts, found {len(starts)} and {len(texts)}")
        return None
    return _all_or_none([_pair(text, start, faults) for text, start in zip(texts, starts, strict=True)])


def _from_item(item: object, faults: Faults) -> StatedAnswer | None:
    if isinstance(item, str):
        return item, None
    if not isinstance(item, Mapping):
        faults.add("wrong-type", f"expected an answer with text and answer_start, found {quoted(item)}")
        return None
    if "text" not in item:
        faults.add("missing-key", "expected an answer with the key 'text'; it is absent")
        return None
    return _pair(item["text"], item.get("answer_start"), faults)


def _pair(text: object, start: object, faults: Faults) -> StatedAnswer | None:
    if isinstance(text, str) and type(start) is int:  # as it should be; a bool is an int too, and a fault
        return text, start
    if isinstance(text, int) and not isinstance(text, bool):
        text = str(text) if abs(text) < 10**18 else None
        if text is not None:
            faults.add("wrong-type", f"expected the answer as text, found the number {text}", f"read it as '{text}'")
    if not isinstance(text, str):
        faults.add("wrong-type", f"expected the answer as text, found {quoted(text)}")
        return None
    if isinstance(start, float) and start.is_integer():
        start = int(start)  # pandas turns a column of whole numbers with a gap into floats
    if is_absent(start):
        return text, None
    if isinstance(start, str) and _NUMBER_TEXT.fullmatch(start):
        faults.add("wrong-type", f"expected answer_start as a number, found {quoted(start)}", f"read it as {start}")
        start = int(start)
    if not isinstance(start, int) or isinstance(start, bool):
        faults.add("wrong-type", f"expected answer_start as a whole number, found {quoted(start)}")
        return None
    return text, start


def _all_or_none(pairs: list[StatedAnswer | None]) -> list[StatedAnswer] | None:
    read = [pair for pair in pairs if pair is not None]
    return read if len(read) == len(pairs) else None
