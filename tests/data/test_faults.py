"""Every planted fault is found under its kind, with a message that helps, and repaired only where that is safe."""

import gzip
import json
import logging
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from albertqa.data import KINDS, Gold, ReadOptions, load_examples, read
from albertqa.errors import DataError

from .cases import CONTEXT, EXAMPLES, V2_EXAMPLES, bare_row, row, rows, write_json, write_lines, write_squad


def answer(text: object, start: object = ...) -> dict[str, Any]:
    fields = {"text": text, "answer_start": start}
    return {"answers": [{key: value for key, value in fields.items() if value is not ...}]}


REPAIRABLE = [
    ("misaligned-answer", answer("duke", 37), "answer_start 37 gives 'uke ', expected 'duke' at 36", Gold("duke", 36)),
    ("misaligned-answer", answer("Viking", 90), "answer_start 90 is outside the context (0 to 74)", Gold("Viking", 68)),
    ("misaligned-answer", answer("Viking", 10**30), "of absurd size is outside", Gold("Viking", 68)),
    ("misaligned-answer", answer("Rollo ", 44), "expected 'Rollo ' at 56", Gold("Rollo", 56)),
    ("missing-answer-start", answer("Viking", -1), "has no answer_start; it occurs once, at 68", Gold("Viking", 68)),
    ("answer-outer-space", answer(" Rollo,", 44), "begins or ends with white space", Gold("Rollo,", 45)),
    ("answer-not-in-context", answer("Viking \n", 68), "'Viking' is, at 68", Gold("Viking", 68)),
    ("answer-not-in-context", answer("Viking \n"), "'Viking' is, at 68", Gold("Viking", 68)),
    ("missing-answer-start", answer("Viking"), "has no answer_start; it occurs once, at 68", Gold("Viking", 68)),
    ("missing-answer-start", answer("Viking", None), "occurs once", Gold("Viking", 68)),
    ("answer-not-in-context", answer("viking"), "'viking' is not in the context, but 'Viking' is", Gold("Viking", 68)),
    ("answer-not-in-context", answer("rollo", 45), "but 'Rollo' is, at 45", Gold("Rollo", 45)),
    ("wrong-type", answer("Rollo", "45"), "expected answer_start as a number, found '45'", Gold("Rollo", 45)),
]


@pytest.mark.parametrize(("kind", "fields", "message", "expected"), REPAIRABLE)
def test_a_repairable_fault_is_named_and_repaired(
    kind: str, fields: dict[str, Any], message: str, expected: Gold
) -> None:
    result = read([bare_row(**fields)])
    problem = result.problems[0]
    assert (problem.kind, problem.question_id) == (kind, "q1")
    assert message in problem.message
    assert problem.repairable
    repaired = result.questions[0].repaired
    assert repaired is not None
    assert repaired.golds == (expected,)
    assert bool(result.examples) == (problem.severity != "error")


