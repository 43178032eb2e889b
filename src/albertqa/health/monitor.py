"""The doctor at the bedside: the rules over a run that still goes on, each finding told once."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from albertqa import rundir
from albertqa.errors import AlbertQAError
from albertqa.health.diagnose import diagnose
from albertqa.health.finding import SEVERITIES, Finding, Severity
from albertqa.health.record import Row, RunRecord, load_record

_EVERY_STEPS = 25


class HealthMonitor:
    """Watches a run and writes its ``health.json``.

    A diagnosis never ends a run: what goes wrong with it is said once, and the run goes on.

    Args:
        run: The run directory, with ``config.toml``, ``run.json`` and the record as far as it goes.
        say: Takes a line for the user.
    """

    def __init__(self, run: Path, say: Callable[[str], None]) -> None:
        self._run, self._say = run, say
        self._record: RunRecord | None = None
        self._steps: list[Row] = []
        self._evaluations: list[Row] = []
        self._told: dict[str, Severity] = {}
        self._has_failed = False
        with self._outlived():
            self._load()
            self._look()

    def stepped(self, row: Row) -> None:
        """Take a training step's line, and look from time to time."""
        self._steps.append(row)
        if row["step"] % _EVERY_STEPS == 0:
            with self._outlived():
                self._look()

    def evaluated(self, row: Row) -> None:
        """Take an evaluation's line, look, and write what there is to say."""
        self._evaluations.append(row)
        with self._outlived():
            self._look(is_written=True)

    def finish(self) -> None:
        """Judge the run as its directory has it now, and write that."""
        with self._outlived():
            self._load()
            self._look(is_written=True)

    def _load(self) -> None:
        self._record = load_record(self._run)
        self._steps, self._evaluations = list(self._record.steps), list(self._record.evaluations)

    def _look(self, *, is_written: bool = False) -> None:
        """Look at the run as it is now; say and write what is new or has become worse, or write in any case."""
        if self._record is None:
            return
        record = replace(self._record, steps=tuple(self._steps), evaluations=tuple(self._evaluations))
        findings = diagnose(record, failed=self._fail)
        news = [finding for finding in findings if self._is_new(finding)]
        for finding in news:
            self._told[finding.name] = finding.severity
            self._say(f"{finding.severity}: {finding.name}: {finding.message} Try: {finding.remedy}")
        if news or is_written:
            write_health(self._run, record, findings)

    def _is_new(self, finding: Finding) -> bool:
        told = self._told.get(finding.name)
        return told is None or SEVERITIES.index(finding.severity) < SEVERITIES.index(told)

    @contextmanager
    def _outlived(self) -> Iterator[None]:
        """Let the run outlive whatever goes wrong with its diagnosis."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 -- hours of training are worth more than any diagnosis of them
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        """Say what went wrong, the first time."""
        if not self._has_failed:
            self._has_failed = True
            what = str(error) if isinstance(error, AlbertQAError) else f"{type(error).__name__}: {error}"
            self._say(f"warning: the run goes on, but the doctor cannot judge all of it: {what}")


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
