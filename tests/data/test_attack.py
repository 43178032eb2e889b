"""Files made to hurt: one line, within seconds, in less than 2 GiB of memory, and nothing that a terminal acts on."""

import gzip
import io
import json
import os
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import pytest

from albertqa.data import ReadOptions, check_files, load_examples, load_questions, read, write_squad_json
from albertqa.errors import AlbertQAError, DataError, printable

from .cases import CONTEXT, EXAMPLES, bare_row, rows, write_json, write_lines

MAX_BYTES = 2 * 2**30
ROOT = Path(__file__).parents[2]


def read_in_a_process(path: Path, limit: int = MAX_BYTES) -> tuple[list[str], int]:
    """Read a file in a process of its own; return the problems and the most memory it had."""
    code = (
        "import json, sys; from albertqa.data import ReadOptions, read;"
        "result = read(sys.argv[1], options=ReadOptions(max_unpacked_bytes=int(sys.argv[2])));"
        "from benchmarks.processes import peak_bytes;"
        "print(json.dumps([[str(problem) for problem in result.problems], peak_bytes()]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path.absolute()), str(limit)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    problems, peak = json.loads(done.stdout)
    return problems, peak


@pytest.mark.parametrize("name", ["bomblist.json.gz", "cell.parquet"])
def test_a_small_file_that_unpacks_to_gigabytes_is_refused(shared_cases: Path, name: str) -> None:
    (problem,), peak = read_in_a_process(shared_cases / "attack" / name)
    assert "unpacks to more than 200 times its" in problem
    assert peak < MAX_BYTES


def bomb_of_spaces(folder: Path) -> Path:
    path = folder / "spaces.csv.gz"
    head = gzip.compress(b"id,question,context,answer_text\n")
    path.write_bytes(head + gzip.compress(b" " * 2**26) * 20)
    return path


def bomb_of_one_line(folder: Path) -> Path:
    path = folder / "line.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"question": "' + b"a" * 2**27))
    return path


def bomb_of_ten_megabytes(folder: Path) -> Path:
    path = folder / "large.jsonl.gz"
    piece = gzip.compress(
        b"\n".join(json.dumps(bare_row(id=str(n), context="a" * 2**16 + str(n))).encode() for n in range(2**9)) + b"\n"
    )
    path.write_bytes(piece * 160 + os.urandom(2**23))
    return path


def bomb_of_lists(folder: Path) -> Path:
    path = folder / "lists.json"
    path.write_bytes(b"[" + b"[]," * (40 * 2**20) + b"0]")
    return path


def bomb_of_rows(folder: Path) -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq

    text = pa.DictionaryArray.from_arrays(pa.array([0] * 100_000, pa.int32()), ["x" * 2**20])
    names = {name: pa.array(["a"] * 100_000) for name in ("id", "question", "answer_text")}
    pq.write_table(pa.table({**names, "context": text}), folder / "rows.parquet", compression="zstd")
    return folder / "rows.parquet"


def bomb_of_a_list_cell(folder: Path) -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq

    count = 2_500_000
    texts = pa.ListArray.from_arrays([0, count], pa.array(["a"] * 1000 * (count // 1000)).dictionary_encode())
    table = pa.table({"question": ["Q"], "context": ["C"], "answers.text": texts.cast(pa.list_(pa.string()))})
    pq.write_table(table, folder / "list.parquet")
    return folder / "list.parquet"


def bomb_of_a_sheet(folder: Path) -> Path:
    path = folder / "sheet.xlsx"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as book:
        book.writestr("xl/workbook.xml", "<workbook/>")
        book.writestr("xl/worksheets/sheet1.xml", "<row/>" * (30 * 2**20))
    return path


REFUSED = [
    bomb_of_spaces,
    bomb_of_ten_megabytes,
    bomb_of_rows,
    bomb_of_one_line,
    bomb_of_lists,
    bomb_of_a_list_cell,
    bomb_of_a_sheet,
]


@pytest.mark.parametrize("make", REFUSED, ids=lambda make: make.__name__)
def test_other_bombs_are_refused_too(make: object, tmp_path: Path) -> None:
    path = make(tmp_path)  # type: ignore[operator]
    problems, peak = read_in_a_process(path, 2**28 if make is bomb_of_a_list_cell else MAX_BYTES)
    (problem,) = problems
    assert any(word in problem for word in ("unpacks to", "would take about", "is longer than", "the texts"))
    assert peak < MAX_BYTES


def test_texts_that_fill_the_memory_are_refused(tmp_path: Path) -> None:
    wide = ("\U0001f600" + "a" * 50_000 + str(number) for number in range(100))
    path = write_lines(tmp_path / "wide.jsonl", [bare_row(id=text[-2:], context=text, answers=[]) for text in wide])
    (problem,) = read(path, options=ReadOptions(max_unpacked_bytes=2**23)).problems
    assert "found more (the texts in memory); raise max_unpacked_bytes" in problem.message
    assert not [one for one in read(path).problems if one.kind == "too-large"]


def test_a_limit_of_the_users_own_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl.gz"
    path.write_bytes(gzip.compress(b"".join(json.dumps(row).encode() + b"\n" for row in rows(EXAMPLES) * 50)))
    message = read(path, options=ReadOptions(max_unpacked_bytes=10_000)).problems[-1].message
    assert message == (
        "expected at most 10,000 bytes, found more (the unpacked data); raise max_unpacked_bytes if that is right"
    )


# Texts


def test_a_lone_surrogate_in_an_id_or_text_is_one_line_and_fits_into_json(shared_cases: Path, tmp_path: Path) -> None:
    for name in ("surrogate-id.json", "surrogate-question.jsonl"):
        path = shared_cases / "attack" / name
        with pytest.raises(DataError) as caught:
            load_examples(path)
        assert str(caught.value).isprintable()
        json.dumps(check_files([path]).to_json(), ensure_ascii=False).encode()
    rows_with = [bare_row(id=f"\udc00{key}", **{key: "x\ud800"}) for key in ("question", "context", "title")]
    path = write_json(tmp_path / "s.json", [*rows_with, bare_row(answers=["\ud800"])])
    report = check_files([path], write_repaired=tmp_path / "out.json")
    assert {group.kind for group in report.groups} >= {"lone-surrogate", "answer-not-in-context"}
    json.dumps(report.to_json(), ensure_ascii=False).encode()
    with pytest.raises(DataError, match=r"the question has half a character \(\\ud800\) at 4"):
        load_questions(shared_cases / "attack/surrogate-question.jsonl")


def test_nan_as_an_id_is_a_missing_id(shared_cases: Path, tmp_path: Path) -> None:
    assert [one.id for one in load_questions(shared_cases / "attack/nan-id.jsonl")] == ["row-1"]
    with pytest.raises(DataError, match="expected answers or answer_text"):
        load_examples(shared_cases / "attack/nan-id.jsonl")
    row = bare_row(id=float("nan"), title=float("nan"), is_impossible=float("nan"))
    (example,) = load_examples(write_lines(tmp_path / "n.jsonl", [row]))
    assert (example.id, example.title) == ("row-1", "")
    for huge in ("1e999", "-Infinity", "1" * 4000):
        (tmp_path / "h.jsonl").write_text(json.dumps(bare_row(id="HERE")).replace('"HERE"', huge))
        assert [problem.kind for problem in read(tmp_path / "h.jsonl").errors] == ["wrong-type"]


@pytest.mark.parametrize("name", ["deep.json", "deep.jsonl", "deep.json.gz"])
def test_deep_nesting_is_one_line(name: str, tmp_path: Path) -> None:
    for inner in ("[" * 100_000 + "]" * 100_000, '{"a":' * 50_000 + "1" + "}" * 50_000):
        data = json.dumps(bare_row(extra="HERE")).replace('"HERE"', inner).encode()
        (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith("gz") else data)
        (problem,) = read(tmp_path / name).problems
        assert "nested too deeply" in problem.message


ESCAPES = "\x1b]0;pwned\x07\x1b[2J\u202e\x9b31m\r\n\x00"


def test_control_characters_of_a_file_never_reach_a_message(tmp_path: Path) -> None:
    from rich.console import Console

    from albertqa.data.check_display import render_check

    bad = [
        bare_row(id=f"{ESCAPES}1", answers=[{"text": f"duke{ESCAPES}", "answer_start": 3}]),
        bare_row(id=f"{ESCAPES}2", question="Else?", answers=[{"text": "duke", "answer_start": 3}]),
        bare_row(id=f"{ESCAPES}2", question="More?"),
        bare_row(id="3", question=7, **{ESCAPES: 1}),
        bare_row(id="4", answers={ESCAPES: 1}),
        bare_row(id="5", question="Four?", is_impossible=ESCAPES),
        bare_row(id="6", question="Five?", answers=f"[{ESCAPES}"),
    ]
    files = [write_lines(tmp_path / "c.jsonl", bad), write_lines(tmp_path / "d.jsonl", [bad[1]])]
    write_json(tmp_path / "version.json", {"version": ESCAPES, "data": [bare_row()]})
    files += [write_lines(tmp_path / "keys.jsonl", [{ESCAPES: 1, "question": "Q?"}] * 2)]
    (tmp_path / "head.csv").write_text(f"id,question,{ESCAPES[:-3]}\na,b,c\n")
    stream = io.StringIO()
    whole = [*files, tmp_path / "head.csv", f"{tmp_path}/\x1b[31m", tmp_path / "version.json"]
    report = check_files(whole, write_repaired=tmp_path / "out")
    render_check(report, Console(file=stream, width=80, force_terminal=False))
    assert all(line.isprintable() for line in stream.getvalue().split("\n"))
    for path in whole[:-1]:
        with pytest.raises(DataError) as caught:
            load_examples(path)
        assert str(caught.value).isprintable()


def test_every_error_of_the_package_is_printable() -> None:
    assert str(AlbertQAError(f"run {ESCAPES}: wrong")).isprintable()
    assert printable("Käthe 東京 😀") == "Käthe 東京 😀"
    assert printable("a\x1b[31m\n\ud800") == "a\\x1b[31m\\n\\ud800"


# What is no file


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no FIFOs")
def test_a_fifo_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "fifo.json"
    os.mkfifo(path)
    found: list[str] = []
    thread = threading.Thread(
        target=lambda: found.extend(problem.message for problem in read(path).problems), daemon=True
    )
    thread.start()
    thread.join(timeout=20)
    assert found == ["expected a regular file or a folder saved by Dataset.save_to_disk"]


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="this system has no /dev/zero")
def test_devices_are_refused() -> None:
    for device in ("/dev/zero", "/dev/null", "/dev/stdin"):
        assert [problem.kind for problem in read(device).problems] == ["unreadable-file"]


def test_a_context_of_many_megabytes_is_read_in_seconds(tmp_path: Path) -> None:
    context = "Rollo came. " * 500_000
    row = {"id": "a", "question": "Who?", "context": context, "answers": ["Rollo", "rollO CAME", "x" * 1000]}
    path = write_lines(
        tmp_path / "long.jsonl", [row, {**row, "id": "b", "answers": [{"text": "came", "answer_start": 5}]}]
    )
    assert {problem.kind for problem in read(path).problems} <= {
        "ambiguous-answer-start", "answer-not-in-context", "duplicate-question",
    }  # fmt: skip


def test_squad_json_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "out.json"
    write_squad_json(path, EXAMPLES)
    assert load_examples(path) == EXAMPLES
    assert CONTEXT in path.read_text(encoding="utf-8")
    with pytest.raises(DataError, match="cannot be written"):
        write_squad_json(tmp_path / "none" / "out.json", EXAMPLES)
