"""Small files as people really bring them, and their sisters in other languages and formats: each kind reads right."""

import csv
import gzip
import io
import json
import logging
import zipfile
from pathlib import Path
from typing import Any

import pytest

from albertqa.data import Gold, ReadOptions, check_files, load_examples, load_several, read
from albertqa.errors import DataError

from .cases import write_json, write_lines

FERRY = "The ferry Aurora sailed from Lindholm in 1911. In Lindholm the ferry Aurora was painted blue by Ida Krantz."
LIGHTHOUSE = "Der Leuchtturm „Weiße Möwe“ steht seit 1907 auf Rügen – gebaut von Käthe Lürßen."


def golds(path: Path, **options: Any) -> dict[str, tuple[Gold, ...]]:
    return {one.id: one.golds for one in load_examples(path, options=ReadOptions(**options))}


def only_problem(path: Path) -> Any:
    (problem,) = read(path).problems
    return problem


# MRQA


@pytest.mark.parametrize("name", ["noheader.jsonl", "Ferries.jsonl.gz"])
def test_mrqa_is_read_with_its_ids_and_inclusive_spans(shared_cases: Path, name: str) -> None:
    path = shared_cases / "formats" / name
    assert read(path).format == "mrqa"
    assert read(path).problems == ()
    assert golds(path) == {
        "a1b2c3": (Gold("Lindholm", 50),),
        "d4e5f6": (Gold("Ida Krantz", 96),),
        "g7": (Gold("1911", 41),),
    }


def mrqa_line(context: str, qid: str, answers: list[str], *detected: tuple[str, list[list[int]]]) -> dict[str, Any]:
    spans = [{"text": text, "char_spans": spans, "token_spans": []} for text, spans in detected]
    question = {"qid": qid, "question": "Wer?", "answers": answers, "detected_answers": spans}
    return {"id": "", "context": context, "qas": [question]}


def test_mrqa_in_german_with_several_spans_and_another_spelling(tmp_path: Path) -> None:
    twice = "Käthe Lürßen kam. Käthe Lürßen ging."
    path = write_lines(
        tmp_path / "german.json",
        [
            {"header": {"dataset": "Küste"}},
            mrqa_line(LIGHTHOUSE, "de1", ["KÄTHE"], ("käthe  lürßen", [[67, 78]])),
            mrqa_line(twice, "de2", ["Käthe"], ("Käthe Lürßen", [[18, 29], [0, 11]])),
        ],
    )
    assert golds(path) == {
        "de1": (Gold("Käthe Lürßen", 67),),
        "de2": (Gold("Käthe Lürßen", 18), Gold("Käthe Lürßen", 0)),
    }


def test_mrqa_aliases_are_no_spans(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "m.jsonl", [mrqa_line(FERRY, "x", ["Lindholm"])] * 2)
    assert "answerable" not in str(read(path).examples)
    broken = mrqa_line(FERRY, "y", ["Lindholm"], ("Lindholm", [[51, 58]]))
    assert [problem.kind for problem in read(write_lines(tmp_path / "n.jsonl", [broken])).errors] == [
        "ambiguous-answer-start"
    ]


def test_mrqa_in_one_json_list_is_read_too(tmp_path: Path) -> None:
    path = write_json(tmp_path / "list.json", [mrqa_line(FERRY, "x", [], ("1911", [[41, 44]]))])
    assert golds(path) == {"x": (Gold("1911", 41),)}


# Questions without an answer


def test_an_export_with_empty_texts_has_questions_without_an_answer(shared_cases: Path, tmp_path: Path) -> None:
    path = shared_cases / "formats/squad-export.json"
    assert golds(path) == {"4": (Gold("1911", 41),), "6": (), "8": ()}
    copy = check_files([path], write_repaired=tmp_path / "out.json").copies[0]
    assert (copy.num_questions, copy.num_dropped) == (3, 0)
    assert json.loads((tmp_path / "out.json").read_text())["version"] == "v2.0"


NO_ANSWER: dict[str, dict[str, Any]] = {
    "empty lists": {"answers": {"text": [], "answer_start": []}},
    "an empty list": {"answers": []},
    "null": {"answers": None},
    "an empty text at -1": {"answers": {"text": [""], "answer_start": [-1]}},
    "impossible with an empty text": {"answers": {"text": [""], "answer_start": [0]}, "is_impossible": True},
    "impossible with lists": {"answers": {"text": [], "answer_start": []}, "is_impossible": True},
    "flat, impossible": {"answer_text": "", "answer_start": None, "is_impossible": True},
    "flat at -1": {"answer_text": "", "answer_start": -1},
}


