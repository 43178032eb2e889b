"""Answers to the questions of a file, in every format, with or without golds."""

import csv
import dataclasses
import gzip
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from albertqa.data.example import Example
from albertqa.data.formats.squad_json import squad_document
from albertqa.data.reading import load_examples

from .conftest import Run


@pytest.fixture(scope="module")
def asked() -> list[Example]:
    return load_examples("starter:validation", limit=4)


@pytest.fixture(scope="module")
def expected(trained: Path) -> dict[str, str]:
    found: dict[str, str] = json.loads((trained / "predictions.json").read_text())
    return dict(list(found.items())[:4])


def write_squad(path: Path, asked: list[Example]) -> None:
    path.write_text(json.dumps(squad_document(asked)))


def write_squad_without_answers(path: Path, asked: list[Example]) -> None:
    document = squad_document(asked)
    for article in document["data"]:  # type: ignore[attr-defined]
        for paragraph in article["paragraphs"]:
            for question in paragraph["qas"]:
                del question["answers"]
    path.write_text(json.dumps(document))


def write_squad_with_wrong_answers(path: Path, asked: list[Example]) -> None:
    moved = [
        dataclasses.replace(one, golds=tuple(dataclasses.replace(gold, answer_start=0) for gold in one.golds))
        for one in asked
    ]
    path.write_text(json.dumps(squad_document(moved)))


def rows(asked: list[Example]) -> list[dict[str, str]]:
    return [{"id": one.id, "question": one.question, "context": one.context} for one in asked]


def write_jsonl(path: Path, asked: list[Example]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows(asked)))


def write_csv(path: Path, asked: list[Example]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["id", "question", "context"])
        writer.writeheader()
        writer.writerows(rows(asked))


def write_parquet(path: Path, asked: list[Example]) -> None:
    parquet.write_table(pa.Table.from_pylist(rows(asked)), path)


def write_gzip(path: Path, asked: list[Example]) -> None:
    path.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in rows(asked)).encode()))


FORMATS: dict[str, Callable[[Path, list[Example]], None]] = {
    "squad.json": write_squad,
    "without.json": write_squad_without_answers,
    "wrong.json": write_squad_with_wrong_answers,
    "rows.jsonl": write_jsonl,
    "rows.csv": write_csv,
    "rows.parquet": write_parquet,
    "rows.jsonl.gz": write_gzip,
}


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_is_answered_as_evaluate_answers(
    run: Run, trained: Path, tmp_path: Path, asked: list[Example], expected: dict[str, str], name: str
) -> None:
    file, output = tmp_path / name, tmp_path / "predictions.json"
    FORMATS[name](file, asked)
    code, out, err = run("answer", trained, "--input", file, "--output", output)
    assert (code, err) == (0, "")
    assert out == f"4 answers: {output}\n"
    assert json.loads(output.read_text()) == expected
    code, _, err = run("score", output, "starter:validation", "--json")
    assert code == 0
    assert "has no prediction for 551 ids" in err
    assert "unknown" not in err


def test_answers_as_rows_have_everything(
    run: Run, trained: Path, tmp_path: Path, asked: list[Example], expected: dict[str, str]
) -> None:
    file, output = tmp_path / "rows.csv", tmp_path / "answers.jsonl"
    write_csv(file, asked[:1])
    code, out, _ = run("answer", trained, "--input", file, "--output", output, "--n-best", 3, "--json")
    assert (code, out) == (0, "")
    (row,) = map(json.loads, output.read_text().splitlines())
    assert (row["id"], row["question"], row["text"]) == (asked[0].id, asked[0].question, expected[asked[0].id])
    assert asked[0].context[row["start_char"] : row["end_char"]] == row["text"]
    assert len(row["n_best"]) == 3


def test_a_table_in_its_own_words(run: Run, trained: Path, tmp_path: Path, asked: list[Example]) -> None:
    file = tmp_path / "fragen.csv"
    with file.open("w", newline="", encoding="cp1252") as stream:
        writer = csv.writer(stream, delimiter=";")
        writer.writerow(["Nr", "Frage", "Text"])
        writer.writerow(["7", asked[0].question, f"Ä: {asked[0].context}"])
    words = ["--question-column", "Frage", "--context-column", "Text", "--id-column", "Nr", "--encoding", "cp1252"]
    code, out, err = run("answer", trained, "--input", file, *words, "--delimiter", ";")
    assert (code, err) == (0, "")
    assert json.loads(out)["id"] == "7"


def test_official_form_needs_ids_of_their_own(run: Run, trained: Path, tmp_path: Path) -> None:
    file = tmp_path / "ask.jsonl"
    row = {"question": "Who?", "context": "It was Rollo."}
    file.write_text(json.dumps(row) + "\n" + json.dumps(row) + "\n")
    output = tmp_path / "predictions.json"
    code, _, _ = run("answer", trained, "--input", file, "--output", output)
    assert code == 0
    assert list(json.loads(output.read_text())) == ["row-1", "row-2"]


def test_ids_from_standard_input_are_told_apart_as_they_are_written(
    run: Run, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [json.dumps({"id": name, "question": "Who?", "context": "It was Rollo."}) for name in (1, "1")]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("\n".join(lines).encode())))
    output = tmp_path / "predictions.json"
    code, _, err = run("answer", trained, "--input", "-", "--output", output)
    assert (code, err.count("\n")) == (2, 1)
    assert "2 questions have the id 1" in err
    assert not output.exists()


@pytest.mark.parametrize("output", ["missing/predictions.json", "taken.json"])
def test_a_file_that_cannot_be_written_is_refused_before_the_first_answer(
    run: Run, tmp_path: Path, output: str
) -> None:
    (tmp_path / "taken.json").mkdir()
    code, out, err = run("answer", "no-model", "--input", "no-file", "--output", tmp_path / output)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("albertqa: --output: ")


@pytest.mark.parametrize("name", ["wrong.json.txt", "one.xml"])
def test_what_is_no_data_is_one_line(run: Run, trained: Path, tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    file.write_text("<xml>")
    code, out, err = run("answer", trained, "--input", file)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert str(file) in err


def test_a_file_that_is_not_there_is_not_taken_for_a_model(run: Run, trained: Path, tmp_path: Path) -> None:
    code, _, err = run("answer", trained, "--input", tmp_path / "none.json")
    assert code == 2
    assert err == f"albertqa: {tmp_path}/none.json: there is no such file or folder\n"
