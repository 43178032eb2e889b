"""Every form of the same data set gives the same examples."""

import csv
import gzip
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from albertqa.data import Example, Gold, ReadOptions, load_examples, read, squad_document
from albertqa.errors import DataError

from .cases import EXAMPLES, UNANSWERABLE, V2_EXAMPLES, bare_row, row, rows, write_json, write_lines, write_squad

Writer = Callable[[Path, Sequence[Example]], Path]


def _list(folder: Path, examples: Sequence[Example]) -> Path:
    return write_json(folder / "list.json", rows(examples))


def _data_rows(folder: Path, examples: Sequence[Example]) -> Path:
    return write_json(folder / "run_qa.json", {"version": "0.1", "data": rows(examples)})


def _lines(folder: Path, examples: Sequence[Example]) -> Path:
    return write_lines(folder / "rows.jsonl", rows(examples))


def _lines_named_json(folder: Path, examples: Sequence[Example]) -> Path:
    return write_lines(folder / "rows.json", rows(examples))


def _article_list(folder: Path, examples: Sequence[Example]) -> Path:
    return write_json(folder / "articles.json", squad_document(examples)["data"])


def _article_lines(folder: Path, examples: Sequence[Example]) -> Path:
    return write_lines(folder / "articles.jsonl", squad_document(examples)["data"])


def _with_mark(folder: Path, examples: Sequence[Example]) -> Path:
    path = folder / "mark.json"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(squad_document(examples)).encode())
    return path


def _pretty(folder: Path, examples: Sequence[Example]) -> Path:
    path = folder / "pretty.json"
    path.write_text("\n\n" + json.dumps(squad_document(examples), indent=2, ensure_ascii=False), encoding="utf-8")
    return path


def _gzip(folder: Path, examples: Sequence[Example]) -> Path:
    path = folder / "squad.json.gz"
    data = json.dumps(squad_document(examples)).encode()
    path.write_bytes(gzip.compress(data[:50]) + gzip.compress(data[50:]))  # two members, as `cat a.gz b.gz` gives
    return path


def _gzip_lines_without_suffix(folder: Path, examples: Sequence[Example]) -> Path:
    path = folder / "rows"
    path.write_bytes(gzip.compress(_lines(folder, examples).read_bytes()))
    return path


def _table(path: Path, examples: Sequence[Example], delimiter: str, cell: Callable[[Any], str]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, delimiter=delimiter)
        writer.writerow(["", *row(examples[0])])  # pandas' index column comes first and has no name
        for number, values in enumerate(rows(examples)):
            values["answers"] = cell(values["answers"])
            writer.writerow([number, *values.values()])
    return path


def _csv_json_cells(folder: Path, examples: Sequence[Example]) -> Path:
    return _table(folder / "cells.csv", examples, ",", json.dumps)


def _csv_python_cells(folder: Path, examples: Sequence[Example]) -> Path:
    return _table(folder / "python.csv", examples, ",", repr)


def _csv_semicolons(folder: Path, examples: Sequence[Example]) -> Path:
    return _table(folder / "excel.csv", examples, ";", json.dumps)


def _tsv(folder: Path, examples: Sequence[Example]) -> Path:
    return _table(folder / "rows.tsv", examples, "\t", json.dumps)


def _csv_gzip(folder: Path, examples: Sequence[Example]) -> Path:
    path = folder / "cells.csv.gz"
    path.write_bytes(gzip.compress(_csv_json_cells(folder, examples).read_bytes()))
    return path


def _parquet(folder: Path, examples: Sequence[Example]) -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = folder / "rows.parquet"
    pq.write_table(pa.Table.from_pylist([{**values, "embedding": [0.5]} for values in rows(examples)]), path)
    return path


def _saved_folder(folder: Path, examples: Sequence[Example]) -> Path:
    import datasets

    path = folder / "saved"
    datasets.Dataset.from_list(rows(examples)).save_to_disk(str(path))
    return path


def _squad(folder: Path, examples: Sequence[Example]) -> Path:
    return write_squad(folder / "squad.json", examples)


