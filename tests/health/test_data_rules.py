"""`albertqa check` and the doctor say the same of the same data, and show the rows that they mean."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from albertqa import cli
from albertqa.config import Settings
from albertqa.data.label_checks import shared_content
from albertqa.data.reading import load_examples
from albertqa.errors import SettingsError
from albertqa.health.data_rules import diagnose_data, diagnose_examples
from albertqa.health.diagnosis import diagnose
from albertqa.health.offending_rows import SELECTIONS, Rows, offending_rows, write_rows
from albertqa.health.record import RunRecord
from albertqa.rundir.findings import Finding
from albertqa.windows.tokenizer import load_tokenizer

from .cases import names
from .faults import FAULTS, joined, other_contexts

# Faults of the data alone; what a model's files decide, no check of files can know.
DATA_FAULTS = [
    name
    for name, fault in FAULTS.items()
    if fault.on == "questions"
    and fault.model is None
    and (fault.train or fault.validation or fault.leak)
    and set(fault.settings) <= {"max_steps"}
]


def of(record: RunRecord) -> tuple[list[Finding], list[Finding]]:
    """Return what the check says of a run's files, with and without the run's tokenizer."""
    settings = record.settings
    train, validation = load_examples(settings.train_file[0]), load_examples(settings.validation_file[0])
    tokenizer = load_tokenizer(settings.model)
    return diagnose_examples(settings, train, validation, tokenizer), diagnose_examples(settings, train, validation)


@pytest.mark.parametrize("fault", DATA_FAULTS)
def test_check_and_doctor_say_the_same_of_the_same_data(planted: Callable[[str], RunRecord], fault: str) -> None:
    record = planted(fault)
    with_tokenizer, without = of(record)
    doctor = diagnose_data(record)
    said = [(one.name, one.message, one.evidence) for one in doctor]
    assert [(one.name, one.message, one.evidence) for one in with_tokenizer] == said
    # Without a tokenizer only what the windows show is missing.
    windows = {"unknown-tokens", "truncated-answers", "short-windows", "answers-too-long", "large-doc-stride"}
    expected = [one for one in said if one[0] not in windows]
    assert [(one.name, one.message, one.evidence) for one in without] == expected
    assert FAULTS[fault].expected in {one.name for one in with_tokenizer}
    # Which one is first is asked of the planted faults.
    assert FAULTS[fault].expected in {one.name for one in diagnose(record)}


def test_windows_that_overlap_nearly_whole_are_named_before_anything_is_trained(tiny_folder: Path) -> None:
    train, tokenizer = joined(load_examples("starter:train", limit=120), 4), load_tokenizer(tiny_folder)
    for stride, found in ((300, ["large-doc-stride"]), (128, [])):
        settings = Settings(train_file=("a",), validation_file=("b",), doc_stride=stride)
        assert names(diagnose_examples(settings, train, (), tokenizer)) == found


def test_sound_data_is_called_sound_by_both(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["check", "starter:train", "starter:validation"]) == 0
    out = capsys.readouterr().out
    assert "OK: ready for training and evaluation" in out
    assert "what to do" not in out


@pytest.mark.parametrize("fault", DATA_FAULTS)
def test_the_remedy_shows_the_rows_and_never_calls_them_sound(
    planted: Callable[[str], RunRecord], fault: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings, name = planted(fault).settings, FAULTS[fault].expected
    files = [settings.train_file[0], "--validation-file", settings.validation_file[0]]
    code = cli.main(["check", *files])
    out = capsys.readouterr().out
    finding = next(one for one in of(planted(fault))[1] if one.name == name) if name != "unknown-tokens" else None
    if finding is None:
        return
    assert "OK: ready" not in out
    assert code == (1 if any(one.severity == "error" for one in of(planted(fault))[1]) else 0)
    assert f"--show-rows {name}" in finding.remedy or "--write-repaired" in finding.remedy
    rows = tmp_path / "rows.jsonl"
    assert cli.main(["check", *files, "--show-rows", name, "--write-rows", str(rows), "--max-cases", "2"]) == 0
    shown = capsys.readouterr().out
    written = [json.loads(line) for line in rows.read_text().splitlines()]
    assert len(written) >= (1 if name == "few-contexts" else 20)
    assert f"{len(written):,} row{'' if len(written) == 1 else 's'}" in shown
    assert written[0]["question"] in shown
    assert all(one["why"] for one in written)
    # What is written can be read as data again.
    assert len(load_examples(rows)) >= 1


def test_a_leak_is_shown_question_by_question() -> None:
    train, validation = load_examples("starter:train", limit=50), load_examples("starter:validation", limit=50)
    rows = offending_rows("data-leakage", Rows([*train, *validation[:7]], validation))
    assert [row.example.id for row in rows[:7]] == [one.id for one in validation[:7]]
    assert all(f"training question {row.example.id} is the same" == row.why for row in rows[:7])


def test_a_leak_is_found_whatever_became_of_its_contexts() -> None:
    train, validation = load_examples("starter:train", limit=200), load_examples("starter:validation", limit=100)
    leaked = [other_contexts(one) for one in validation[:20]]
    found = [row.example.id for row in offending_rows("data-leakage", Rows([*train, *leaked], validation))]
    assert set(found) >= {one.id for one in validation[:20]}
    # Others only where they are asked on the same text.
    texts = {one.context for one in validation[:20]}
    assert {one.context for one in validation if one.id in found} == texts
    # A form asks the same of every text, and often gets the same answer.
    form = [dataclasses.replace(one, question="Is it on paper?") for one in (*train, *validation)]
    facts = shared_content(form[:200], form[200:])
    assert facts["shared_questions_percent"] == 0


def test_what_a_model_was_trained_on_before_is_checked_and_shown(
    planted: Callable[[str], RunRecord], capsys: pytest.CaptureFixture[str]
) -> None:
    settings = planted("a model that has seen the validation data").settings
    words = ["check", settings.train_file[0], settings.validation_file[0]]
    assert cli.main(words) == 0
    assert cli.main([*words, "--tokenizer", settings.model]) == 1
    assert "The model" in capsys.readouterr().out
    assert cli.main([*words, "--tokenizer", settings.model, "--show-rows", "data-leakage"]) == 0
    assert "30 rows, 5 of them shown" in capsys.readouterr().out


def test_few_usable_rows_of_many_are_not_judged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"question": one.context, "context": one.question, "answer_text": one.golds[0].text}
            for one in load_examples("starter:train", limit=100)]  # fmt: skip
    rows.append({"question": "What is it?", "context": "It is water.", "answer_text": "water"})
    path = tmp_path / "swapped.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    assert cli.main(["check", str(path)]) == 1
    out = capsys.readouterr().out
    assert "two columns seem to be swapped" in out
    assert "few-questions" not in out


def test_a_finding_without_rows_is_refused_with_those_that_have_some(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="--show-rows is 'lr', expected one of swapped-fields, missing-whitespace"):
        offending_rows("lr", Rows([]))
    write_rows(tmp_path / "none.jsonl", [])
    assert (tmp_path / "none.jsonl").read_text() == ""
    assert all(select.__name__ for select in SELECTIONS.values())