def write_rows_as(form: str, folder: Path, rows: list[dict[str, Any]]) -> Path:
    """Write rows as JSON lines, a JSON list, SQuAD's JSON, CSV, Parquet or Excel."""
    path = folder / f"rows.{form}"
    if form == "jsonl":
        return write_lines(path, rows)
    if form == "json":
        return write_json(path, rows)
    if form == "parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.Table.from_pylist(rows), path)
        return path
    names = list(dict.fromkeys(name for row in rows for name in row))
    cells = [[_cell(row.get(name)) for name in names] for row in rows]
    if form == "xlsx":
        openpyxl = pytest.importorskip("openpyxl", reason="needs the extra xlsx")
        book = openpyxl.Workbook()
        for values in (names, *cells):
            book.active.append(values)
        book.save(path)
        return path
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, delimiter="\t" if form == "tsv" else ",")
        writer.writerows([names, *cells])
    return path


def _cell(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, dict | list) or value is None else value


FORMS = ["jsonl", "json", "parquet", "csv", "tsv", "xlsx"]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("stated", NO_ANSWER.values(), ids=NO_ANSWER)
def test_no_answer_is_the_same_in_every_format(stated: dict[str, Any], form: str, tmp_path: Path) -> None:
    rows = [{"id": str(number), "question": f"Wer {number}?", "context": LIGHTHOUSE, **stated} for number in range(2)]
    if form in ("csv", "tsv", "xlsx"):
        rows = [{key: value for key, value in row.items() if value is not None or key == "answers"} for row in rows]
    result = read(write_rows_as(form, tmp_path, rows))
    assert [problem for problem in result.problems if problem.kind != "number-as-id"] == []
    assert [one.golds for one in result.examples] == [(), ()]


@pytest.mark.parametrize("form", FORMS)
def test_an_empty_answer_is_nothing_that_may_be_guessed(form: str, tmp_path: Path) -> None:
    rows = [
        {"id": "a1", "question": "Wann?", "context": LIGHTHOUSE, "answer_text": "1907"},
        {"id": "a2", "question": "Warum?", "context": LIGHTHOUSE, "answer_text": ""},
        {"id": "a3", "question": "Wozu?", "context": LIGHTHOUSE, "answer_text": " "},
    ]
    path = write_rows_as(form, tmp_path, rows)
    problems = [problem for problem in read(path).problems if problem.is_error]
    assert [(problem.kind, problem.question_id) for problem in problems] == [
        ("empty-answer", "a2"),
        ("empty-answer", "a3"),
    ]
    assert problems[0].message == (
        "expected an answer, found ''; if it means that the question has none, add --empty-answers unanswerable, and "
        "to leave such questions out, --empty-answers skip"
    )
    at_1907 = (Gold("1907", LIGHTHOUSE.index("1907")),)
    assert golds(path, empty_answers="unanswerable") == {"a1": at_1907, "a2": (), "a3": ()}
    assert golds(path, empty_answers="skip") == {"a1": at_1907}
    report = check_files([path], options=ReadOptions(empty_answers="skip"))
    assert {group.kind: group.count for group in report.groups} == {"skipped-question": 2, "missing-answer-start": 1}


def test_check_and_training_agree_where_every_question_is_left_out(tmp_path: Path) -> None:
    row = {"id": "a", "question": "Wer?", "context": LIGHTHOUSE, "answer_text": ""}
    path, skip = write_lines(tmp_path / "rows.jsonl", [row]), ReadOptions(empty_answers="skip")
    assert not check_files([path], options=skip).ok
    with pytest.raises(DataError, match="expected at least one question, but all 1 were left out as asked"):
        load_examples(path, options=skip)


def test_what_is_stated_otherwise_is_not_chosen_away() -> None:
    row = {"id": "a", "question": "Wer?", "context": LIGHTHOUSE, "answer_text": "", "is_impossible": False}
    for choice in ("refuse", "unanswerable"):
        assert [one.kind for one in read([row], options=ReadOptions(empty_answers=choice)).errors] == ["empty-answer"]  # type: ignore[arg-type]
    mixed = {
        "id": "a",
        "question": "Wer?",
        "context": LIGHTHOUSE,
        "answers": {"text": ["1907", ""], "answer_start": [39, -1]},
    }
    assert [one.kind for one in read([mixed], options=ReadOptions(empty_answers="unanswerable")).errors] == [
        "empty-answer"
    ]


