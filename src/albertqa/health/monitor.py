"""The doctor at the bedside: the rules over a run that still goes on, each finding told once."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from albertqa import rundir
from albertqa.health.diagnose import diagnose
from albertqa.health.finding import Finding
from albertqa.health.record import RunRecord, load_record

_EVERY_STEPS = 25


class HealthMonitor:
    """Watches a run and writes its ``health.json``.

    Args:
        run: The run directory, with ``config.toml``, ``run.json`` and the record as far as it goes.
        say: Takes a line for the user.
    """

    def __init__(self, run: Path, say: Callable[[str], None]) -> None:
        self._run, self._say = run, say
        self._record = load_record(run)
        self._steps, self._evaluations = list(self._record.steps), list(self._record.evaluations)
        self._told: set[str] = set()
        self._look()

    def stepped(self, row: dict[str, Any]) -> None:
        """Take a training step's line, and look from time to time."""
        self._steps.append(row)
        if row["step"] % _EVERY_STEPS == 0:
            self._look()

    def evaluated(self, row: dict[str, Any]) -> None:
        """Take an evaluation's line, look, and write what there is to say."""
        self._evaluations.append(row)
        self._write(self._look())

    def finish(self) -> None:
        """Judge the run as its directory has it now, and write that."""
        self._record = load_record(self._run)
        self._steps, self._evaluations = list(self._record.steps), list(self._record.evaluations)
        self._write(self._look())

    def _look(self) -> list[Finding]:
        record = replace(self._record, steps=tuple(self._steps), evaluations=tuple(self._evaluations))
        findings = diagnose(record)
        for finding in findings:
            if finding.name not in self._told:
                self._told.add(finding.name)
                self._say(f"{finding.severity}: {finding.name}: {finding.message} Try: {finding.remedy}")
        return findings

    def _write(self, findings: list[Finding]) -> None:
        write_health(self._run, self._record, findings)


def write_health(run: Path, record: RunRecord, findings: list[Finding]) -> None:
    """Write a run's ``health.json``.

    Args:
        run: The run directory.
        record: Its record.
        findings: What `diagnose` gave.
    """
    rundir.write_json(run / rundir.HEALTH_JSON, health_json(record, findings))


def health_json(record: RunRecord, findings: list[Finding]) -> dict[str, Any]:
    """Give the content of ``health.json``, which ``albertqa doctor --json`` prints too."""
    return {
        "run": str(record.run),
        "status": record.status,
        "healthy": not findings,
        "findings": [finding.to_json() for finding in findings],
    }
