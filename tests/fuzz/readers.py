"""Data files of every format, damaged: reading gives problems or one-line errors."""

import contextlib
import csv
import gzip
import io
import json
import random
import zipfile
from pathlib import Path
from typing import Any

from albertqa.data import ReadOptions, check_files, load_examples, load_questions, read
from albertqa.errors import AlbertQAError
from albertqa.schema import parse_json, parse_toml

from .campaign import damaged

_OPTIONS = [
    ReadOptions(),
    ReadOptions(empty_answers="unanswerable", ambiguous_answers="first"),
    ReadOptions(empty_answers="skip", ambiguous_answers="skip"),
    ReadOptions(question_column="title", answer_column="answer_text"),
    ReadOptions(encoding="latin-1", delimiter=";"),
]


def good_files() -> dict[str, bytes]:
    """Return one small good file of every format, by suffix."""
    context = "Beyoncé rose to fame in the late 1990s. 😀 She sang \r\nin Houston, and Houston loved her."
    rows = [
        {
            "id": f"q{number}",
            "title": "T",
            "question": f"Question {number}?",
            "context": context,
            "answers": {"text": [text], "answer_start": [context.index(text)]},
        }
        for number, text in enumerate(["late 1990s", "Houston", "She", "fame"])
    ]
    qas = [
        {"id": row["id"], "question": row["question"], "answers": [{"text": "fame", "answer_start": 16}]}
        for row in rows
    ]
    mrqa = {
        "context": context,
        "qas": [
            {
                "qid": "m",
                "question": "Who?",
                "answers": ["x"],
                "detected_answers": [{"text": "fame", "char_spans": [[16, 19]]}],
            }
        ],
    }
    lines = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
    squad = json.dumps({"version": "1.1", "data": [{"title": "T", "paragraphs": [{"context": context, "qas": qas}]}]})
    table = io.StringIO()
    writer = csv.writer(table)
    writer.writerow(["id", "question", "context", "answers", "is_impossible"])
    writer.writerows([row["id"], row["question"], context, str(row["answers"]), "false"] for row in rows)
    return {
        ".json": squad.encode(),
        ".jsonl": lines,
        ".csv": table.getvalue().encode(),
        ".tsv": table.getvalue().replace(",", "\t").encode(),
        ".mrqa.jsonl": b'{"header": {}}\n' + json.dumps(mrqa).encode() + b"\n",
        ".json.gz": gzip.compress(squad.encode()),
        ".parquet": _parquet(rows),
        ".xlsx": _xlsx(rows),
    }


def _parquet(rows: list[dict[str, Any]]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    stream = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), stream)
    return stream.getvalue()


def _xlsx(rows: list[dict[str, Any]]) -> bytes:
    import openpyxl

    book = openpyxl.Workbook()
    book.active.append(["id", "question", "context", "answers"])
    for row in rows:
        book.active.append([row["id"], row["question"], row["context"].replace("\r", ""), str(row["answers"])])
    stream = io.BytesIO()
    book.save(stream)
    return stream.getvalue()


def damaged_zip(good: bytes, others: list[bytes], rng: random.Random) -> bytes:
    """Return an Excel file, one of whose parts is damaged inside; or damaged as any other file."""
    if rng.random() < 0.3:
        return damaged(good, others, rng)
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(good)) as book, zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as out:
        chosen = rng.choice(book.namelist())
        for name in book.namelist():
            part = book.read(name)
            if name != chosen:
                out.writestr(name, part)
            elif rng.random() < 0.9:
                out.writestr(name, damaged(part, others, rng))
    return stream.getvalue()


def read_as_users_do(path: Path, options: ReadOptions) -> str:
    """Read, check, repair and load a file; return the first kind of problem. Anything else is a finding."""
    try:
        result = read(path, options=options)
        report = check_files([path], write_repaired=path.with_name("repaired.json"), options=options)
    except AlbertQAError as error:  # the call itself, such as an encoding that does not exist
        return _one_line(error, "refused")
    json.dumps(report.to_json(), allow_nan=False, ensure_ascii=False).encode()
    assert all(str(problem).isprintable() for problem in result.problems)
    for load in (load_examples, load_questions):
        try:
            loaded = load(path, options=options)
        except AlbertQAError as error:
            _one_line(error, "")
            assert load is load_questions or result.errors or not result.examples
        else:
            assert load is load_questions or loaded == result.examples
    return result.problems[0].kind if result.problems else "ok"


def _one_line(error: AlbertQAError, outcome: str) -> str:
    if not str(error).isprintable():
        raise AssertionError(f"not one printable line: {str(error)!r}")
    return outcome


class Readers:
    """Damaged files of every format in turn, read with options of all kinds."""

    def __init__(self) -> None:
        self.good = good_files()
        self.others = list(self.good.values())

    def __call__(self, number: int, rng: random.Random, folder: Path) -> str:
        suffix = list(self.good)[number % len(self.good)]
        damage = damaged_zip if suffix == ".xlsx" else damaged
        data = damage(self.good[suffix], self.others, rng)
        path = folder / f"in{rng.choice(list(self.good)) if rng.random() < 0.1 else suffix}"
        path.write_bytes(data)
        outcome = read_as_users_do(path, rng.choice(_OPTIONS) if rng.random() < 0.5 else _OPTIONS[0])
        for parse in (parse_json, parse_toml):
            with contextlib.suppress(AlbertQAError):
                parse(data[:5000].decode("utf-8", "replace"))
        return outcome
