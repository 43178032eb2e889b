"""Findings on the terminal."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from albertqa.files import FINDINGS_PAGE, plural
from albertqa.health.offending_rows import OffendingRow
from albertqa.health.record import RunRecord
from albertqa.rundir.findings import Finding, is_healthy

if TYPE_CHECKING:
    from rich.console import Console

_COLOURS = {"error": "red", "warning": "yellow", "note": "blue"}


def render_diagnosis(record: RunRecord, findings: Sequence[Finding], console: "Console") -> None:
    """Print what `albertqa.health.diagnosis.diagnose` found wrong with a run, and what to do."""
    size = record.run.facts.world_size
    processes = f", {size} processes" if size > 1 else ""
    state = f"{record.path}: {record.status}, step {record.step:,} of {record.total_steps:,}{processes}"
    healthy = "healthy, nothing found." if not findings else "healthy. " if is_healthy(findings) else ""
    _print_line(console, f"{state}: {healthy}{count_findings(findings)}")
    render_findings(findings, console)


def render_findings(findings: Sequence[Finding], console: "Console") -> None:
    """Print findings as a table, and below it what to do about them; where there are none, nothing."""
    from rich.table import Table
    from rich.text import Text

    if not findings:
        return
    table = Table(show_lines=True)
    for heading in ("finding", "what it means"):
        table.add_column(heading, overflow="fold")
    for finding in findings:
        name = Text(f"{finding.severity}\n", style=_COLOURS[finding.severity]) + Text(finding.name, style="default")
        numbers = ", ".join(f"{one.replace('_', ' ')} {_written(value)}" for one, value in finding.evidence.items())
        when = f"step {finding.step:,}" if finding.step else "before the first step"
        table.add_row(name + Text(f"\n{when}"), Text(finding.message) + Text(f"\n{numbers}", style="dim"))
    console.print(table)
    _print_line(console, "what to do, first things first:")
    for finding in findings:
        # Not in the table, so that a command can be copied whole.
        _print_line(console, f"  {finding.name}:\n    {finding.remedy}")
    names = ", ".join(f"#{finding.name}" for finding in findings)
    _print_line(console, f"more on each: {FINDINGS_PAGE} ('make docs' in a clone builds it): {names}")


def render_rows(rows: Sequence[OffendingRow], most: int, console: "Console", *, written_to: Path | None = None) -> None:
    """Print rows that a finding is about.

    Args:
        rows: The rows, in order.
        most: How many to print.
        console: Where to print.
        written_to: The file that has them all, where one was written.
    """
    for row in rows[:most]:
        one = row.example
        answer = f"'{one.golds[0].text}' at {one.golds[0].answer_start}" if one.golds else "none"
        _print_line(console, f"{row.part} question {one.id}: {row.why}")
        _print_line(console, f"  question: {one.question}\n  answer: {answer}")
    further = f", {most:,} of them shown" if len(rows) > most else ""
    where = f"; all written to {written_to}" if written_to is not None else ""
    _print_line(console, f"{plural(len(rows), 'row')}{further}{where}")


def count_findings(findings: Sequence[Finding]) -> str:
    """Return how many findings there are by severity: "1 error, 2 warnings"."""
    counts = {severity: sum(one.severity == severity for one in findings) for severity in _COLOURS}
    return ", ".join(plural(count, severity) for severity, count in counts.items() if count)


def _print_line(console: "Console", text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def _written(value: float | int | str) -> str:
    return f"{value:,.4g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else value
