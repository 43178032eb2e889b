"""The check counts, compares files, renders, and writes repaired copies as a transaction."""

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from albertqa.data import CheckReport, check_files, load_examples, read
from albertqa.data.check_display import render_check
from albertqa.errors import DataError

from .cases import EXAMPLES, V2_EXAMPLES, bare_row, row, rows, write_json, write_lines, write_squad

FAULTY = [
    bare_row(),
    bare_row(id="m1", question="1?", answers=[{"text": "duke", "answer_start": 37}]),
    bare_row(id="m2", question="2?", answers=[{"text": "duke", "answer_start": 38}]),
    bare_row(id="gone", question="3?", answers=[{"text": "Harald", "answer_start": 0}]),
    bare_row(id="q1", question="4?"),
    bare_row(id=..., question="5?", answers=["Viking"]),
    bare_row(id=" ", question="6?", answers=[]),
]


def kinds(report: CheckReport) -> dict[str, int]:
    return {group.kind: group.count for group in report.groups}


def rendered(report: CheckReport) -> str:
    stream = io.StringIO()
    render_check(report, Console(file=stream, width=100, color_system=None))
    return stream.getvalue()


def test_a_clean_file_is_ok_with_its_facts(tmp_path: Path) -> None:
    path = write_squad(tmp_path / "dev.json", V2_EXAMPLES)
    report = check_files([path])
    assert report.ok
    assert report.groups == ()
    facts = report.to_json()["files"][0]
    assert facts == {
        "name": str(path),
        "format": "squad-json",
        "version": "v2.0",
        "questions": 4,
        "usable": 4,
        "unanswerable": 1,
        "contexts": 2,
        "golds": 4,
        "size_bytes": path.stat().st_size,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "content_sha256": facts["content_sha256"],
    }
    assert report.to_json()["questions"] == 4
    assert "OK: ready for training and evaluation" in rendered(report)


def test_problems_are_grouped_counted_and_shown_worst_first(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "rows.jsonl", FAULTY)
    report = check_files([path], max_cases=1)
    assert not report.ok
    assert kinds(report) == {
        "misaligned-answer": 2,
        "answer-not-in-context": 1,
        "duplicate-id": 1,
        "empty-id": 1,
        "missing-id": 1,
        "missing-answer-start": 1,
    }
    assert [group.severity for group in report.groups] == ["error"] * 4 + ["note"] * 2
    group = report.groups[0]
    assert (group.kind, group.repairable, group.by_file, len(group.cases)) == (
        "misaligned-answer",
        2,
        {str(path): 2},
        1,
    )
    text = rendered(report)
    assert f"{path}: question m1: answer_start 37 gives 'uke ', expected 'duke' at 36\n" in text
    assert "repair: set answer_start to 36" in text
    assert "… and 1 more" in text
    assert "Errors that can be repaired: 3; add --write-repaired OUT.json" in text
    assert json.loads(json.dumps(report.to_json())) == report.to_json()


def test_text_from_a_file_is_never_taken_for_markup(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "rows[bold].jsonl", [bare_row(id="[red]x[/red]", context="[/]", answers=["[i]"])])
    text = rendered(check_files([path]))
    assert "question [red]x[/red]: answer '[i]' is not in the context" in text


def test_extra_facts_are_merged_and_rendered(tmp_path: Path) -> None:
    report = check_files([write_squad(tmp_path / "dev.json", EXAMPLES)])
    report.files[0].extra["windows"] = 3
    assert report.to_json()["files"][0]["windows"] == 3
    assert "windows" in rendered(report)


def test_contexts_and_ids_in_two_files_are_warnings(tmp_path: Path) -> None:
    train = write_squad(tmp_path / "train.json", EXAMPLES[:2])
    dev = write_lines(tmp_path / "dev.jsonl", [row(EXAMPLES[1]), row(EXAMPLES[1], id="new"), row(EXAMPLES[2])])
    report = check_files([train, dev])
    assert report.ok
    assert kinds(report) == {"shared-context": 1, "shared-id": 1, "duplicate-question": 1}
    by_kind = {group.kind: str(group.cases[0]) for group in report.groups}
    assert by_kind["shared-id"] == f"{dev}: question q2: the id is also in {train}"
    assert f"is also in {train}; what is trained on one" in by_kind["shared-context"]


def test_made_ids_do_not_count_as_shared(tmp_path: Path) -> None:
    first = write_lines(tmp_path / "a.jsonl", [bare_row(id=...)])
    second = write_lines(tmp_path / "b.jsonl", [row(EXAMPLES[2]) | {"id": None}])
    assert kinds(check_files([first, second])) == {"missing-id": 2}


def test_files_with_and_without_unanswerable_questions_are_mixed(tmp_path: Path) -> None:
    v1 = write_squad(tmp_path / "v1.json", EXAMPLES[2:])
    v2 = write_squad(tmp_path / "v2.json", [V2_EXAMPLES[0], V2_EXAMPLES[3]])
    report = check_files([v1, v2])
    assert kinds(report) == {"mixed-versions": 1}
    assert f"1 of 2 questions have no answer, while every question of {v1} has one" in str(report.groups[0].cases[0])
    assert check_files([v2]).groups == ()


def test_a_missing_file_does_not_hide_the_others(tmp_path: Path) -> None:
    report = check_files([tmp_path / "none.json", write_squad(tmp_path / "dev.json", EXAMPLES)])
    assert kinds(report) == {"no-such-file": 1}
    assert [facts.num_questions for facts in report.files] == [0, 3]
    assert "?" in rendered(report)


def test_no_files_at_all_are_refused() -> None:
    with pytest.raises(DataError, match="expected at least one file"):
        check_files([])