BEYOND_REPAIR = [
    ("answer-not-in-context", answer("Harald", 3), "answer 'Harald' is not in the context"),
    ("answer-not-in-context", answer("rollo", 44), "but 'Rollo' and its like are, at 2 places"),
    ("answer-not-in-context", answer("in Normandie"), "the closest is 'in Normandy' at 17"),
    ("ambiguous-answer-start", answer("Rollo"), "'Rollo' has no answer_start and occurs 2 times, at 45, 56"),
    ("ambiguous-answer-start", answer("Rollo", -1), "'Rollo' has no answer_start and occurs 2 times, at 45, 56"),
    ("ambiguous-answer-start", answer("Rollo", 46), "answer_start 46 gives 'ollo,', and 'Rollo' occurs 2 times"),
    ("ambiguous-answer-start", answer("Vik"), "'Vik' has no answer_start and occurs only inside a word, at 68; --amb"),
    ("ambiguous-answer-start", answer("iking", 1), "gives 'he No', and 'iking' occurs only inside a word, at 69"),
    ("answer-not-in-context", answer("VIK"), "but 'Vik' is, inside a word, at 68"),
    ("empty-answer", answer("", 0), "expected an answer, found ''"),
    ("empty-answer", answer(" \t", 0), "expected an answer, found ' \\t'"),
    ("missing-key", {"answers": [{"answer_start": 3}]}, "the key 'text'"),
    ("missing-key", {"answers": {"texts": []}}, "the key 'text', found texts"),
    ("missing-key", {"context": ...}, "the key 'context'"),
    ("missing-key", {"question": None}, "the key 'question'"),
    ("wrong-type", answer(["Rollo"], 45), "expected the answer as text, found a list"),
    ("wrong-type", answer(None, 45), "expected the answer as text, found None"),
    ("wrong-type", answer("Rollo", 45.5), "as a whole number, found 45.5"),
    ("wrong-type", answer("Rollo", float("inf")), "as a whole number, found inf"),
    ("wrong-type", answer("Rollo", True), "as a whole number, found True"),
    ("wrong-type", answer("Rollo", [45]), "as a whole number, found a list"),
    ("wrong-type", {"answers": 7}, "expected answers as an object or a list, found 7"),
    ("wrong-type", {"answers": [7]}, "expected an answer with text and answer_start, found 7"),
    ("wrong-type", {"answers": {"text": ["Rollo"], "answer_start": 45}}, "expected a list of answer_start, found 45"),
    ("wrong-type", {"question": 7}, "expected the question as text, found 7"),
    ("wrong-type", {"context": ["The", "Normans"]}, "expected the context as text, found a list"),
    ("wrong-type", {"id": ["q1"]}, "expected the id as text, found a list"),
    ("wrong-type", {"is_impossible": "maybe"}, "expected is_impossible as true or false, found 'maybe'"),
    ("uneven-answers", {"answers": {"text": ["Rollo"], "answer_start": [45, 56]}}, "found 2 and 1"),
    ("unreadable-answers", {"answers": "Rollo"}, "put plain text under answer_text"),
    ("unreadable-answers", {"answers": "{'text': array(['Rollo', ..., 'duke'])}"}, "NumPy has shortened it with '...'"),
    ("unreadable-answers", {"answers": "__import__('os').getcwd()"}, "JSON, a Python or a NumPy literal"),
    ("unreadable-answers", {"answers": "(" * 5000}, "JSON, a Python or a NumPy literal"),
    ("unreadable-answers", {"answers": "[" * 100_000}, "JSON, a Python or a NumPy literal"),
    ("empty-question", {"question": ""}, "expected a question, found ''"),
    ("empty-context", {"context": "\n"}, "expected a context, found '\\n'"),
    ("impossible-with-answers", {"is_impossible": True}, "is_impossible is true, but answers are given (2)"),
    ("answerable-without-answers", {"is_impossible": False, "answers": []}, "is_impossible is false, but no answer"),
    ("lone-surrogate", {"question": "Who\ud800?"}, "half a character (\\ud800) at 3"),
    ("lone-surrogate", {"title": "\udc00"}, "the title has half a character"),
    ("lone-surrogate", {"id": "q\udc00"}, "the id has half a character"),
]


@pytest.mark.parametrize(("kind", "fields", "message"), BEYOND_REPAIR)
def test_a_fault_beyond_repair_is_named_and_the_question_left_out(
    kind: str, fields: dict[str, Any], message: str
) -> None:
    result = read([bare_row(**fields)])
    problem = next(problem for problem in result.problems if problem.kind == kind)
    assert problem.severity == "error"
    assert message in problem.message
    assert not problem.repairable
    assert result.questions[0].repaired is None
    assert result.examples == []
    assert str(problem).isprintable()


@pytest.mark.parametrize(
    ("context", "text", "is_safe"),
    [
        ("Nobody knows; he says no.", "no", False),  # several places
        ("He knows, yes.", "no", False),
        ("Он знает, да.", "на", False),
        ("Es war in 1911.", "19", False),
        ("Es war in 1911.", "11", False),
        ("Es kostet 15km, 9%.", "15", True),
        ("Es kostet 15km, 9%.", "9%", True),
        ("北京是中国的首都。", "中国", True),
        ("서울에서 왔다.", "서울", True),
        ("هذا الكتاب جديد", "كتاب", True),
        ("Das ist Manning's Ball.", "Manning", True),
    ],
)
def test_a_repair_never_puts_an_answer_inside_a_word_of_an_alphabet(context: str, text: str, is_safe: bool) -> None:
    result = read([bare_row(context=context, **answer(text))])
    assert [problem.repairable for problem in result.problems] == [is_safe]
    first = read([bare_row(context=context, **answer(text))], options=ReadOptions(ambiguous_answers="first"))
    assert first.examples[0].golds == (Gold(text, context.index(text)),)


