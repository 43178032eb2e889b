"""``albertqa doctor`` and ``health.json``: what a run shows live, what is written, and what the command says."""

import dataclasses
import importlib
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from albertqa import cli, rundir
from albertqa.health import monitor as bedside
from albertqa.health.diagnose import diagnose
from albertqa.health.finding import Finding, Severity
from albertqa.health.monitor import HealthMonitor
from albertqa.health.record import RunRecord, load_record

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
    assert "learning_rate" in out
    assert cli.main(["doctor", str(run), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["findings"][0] == first.to_json()


def test_the_doctor_writes_only_when_asked(copy: Callable[[str], Path]) -> None:
    run = copy(HIGH)
    before = sorted(path.name for path in run.iterdir())
    cli.main(["doctor", str(run)])
    assert sorted(path.name for path in run.iterdir()) == before
    cli.main(["doctor", str(run), "--write"])
    written = json.loads((run / rundir.HEALTH_JSON).read_text())
    assert [one["name"] for one in written["findings"]] == names(diagnose(load_record(run)))
    assert not written["healthy"]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda run: shutil.rmtree(run), "no run.json there, expected a run directory of 'albertqa train'"),
        (lambda run: (run / "metrics.jsonl").unlink(), "no metrics.jsonl there"),
        (lambda run: (run / "config.toml").unlink(), "no such settings file"),
        (lambda run: (run / "run.json").write_text("{"), "run.json: cannot be read"),
        (lambda run: (run / "run.json").write_text("[]"), "run.json: expected an object, found list"),
        (lambda run: (run / "run.json").write_text('{"status": "x"}'), "expected status, plan and data of a run"),
        (lambda run: (run / "metrics.jsonl").write_text("{\n{}\n"), "line 1 is damaged"),
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


def test_live_each_finding_is_told_once_and_early(copy: Callable[[str], Path]) -> None:
    run = copy(HIGH)
    rows = list(rundir.read_metrics(run))
    facts = json.loads((run / "run.json").read_text())
    rundir.write_json(run / "run.json", {**facts, "status": "running"})
    (run / "metrics.jsonl").write_text("")
    said: list[tuple[int, str]] = []
    step = 0
    monitor = HealthMonitor(run, lambda line: said.append((step, line)))
    for row in rows:
        step = row["step"]
        (monitor.evaluated if "validation_loss" in row else monitor.stepped)(row)
    assert len(said) == 1
    at, line = said[0]
    assert at == 25
    assert line.startswith("error: high-learning-rate: ")
    assert " Try: albertqa train --config " in line
    written = json.loads((run / rundir.HEALTH_JSON).read_text())
    assert [one["name"] for one in written["findings"]] == ["high-learning-rate"]


def begin(run: Path) -> list[dict[str, Any]]:
    """Put a finished run back to its beginning; give the lines of its record."""
    rows = list(rundir.read_metrics(run))
    facts = json.loads((run / "run.json").read_text())
    rundir.write_json(run / "run.json", {**facts, "status": "running", "step": 0})
    (run / "metrics.jsonl").write_text("")
    return rows


def watch(run: Path, rows: list[dict[str, Any]]) -> list[str]:
    """Let the doctor watch these lines; give what it said."""
    said: list[str] = []
    monitor = HealthMonitor(run, said.append)
    for row in rows:
        (monitor.evaluated if "validation_loss" in row else monitor.stepped)(row)
    return said


def test_what_is_told_live_is_written_before_any_evaluation(copy: Callable[[str], Path]) -> None:
    run = copy(HIGH)
    steps = [row for row in begin(run) if "train_loss" in row]
    assert watch(run, steps[:24]) == []
    assert not (run / rundir.HEALTH_JSON).exists()
    assert len(watch(run, steps)) == 1
    written = json.loads((run / rundir.HEALTH_JSON).read_text())
    assert [(one["name"], one["step"]) for one in written["findings"]] == [("high-learning-rate", 25)]


def test_a_warning_that_becomes_an_error_is_told_once_more(
    copy: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def worse_and_better(record: RunRecord, **_: Any) -> list[Finding]:
        severity: Severity = "error" if record.step in {50, 100} else "warning"
        return [Finding("slow", severity, 0, "It is slow.", "albertqa check")] if record.step else []

    monkeypatch.setattr(bedside, "diagnose", worse_and_better)
    run = copy("starter-healthy")
    said = watch(run, [row for row in begin(run) if "train_loss" in row])
    assert said == ["warning: slow: It is slow. Try: albertqa check", "error: slow: It is slow. Try: albertqa check"]


def test_a_rule_that_fails_ends_no_run_and_silences_no_other_rule(
    copy: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(record: RunRecord) -> Iterator[Finding]:
        yield Finding("never", "error", record.step // 0, "", "")

    rules = importlib.import_module("albertqa.health.diagnose")
    monkeypatch.setattr(rules, "CAUSES", (broken, *rules.CAUSES))
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
        (monitor.evaluated if "validation_loss" in row else monitor.stepped)(row)
    monitor.finish()
    assert len(said) == 1
    assert "metrics.jsonl: line 1 is damaged" in said[0]


def test_a_run_judges_itself_to_its_end(planted: Callable[[str], RunRecord]) -> None:
    record = planted("learning rate 100 times too high")
    written = json.loads((record.run / rundir.HEALTH_JSON).read_text())
    assert written["status"] == record.status == "finished"
    assert written["findings"] == [finding.to_json() for finding in diagnose(record)]


def test_the_report_reads_what_is_written(copy: Callable[[str], Path]) -> None:
    from albertqa.report.run import _read_findings

    run = copy(HIGH)
    cli.main(["doctor", str(run), "--write"])
    found = _read_findings(run / rundir.HEALTH_JSON)
    expected = diagnose(load_record(run))
    assert [dataclasses.astuple(one) for one in found] == [
        (one.name, one.severity, one.step, one.message, one.remedy) for one in expected
    ]
