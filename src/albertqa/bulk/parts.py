"""Parts of a bulk job: the questions cut where they are cut every time, and the files of their answers."""

import io
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from albertqa.answer.answers import Answer
from albertqa.data.example import Example

PartFormat = Literal["parquet", "jsonl"]

PART_QUESTIONS = 10_000
_PART_CHARS = 2**26
"""Characters of question and context, with which a part ends early: so long documents do not fill the memory."""


@dataclass(frozen=True, slots=True)
class Part:
    """Some consecutive questions, answered and written as one.

    Attributes:
        number: Its number, from 0.
        questions: The questions.
    """

    number: int
    questions: list[Example] = field(repr=False)


def cut_into_parts(questions: Iterable[Example], *, most: int, most_chars: int = _PART_CHARS) -> Iterator[Part]:
    """Cut questions into parts; the same questions are cut at the same places.

    Args:
        questions: The questions; read as parts are taken.
        most: Most questions of a part.
        most_chars: Most characters of a part; a single longer question makes a part of its own.

    Yields:
        Every question in exactly one part.
    """
    number, chars, found = 0, 0, list[Example]()
    for question in questions:
        own_chars = len(question.question) + len(question.context)
        if found and (len(found) == most or chars + own_chars > most_chars):
            yield Part(number, found)
            number, chars, found = number + 1, 0, []
        found.append(question)
        chars += own_chars
    if found:
        yield Part(number, found)


def part_name(number: int, form: PartFormat) -> str:
    """Return the file of a part's answers."""
    return f"part-{number:07d}.{form}"


def answer_rows(questions: Sequence[Example], answers: Sequence[Answer]) -> list[dict[str, Any]]:
    """Return a row for every question: id, question and everything about its answer."""
    pairs = zip(questions, answers, strict=True)
    return [{"id": one.id, "question": one.question, **answer.to_json()} for one, answer in pairs]


def encode_rows(rows: Sequence[dict[str, Any]], form: PartFormat) -> bytes:
    """Return the content of a part's file."""
    if form == "jsonl":
        return "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows).encode()
    import pyarrow as pa
    import pyarrow.parquet as pq

    candidate = pa.struct([
        *(("text", pa.string()), ("start_char", pa.int64()), ("end_char", pa.int64())),
        *((name, pa.float64()) for name in ("start_logit", "end_logit", "probability")),
    ])  # fmt: skip
    schema = pa.schema([
        *(("id", pa.string()), ("question", pa.string()), ("text", pa.string())),
        *(("start_char", pa.int64()), ("end_char", pa.int64())),
        *((name, pa.float64()) for name in ("probability", "softmax", "score", "null_score")),
        ("n_best", pa.list_(candidate)),
    ])  # fmt: skip
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(list(rows), schema=schema), buffer, compression="zstd")
    return buffer.getvalue()