def test_numbers_as_answer_text_title_or_id_are_read_as_text_when_repaired() -> None:
    fields = bare_row(id=7, title=911, context="In 1976, it began.", answers=[{"text": 1976, "answer_start": 3}])
    result = read([fields])
    assert sorted(problem.kind for problem in result.problems) == ["number-as-id", "wrong-type", "wrong-type"]
    repaired = result.questions[0].repaired
    assert repaired is not None
    assert (repaired.id, repaired.title, repaired.golds) == ("7", "911", (Gold("1976", 3),))


def test_missing_ids_are_made_from_the_row_number_and_noted() -> None:
    result = read([bare_row(id=...), bare_row(question="Else?"), bare_row(id=None, question="More?")])
    assert [example.id for example in result.examples] == ["row-1", "q1", "row-3"]
    assert [(problem.kind, problem.where) for problem in result.problems] == [
        ("missing-id", "rows: row 1"),
        ("missing-id", "rows: row 3"),
    ]


@pytest.mark.parametrize("empty", ["", "  "])
def test_an_empty_id_is_an_error_that_a_repair_fills_in(empty: str) -> None:
    result = read([bare_row(id=empty)])
    assert [problem.kind for problem in result.problems] == ["empty-id"]
    repaired = result.questions[0].repaired
    assert repaired is not None
    assert repaired.id == "row-1"


def test_duplicate_ids_are_never_merged_and_the_first_question_keeps_the_id() -> None:
    second = bare_row(question="Another?")
    result = read([bare_row(), second, bare_row()])
    assert [problem.kind for problem in result.problems] == ["duplicate-id", "duplicate-id"]
    assert "id 'q1' at row 2 belongs to the question at row 1" in result.problems[0].message
    assert [one.repaired is None for one in result.questions] == [False, True, True]
    with pytest.raises(DataError, match=r"^rows: question q1: id 'q1' at row 2 .* \(and 1 more error\)\. albertqa"):
        load_examples([bare_row(), second, bare_row()])


def test_the_same_question_on_the_same_context_is_noted_and_kept() -> None:
    result = read([bare_row(), bare_row(id="q2", question=" Who was the duke? ")])
    assert [problem.kind for problem in result.problems] == ["duplicate-question"]
    assert len(result.examples) == 2


def test_the_strict_reader_gives_one_line_with_the_place_and_the_command(tmp_path: Path) -> None:
    good, bad = row(EXAMPLES[2]), bare_row(answers=[{"text": "duke", "answer_start": 37}])
    one = write_lines(tmp_path / "one.jsonl", [good, bad])
    expected = f"{one}: question q1: answer_start 37 gives 'uke ', expected 'duke' at 36. Run 'albertqa check {one}'."
    with pytest.raises(DataError) as caught:
        load_examples(one)
    assert str(caught.value) == expected
    many = write_lines(tmp_path / "many files.jsonl", [bad | {"id": str(number)} for number in range(1200)])
    with pytest.raises(DataError) as caught:
        load_examples(many, name="dev")
    assert str(caught.value) == (
        "dev: question 0: answer_start 37 gives 'uke ', expected 'duke' at 36 (and 1,199 more errors). "
        f"Run 'albertqa check '{many}''."
    )


def test_every_gold_is_checked_not_only_the_first() -> None:
    golds = {"text": ["Rollo", "duke"], "answer_start": [45, 37]}
    with pytest.raises(DataError, match="answer_start 37 gives 'uke ', expected 'duke' at 36"):
        load_examples([bare_row(answers=golds)])


def test_warnings_are_accepted_with_one_line_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        loaded = load_examples(
            [bare_row(answers=["Rollo"]), bare_row(id="q2", question="Who came?", answers=["Rollo"])],
            options=ReadOptions(ambiguous_answers="first"),
        )
    assert [example.golds for example in loaded] == [(Gold("Rollo", 45),)] * 2
    assert caplog.messages == [
        "rows: accepted with warnings (first-occurrence 2). albertqa.data.read lists every problem."
    ]