WRITERS = [
    _squad,
    _pretty,
    _with_mark,
    _gzip,
    _list,
    _data_rows,
    _lines,
    _lines_named_json,
    _gzip_lines_without_suffix,
    _article_list,
    _article_lines,
    _csv_json_cells,
    _csv_python_cells,
    _csv_semicolons,
    _csv_gzip,
    _tsv,
    _parquet,
    _saved_folder,
]


@pytest.mark.parametrize("write", WRITERS, ids=lambda write: write.__name__.strip("_"))
@pytest.mark.parametrize("examples", [EXAMPLES, [*EXAMPLES, UNANSWERABLE]], ids=["v1", "v2"])
def test_every_file_form_gives_the_same_examples(write: Writer, examples: list[Example], tmp_path: Path) -> None:
    path = write(tmp_path, examples)
    assert load_examples(path) == examples
    assert load_examples(str(path)) == examples
    assert read(path).problems == ()


def test_rows_in_memory_give_the_same_examples() -> None:
    assert load_examples(rows(V2_EXAMPLES)) == V2_EXAMPLES


@pytest.mark.parametrize("as_arrays", [False, True])
def test_a_data_frame_gives_the_same_examples(as_arrays: bool) -> None:
    pandas = pytest.importorskip("pandas")
    import numpy as np

    values = rows(V2_EXAMPLES)
    if as_arrays:  # what read_parquet gives
        for value in values:
            value["answers"] = {key: np.array(items) for key, items in value["answers"].items()}
    frame = pandas.DataFrame(values).set_index(np.arange(7, 11))
    assert load_examples(frame) == V2_EXAMPLES
    assert read(frame).name == "data frame"


def test_missing_values_of_a_data_frame_are_absent_values() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(
        {
            "id": ["a", "b", pandas.NA],
            "question": ["Who?", "When?", "What?"],
            "context": ["Rollo came.", "Rollo came.", "Rollo came."],
            "answer_text": ["Rollo", float("nan"), "came"],
            "answer_start": [0, None, 6],
            "title": [pandas.NA, None, float("nan")],
        }
    )
    loaded = load_examples(frame, options=ReadOptions(empty_answers="unanswerable"))
    assert [(example.id, example.golds, example.title) for example in loaded] == [
        ("a", (Gold("Rollo", 0),), ""),
        ("b", (), ""),
        ("row-3", (Gold("came", 6),), ""),
    ]


