"""One question of a source: as it is, as it would be repaired, and what is wrong with it.

This takes two passes, because the unit of `answer_start` shows only in the whole file: `parse_row` reads a row's
fields, `place_answers` then finds the answers in the context.
"""

from dataclasses import dataclass

from albertqa.data.alignment import align
from albertqa.data.answer_forms import Faults, StatedAnswer, stated_answers
from albertqa.data.answer_units import AnswerUnit
from albertqa.data.example import Example, Gold
from albertqa.data.problems import Problem, quoted
from albertqa.data.raw_rows import EmptyAnswers, ReadOptions, Row, is_absent, number_as_text


@dataclass(frozen=True, slots=True)
class Question:
    """One question of a source.

    Attributes:
        place: Line, row or JSON path in the source.
        question_id: Its own id, empty where it has none.
        example: The question as it is; None where an error forbids its use, or where it is left out as asked.
        repaired: The question with every repairable problem repaired; None where one is not.
        problems: What is wrong with it.
        converted: Whether a start was converted from the file's unit.
    """

    place: str
    question_id: str
    example: Example | None
    repaired: Example | None
    problems: tuple[Problem, ...] = ()
    converted: bool = False

    @property
    def readable(self) -> Example | None:
        """The question as it is or, failing that, as repaired."""
        return self.example or self.repaired


@dataclass(frozen=True, slots=True)
class ParsedRow:
    """A row's fields, checked one by one; a question, a context or answers that cannot be read are None.

    Attributes:
        faults: The findings so far, with the row's place and id.
        question_id: The id, or the one made from the row's number.
    """

    faults: Faults
    question_id: str
    question: str | None
    context: str | None
    title: str
    answers: list[StatedAnswer] | None


def parse_row(
    row: Row, *, file: str, number: int, contexts: dict[str, str], empty_answers: EmptyAnswers | None
) -> ParsedRow:
    """Read a row's fields.

    Args:
        row: The row.
        file: The source's name.
        number: Its place in the source, from 1; a missing id becomes `row-<number>`.
        contexts: Every context so far; questions on the same paragraph share one string object.
        empty_answers: What an empty answer means (`ReadOptions.empty_answers`); None: answers are not looked at.
    """
    faults = Faults(file, row.place)
    question_id = _id(row.fields.get("id"), number, faults)
    question = _required_text(row, "question", faults)
    context = _required_text(row, "context", faults)
    if context is not None:
        context = contexts.setdefault(context, context)
    title = _title(row.fields.get("title"), faults)
    answers = [] if empty_answers is None else stated_answers(row, faults, empty_answers)
    return ParsedRow(faults, question_id, question, context, title, answers)


def place_answers(parsed: ParsedRow, unit: AnswerUnit, options: ReadOptions, *, show_closest: bool) -> Question:
    """Find a question's answers in its context; where `show_closest`, also the closest match of missing ones."""
    faults, question, context = parsed.faults, parsed.question, parsed.context
    golds: list[Gold | None] = []
    repaired_golds: list[Gold | None] = []
    converted = False
    for text, stated in parsed.answers or ():
        if context is None:
            break
        character = None if stated is None else unit.character(context, stated)
        start = stated if character is None else character  # nowhere: reported as it is written
        converted |= start != stated
        found = align(text, start, context, ambiguous=options.ambiguous_answers, show_closest=show_closest)
        for finding in found.findings:
            faults.add(*finding)
        golds.append(found.stated)
        repaired_golds.append(found.repaired)
    problems = tuple(faults.found)
    left_out = parsed.answers is None or None in repaired_golds or faults.beyond_repair
    if question is None or context is None or left_out:
        return Question(faults.place, faults.question_id, None, None, problems)
    example, repaired = (
        Example(parsed.question_id, question, context, tuple(filter(None, found)), parsed.title)
        for found in (golds, repaired_golds)
    )
    usable = None if faults.unusable else example
    return Question(faults.place, faults.question_id, usable, repaired, problems, converted)


def _id(value: object, number: int, faults: Faults) -> str:
    made = f"row-{number}"
    if is_absent(value):
        faults.add("missing-id", f"no id; {made} is used", f"give it the id {made}")
        return made
    if (text := number_as_text(value)) is not None:
        faults.question_id = text
        faults.add("number-as-id", f"the id is the number {text}; it is read as text", f"write it as '{text}'")
        return text
    if not isinstance(value, str):
        faults.add("wrong-type", f"expected the id as text, found {quoted(value)}")
        return made
    if not value or value.isspace():
        faults.add("empty-id", f"expected an id, found {quoted(value)}", f"give it the id {made}")
        return made
    faults.question_id = value
    _refuse_surrogates("id", value, faults)
    return value


def _required_text(row: Row, key: str, faults: Faults) -> str | None:
    value = row.fields.get(key)
    if is_absent(value):
        faults.add("missing-key", f"expected the key '{key}' with a text; it is missing or null")
        return None
    if not isinstance(value, str):
        faults.add("wrong-type", f"expected the {key} as text, found {quoted(value)}")
        return None
    if not value or value.isspace():
        faults.add(f"empty-{key}", f"expected a {key}, found {quoted(value)}")
    _refuse_surrogates(key, value, faults)
    return value


def _title(value: object, faults: Faults) -> str:
    if is_absent(value):
        return ""
    if (text := number_as_text(value)) is not None:
        faults.add("wrong-type", f"expected the title as text, found the number {text}", f"read it as '{text}'")
        return text
    if not isinstance(value, str):
        faults.add("wrong-type", f"expected the title as text, found {quoted(value)}", "leave the title empty")
        return ""
    _refuse_surrogates("title", value, faults)
    return value


def _refuse_surrogates(key: str, text: str, faults: Faults) -> None:
    """Report half a character, which JSON's escapes can spell and no tokenizer or UTF-8 file can take."""
    if text.isascii():
        return
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        code = f"\\u{ord(text[error.start]):04x}"
        faults.add("lone-surrogate", f"the {key} has half a character ({code}) at {error.start}")