@pytest.mark.parametrize("form", FORMS)
def test_plausible_answers_are_never_golds(form: str, tmp_path: Path) -> None:
    row = {
        "id": "p", "question": "Wer?", "context": LIGHTHOUSE, "answers": {"text": [], "answer_start": []},
        "is_impossible": True, "plausible_answers": {"text": ["1907"], "answer_start": [39]},
    }  # fmt: skip
    assert golds(write_rows_as(form, tmp_path, [row, {**row, "id": "q", "question": "Was?"}])) == {"p": (), "q": ()}


# Flattened columns, printed cells


@pytest.mark.parametrize("name", ["flat.csv", "flat.parquet", "hub.csv"])
def test_flattened_and_printed_answers_are_read(shared_cases: Path, name: str) -> None:
    assert golds(shared_cases / "formats" / name) == {"f1": (Gold("1911", 41),), "f2": (Gold("Ida Krantz", 96),)}
    assert read(shared_cases / "formats" / name).problems == ()


@pytest.mark.parametrize("form", [*FORMS, "dataset"])
def test_flattened_columns_are_read_in_every_format(form: str, tmp_path: Path) -> None:
    rows = [
        {
            "id": f"f{at}",
            "question": "Wer?" * at,
            "context": LIGHTHOUSE,
            "answers": {"text": texts, "answer_start": starts},
        }
        for at, (texts, starts) in enumerate([(["1907", "seit 1907"], [39, 34]), ([], []), (["Rügen"], [48])], start=1)
    ]
    flat = [
        {
            **{key: row[key] for key in ("id", "question", "context")},
            **{f"answers.{k}": v for k, v in row["answers"].items()},
        }
        for row in rows
    ]
    expected = {"f1": (Gold("1907", 39), Gold("seit 1907", 34)), "f2": (), "f3": (Gold("Rügen", 48),)}
    if form == "dataset":
        import datasets

        flattened = datasets.Dataset.from_list(rows).flatten()
        assert {one.id: one.golds for one in load_examples(flattened)} == expected
        flattened.to_csv(tmp_path / "flat.csv")
        flattened.to_parquet(tmp_path / "flat.parquet")
        flattened.to_json(tmp_path / "flat.jsonl")
        assert [golds(tmp_path / f"flat.{suffix}") for suffix in ("csv", "parquet", "jsonl")] == [expected] * 3
    else:
        assert golds(write_rows_as(form, tmp_path, flat)) == expected


@pytest.mark.parametrize("index", [True, False])
def test_numpys_print_form_is_read_back(index: bool, tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    import numpy as np

    answers = [
        {"text": np.array(["1907", 'von "Käthe"'][:many], dtype=object), "answer_start": np.array([39, 63][:many])}
        for many in (1, 2, 0)
    ]
    context = LIGHTHOUSE.replace("Käthe", '"Käthe"')
    frame = pandas.DataFrame({"id": ["a", "b", "c"], "question": ["A?", "B?", "C?"], "context": [context] * 3})
    frame["answers"] = answers
    frame.to_csv(tmp_path / "printed.csv", index=index)
    expected = {"a": (Gold("1907", 39),), "b": (Gold("1907", 39), Gold('von "Käthe"', 63)), "c": ()}
    assert golds(tmp_path / "printed.csv") == expected
    # A bare array is printed without commas, which Python would read as one text.
    flat = frame.drop(columns="answers")
    flat["answers.text"] = [str(one["text"]) for one in answers]
    flat["answers.answer_start"] = [str(one["answer_start"]) for one in answers]
    flat.to_csv(tmp_path / "bare.csv", sep="\t", index=index)
    assert golds(tmp_path / "bare.csv") == expected


# Other schemas


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("coqa.json", "CoQA's conversations (keys source, id, filename, story, questions, answers, name)"),
        ("label-studio.json", "an export of Label Studio (keys id, annotations, data)"),
    ],
)
def test_another_schema_is_one_line_for_the_file(shared_cases: Path, name: str, what: str) -> None:
    assert only_problem(shared_cases / "formats" / name).message == (
        "expected SQuAD's JSON (data, paragraphs, qas) or rows with question, context and answers; found "
        f"{what}. Name the keys of rows with --question-column, --context-column and --answer-column"
    )


