"""One question of a source: as it stands, as it would be repaired, and what is wrong with it."""

from dataclasses import dataclass

from albertqa.data.alignment import settle
from albertqa.data.answer_forms import Faults, stated_answers
from albertqa.data.example import Example, Gold
from albertqa.data.problems import Problem, quoted
from albertqa.data.rows import Record, is_absent


@dataclass(frozen=True, slots=True)
class Entry:
    """One question of a source.

    Attributes:
        place: Line, row or JSON path in the source.
        question_id: Its own id, empty where it has none.
        example: The question as it stands; None where an error forbids its use.
        repaired: The question with every repairable problem repaired; None where one is not.
        problems: What is wrong with it.
    """

    place: str
    question_id: str
    example: Example | None
    repaired: Example | None
    problems: tuple[Problem, ...] = ()

    @property
    def readable(self) -> Example | None:
        """The question as it stands or, failing that, as repaired."""
        return self.example or self.repaired


def read_entry(record: Record, *, file: str, number: int, contexts: dict[str, str]) -> Entry:
    """Judge one record.

    Args:
        record: The record.
        file: The source's name, for the findings.
        number: Its place in the source, from 1; a missing id becomes `row-<number>`.
        contexts: Every context met so far; questions on the same paragraph share one string object.

    Returns:
        The entry.
    """
    faults = Faults(file, record.place)
    question_id = _read_id(record.fields.get("id"), number, faults)
    question = _required_text(record, "question", faults)
    context = _required_text(record, "context", faults)
    title = _read_title(record.fields.get("title"), faults)
    stated = stated_answers(record, faults)
    golds: tuple[Gold, ...] = ()
    repaired_golds: tuple[Gold, ...] = ()
    if stated is not None:
        _check_impossible(record.fields.get("is_impossible"), len(stated), faults)
    if context is not None:
        context = contexts.setdefault(context, context)
    if stated and context is not None:
        golds, repaired_golds = _settle_all(stated, context, faults)
    found = tuple(faults.found)
    if question is None or context is None or faults.beyond_repair:
        return Entry(record.place, faults.question_id, None, None, found)
    repaired = Example(question_id, question, context, repaired_golds, title)
    if faults.unusable:
        return Entry(record.place, faults.question_id, None, repaired, found)
    example = repaired if golds == repaired_golds else Example(question_id, question, context, golds, title)
    return Entry(record.place, faults.question_id, example, repaired, found)


def _read_id(value: object, number: int, faults: Faults) -> str:
    made = f"row-{number}"
    if is_absent(value):
        faults.add("missing-id", f"no id; {made} is used", f"give it the id {made}")
        return made
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**18:
        faults.question_id = str(value)
        faults.add("number-as-id", f"the id is the number {value}; it is read as text", f"write it as '{value}'")
        return faults.question_id
    if not isinstance(value, str):
        faults.add("wrong-type", f"expected the id as text, found {quoted(value)}")
        return made
    if not value or value.isspace():
        faults.add("empty-id", f"expected an id, found {quoted(value)}", f"give it the id {made}")
        return made
    faults.question_id = value
    _refuse_surrogates("id", value, faults)
    return value


def _required_text(record: Record, key: str, faults: Faults) -> str | None:
    value = record.fields.get(key)
    if is_absent(value):
        faults.add("missing-key", f"expected the key '{key}' with a text; it is absent or null")
        return None
    if not isinstance(value, str):
        faults.add("wrong-type", f"expected the {key} as text, found {quoted(value)}")
        return None
    if not value or value.isspace():
        faults.add(f"empty-{key}", f"expected a {key}, found {quoted(value)}")
    _refuse_surrogates(key, value, faults)
    return value


def _read_title(value: object, faults: Faults) -> str:
    if is_absent(value):
        return ""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**18:
        faults.add("wrong-type", f"expected the title as text, found the number {value}", f"read it as '{value}'")
        return str(value)
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


def _check_impossible(value: object, num_answers: int, faults: Faults) -> None:
    if is_absent(value):
        return
    if not isinstance(value, bool) and value not in (0, 1):
        faults.add("wrong-type", f"expected is_impossible as true or false, found {quoted(value)}")
    elif value and num_answers:
        faults.add("impossible-with-answers", f"is_impossible is true, but answers are given ({num_answers})")
    elif not value and not num_answers:
        faults.add("answerable-without-answers", "is_impossible is false, but no answer is given")


def _settle_all(
    stated: list[tuple[str, int | None]], context: str, faults: Faults
) -> tuple[tuple[Gold, ...], tuple[Gold, ...]]:
    """Settle every answer, noting what is found."""
    settled = [settle(text, start, context) for text, start in stated]
    for gold in settled:
        for kind, message, repair in gold.findings:
            faults.add(kind, message, repair)
    golds = tuple(gold.stated for gold in settled if gold.stated is not None)
    repaired = tuple(gold.repaired for gold in settled if gold.repaired is not None)
    return golds, repaired
