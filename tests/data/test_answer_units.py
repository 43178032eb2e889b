"""In which unit a file counts its starts, and by how much all answers are off: found over the file, never guessed."""

import csv
import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from albertqa.data.answer_units import CHARACTERS, AnswerUnit, answers_shift, find_unit, moved_back
from albertqa.data.checking import check_files
from albertqa.data.example import Example, Gold
from albertqa.data.formats.squad_json import squad_document
from albertqa.data.reading import load_examples, read


def shifted(examples: list[Example], by: int) -> list[Example]:
    """Cut every answer out so many characters farther right; those that would leave their context are left out."""
    return [
        dataclasses.replace(one, golds=tuple(Gold(one.context[start:end], start) for start, end in places))
        for one in examples
        if (places := [(gold.answer_start + by, gold.answer_end + by) for gold in one.golds])
        and all(start >= 0 and end <= len(one.context) for start, end in places)
    ]


@pytest.mark.parametrize("by", [-7, -1, 1, 2, 25])
def test_a_shift_is_found_and_repaired(tmp_path: Path, by: int) -> None:
    sound = load_examples("starter:validation", limit=120)
    off = shifted(sound, by)
    assert answers_shift(off) == by
    source, copy = tmp_path / "off.json", tmp_path / "repaired.json"
    source.write_text(json.dumps(squad_document(off)))
    report = check_files([source], write_repaired=copy)
    (group,) = (group for group in report.groups if group.kind == "shifted-answer")
    assert report.ok
    assert group.count == len(off)
    side = "right" if by > 0 else "left"
    assert f"answers are {abs(by)} character{'s' if abs(by) > 1 else ''} too far {side}" in group.cases[0].message
    by_id = {one.id: one for one in sound}
    repaired = load_examples(copy)
    assert repaired == [by_id[one.id] for one in repaired]
    assert len(repaired) == len(off)


def test_answers_that_are_in_their_place_stay_there(tmp_path: Path) -> None:
    sound = load_examples("starter:validation", limit=120)
    mixed = sound[:6] + shifted(sound[6:], 1)
    source, copy = tmp_path / "off.json", tmp_path / "repaired.json"
    source.write_text(json.dumps(squad_document(mixed)))
    (group,) = (one for one in check_files([source], write_repaired=copy).groups if one.kind == "shifted-answer")
    assert group.count == len(mixed) - 6
    by_id = {one.id: one for one in sound}
    repaired = load_examples(copy)
    assert len(repaired) == len(mixed)
    assert repaired == [by_id[one.id] for one in repaired]


@given(st.text("ab .3", min_size=1, max_size=12), st.data())
def test_no_answer_is_moved_to_white_space(context: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(context) - 1))
    end = data.draw(st.integers(start + 1, len(context)))
    example = Example("1", "Who?", context, (Gold(context[start:end], start),))
    for shift in (-2, -1, 1, 2):
        moved = moved_back(example, shift)
        if moved is not None and moved != example:
            (gold,) = moved.golds
            assert gold.text == gold.text.strip() == context[gold.answer_start : gold.answer_end]
            assert gold.answer_start == start - shift


def test_sound_answers_are_left_where_they_are() -> None:
    assert answers_shift(load_examples("starter:train")) is None


@pytest.mark.real_data
@pytest.mark.parametrize("name", ["squad/dev-v1.1.json", "squad/dev-v2.0.json", "shifts/new_wiki_v1.0.json"])
def test_real_answers_are_left_where_they_are(real_data: Path, name: str) -> None:
    assert not [one for one in read(real_data / name).problems if one.kind == "shifted-answer"]


def test_few_questions_say_nothing() -> None:
    assert answers_shift(shifted(load_examples("starter:validation", limit=19), 3)) is None


def test_answers_off_by_different_numbers_are_not_guessed() -> None:
    examples = load_examples("starter:validation", limit=120)
    mixed = [one for by in (1, 4, 9) for one in shifted(examples[by * 10 : by * 10 + 30], by)]
    assert answers_shift(mixed) is None