FOREIGN: dict[str, tuple[dict[str, Any], str]] = {
    "HotpotQA": (
        {"_id": "5a", "question": "Q?", "answer": "yes", "supporting_facts": [], "context": [["T", ["S."]]]},
        "HotpotQA",
    ),
    "DROP": ({"passage": "P.", "qa_pairs": [{"question": "Q?", "answer": {}}]}, "DROP"),
    "Natural Questions": ({"document_text": "D", "question_text": "Q", "annotations": []}, "Natural Questions"),
    "Doccano": ({"id": 1, "text": "T", "label": [[0, 1, "A"]]}, "an export of an annotation tool (Doccano, Label Stu"),
    "Alpaca": ({"instruction": "I", "input": "", "output": "O"}, "instruction data (Alpaca)"),
    "TyDi QA": ({"document_plaintext": "D", "question_text": "Q"}, "TyDi QA"),
    "unknown": ({"frage": "Wer?", "absatz": "A"}, "other records (keys frage, absatz)"),
}


@pytest.mark.parametrize(("record", "what"), FOREIGN.values(), ids=FOREIGN)
def test_sisters_of_other_schemas_are_one_line_too(record: dict[str, Any], what: str, tmp_path: Path) -> None:
    for path in (
        write_lines(tmp_path / "f.jsonl", [record] * 30),
        write_json(tmp_path / "f.json", [record] * 30),
        write_json(tmp_path / "data.json", {"data": [record] * 30}),
    ):
        problem = only_problem(path)
        assert problem.kind == "unknown-structure"
        assert f"found {what}" in problem.message
        with pytest.raises(DataError) as caught:
            load_examples(path)
        assert str(caught.value).count("expected") == 1


@pytest.mark.parametrize(
    ("document", "what"),
    [
        ({"p1": {"passage": "P.", "qa_pairs": []}, "p2": {"passage": "Q.", "qa_pairs": []}}, "objects by id: DROP"),
        ({"Data": [], "Domain": "Web"}, "TriviaQA"),
        ({"features": [], "rows": [{"row": {}}]}, "a page of the Hub's data viewer"),
        ({"columns": ["question"], "index": [0], "data": [["Q?"]]}, "pandas' split form"),
    ],
)
def test_other_documents_are_named(document: object, what: str, tmp_path: Path) -> None:
    assert f"found {what}" in only_problem(write_json(tmp_path / "d.json", document)).message


def test_ids_of_twenty_digits_are_read_as_text(tmp_path: Path) -> None:
    rows = [
        {"id": 98765432109876543210 + n, "question": f"{n}?", "context": LIGHTHOUSE, "answers": ["1907"]}
        for n in range(2)
    ]
    assert list(golds(write_json(tmp_path / "ids.json", rows))) == ["98765432109876543210", "98765432109876543211"]


def test_nested_questions_with_other_keys_are_one_line_and_can_be_named(tmp_path: Path) -> None:
    questions = [{"query_text": f"哪里{at}?", "answers": ["中国北方"]} for at in range(3)]
    paragraphs = [
        {
            "context_text": "长城位于中国北方。",
            "qas": [{**one, "query_id": f"c{n}-{at}"} for at, one in enumerate(questions)],
        }
        for n in range(3)
    ]
    path = write_json(tmp_path / "cmrc.json", paragraphs)
    assert only_problem(path).kind == "unknown-structure"
    found = golds(path, question_column="query_text", context_column="context_text", id_column="query_id")
    assert found == {f"c{number}-{at}": (Gold("中国北方", 4),) for number in range(3) for at in range(3)}


# What is no data


def test_a_git_lfs_pointer_is_named(shared_cases: Path, tmp_path: Path) -> None:
    problem = only_problem(shared_cases / "not-data/lfs.json")
    assert (problem.kind, problem.message) == (
        "not-fetched", "a Git LFS pointer, not the data itself; run 'git lfs pull' in its repository",
    )  # fmt: skip
    pointer = (shared_cases / "not-data/lfs.json").read_bytes()
    for name in ("train.parquet", "train.csv.gz", "train.xlsx", "train"):
        (tmp_path / name).write_bytes(pointer)
        assert "git lfs pull" in only_problem(tmp_path / name).message


def test_xz_is_named(shared_cases: Path) -> None:
    problem = only_problem(shared_cases / "not-data/d.json.xz")
    assert (problem.kind, problem.message) == ("packed-file", "compressed with xz; unpack it (xz -d)")


def _zip(name: str) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr(name, "{}")
    return stream.getvalue()


