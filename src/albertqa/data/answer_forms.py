"""The answers of one row, in any of the forms people write them, as pairs of text and stated start."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from albertqa.data.cells import CellError, parse_cell
from albertqa.data.problems import Problem, listed, quoted
from albertqa.data.raw_rows import EmptyAnswers, Row, is_absent, number_as_text, text_as_number

StatedAnswer = tuple[str, int | None]
"""An answer's text and its start as stated, None where none is stated."""

_TRUTH = {"true": True, "yes": True, "1": True, "1.0": True, "false": False, "no": False, "0": False, "0.0": False}


@dataclass(slots=True)
class Faults:
    """What is wrong with one row, gathered while it is read; its own id is empty until it is known."""

    file: str
    place: str
    question_id: str = ""
    found: list[Problem] = field(default_factory=list)

    def add(self, kind: str, message: str, repair: str = "") -> None:
        """Note one finding, with the row's place and id (see `Problem`)."""
        self.found.append(Problem(kind, message, self.file, self.place, self.question_id, repair))

    @property
    def unusable(self) -> bool:
        """Whether the row cannot be used as it is."""
        return any(problem.is_error for problem in self.found)

    @property
    def beyond_repair(self) -> bool:
        """Whether some error has no safe repair."""
        return any(problem.is_error and not problem.repairable for problem in self.found)


class _UnreadableError(Exception):
    """The answers cannot be read; carries the kind and the message of the finding."""


def stated_answers(row: Row, faults: Faults, empty_answers: EmptyAnswers) -> list[StatedAnswer] | None:
    """Read a row's answers, and whether it has none.

    They are in `answers`, in `answers.text` and `answers.answer_start` (as `datasets` flattens it), or in `answer_text`
    and `answer_start`. `answers` may be Hugging Face's form `{"text": [...], "answer_start": [...]}`, SQuAD's list of
    objects, a list of plain texts, or one of these printed into a cell. A question has no answer where `answers` is
    null or an empty list, where its only texts are empty and `is_impossible` is true, and where its only texts are
    empty and their starts negative. Any other empty text may mean that, or that somebody forgot:
    `ReadOptions.empty_answers` says.

    Returns:
        The answers as stated, [] where there is none; None where the row cannot be used.
    """
    impossible = _is_impossible(row.fields.get("is_impossible"), faults)
    try:
        pairs = _pairs(row, impossible, faults)
    except _UnreadableError as error:
        faults.add(*error.args)
        return None
    given = [(text, None if start is None or start < 0 else start) for text, start in pairs if text.strip()]
    if given and impossible:
        faults.add("impossible-with-answers", f"is_impossible is true, but answers are given ({len(given)})")
    if len(given) == len(pairs) > 0:
        return given
    if not given and (not pairs or impossible or all(start is not None and start < 0 for _, start in pairs)):
        if impossible is False:
            faults.add("answerable-without-answers", "is_impossible is false, but no answer is given")
        return []
    if empty_answers == "skip":
        faults.add("skipped-question", "the answer is empty")
        return None
    is_contradicted = bool(given) or impossible is not None
    if empty_answers == "unanswerable" and not is_contradicted:
        faults.add("empty-means-no-answer", "the answer is empty; read as a question without an answer")
        return []
    message = f"expected an answer, found {quoted(next(text for text, _ in pairs if not text.strip()))}"
    if not is_contradicted:
        message += (
            "; if it means that the question has none, add --empty-answers unanswerable, and to leave such questions "
            "out, --empty-answers skip"
        )
    faults.add("empty-answer", message)
    return None


