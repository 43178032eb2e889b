"""``albertqa doctor`` and ``health.json``: what a run shows live, what is written, and what the command says."""

import importlib
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from albertqa import cli, files
from albertqa.data.problems import Severity
from albertqa.health.diagnosis import diagnose
from albertqa.health.record import RunRecord, load_record
from albertqa.run import health_monitor
from albertqa.run.health_monitor import HealthMonitor
from albertqa.rundir.findings import Finding, read_findings
from albertqa.rundir.rows import EvaluationRow, Row, StepRow, read_rows

from .cases import names

RECORDED = Path(__file__).parent / "recorded"
HIGH = "starter-high-rate"


@pytest.fixture
def copy(tmp_path: Path) -> Callable[[str], Path]:
    """Copy a recorded run to where it may be written to."""

    def make(name: str) -> Path:
        return Path(shutil.copytree(RECORDED / name, tmp_path / name))

    return make


def test_a_sound_run_is_healthy_and_exits_0(capsys: pytest.CaptureFixture[str]) -> None:
    run = RECORDED / "old-starter-batch-4"
    assert cli.main(["doctor", str(run)]) == 0
    assert capsys.readouterr().out == f"{run}: finished, step 278 of 278: healthy, nothing found.\n"
    assert cli.main(["doctor", str(run), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "run": str(run), "status": "finished", "healthy": True, "findings": [],
    }  # fmt: skip


def test_a_spoilt_run_exits_1_with_a_remedy_on_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    run = RECORDED / HIGH
    assert cli.main(["doctor", str(run)]) == 1
    out = capsys.readouterr().out
    first = diagnose(load_record(run))[0]
    assert out.startswith(f"{run}: finished, step 60 of 60: 1 error\n")
    assert f"\n    {first.remedy}\n" in out
    assert "learning rate 0.02" in out
    assert cli.main(["doctor", str(run), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["findings"][0] == msgspec.to_builtins(first)


def test_the_doctor_writes_only_when_asked(copy: Callable[[str], Path]) -> None:
    run = copy(HIGH)
    before = sorted(path.name for path in run.iterdir())
    cli.main(["doctor", str(run)])
    assert sorted(path.name for path in run.iterdir()) == before
    cli.main(["doctor", str(run), "--write"])
    written = json.loads((run / files.HEALTH_JSON).read_text())
    assert [one["name"] for one in written["findings"]] == names(diagnose(load_record(run)))
    assert not written["healthy"]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda run: shutil.rmtree(run), "no run.json there, expected a run directory of 'albertqa train'"),
        (lambda run: (run / "metrics.jsonl").unlink(), "no metrics.jsonl there"),
        (lambda run: (run / "config.toml").unlink(), "no such settings file"),
        (lambda run: (run / "run.json").write_text("{"), "run.json: broken JSON at line 1 column 2"),
        (lambda run: (run / "run.json").write_text("[]"), "run.json: expected an object, found list"),
        (lambda run: (run / "run.json").write_text('{"status": "x"}'), "expected status, plan and data of a run"),
        (lambda run: (run / "metrics.jsonl").write_text("{\n{}\n"), "metrics.jsonl: line 1 is damaged"),
        (lambda run: line(run, 4, b"\xff"), "metrics.jsonl: line 4 is damaged ('utf-8' codec can't decode"),
        (lambda run: line(run, 4, b"5"), "metrics.jsonl: line 4: expected an object, found 5. Put the file back"),
        (lambda run: line(run, 61, b"null"), "metrics.jsonl: line 61: expected an object, found null. Put"),
        (
            lambda run: line(run, 4, b'{"step": 4, "train_loss": 5.1, "learning_rate": 1e-3}'),
            "line 4: expected 'tokens', found none",
        ),
        (lambda run: line(run, 4, b"{}"), "line 4: expected train_loss or validation_loss, found neither"),
        (
            lambda run: line(run, 4, b'{"step": 4, "train_loss": 5.1}'),
            "metrics.jsonl: line 4: expected 'learning_rate', found none. Put the file back "
            "as it was, or train again in another --output-dir",
        ),
        (
            lambda run: line(run, 4, b'{"train_loss": "low"}'),
            "expected a number or null as 'train_loss', found \"low\"",
        ),
        (
            lambda run: line(run, 61, b'{"step": 60, "epoch": 1, "validation_loss": 5.1, "f1": NaN}'),
            "line 61: expected a number as 'f1', found null",
        ),
        (lambda run: (run / "metrics.jsonl").write_text(""), "expected the 60 steps of run.json (finished)"),
        (
            lambda run: keep_lines(run, 23),
            "metrics.jsonl: expected the 60 steps of run.json (finished), found 23; lines are missing",
        ),
        (lambda run: facts(run, "status", "stopped early") or keep_lines(run, 23), "(stopped early), found 23"),
        (lambda run: facts(run, "status", "done"), "expected status to be one of running, finished, stopped early, "),
        (
            lambda run: facts(run, "plan", "steps_per_epoch", None),
            "run.json: expected a number as 'plan.steps_per_epoch', found null",
        ),
        (
            lambda run: facts(run, "data", "train", {}),
            "expected 'data.train.questions', found none",
        ),
        (lambda run: facts(run, "data", "validation", None), "expected an object as 'data.validation', found null"),
        (lambda run: facts(run, "machine", []), "run.json: expected an object as 'machine', found []"),
        (
            lambda run: (run / "eval.json").write_text('{"best_f1": 90}'),
            "eval.json: expected 'exact', found none. Put the file back as it was, or remove",
        ),
        (
            lambda run: (run / "eval.json").write_text(
                '{"exact": 1, "f1": 1, "loss": 1, "questions": 1, "windows": 1, "NoAns_exact": 1, "NoAns_f1": 1}'
            ),
            "eval.json: expected 'NoAns_total', found none. Put the file back as it was, or remove",
        ),
    ],
)
def test_what_is_no_run_is_one_clear_line(
    copy: Callable[[str], Path],
    spoil: Callable[[Path], Any],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = copy(HIGH)
    spoil(run)
    assert cli.main(["doctor", str(run)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(captured.err.splitlines()) == 1
    assert message in captured.err


def line(run: Path, number: int, content: bytes) -> None:
    """Put something else in the place of a line of a run's record."""
    path = run / "metrics.jsonl"
    lines = path.read_bytes().splitlines()
    lines[number - 1] = content
    path.write_bytes(b"\n".join([*lines, b""]))


def keep_lines(run: Path, count: int) -> None:
    """Keep the first lines of a run's record."""
    lines = (run / "metrics.jsonl").read_bytes().splitlines(keepends=True)
    (run / "metrics.jsonl").write_bytes(b"".join(lines[:count]))


def facts(run: Path, *names_and_value: Any) -> None:
    """Put another value into a run's ``run.json``, where the names lead."""
    *parents, name, value = names_and_value
    content = inner = json.loads((run / "run.json").read_text())
    for parent in parents:
        inner = inner[parent]
    inner[name] = value
    files.write_json(run / "run.json", content)


def test_a_file_of_a_run_is_told_from_the_run(capsys: pytest.CaptureFixture[str]) -> None:
    path = RECORDED / HIGH / "metrics.jsonl"
    assert cli.main(["doctor", str(path)]) == 2
    assert capsys.readouterr().err == (
        f"albertqa: {path}: is a file, expected a run directory of 'albertqa train'. Name the folder it is in\n"
    )


def test_a_run_that_is_being_written_may_end_in_half_a_line(
    copy: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    run = copy("starter-healthy")
    facts(run, "status", "running")
    keep_lines(run, 120)
    with (run / "metrics.jsonl").open("ab") as file:
        file.write(b'{"step": 121, "train_lo')
    assert cli.main(["doctor", str(run)]) == 0
    assert capsys.readouterr().out == f"{run}: running, step 120 of 250: healthy, nothing found.\n"


@pytest.mark.parametrize("loss", [b"null", b"NaN"])
def test_evaluations_without_a_loss_are_found(
    copy: Callable[[str], Path], loss: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    run = copy("starter-healthy")
    for number in (126, 252):
        line(run, number, b'{"step": %d, "epoch": 0.5, "f1": 3.0, "validation_loss": %b}' % (number - 1, loss))
    assert cli.main(["doctor", str(run), "--json"]) == 1
    (finding,) = json.loads(capsys.readouterr().out)["findings"]
    assert (finding["name"], finding["severity"], finding["step"]) == ("nan-loss", "error", 125)
    assert finding["message"].startswith(
        "The validation loss was NaN or infinite: the training broke in the steps before."
    )


def test_live_each_finding_is_told_once_and_early(copy: Callable[[str], Path]) -> None:
    run = copy(HIGH)
    rows = begin(run)
    said: list[tuple[int, str]] = []
    step = 0
    monitor = HealthMonitor(run, lambda line: said.append((step, line)))
    for row in rows:
        step = row.step
        feed(monitor, row)
    assert len(said) == 1
    at, line = said[0]
    assert at == 25
    assert line.startswith("error: high-learning-rate: ")
    assert " Try: albertqa train --config " in line
    written = json.loads((run / files.HEALTH_JSON).read_text())
    assert [one["name"] for one in written["findings"]] == ["high-learning-rate"]


def feed(monitor: HealthMonitor, row: Row) -> None:
    """Tell the monitor of a row, as the loop does."""
    if isinstance(row, EvaluationRow):
        monitor.on_evaluation(row)
    else:
        monitor.on_step(row)


def begin(run: Path) -> list[Row]:
    """Put a finished run back to its beginning; give the lines of its record."""
    rows = list(read_rows(run))
    facts(run, "status", "running")
    facts(run, "step", 0)
    (run / "metrics.jsonl").write_text("")
    return rows


def watch(run: Path, rows: list[Row]) -> list[str]:
    """Let the doctor watch these lines; give what it said."""
    said: list[str] = []
    monitor = HealthMonitor(run, said.append)
    for row in rows:
        feed(monitor, row)
    return said


def test_what_is_told_live_is_written_before_any_evaluation(copy: Callable[[str], Path]) -> None:
    run = copy(HIGH)
    steps = [row for row in begin(run) if isinstance(row, StepRow)]
    assert watch(run, steps[:24]) == []
    assert not (run / files.HEALTH_JSON).exists()
    assert len(watch(run, steps)) == 1
    written = json.loads((run / files.HEALTH_JSON).read_text())
    assert [(one["name"], one["step"]) for one in written["findings"]] == [("high-learning-rate", 25)]


def test_a_warning_that_becomes_an_error_is_told_once_more(
    copy: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def worse_and_better(record: RunRecord, **_: Any) -> list[Finding]:
        severity: Severity = "error" if record.step in {50, 100} else "warning"
        return [Finding("slow", severity, "It is slow.", "albertqa check")] if record.step else []

    monkeypatch.setattr(health_monitor, "diagnose", worse_and_better)
    run = copy("starter-healthy")
    said = watch(run, [row for row in begin(run) if isinstance(row, StepRow)])
    assert said == ["warning: slow: It is slow. Try: albertqa check", "error: slow: It is slow. Try: albertqa check"]


def test_what_a_later_evaluation_does_not_confirm_is_withdrawn_once(
    copy: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def at_first(record: RunRecord, **_: Any) -> list[Finding]:
        return [Finding("slow", "warning", "It is slow.", "albertqa check")] if 0 < record.step < 200 else []

    monkeypatch.setattr(health_monitor, "diagnose", at_first)
    run = copy("starter-healthy")
    said = watch(run, begin(run))
    assert said == [
        "warning: slow: It is slow. Try: albertqa check",
        "warning withdrawn: slow: no longer so at step 250",
    ]
    assert json.loads((run / files.HEALTH_JSON).read_text())["findings"] == []


def test_a_rule_that_fails_ends_no_run_and_silences_no_other_rule(
    copy: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(record: RunRecord) -> Iterator[Finding]:
        yield Finding("never", "error", "", "", step=len(record.path.parts) // 0)

    rules = importlib.import_module("albertqa.health.diagnosis")
    monkeypatch.setattr(rules, "SETUP_RULES", (broken, *rules.SETUP_RULES))
    finished, run = copy("starter-healthy"), copy(HIGH)
    said = watch(run, begin(run))
    assert said[0].startswith(f"warning: the run goes on, but the doctor cannot judge all of it: {run}: ")
    assert "'broken' failed (ZeroDivisionError: integer division or modulo by zero)" in said[0]
    assert [line.split(": ")[1] for line in said[1:]] == ["high-learning-rate"]
    assert cli.main(["doctor", str(finished)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(captured.err.splitlines()) == 1
    assert "'broken' failed (ZeroDivisionError: " in captured.err


def test_a_record_that_cannot_be_read_ends_no_run(copy: Callable[[str], Path]) -> None:
    run = copy(HIGH)
    rows = begin(run)
    (run / "metrics.jsonl").write_text("{\n{}\n")
    said: list[str] = []
    monitor = HealthMonitor(run, said.append)
    for row in rows:
        feed(monitor, row)
    monitor.on_end()
    assert len(said) == 1
    assert "metrics.jsonl: line 1 is damaged" in said[0]


def test_a_run_judges_itself_to_its_end(planted: Callable[[str], RunRecord]) -> None:
    record = planted("learning rate 100 times too high")
    written = json.loads((record.path / files.HEALTH_JSON).read_text())
    assert written["status"] == record.status == "finished"
    assert written["findings"] == [msgspec.to_builtins(finding) for finding in diagnose(record)]


def test_the_report_reads_what_is_written(copy: Callable[[str], Path]) -> None:
    run = copy(HIGH)
    cli.main(["doctor", str(run), "--write"])
    assert read_findings(run) == tuple(diagnose(load_record(run)))
