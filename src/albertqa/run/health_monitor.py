"""The doctor while a run trains."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from albertqa.data.problems import SEVERITIES, Severity
from albertqa.errors import AlbertQAError
from albertqa.health.diagnosis import diagnose, diagnose_before_training
from albertqa.health.record import RunRecord, load_record
from albertqa.run.callbacks import Callback
from albertqa.rundir.findings import Finding, write_findings
from albertqa.rundir.rows import EvaluationRow, Row, StepRow


class HealthMonitor(Callback):
    """Diagnoses a run while it trains, reports each finding once, and writes ``health.json``.

    A finding that a later evaluation does not confirm is withdrawn, and that is reported, too. A diagnosis never ends a
    run: an error in it is reported once, and the run goes on. What needs no step is looked at once, before the first; a
    later look costs the same however many steps were done.

    Args:
        run: The run directory, with ``config.toml``, ``run.json`` and the rows so far.
        say: Takes a line for the user.
    """

    EVERY_STEPS = 25

    def __init__(self, run: Path, say: Callable[[str], None]) -> None:
        self._run, self._say = run, say
        self._record: RunRecord | None = None
        self._before: list[Finding] = []
        self._reported: dict[str, Severity] = {}
        self._has_failed = False
        with self._survived():
            self._record = load_record(run)
            self._before = diagnose_before_training(self._record, failed=self._fail)
            self._diagnose()

    def on_step(self, row: StepRow) -> None:
        """Diagnose from time to time."""
        self._add(row)
        if row.step % self.EVERY_STEPS == 0:
            with self._survived():
                self._diagnose()

    def on_evaluation(self, row: EvaluationRow) -> None:
        """Diagnose, and write what was found."""
        self._add(row)
        with self._survived():
            self._diagnose(is_written=True)

    def on_end(self) -> None:
        """Diagnose the run as its directory has it now, and write that."""
        with self._survived():
            self._record = load_record(self._run)
            self._diagnose(is_written=True)

    def _add(self, row: Row) -> None:
        if self._record is not None:
            self._record.add(row)

    def _diagnose(self, *, is_written: bool = False) -> None:
        """Diagnose the run as it is now; report and write what is new or has become worse.

        Args:
            is_written: Write in any case, and report what is withdrawn: an evaluation was done, or the run is over.
        """
        record = self._record
        if record is None:
            return
        findings = diagnose(record, before=self._before, failed=self._fail)
        news = [finding for finding in findings if self._is_new(finding)]
        for finding in news:
            self._reported[finding.name] = finding.severity
            self._say(f"{finding.severity}: {finding.name}: {finding.message} Try: {finding.remedy}")
        if is_written:
            for name in self._reported.keys() - {finding.name for finding in findings}:
                severity = self._reported.pop(name)
                self._say(f"{severity} withdrawn: {name}: no longer so at step {record.step:,}")
        if news or is_written:
            write_findings(self._run, record.status, findings)

    def _is_new(self, finding: Finding) -> bool:
        # Notes are for whoever asks.
        if finding.severity == "note":
            return False
        reported = self._reported.get(finding.name)
        return reported is None or SEVERITIES.index(finding.severity) < SEVERITIES.index(reported)

    @contextmanager
    def _survived(self) -> Iterator[None]:
        """Let the run survive whatever goes wrong with its diagnosis."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 -- hours of training are worth more than any diagnosis of them
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        """Report what went wrong, the first time."""
        if not self._has_failed:
            self._has_failed = True
            what = str(error) if isinstance(error, AlbertQAError) else f"{type(error).__name__}: {error}"
            self._say(f"warning: the run goes on, but the doctor cannot judge all of it: {what}")