def test_text_without_spaces_has_no_borders_to_judge_by() -> None:
    context = "诺曼人在十世纪和十一世纪给诺曼底命名他们是来自丹麦冰岛和挪威的掠夺者的后代"
    examples = [Example(str(at), "谁", context, (Gold(context[at % 20 : at % 20 + 4], at % 20),)) for at in range(60)]
    assert answers_shift(examples) is None


def test_an_answer_that_would_leave_its_context_is_dropped_and_listed(tmp_path: Path) -> None:
    sound = load_examples("starter:validation", limit=60)
    off = shifted(sound, -3)
    # Moving this one back by three to the right would take it over the end.
    first = off[0]
    end = len(first.context)
    broken = dataclasses.replace(first, golds=(Gold(first.context[end - 4 :], end - 4),))
    source, copy = tmp_path / "off.json", tmp_path / "repaired.json"
    source.write_text(json.dumps(squad_document([broken, *off[1:]])))
    check_files([source], write_repaired=copy)
    assert [one.id for one in load_examples(copy)] == [one.id for one in off[1:]]
    dropped = json.loads((tmp_path / "repaired.json.dropped.json").read_text())
    assert [row["id"] for row in dropped] == [first.id]
    assert [reason["kind"] for reason in dropped[0]["reasons"]] == ["shifted-answer"]


def starts(path: Path) -> dict[str, int]:
    return {one.id: one.golds[0].answer_start for one in load_examples(path)}


def kinds(path: Path) -> list[str]:
    return [problem.kind for problem in read(path).problems]


def test_starts_in_utf8_bytes_are_converted(shared_cases: Path) -> None:
    path = shared_cases / "drift/bytes-ru.json"
    assert starts(path) == {"ru-anna": 13, "ru-boris": 33, "ru-vera": 54}
    (problem,) = read(path).problems
    assert (problem.kind, problem.severity) == ("answer-start-unit", "warning")
    assert problem.message == (
        "answer_start is counted in UTF-8 bytes, which fits every answer of the file; "
        "3 questions are converted to characters"
    )


def test_starts_in_utf16_units_are_converted(shared_cases: Path) -> None:
    path = shared_cases / "drift/utf16.json"
    assert starts(path) == {"cid": 32, "ann": 18, "eve": 52}
    assert "counted in UTF-16 code units, which" in read(path).problems[0].message


def test_starts_of_0_and_minus_1_for_not_known_are_ambiguous_and_never_repaired(
    shared_cases: Path, tmp_path: Path
) -> None:
    path = shared_cases / "drift/zero-start.json"
    result = read(path)
    assert [(problem.kind, problem.question_id) for problem in result.problems] == [
        ("ambiguous-answer-start", "z1"),
        ("ambiguous-answer-start", "z2"),
    ]
    assert "answer_start 0 gives 'In O', and 'Oslo' occurs 3 times, at 3, 62, 102" in result.problems[0].message
    assert "'Oslo' has no answer_start and occurs 3 times" in result.problems[1].message
    assert not any(problem.repairable for problem in result.problems)
    report = check_files([path], write_repaired=tmp_path / "out.json")
    assert report.copies[0].path is None


GREEK = "Η Άννα ζει στην Αθήνα, ο Νίκος ζει στην Πάτρα, και η Ελένη ζει στην Αθήνα. Η Άννα αγαπά τον Νίκο."
CARDS = "🂡🂢 Bo: 7. 🎴 Al: 7. 🀄🀄 Cy: 7, Bo: 9, Al: 9."