PACKED = {
    "d.json.bz2": (b"BZh91AY&SY", "compressed with bzip2"),
    "d.jsonl.zst": (b"\x28\xb5\x2f\xfd\x00", "compressed with Zstandard"),
    "d.csv.lz4": (b"\x04\x22\x4d\x18\x00", "compressed with LZ4"),
    "d.7z": (b"7z\xbc\xaf\x27\x1c", "compressed with 7-Zip"),
    "d.zip": (_zip("train.json"), "a zip archive; unpack it (it has train.json)"),
    "d.json": (_zip("train.json"), "a zip archive; unpack it"),
    "d.ods": (_zip("content.xml"), "an OpenDocument spreadsheet; save it as .xlsx or CSV"),
    "d.xls": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(500), "an old Excel file (.xls)"),
    "d.html": (b"\n<!DOCTYPE html><html><body>404</body></html>", "a web page, not data"),
    "d.tgz": (gzip.compress(bytes(257) + b"ustar" + bytes(250)), "a tar archive"),
    "d.parquet.gz": (gzip.compress(b"PAR1"), "compressed with gzip; unpack it"),
    "d.xz.gz": (gzip.compress(b"\xfd7zXZ\x00"), "compressed with xz"),
}


@pytest.mark.parametrize("name", PACKED)
def test_other_packed_files_are_named(name: str, tmp_path: Path) -> None:
    data, message = PACKED[name]
    (tmp_path / name).write_bytes(data)
    assert only_problem(tmp_path / name).message.startswith(message)


# Tables


def test_excels_separator_line_is_read(shared_cases: Path, tmp_path: Path) -> None:
    assert golds(shared_cases / "not-data/excel-sep.csv") == {"a": (Gold("Rollo", 0),)}
    for number, (line, text) in enumerate(
        [('"sep=;"', "a;b?;Rollo kam, endlich;Rollo"), ("SEP=\t", "a\tb?\tRollo kam\tRollo")]
    ):
        delimiter = line.strip('"')[-1]
        path = tmp_path / f"{number}.csv"
        path.write_text(f"{line}\r\n{delimiter.join(['id', 'question', 'context', 'answer_text'])}\r\n{text}\r\n")
        assert golds(path) == {"a": (Gold("Rollo", 0),)}


@pytest.mark.parametrize("end", ["\r", "\n", "\r\n"])
def test_all_line_ends_are_read_and_those_inside_cells_kept(end: str, tmp_path: Path) -> None:
    text = f'id,question,context,answer_text{end}a,Wer?,"Rollo kam.{end}Er blieb.",Er{end}b,Wer?,Rollo kam.,Rollo{end}'
    (tmp_path / "t.csv").write_bytes(text.encode())
    first, second = load_examples(tmp_path / "t.csv")
    assert (first.context, second.id) == (f"Rollo kam.{end}Er blieb.", "b")
    rows = [{"id": str(at), "question": "Wer?", "context": f"Rollo {at}.", "answers": ["Rollo"]} for at in range(3)]
    (tmp_path / "t.jsonl").write_bytes(end.join(map(json.dumps, rows)).encode())
    assert [one.id for one in load_examples(tmp_path / "t.jsonl")] == ["0", "1", "2"]