def test_notes_are_accepted_in_silence(caplog: pytest.LogCaptureFixture) -> None:
    load_examples([bare_row(id=..., answers=["Viking"])])
    assert caplog.messages == []


def test_rows_without_any_answers_column_are_refused_rather_than_read_as_unanswerable(tmp_path: Path) -> None:
    misnamed = [{"id": "a", "question": "Who?", "context": CONTEXT, "answer": "Rollo"}]
    path = write_lines(tmp_path / "rows.jsonl", misnamed)
    with pytest.raises(DataError, match="expected answers or answer_text in the rows, found id, question, context, an"):
        load_examples(path)
    assert len(read(path).questions) == 1
    assert read(path).examples == []


def test_a_version_1_file_with_unanswerable_questions_is_mixed(tmp_path: Path) -> None:
    document = json.loads(write_squad(tmp_path / "v2.json", V2_EXAMPLES).read_text())
    for article in document["data"]:
        for paragraph in article["paragraphs"]:
            for question in paragraph["qas"]:
                del question["is_impossible"]
    problems = read(write_json(tmp_path / "v1.json", document | {"version": "1.1"})).problems
    assert [str(problem) for problem in problems] == [
        f"{tmp_path / 'v1.json'}: the version says '1.1', but 1 of 4 questions have no answer"
    ]
    assert problems[0].kind == "mixed-versions"


def test_stating_is_impossible_for_some_questions_only_is_mixed() -> None:
    problems = read([bare_row(is_impossible=False), bare_row(id="q2", question="Where?")]).problems
    assert [(problem.kind, problem.message) for problem in problems] == [
        ("mixed-versions", "1 of 2 questions state is_impossible, the others do not")
    ]


def squad_with(**changes: Any) -> dict[str, Any]:
    question = {"id": "q", "question": "Who?", "answers": [{"text": "Rollo", "answer_start": 45}]}
    return {"data": [{"title": "T", "paragraphs": [{"context": CONTEXT, "qas": [question | changes]}]}]}


@pytest.mark.parametrize(
    ("document", "kind", "message"),
    [
        (squad_with(answers=None), "missing-key", "question q: expected the key 'answers'"),
        (squad_with(id=None, answers=None), "missing-key", "data[0].paragraphs[0].qas[0]: expected the key 'answers'"),
        ({"data": [{"paragraphs": None}]}, "wrong-type", "data[0]: expected a list of paragraphs, found None"),
        ({"data": [{"paragraphs": [[]]}]}, "wrong-type", "paragraphs[0]: expected a paragraph object, found a list"),
        ({"data": [{"paragraphs": [{"context": ""}]}]}, "missing-key", "expected the key 'qas', found context"),
        ({"data": [{"paragraphs": [{"qas": 1}]}]}, "wrong-type", "expected a list of questions, found 1"),
        ({"data": [{"paragraphs": [{"qas": ["Who?"]}]}]}, "wrong-type", "expected a question object, found 'Who?'"),
        ({"data": [{"paragraphs": [{"qas": [{"id": "x"}]}]}]}, "missing-key", "the key 'context'"),
        ({"data": ["row"]}, "unknown-structure", "rows with question, context and answers; found 'row'"),
        ({"data": []}, "no-questions", "expected at least one question, found none"),
        ({"data": [{"paragraphs": []}]}, "no-questions", "found none"),
        ([], "no-questions", "found none"),
        ({"data": 7}, "unknown-structure", "found other records (keys data)"),
        ({}, "unknown-structure", "found other records (keys nothing)"),
        (7, "unknown-structure", "expected SQuAD's JSON (data, paragraphs, qas) or rows"),
        ({"56be": "Rollo", "56bf": "duke"}, "unknown-structure", "texts by id (a predictions file?)"),
        ({"question": {"0": "Who?"}, "context": {"0": CONTEXT}}, "unknown-structure", "orient='records'"),
    ],
)
def test_a_fault_of_structure_is_named_with_its_path(document: object, kind: str, message: str, tmp_path: Path) -> None:
    problems = read(write_json(tmp_path / "file.json", document)).problems
    where = [str(problem) for problem in problems if problem.kind == kind]
    assert any(message in line for line in where), [str(problem) for problem in problems]