def _pairs(row: Row, impossible: bool | None, faults: Faults) -> list[StatedAnswer]:
    fields = row.fields
    answers = fields.get("answers")
    if isinstance(answers, str) and answers.strip():
        answers = _cell(answers)
    if isinstance(answers, str):
        return [("", None)]
    if isinstance(answers, Mapping):
        if "text" not in answers:
            raise _UnreadableError("missing-key", f"expected answers with the key 'text', found {listed(answers)}")
        return _from_columns(answers["text"], answers.get("answer_start"), faults)
    if isinstance(answers, list | tuple):
        return [_from_item(item, faults) for item in answers]
    if not is_absent(answers):
        raise _UnreadableError("wrong-type", f"expected answers as an object or a list, found {quoted(answers)}")
    if "answers.text" in fields:
        texts, starts = (_list_cell(fields.get(f"answers.{key}")) for key in ("text", "answer_start"))
        return _from_columns(texts, starts, faults)
    if "answer_text" in fields:
        text = fields["answer_text"]
        if isinstance(text, str) and text.lstrip().startswith("{"):
            text = _cell(text)
        if isinstance(text, Mapping) or (isinstance(text, list) and any(isinstance(item, Mapping) for item in text)):
            return _pairs(Row(row.place, {"answers": text}), impossible, faults)
        return [("", None)] if is_absent(text) else _from_columns(text, fields.get("answer_start"), faults)
    if impossible or ("answers" in fields and not row.nested):
        return []
    if row.nested:
        raise _UnreadableError("missing-key", "expected the key 'answers' with a list; it is missing or null")
    return [("", None)]


def _is_impossible(value: object, faults: Faults) -> bool | None:
    if is_absent(value) or value == "":
        return None
    truth = _TRUTH.get(str(value).strip().lower()) if isinstance(value, str | bool | int | float) else None
    if truth is None:
        faults.add("wrong-type", f"expected is_impossible as true or false, found {quoted(value)}")
    return truth


def _cell(cell: str) -> object:
    try:
        return parse_cell(cell)
    except CellError as error:
        message = (
            f"expected answers as JSON, a Python or a NumPy literal, found {quoted(cell)}: {error}; "
            "put plain text under answer_text"
        )
        raise _UnreadableError("unreadable-answers", message) from error


def _list_cell(value: object) -> object:
    """Return a flattened column's list, which a text table holds as a printed cell."""
    return _cell(value) if isinstance(value, str) and value.lstrip().startswith(("[", "array(")) else value


def _from_columns(texts: object, starts: object, faults: Faults) -> list[StatedAnswer]:
    """Pair a list of texts with its list of starts, or one text with one start."""
    if is_absent(texts):
        return []
    if not isinstance(texts, list | tuple):
        texts = [texts]
        starts = starts if isinstance(starts, list | tuple) else [starts]
    if is_absent(starts) or (isinstance(starts, list | tuple) and not starts):
        starts = [None] * len(texts)
    if not isinstance(starts, list | tuple):
        raise _UnreadableError("wrong-type", f"expected a list of answer_start, found {quoted(starts)}")
    if len(starts) != len(texts):
        message = f"expected as many answer_start as texts, found {len(starts)} and {len(texts)}"
        raise _UnreadableError("uneven-answers", message)
    return [_pair(text, start, faults) for text, start in zip(texts, starts, strict=True)]


def _from_item(item: object, faults: Faults) -> StatedAnswer:
    if isinstance(item, str):
        return item, None
    if not isinstance(item, Mapping):
        message = f"expected an answer with text and answer_start, found {quoted(item)}"
        raise _UnreadableError("wrong-type", message)
    if "text" not in item:
        raise _UnreadableError("missing-key", "expected an answer with the key 'text'; it is missing")
    return _pair(item["text"], item.get("answer_start"), faults)


def _pair(text: object, start: object, faults: Faults) -> StatedAnswer:
    if not isinstance(text, str):
        digits = number_as_text(text)
        if digits is None:
            raise _UnreadableError("wrong-type", f"expected the answer as text, found {quoted(text)}")
        faults.add("wrong-type", f"expected the answer as text, found the number {digits}", f"read it as '{digits}'")
        text = digits
    if type(start) is int:  # as it should be; a bool is an int too, and a fault
        return text, start
    if is_absent(start) or start == "":
        return text, None
    if isinstance(start, float) and start.is_integer():
        return text, int(start)
    if isinstance(start, str) and (number := text_as_number(start)) is not None:
        faults.add("wrong-type", f"expected answer_start as a number, found {quoted(start)}", f"read it as {number}")
        return text, number
    raise _UnreadableError("wrong-type", f"expected answer_start as a whole number, found {quoted(start)}")