def test_pandas_own_csv_is_read_back(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    path = tmp_path / "frame.csv"
    pandas.DataFrame(rows(EXAMPLES)).to_csv(path)
    assert load_examples(path) == EXAMPLES


def test_a_dataset_gives_the_same_examples_whatever_its_format_and_order() -> None:
    import datasets

    dataset = datasets.Dataset.from_list(rows([*EXAMPLES, UNANSWERABLE]))
    assert load_examples(dataset) == [*EXAMPLES, UNANSWERABLE]
    assert load_examples(dataset.with_format("numpy")) == [*EXAMPLES, UNANSWERABLE]
    assert load_examples(dataset.select([2, 0])) == [EXAMPLES[2], EXAMPLES[0]]
    assert load_examples(dataset.to_iterable_dataset()) == [*EXAMPLES, UNANSWERABLE]


def test_a_split_is_taken_from_a_dataset_dict_and_its_folder(tmp_path: Path) -> None:
    import datasets

    both = datasets.DatasetDict(
        train=datasets.Dataset.from_list(rows(EXAMPLES[:2])), dev=datasets.Dataset.from_list(rows(EXAMPLES[2:]))
    )
    folder = tmp_path / "both"
    both.save_to_disk(str(folder))
    for source in (both, folder, str(folder)):
        assert load_examples(source, split="train") == EXAMPLES[:2]
    assert load_examples(f"{folder}:dev") == EXAMPLES[2:]
    assert [problem.kind for problem in read(both).problems] == ["unknown-structure"]
    assert "found train, dev; name one, as in NAME:train" in read(folder).problems[0].message
    assert "expected the split test, found train, dev" in read(both, split="test").problems[0].message


def test_answers_may_be_objects_texts_or_flat_columns() -> None:
    stated = {"text": "Rollo", "answer_start": 45}
    forms = [
        {"answers": [stated]},
        {"answers": stated},
        {"answers": {"text": ["Rollo"], "answer_start": [45.0]}},
        {"answers": json.dumps([stated])},
        {"answers": repr(stated)},
        {"answers": ..., "answer_text": "Rollo", "answer_start": 45},
        {"answers": None, "answer_text": ["Rollo"], "answer_start": [45]},
    ]
    for form in forms:
        result = read([bare_row(**form)])
        assert result.problems == ()
        assert result.examples[0].golds == (Gold("Rollo", 45),)


@pytest.mark.parametrize("answers", [None, [], {"text": [], "answer_start": []}, float("nan"), "null", "[]"])
def test_null_or_empty_answers_mean_no_answer(answers: object) -> None:
    result = read([bare_row(answers=answers)])
    assert result.problems == ()
    assert result.examples[0].golds == ()


def test_an_empty_answer_text_means_what_the_user_says(tmp_path: Path) -> None:
    path = tmp_path / "flat.csv"
    path.write_text("id,question,context,answer_text,answer_start\na,Who?,Rollo came,Rollo,0\nb,Why?,Rollo came,,\n")
    with pytest.raises(
        DataError, match="add --empty-answers unanswerable, and to leave such questions out, --empty-an"
    ):
        load_examples(path)
    unanswerable = load_examples(path, options=ReadOptions(empty_answers="unanswerable"))
    assert [example.golds for example in unanswerable] == [(Gold("Rollo", 0),), ()]
    skipped = load_examples(path, options=ReadOptions(empty_answers="skip"))
    assert [example.id for example in skipped] == ["a"]


def test_plausible_answers_and_unknown_keys_are_ignored(tmp_path: Path) -> None:
    question = {
        "id": "q",
        "question": "Who?",
        "answers": [],
        "is_impossible": True,
        "plausible_answers": [{"text": "Rollo", "answer_start": 45}],
        "annotator": 7,
    }
    document = {
        "version": "v2.0",
        "data": [{"title": "T", "paragraphs": [{"context": EXAMPLES[0].context, "qas": [question]}]}],
    }
    result = read(write_json(tmp_path / "v2.json", document))
    assert result.problems == ()
    assert result.examples == [Example("q", "Who?", EXAMPLES[0].context, (), "T")]


def test_questions_on_one_context_share_one_string(tmp_path: Path) -> None:
    for write in (_squad, _lines, _csv_json_cells, _parquet):
        first, second, _ = load_examples(write(tmp_path, EXAMPLES))
        assert first.context is second.context


def test_a_limit_reads_and_checks_only_the_first_questions(tmp_path: Path) -> None:
    broken = row(EXAMPLES[2], question=None)
    path = write_lines(tmp_path / "rows.jsonl", [*rows(EXAMPLES[:2]), broken])
    assert load_examples(path, limit=2) == EXAMPLES[:2]


def test_cells_of_any_size_are_read_and_the_csv_modules_limit_is_put_back(tmp_path: Path) -> None:
    context = "Rollo " + "x" * 200_000
    path = tmp_path / "long.csv"
    path.write_text(f'id,question,context,answer_text,answer_start\na,Who?,"{context}",Rollo,0\n')
    before = csv.field_size_limit()
    assert load_examples(path)[0].context == context
    assert csv.field_size_limit() == before


def test_reading_a_file_imports_neither_pandas_nor_datasets(tmp_path: Path) -> None:
    import subprocess

    path = _squad(tmp_path, EXAMPLES)
    code = (
        "import sys; from albertqa.data import load_examples; load_examples(sys.argv[1]);"
        "print([name for name in ('pandas', 'datasets', 'pyarrow', 'torch', 'numpy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
