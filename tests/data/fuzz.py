"""Fuzz the readers: whatever a file holds, reading it gives problems or one-line errors, soon and in little memory.

    python tests/data/fuzz.py --inputs 10000

For every format good files are damaged, cut, joined and mixed; the inputs follow from the seed. Reading happens in
worker processes, so that a crash or a hang is counted and not suffered. Exit code 1 where there was a traceback, a
crash, an input that took more than 10 seconds, or a worker that took more than 2 GiB.
"""

import argparse
import contextlib
import csv
import gzip
import io
import json
import logging
import os
import random
import resource
import signal
import sys
import tempfile
import time
import traceback
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from albertqa.data import ReadOptions, check_files, load_examples, load_questions, read
from albertqa.data.parsing import parse_json, parse_toml
from albertqa.errors import AlbertQAError

MAX_SECONDS = 10
MAX_BYTES = 2 * 2**30
_PIECES = [
    b"", b"\x00", b"\xff", b"\xef\xbb\xbf", b"\r\n", b"\r", b"\n", b'"', b"'", b",", b";", b"\t", b"[", b"{", b"}",
    b"]", b"null", b"NaN", b"-Infinity", b"1e999", b"9" * 5000, b"\\ud800", b"\\u0000", b"\x1b[31m", b"[" * 2000,
    b'{"a":' * 500, b"array([", b"...", b"id,question,context,answer_text\n", b'{"data": [', b'"qas"', b"-1",
    b'"detected_answers"',     "é😀\u202e".encode(), "中".encode("utf-16"), b"PAR1", b"PK\x03\x04", b"\x1f\x8b",
]  # fmt: skip
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


def damaged(good: bytes, others: list[bytes], rng: random.Random) -> bytes:
    """Return a file with one to four faults."""
    data = bytearray(good)
    for _ in range(rng.choice([1, 1, 2, 4])):
        at = rng.randrange(len(data) + 1)
        kind = rng.randrange(7)
        if kind == 0 and data:
            data[at % len(data)] = rng.randrange(256)
        elif kind == 1:
            del data[at : at + rng.choice([1, 4, 50, 1000])]
        elif kind == 2:
            data[at:at] = rng.choice(_PIECES) * rng.choice([1, 1, 3])
        elif kind == 3:
            del data[at:]
        elif kind == 4:
            other = rng.choice(others)
            data[at:at] = other[rng.randrange(len(other)) :][:500]
        elif kind == 5:
            data[at : at + 4] = rng.randbytes(4)
        else:
            data[at:at] = data[rng.randrange(len(data) + 1) :][: rng.choice([10, 200])]
    return bytes(data)


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


def inputs(seed: int, first: int, last: int) -> Any:
    """Yield the inputs of these numbers: number, suffix, bytes, options."""
    files = good_files()
    suffixes = list(files)
    for number in range(first, last):
        rng = random.Random(f"{seed} {number}")
        suffix = suffixes[number % len(suffixes)]
        damage = damaged_zip if suffix == ".xlsx" else damaged
        data = damage(files[suffix], list(files.values()), rng)
        name = rng.choice(suffixes) if rng.random() < 0.1 else suffix
        yield number, name, data, rng.choice(_OPTIONS) if rng.random() < 0.5 else _OPTIONS[0]


def run_worker(seed: int, first: int, last: int, report: Callable[[str], None]) -> None:
    """Read inputs one after the other; report each before it is read and after."""
    with tempfile.TemporaryDirectory() as folder:
        for number, suffix, data, options in inputs(seed, first, last):
            report(f"begin {number}")
            path = Path(folder) / f"in{suffix}"
            path.write_bytes(data)
            started = time.monotonic()
            try:
                outcome = read_as_users_do(path, options)
                for parse in (parse_json, parse_toml):
                    with contextlib.suppress(AlbertQAError):
                        parse(data[:5000].decode("utf-8", "replace"))
            except BaseException as error:  # noqa: BLE001 -- whatever it is, it is what we look for
                outcome = f"TRACEBACK {type(error).__name__}"
                sys.stderr.write(f"\ninput {number} ({suffix}): {''.join(traceback.format_exception(error)[-3:])}\n")
            report(f"end {number} {time.monotonic() - started:.3f} {outcome}")
            path.unlink()


def campaign(seed: int, num_inputs: int) -> dict[str, Any]:
    """Fuzz in worker processes, one at a time, each replaced after a crash or a hang."""
    outcomes: Counter[str] = Counter()
    slowest, peak, done = 0.0, 0, 0
    while done < num_inputs:
        reading, writing = os.pipe()
        worker = os.fork()
        if worker == 0:
            os.close(reading)
            with os.fdopen(writing, "w", buffering=1) as stream:
                run_worker(seed, done, num_inputs, lambda line: print(line, file=stream, flush=True))
            os._exit(0)
        os.close(writing)
        signal.signal(signal.SIGALRM, lambda *_, worker=worker: os.kill(worker, signal.SIGKILL))
        with os.fdopen(reading) as stream:
            for line in stream:
                word, number, *rest = line.split(maxsplit=3)
                signal.alarm(MAX_SECONDS if word == "begin" else 0)
                if word == "end":
                    done = int(number) + 1
                    slowest = max(slowest, float(rest[0]))
                    outcomes[rest[1].strip()] += 1
        signal.alarm(0)
        _, status, usage = os.wait4(worker, 0)
        peak = max(peak, usage.ru_maxrss * 1024)
        if os.WIFSIGNALED(status):
            name = "HANG" if os.WTERMSIG(status) == signal.SIGKILL else f"CRASH signal {os.WTERMSIG(status)}"
            sys.stderr.write(f"\ninput {done}: {name}\n")
            outcomes[name] += 1
            done += 1
    bad = sum(count for name, count in outcomes.items() if name.isupper() or name.split()[0].isupper())
    return {"inputs": num_inputs, "seed": seed, "bad": bad, "slowest_seconds": slowest, "peak_bytes": peak,
            "outcomes": dict(outcomes.most_common())}  # fmt: skip


def main() -> int:
    """Run the campaign that the command line asks for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--inputs", type=int, default=10_000, help="inputs of every format together, times the formats")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    found = campaign(arguments.seed, arguments.inputs * len(good_files()))
    print(json.dumps(found, indent=1))
    return int(bool(found["bad"]) or found["peak_bytes"] > MAX_BYTES)


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    logging.disable()
    sys.exit(main())