def file_with(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


GOOD = json.dumps(squad_with()).encode()
LINE = json.dumps(row(EXAMPLES[0])).encode()
CSV = b"id,question,context,answer_text\n"

BROKEN_FILES = [
    ("empty.json", b"", "empty-file", "0 bytes"),
    ("blank.jsonl", b"\xef\xbb\xbf \n\n", "empty-file", "nothing but white space"),
    ("cut.json", GOOD[:-10], "broken-json", "broken JSON at line 1 column"),
    ("two.json", b'{\n "data": [\n  7,,\n ]\n}', "broken-json", "broken JSON at line 3 column 5: expecting value"),
    ("extra.json", GOOD + b"\nxyz", "broken-json", "broken JSON at line 2 column 1: extra data"),
    ("no.json", b"hello", "broken-json", "line 1 column 1"),
    ("deep.json", b"[" * 200_000, "broken-json", "nested too deeply"),
    ("huge.json", b'{"data":\n[' + b"7" * 5000 + b"]}", "broken-json", "a number of absurd length at line 2"),
    ("latin.json", '{\n"data": "Beyoncé"}'.encode("latin-1"), "wrong-encoding", "byte 0xe9 at offset 17 (line 2)"),
    ("wide.json", GOOD.decode().encode("utf-16")[:-1], "wrong-encoding", "not in the encoding utf-16"),
    ("cut.json.gz", gzip.compress(GOOD)[:-12], "broken-gzip", "cut off"),
    ("not.json.gz", GOOD, "broken-gzip", "damaged"),
    ("sheet.csv", b"PK\x03\x04abc", "packed-file", "a damaged zip archive or Excel file"),
    ("head.csv", b"a,b\n1,2\n", "unknown-structure", "expected the columns question, context and answers"),
    ("twice.csv", b"question,context,context\n1,2,3\n", "unknown-structure", "found context more than once"),
    ("none.csv", CSV, "no-questions", "found none"),
    ("notes.txt", b"hello there", "unknown-structure", "found hello there"),
    ("bad.parquet", b"PAR1" + b"x" * 50, "broken-parquet", "damaged"),
    ("not.parquet", GOOD, "broken-parquet", "damaged"),
]


@pytest.mark.parametrize(("name", "data", "kind", "message"), BROKEN_FILES, ids=[case[0] for case in BROKEN_FILES])
def test_an_unreadable_file_is_one_problem_and_one_line(
    name: str, data: bytes, kind: str, message: str, tmp_path: Path
) -> None:
    path = file_with(tmp_path, name, data)
    result = read(path)
    assert [problem.kind for problem in result.problems] == [kind]
    assert message in result.problems[0].message
    assert not result.complete
    with pytest.raises(DataError) as caught:
        load_examples(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert str(caught.value).isprintable()


def test_broken_lines_cost_only_themselves(tmp_path: Path) -> None:
    data = b"\n".join([LINE, b"", b'{"id": oops}', json.dumps(row(EXAMPLES[1])).encode(), b"7"])
    result = read(file_with(tmp_path, "rows.jsonl", data))
    assert [example.id for example in result.examples] == ["q1", "q2"]
    assert [(problem.kind, problem.place) for problem in result.problems] == [
        ("broken-json", "line 3"),
        ("unknown-structure", "line 5"),
    ]
    assert "line 3 column 8" in result.problems[0].message
    assert result.complete


def test_a_first_broken_line_does_not_hide_that_the_file_holds_lines(tmp_path: Path) -> None:
    result = read(file_with(tmp_path, "rows.jsonl", b"{oops\n" + LINE))
    assert (result.format, len(result.examples), len(result.errors)) == ("jsonl", 1, 1)


def test_table_rows_of_the_wrong_width_cost_only_themselves(tmp_path: Path) -> None:
    path = file_with(tmp_path, "rows.csv", CSV + b"a,Who?,Rollo came,Rollo\nb,Who\n\nc,Why?,Rollo came,came\n")
    result = read(path)
    assert [example.id for example in result.examples] == ["a", "c"]
    error = result.errors[0]
    assert str(error) == f"{path}: row 2 (line 3): expected 4 cells as in the header, found 2"


def test_an_open_quote_ends_the_reading_and_says_so(tmp_path: Path) -> None:
    path = file_with(tmp_path, "rows.csv", CSV + b'a,Who?,Rollo came,Rollo\nb,"Who?,Rollo came,Rollo\nc,Who?,x,x\n')
    result = read(path)
    assert [example.id for example in result.examples] == ["a"]
    assert not result.complete
    assert "begins at line 3: unexpected end of data; nothing after it was read" in result.errors[0].message


def test_a_fault_of_a_tab_separated_row_is_reported_on_one_line(tmp_path: Path) -> None:
    path = file_with(tmp_path, "rows.tsv", CSV.replace(b",", b"\t") + b'a\t"Who"x\tRollo came\tRollo\n')
    (problem,) = read(path).problems
    assert problem.kind == "broken-csv"
    assert str(problem).isprintable()


def test_a_gzip_bomb_is_refused_without_filling_the_memory(tmp_path: Path) -> None:
    piece = gzip.compress(b"[" + b" " * 50_000_000)
    path = file_with(tmp_path, "bomb.json.gz", piece * 20)
    tracemalloc.start()
    result = read(path, options=ReadOptions(max_unpacked_bytes=100_000_000))
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert [problem.kind for problem in result.problems] == ["too-large"]
    assert "unpacks to more than 200 times its size" in result.problems[0].message
    assert peak_bytes < 10_000_000


def test_a_stored_file_over_the_limit_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = file_with(tmp_path, "squad.json", GOOD)
    just, below = (ReadOptions(max_unpacked_bytes=len(GOOD) - less) for less in (0, 1))
    assert read(path, options=just).problems == ()
    assert [problem.kind for problem in read(path, options=below).problems] == ["too-large"]


def test_nan_in_json_is_an_absent_value(tmp_path: Path) -> None:
    path = write_json(tmp_path / "nan.json", [bare_row(answers=[{"text": "Viking", "answer_start": float("nan")}])])
    assert "NaN" in path.read_text()
    assert load_examples(path)[0].golds == (Gold("Viking", 68),)
    assert [problem.kind for problem in read([bare_row(question=float("nan"))]).problems] == ["missing-key"]


def test_paths_that_lead_nowhere_are_named_with_the_likely_one(tmp_path: Path) -> None:
    write_squad(tmp_path / "train.json", EXAMPLES)
    with pytest.raises(DataError) as caught:
        load_examples(tmp_path / "trian.json")
    assert str(caught.value).startswith(
        f"{tmp_path / 'trian.json'}: there is no such file or folder; did you mean {tmp_path / 'train.json'}?"
    )
    for name in ("", "no\0name.json", "x" * 5000, "~/no such.json"):
        assert [problem.kind for problem in read(name).problems] == ["no-such-file"]
    assert "name the file in it" in read(tmp_path).problems[0].message
    assert read("/dev/null").problems[0].kind == "unreadable-file"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            {"source": 7},
            "expected a path, a Hub name, a pandas DataFrame, a datasets.Dataset or a list of rows, found 7",
        ),
        ({"source": b"x.json"}, "found a bytes"),
        ({"source": rows(EXAMPLES), "limit": 0}, "limit: expected at least 1 question, found 0"),
        ({"source": rows(EXAMPLES), "split": "train"}, "split 'train': a list of rows has no splits"),
        ({"source": "a/b:x", "split": "y"}, "a/b:x: two splits are named, 'x' and 'y'"),
    ],
)
def test_a_wrong_call_is_refused_even_by_the_lenient_reader(call: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError) as caught:
        read(**call)
    assert message in str(caught.value)


def test_kinds_are_kebab_case_with_a_severity_and_a_meaning() -> None:
    for name, kind in KINDS.items():
        assert name == name.lower()
        assert name.replace("-", "").isalpha()
        assert kind.severity in {"error", "warning", "note"}
        assert kind.meaning