TABLE = f"id\tquestion\tcontext\tanswer_text\na\tWer?\t{LIGHTHOUSE}\tKäthe Lürßen\n"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig", "utf-32"])
def test_a_byte_order_mark_names_the_encoding(encoding: str, tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_bytes(TABLE.encode(encoding))
    assert golds(tmp_path / "t.txt") == {"a": (Gold("Käthe Lürßen", 67),)}
    row = {"id": "a", "question": "Wer?", "context": LIGHTHOUSE, "answers": ["Käthe Lürßen"]}
    (tmp_path / "t.json").write_bytes(json.dumps([row], ensure_ascii=False).encode(encoding))
    assert golds(tmp_path / "t.json") == {"a": (Gold("Käthe Lürßen", 67),)}


@pytest.mark.parametrize(
    ("encoding", "context"),
    [("cp1252", LIGHTHOUSE), ("shift_jis", "東京は日本の首都。"), ("cp1251", "Анна живёт в Туле.")],
)
def test_another_encoding_is_refused_until_it_is_named(encoding: str, context: str, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(f"id|question|context|answer_text\na|?|{context}|{context.split()[0]}\n".encode(encoding))
    message = only_problem(path).message
    assert "name the encoding with --encoding (cp1252 gives" in message
    assert golds(path, encoding=encoding) == {"a": (Gold(context.split()[0], 0),)}
    with pytest.raises(DataError, match="encoding: expected one such as utf-8 or cp1252, found 'klingon'"):
        golds(path, encoding="klingon")


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf16_without_a_mark_is_named(encoding: str, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(TABLE.encode(encoding))
    assert only_problem(path).message.endswith(f"name the encoding with --encoding {encoding}")
    assert golds(path, encoding=encoding) == {"a": (Gold("Käthe Lürßen", 67),)}


@pytest.mark.parametrize(("given", "delimiter"), [(None, "|"), (None, ";"), ("^", "^"), ("tab", "\t"), ("\\t", "\t")])
def test_a_delimiter_is_found_or_given(given: str | None, delimiter: str, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(delimiter.join(["id", "question", "context", "answer_text"]) + "\n" + delimiter.join("aQRR"))
    assert golds(path, delimiter=given) == {"a": (Gold("R", 0),)}
    for wrong in ("", "ab", "\n", '"'):
        with pytest.raises(DataError, match="delimiter: expected one character or 'tab'"):
            golds(path, delimiter=wrong)


def test_excel_is_read_as_the_same_table_in_csv(tmp_path: Path) -> None:
    openpyxl = pytest.importorskip("openpyxl", reason="needs the extra xlsx")
    book = openpyxl.Workbook()
    book.active.append([None, "Nr", "Frage", "Text", "Antwort", "Start"])
    book.active.append([])
    book.active.append([None, 7, "Wann?", LIGHTHOUSE, 1907, 39])
    book.active.append(["x", 8, "Wo?", LIGHTHOUSE, "Rügen", None])
    notes = book.create_sheet("Notizen")
    notes.append(["nichts"])
    book.save(tmp_path / "t.xlsx")
    names = {"id_column": "Nr", "question_column": "Frage", "context_column": "Text", "answer_column": "Antwort",
             "answer_start_column": "Start"}  # fmt: skip
    assert golds(tmp_path / "t.xlsx", **names) == {"7": (Gold("1907", 39),), "8": (Gold("Rügen", 48),)}
    assert read(tmp_path / "t.xlsx").format == "xlsx"
    assert golds(tmp_path / "t.xlsx", sheet="Sheet", **names).keys() == {"7", "8"}
    assert "found nichts" in read(tmp_path / "t.xlsx", options=ReadOptions(sheet="Notizen")).problems[0].message
    missing = read(tmp_path / "t.xlsx", options=ReadOptions(sheet="Tabelle1")).problems[0].message
    assert missing == "expected the sheet 'Tabelle1', found Sheet, Notizen"


def test_line_ends_that_excel_escapes_are_read(tmp_path: Path) -> None:
    openpyxl = pytest.importorskip("openpyxl", reason="needs the extra xlsx")
    book = openpyxl.Workbook()
    book.active.append(["id", "question", "context", "answer_text", "answer_start"])
    book.active.append(["a", "Wer?", "Rollo kam._x000D_\nEr blieb.", "Er", 12])
    book.save(tmp_path / "t.xlsx")
    assert golds(tmp_path / "t.xlsx") == {"a": (Gold("Er", 12),)}


def test_excel_without_its_library_says_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    openpyxl = pytest.importorskip("openpyxl", reason="needs the extra xlsx")
    openpyxl.Workbook().save(tmp_path / "t.xlsx")
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    assert "pip install 'albertqa[xlsx]'" in only_problem(tmp_path / "t.xlsx").message


# Columns


@pytest.mark.parametrize("form", FORMS)
def test_columns_are_named_by_the_user(form: str, tmp_path: Path) -> None:
    rows = [
        {"Nummer": "n1", "Frage": "Wann?", "Absatz": LIGHTHOUSE, "Antwort": "1907", "Thema": "Küste"},
        {"Nummer": "n2", "Frage": "Wo?", "Absatz": LIGHTHOUSE, "Antwort": "Rügen", "Thema": "Küste"},
    ]
    path = write_rows_as(form, tmp_path, rows)
    assert "--question-column" in only_problem(path).message
    names = {"question_column": "Frage", "context_column": "Absatz", "answer_column": "Antwort"}
    assert list(golds(path, **names).values()) == [(Gold("1907", 39),), (Gold("Rügen", 48),)]
    loaded = load_examples(path, options=ReadOptions(**names, id_column="Nummer", title_column="Thema"))
    assert [(one.id, one.title) for one in loaded] == [("n1", "Küste"), ("n2", "Küste")]
    wrong = read(path, options=ReadOptions(**names | {"answer_column": "Antwrt"})).problems
    assert [problem.message for problem in wrong] == [
        "expected the column Antwrt; found Nummer, Frage, Absatz, Antwort, Thema"
    ]


@pytest.mark.parametrize("form", FORMS)
def test_a_named_answer_column_may_be_structured_and_wins(form: str, tmp_path: Path) -> None:
    rows = [
        {"id": f"n{at}", "question": "Wann?" * at, "context": LIGHTHOUSE, "answers": ["falsch"],
         "gold": {"text": ["1907"], "answer_start": [39]}}
        for at in (1, 2)
    ]  # fmt: skip
    path = write_rows_as(form, tmp_path, rows)
    assert golds(path, answer_column="gold") == {"n1": (Gold("1907", 39),), "n2": (Gold("1907", 39),)}


SWAPS = [
    (("question", "context"), "question and context"),
    (("context", "answer_text"), "context and answer"),
    (("question", "answer_text"), "question and answer"),
]


@pytest.mark.parametrize("form", ["csv", "jsonl"])
@pytest.mark.parametrize(("swap", "named"), SWAPS)
def test_swapped_columns_are_named_first(swap: tuple[str, str], named: str, form: str, tmp_path: Path) -> None:
    facts = [
        ("Wann kam Bo?", "Bo kam 1907 nach Ulm.", "1907"),
        ("Wohin ging Al?", "Al ging 1911 nach Bonn.", "nach Bonn"),
    ]
    rows = []
    for number, (question, context, answer) in enumerate(facts):
        row = {"id": f"s{number}", "question": question, "context": context, "answer_text": answer}
        row[swap[0]], row[swap[1]] = row[swap[1]], row[swap[0]]
        rows.append(row)
    path = write_rows_as(form, tmp_path, rows)
    first = read(path).problems[0]
    assert first.kind == "swapped-columns"
    assert f"2 of 2 answers are not in the context, but {named} would fit the other way round" in first.message
    with pytest.raises(DataError, match="would fit the other way round"):
        load_examples(path)


# Ambiguous answers, and repairs that are safe


def test_an_ambiguous_answer_is_taken_first_or_left_out_where_the_user_says_so(tmp_path: Path) -> None:
    rows = [
        {"id": "a", "question": "Wo?", "context": FERRY, "answer_text": "Lindholm"},
        {"id": "b", "question": "Wer?", "context": FERRY, "answer_text": "Ida Krantz"},
    ]
    path = write_lines(tmp_path / "rows.jsonl", rows)
    with pytest.raises(DataError, match="'Lindholm' has no answer_start and occurs 2 times, at 29, 50"):
        load_examples(path)
    krantz = (Gold("Ida Krantz", 96),)
    assert golds(path, ambiguous_answers="first") == {"a": (Gold("Lindholm", 29),), "b": krantz}
    assert golds(path, ambiguous_answers="skip") == {"b": krantz}
    out = tmp_path / "out.json"
    copy = check_files([path], write_repaired=out, options=ReadOptions(ambiguous_answers="skip")).copies[0]
    assert (copy.num_questions, copy.num_dropped) == (1, 1)
    (dropped,) = json.loads((tmp_path / "out.json.dropped.json").read_text())
    assert (dropped["id"], dropped["reasons"][0]["kind"]) == ("a", "skipped-question")


SAFE_REPAIRS = {
    "case": ("Built by IDA KRANTZ in 1911.", "Ida Krantz", "IDA KRANTZ"),
    "German case": ("Gebaut von KÄTHE LÜRSSEN.", "Käthe Lürßen", "KÄTHE LÜRSSEN"),
    "NFC in NFD": ("Rene\u0301 vend du cafe\u0301 noir.", "caf\u00e9", "cafe\u0301"),
    "NFD in NFC": ("Ren\u00e9 vend du caf\u00e9 noir.", "Rene\u0301", "Ren\u00e9"),
    "Vietnamese marks": ("Ph\u1edf Vi\u1ec7t Nam", "Vie\u0302\u0323t", "Vi\u1ec7t"),
    "no-break space": ("It cost 10\u00a0000\u202f\u20ac.", "10 000 \u20ac", "10\u00a0000\u202f\u20ac"),
    "curly quotes": ("He said \u201cit\u2019s over\u201d twice.", '"it\'s over"', "\u201cit\u2019s over\u201d"),
    "low quotes": ("Die \u201eM\u00f6we\u201c ruft.", '"M\u00f6we"', "\u201eM\u00f6we\u201c"),
    "dashes": ("From 1907\u20131911 and on.", "1907-1911", "1907\u20131911"),
    "minus": ("At \u22125 degrees.", "-5 degrees", "\u22125 degrees"),
    "newline for a space": ("Ida\r\nKrantz painted.", "Ida Krantz", "Ida\r\nKrantz"),
    "spaces for one": ("Ida Krantz painted.", "Ida \t Krantz", "Ida Krantz"),
}


@pytest.mark.parametrize(("context", "stated", "found"), SAFE_REPAIRS.values(), ids=SAFE_REPAIRS)
def test_a_text_that_differs_in_its_form_alone_is_repaired_where_it_is_unique(
    context: str, stated: str, found: str, tmp_path: Path
) -> None:
    row = {"id": "a", "question": "Q?", "context": context, "answers": [stated]}
    path = write_lines(tmp_path / "rows.jsonl", [row])
    copy = check_files([path], write_repaired=tmp_path / "out.json").copies[0]
    assert golds(Path(copy.path or "")) == {"a": (Gold(found, context.index(found)),)}
    twice = read([{**row, "context": f"{context} {context}"}])
    assert [one.kind for one in twice.errors] == ["answer-not-in-context"]
    assert "and its like are, at 2 places" in twice.errors[0].message
    assert twice.questions[0].repaired is None
    # A stated start decides between places that differ in their form alone.
    at_second = len(context) + 1 + context.index(found)
    decided = read(
        [{**row, "context": f"{context} {context}", "answers": [{"text": stated, "answer_start": at_second}]}]
    )
    assert decided.questions[0].repaired is not None
    assert decided.questions[0].repaired.golds == (Gold(found, at_second),)


@pytest.mark.parametrize(
    ("context", "stated"),
    [("Rene\u0301 vend.", "RENE"), ("\ufb01nally", "F"), ("\u1112\u1161\u11ab", "\ud558"), ("Stra\u00dfe", "STRAS")],
)
def test_half_a_character_is_no_match(context: str, stated: str) -> None:
    assert read([{"id": "a", "question": "Q?", "context": context, "answers": [stated]}]).questions[0].repaired is None


def test_the_last_line_says_whether_the_repaired_copy_is_ready(tmp_path: Path) -> None:
    from rich.console import Console

    from albertqa.data.check_display import render_check

    row = {"id": "a", "question": "Q?", "context": "Bo came.", "answers": [{"text": "Bo", "answer_start": 3}]}
    path = write_lines(tmp_path / "rows.jsonl", [row])
    stream = io.StringIO()
    report = check_files([path], write_repaired=tmp_path / "out.json")
    render_check(report, Console(file=stream, width=40))
    lines = stream.getvalue().splitlines()
    assert lines[-3] == "Not ready for training (errors: 1, warnings: 0, notes: 0)."
    assert lines[-1] == f"OK: the repaired copy {tmp_path / 'out.json'} is ready for training and evaluation"
    assert report.to_json()["repaired"][0]["ready"] is True


# Several files


def test_ids_may_repeat_between_files(shared_cases: Path, caplog: pytest.LogCaptureFixture) -> None:
    files = [shared_cases / "limits/xquad-en.json", shared_cases / "limits/xquad-de.json"]
    assert check_files(files).ok
    with caplog.at_level(logging.WARNING):
        examples = load_several([str(file) for file in files])
    assert [(one.id, one.golds[0].text) for one in examples] == [("x1", "Norway"), ("x1#2", "Norwegen")]
    assert caplog.messages == [f"{files[1]}: 1 question has an id of an earlier file; they are numbered, as in x1#2"]


def test_repeated_ids_are_numbered_apart_whatever_the_ids(tmp_path: Path) -> None:
    names = [["a", "b"], ["a", "a#2"], ["a#2", "a", "c"], ["a", "a#2", "a##"]]
    files = [
        write_lines(
            tmp_path / f"{number}.jsonl",
            [{"id": one, "question": f"{number} {one}", "context": "Bo.", "answers": ["Bo"]} for one in ids],
        )
        for number, ids in enumerate(names)
    ]
    ids = [one.id for one in load_several([str(file) for file in files])]
    assert len(set(ids)) == len(ids) == 10
    assert ids[:3] == ["a", "b", "a#2"]
