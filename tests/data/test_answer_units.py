"""Answers that are all off by the same number of characters are found, and moved back to the letter."""

import dataclasses
import json
from pathlib import Path

import pytest

from albertqa.data.answer_units import answers_shift
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
def test_a_shift_is_found_and_mended(tmp_path: Path, by: int) -> None:
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
    assert f"all answers are {abs(by)} character{'s' if abs(by) > 1 else ''} too far {side}" in group.cases[0].message
    by_id = {one.id: one for one in sound}
    repaired = load_examples(copy)
    assert repaired == [by_id[one.id] for one in repaired]
    assert len(repaired) == len(off)


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