def test_the_repaired_copy_holds_what_can_be_repaired_and_lists_the_rest(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "rows.jsonl", [*FAULTY, 7])
    out = tmp_path / "repaired.json"
    copy = check_files([path], write_repaired=out).copies[0]
    assert (copy.num_questions, copy.num_repaired, copy.num_dropped) == (5, 4, 3)
    repaired = load_examples(out)
    assert [example.id for example in repaired] == ["q1", "m1", "m2", "row-6", "row-7"]
    assert [example.golds[0].answer_start for example in repaired[:4]] == [45, 36, 36, 68]
    assert json.loads(out.read_text())["version"] == "v2.0"
    dropped = json.loads(Path(copy.dropped_path or "").read_text())
    assert [(item["id"], item["place"], item["reasons"][0]["kind"]) for item in dropped] == [
        ("gone", "line 4", "answer-not-in-context"),
        ("q1", "line 5", "duplicate-id"),
        ("", "line 8", "unknown-structure"),
    ]
    assert sorted(item.name for item in tmp_path.iterdir()) == [
        "repaired.json",
        "repaired.json.dropped.json",
        "rows.jsonl",
    ]


def test_lost_paragraphs_are_listed_too(tmp_path: Path) -> None:
    document = json.loads(write_squad(tmp_path / "in.json", EXAMPLES).read_text())
    document["data"][0]["paragraphs"].append({"context": "no questions key"})
    path = write_json(tmp_path / "in.json", document)
    copy = check_files([path], write_repaired=tmp_path / "out.json").copies[0]
    assert (copy.num_questions, copy.num_dropped) == (3, 1)
    assert json.loads(Path(copy.dropped_path or "").read_text())[0]["place"] == "data[0].paragraphs[1]"


def test_a_clean_copy_keeps_order_though_contexts_alternate(tmp_path: Path) -> None:
    examples = [EXAMPLES[0], EXAMPLES[2], EXAMPLES[1]]
    path = write_lines(tmp_path / "rows.jsonl", rows(examples))
    check_files([path], write_repaired=tmp_path / "out.json")
    assert load_examples(tmp_path / "out.json") == examples
    assert json.loads((tmp_path / "out.json").read_text())["version"] == "1.1"
    assert json.loads((tmp_path / "out.json.dropped.json").read_text()) == []


def test_an_input_is_never_overwritten(tmp_path: Path) -> None:
    path = write_squad(tmp_path / "dev.json", EXAMPLES)
    before = path.read_bytes()
    link = tmp_path / "link.json"
    link.symlink_to(path)
    for out in (path, link, tmp_path):  # the folder would give the same name
        with pytest.raises(DataError, match="this is an input, which is never overwritten"):
            check_files([path], write_repaired=out)
    lost = write_squad(tmp_path / "out.json.dropped.json", EXAMPLES)
    with pytest.raises(DataError, match="never overwritten"):
        check_files([path, lost][1:], write_repaired=tmp_path / "out.json")
    assert path.read_bytes() == before


def test_several_inputs_need_a_folder(tmp_path: Path) -> None:
    inputs = [write_squad(tmp_path / name, EXAMPLES) for name in ("train.json", "dev.json")]
    with pytest.raises(DataError, match="expected a folder for the repaired copies of 2 files"):
        check_files(inputs, write_repaired=tmp_path / "out.json")
    report = check_files(inputs, write_repaired=tmp_path / "new" / "folder")
    assert [Path(copy.path or "").name for copy in report.copies] == ["train.json", "dev.json"]
    assert load_examples(tmp_path / "new" / "folder" / "dev.json") == EXAMPLES


def test_two_inputs_of_one_name_are_refused(tmp_path: Path) -> None:
    inputs = [write_squad(tmp_path / "a.json", EXAMPLES), write_lines(tmp_path / "a.jsonl", rows(EXAMPLES))]
    with pytest.raises(DataError, match="two inputs would be repaired to this name"):
        check_files(inputs, write_repaired=tmp_path / "out")


def test_a_copy_that_cannot_be_written_is_one_line_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_squad(tmp_path / "dev.json", EXAMPLES)
    with pytest.raises(DataError, match="there is no such folder for the repaired copy; make it first"):
        check_files([path], write_repaired=tmp_path / "none" / "out.json")
    out = tmp_path / "out.json"
    out.write_text("earlier")

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(DataError, match="cannot be written: No space left on device"):
        check_files([path], write_repaired=out)
    assert out.read_text() == "earlier"
    assert sorted(item.name for item in tmp_path.iterdir()) == ["dev.json", "out.json"]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b'{"data": [', "unusable as a whole: broken JSON"),
        (b'id,question,context,answer_text\na,W?,x,x\nb,"W', "unusable as a whole: broken CSV"),
        (b"id,question,context\na,W?,x\n", "unusable as a whole: expected answers or answer_text"),
        (b'[{"id": "a", "answers": []}]', "unusable as a whole: expected SQuAD's JSON"),
    ],
)
def test_no_copy_is_written_of_what_was_not_read_whole(data: bytes, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "in.txt"
    path.write_bytes(data)
    report = check_files([path], write_repaired=tmp_path / "out.json")
    assert report.copies[0].path is None
    assert report.copies[0].reason.startswith(reason)
    assert f"no repaired copy written: {reason}" in rendered(report)
    assert [item.name for item in tmp_path.iterdir()] == ["in.txt"]


def test_a_copy_of_a_gzipped_table_is_named_after_it(tmp_path: Path) -> None:
    import gzip

    path = tmp_path / "dev-v1.1.jsonl.gz"
    path.write_bytes(gzip.compress(json.dumps(row(EXAMPLES[0])).encode()))
    folder = tmp_path / "out"
    folder.mkdir()
    check_files([path], write_repaired=folder)
    assert read(folder / "dev-v1.1.json").problems == ()
