"""A diagnosis on the terminal."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from albertqa.health.record import RunRecord
from albertqa.rundir.findings import Finding

if TYPE_CHECKING:
    from rich.console import Console

_COLOURS = {"error": "red", "warning": "yellow"}


def render_diagnosis(record: RunRecord, findings: Sequence[Finding], console: "Console") -> None:
    """Print what is wrong with a run, the root first, and what to do.

    Args:
        record: The run.
        findings: What `albertqa.health.diagnosis.diagnose` gave.
        console: Where to.
    """
    from rich.table import Table
    from rich.text import Text

    state = f"{record.path}: {record.status}, step {record.step:,} of {record.total_steps:,}"
    if not findings:
        console.print(f"{state}: healthy, nothing found.", markup=False, highlight=False, soft_wrap=True)
        return
    console.print(f"{state}: {_count(findings)}", markup=False, highlight=False, soft_wrap=True)
    table = Table(show_lines=True)
    for heading in ("finding", "what it means"):
        table.add_column(heading, overflow="fold")
    for finding in findings:
        name = Text(f"{finding.severity}\n", style=_COLOURS[finding.severity]) + Text(finding.name, style="default")
        numbers = ", ".join(f"{name} {_spelled(value)}" for name, value in finding.evidence.items())
        when = f"step {finding.step:,}" if finding.step else "before the first step"
        table.add_row(name + Text(f"\n{when}"), Text(finding.message) + Text(f"\n{numbers}", style="dim"))
    console.print(table)
    console.print("what to do, first things first:")
    for finding in findings:
        # Not in the table, so that a command can be copied whole.
        console.print(f"  {finding.name}:\n    {finding.remedy}", markup=False, highlight=False, soft_wrap=True)


def _count(findings: Sequence[Finding]) -> str:
    counts = {severity: sum(one.severity == severity for one in findings) for severity in _COLOURS}
    return ", ".join(f"{count} {name}{'s' if count > 1 else ''}" for name, count in counts.items() if count)


def _spelled(value: float | int | str) -> str:
    return f"{value:,.4g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else value