def rows_with_starts(context: str, texts: list[tuple[str, int]], state: AnswerUnit) -> list[dict[str, Any]]:
    """Return rows whose answers are the n-th occurrences of texts, with starts as a unit states them."""
    rows = []
    for number, (text, occurrence) in enumerate(texts):
        at = -1
        for _ in range(occurrence):
            at = context.index(text, at + 1)
        answers = {"text": [text], "answer_start": [state.stated(context, at)]}
        rows.append({"id": str(number), "question": f"Q{number}?", "context": context, "answers": answers, "at": at})
    return rows


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize(
    ("context", "texts", "unit"),
    [
        (GREEK, [("Άννα", 2), ("ζει", 2), ("Αθήνα", 2)], AnswerUnit("UTF-8 bytes")),
        (CARDS, [("7", 2), ("7", 3), ("Bo", 2)], AnswerUnit("UTF-16 code units")),
        (CARDS, [("7", 2), ("9", 1), ("Al", 2)], AnswerUnit("UTF-8 bytes")),
        (
            GREEK.replace(", ", ",\r\n"),
            [("ζει", 2), ("Αθήνα", 2), ("Άννα", 2)],
            AnswerUnit("characters", ", with CR LF counted as one"),
        ),
        (
            CARDS.replace(". ", ".\n"),
            [("7", 2), ("9", 2), ("Al", 2)],
            AnswerUnit("characters", ", with LF counted as two"),
        ),
        (
            CARDS.replace(". ", ".\r\n"),
            [("7", 2), ("9", 2), ("Al", 2)],
            AnswerUnit("UTF-16 code units", ", with CR LF counted as one"),
        ),
        (GREEK, [("ζει", 2), ("Αθήνα", 2), ("Άννα", 2)], AnswerUnit("characters", shift=1)),
        (GREEK, [("ζει", 3), ("Αθήνα", 2), ("Άννα", 2)], AnswerUnit("UTF-8 bytes", shift=-3)),
    ],
)
def test_a_unit_that_fits_all_answers_is_found_in_every_format(
    context: str, texts: list[tuple[str, int]], unit: AnswerUnit, form: str, tmp_path: Path
) -> None:
    rows = rows_with_starts(context, texts, unit)
    expected = {row["id"]: row.pop("at") for row in rows}
    path = tmp_path / f"rows.{form}"
    if form == "parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.Table.from_pylist(rows), path)
    elif form == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        with path.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, rows[0])
            writer.writeheader()
            writer.writerows({**row, "answers": json.dumps(row["answers"])} for row in rows)
    assert starts(path) == expected
    assert kinds(path).count("answer-start-unit") == 1


@pytest.mark.parametrize(
    "rows",
    [
        # Every start is 0, and one shift would fit all: still nobody knows.
        [
            {"context": f"{name} met Bo. Then Bo met {name}.", "answers": {"text": ["Bo"], "answer_start": [0]}}
            for name in "AEIO"
        ],
        # One answer proves no shift.
        [{"context": "Bo met Al. Then Bo left Al.", "answers": {"text": ["Bo"], "answer_start": [15]}}],
        # Two starts that are off by different numbers.
        [
            {"context": "Bo met Al. Then Bo left Al.", "answers": {"text": ["Bo"], "answer_start": [15]}},
            {"context": "Al met Bo. Then Al left Bo.", "answers": {"text": ["Al"], "answer_start": [18]}},
        ],
        # Bytes for one, characters for the other.
        [
            {"context": GREEK, "answers": {"text": ["Αθήνα"], "answer_start": [125]}},
            {"context": GREEK, "answers": {"text": ["Άννα"], "answer_start": [77]}},
        ],
    ],
)
def test_what_no_unit_explains_is_ambiguous(rows: list[dict[str, Any]]) -> None:
    result = read([{"id": str(at), "question": f"Q{at}?", **row} for at, row in enumerate(rows)])
    assert {problem.kind for problem in result.errors} == {"ambiguous-answer-start"}
    assert not any(problem.kind == "answer-start-unit" for problem in result.problems)
    assert all(one.repaired is None for one, row in zip(result.questions, rows, strict=True) if not one.example)


def test_where_no_unit_fits_all_a_text_that_occurs_once_is_repaired() -> None:
    rows = [
        {"id": "1", "question": "Who?", "context": "Bo met Al.", "answers": {"text": ["Al"], "answer_start": [3]}},
        {"id": "2", "question": "Who?", "context": "Cy met Di.", "answers": {"text": ["Di"], "answer_start": [9]}},
    ]
    result = read(rows)
    assert [problem.kind for problem in result.problems] == ["misaligned-answer"] * 2
    assert [one.repaired.golds[0].answer_start for one in result.questions if one.repaired] == [7, 7]


UNITS = st.builds(
    AnswerUnit,
    st.sampled_from(["characters", "UTF-16 code units", "UTF-8 bytes"]),
    st.sampled_from(["", ", with CR LF counted as one", ", with LF counted as two"]),
)
CONTEXT = st.lists(
    st.sampled_from(["Anna", "Bo", "über", "Вера", "😀", "👩‍🚀", "e\u0301", "東京", "\r\n", "\n", " ", ".", "5", "İ"]),
    min_size=3,
    max_size=40,
).map("".join)


@st.composite
def stated_answers(draw: st.DrawFn) -> tuple[AnswerUnit, list[tuple[str, str, int]]]:
    """Draw a unit, and places in texts with emoji, two-byte letters and all line ends."""
    unit = draw(UNITS)
    places = []
    for context in draw(st.lists(CONTEXT, min_size=1, max_size=4)):
        for _ in range(draw(st.integers(1, 3))):
            start = draw(st.integers(0, len(context) - 1))
            places.append((context, context[start : start + draw(st.integers(1, 6))], start))
    return unit, places


@given(stated_answers())
@settings(max_examples=300, deadline=None)
def test_a_unit_that_is_found_reads_every_answer_where_it_was(
    drawn: tuple[AnswerUnit, list[tuple[str, str, int]]],
) -> None:
    unit, places = drawn
    for context, _, start in places:
        # In the middle of a line end that counts as one character there is no place to state.
        if not (context[start] == "\r" and context[start + 1 : start + 2] == "\n"):
            assert unit.character(context, unit.stated(context, start)) == start
    stated = [(context, text, unit.stated(context, start)) for context, text, start in places]
    found = find_unit(stated)
    if found not in (None, CHARACTERS) and not any("\r" in context for context, _, _ in places):
        assert [found.character(context, start) for context, _, start in stated] == [start for _, _, start in places]


@pytest.mark.real_data
@pytest.mark.parametrize("language", ["ar", "de", "hi", "ru", "zh"])
@pytest.mark.parametrize("encoding", ["UTF-8 bytes", "UTF-16 code units"])
def test_xquad_in_another_unit_is_read_as_it_was(real_data: Path, tmp_path: Path, language: str, encoding: str) -> None:
    examples = [
        dataclasses.replace(
            one, context=f"😀 {one.context}", golds=tuple(Gold(g.text, g.answer_start + 2) for g in one.golds)
        )
        for one in load_examples(real_data / f"xquad/xquad.{language}.json")
    ]
    document = squad_document(examples)
    unit = AnswerUnit(encoding)
    for article in document["data"]:  # type: ignore[attr-defined]
        for paragraph in article["paragraphs"]:
            for question in paragraph["qas"]:
                for answer in question["answers"]:
                    answer["answer_start"] = unit.stated(paragraph["context"], answer["answer_start"])
    path = tmp_path / "other.json"
    path.write_text(json.dumps(document))
    assert load_examples(path) == examples
    copy = check_files([path], write_repaired=tmp_path / "repaired.json").copies[0]
    assert (copy.num_repaired, copy.num_dropped, copy.num_errors) == (len(examples), 0, 0)
    assert read(copy.path).problems == read(tmp_path / "repaired.json").problems
    assert load_examples(copy.path) == examples
