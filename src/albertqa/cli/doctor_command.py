"""``albertqa doctor``: what is wrong with a run."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional

from albertqa.cli.output import print_json
from albertqa.config import Settings, Switch, flag

if TYPE_CHECKING:
    from albertqa.health.offending_rows import OffendingRow


@dataclass(frozen=True)
class Doctor:
    """Report what is wrong with a run and what to do; exit code 1 where something is."""

    run_directory: Positional[Annotated[Path, flag(metavar="RUN")]]
    """Run directory; the run may still be going on."""
    write: Switch = False
    """Also write what was found to health.json in the run, which the report shows."""
    show_rows: Switch = False
    """Show the training questions whose answers the trained model contradicts, and nothing else."""
    write_rows: Annotated[Path | None, flag(metavar="OUT")] = None
    """Write all of these rows to a JSON lines file."""
    max_cases: int = 10
    """Rows shown."""
    json: Switch = False
    """Print the findings as JSON."""

    def run(self) -> int:
        """Diagnose the run, and print what was found."""
        from albertqa.cli.terminal import Terminal
        from albertqa.health.console import render_diagnosis
        from albertqa.health.diagnosis import diagnose
        from albertqa.health.record import load_record
        from albertqa.rundir.findings import health_json, is_healthy, write_findings

        record = load_record(self.run_directory)
        if self.show_rows or self.write_rows is not None:
            return self._print_rows(record.settings)
        findings = diagnose(record)
        if self.write:
            write_findings(self.run_directory, record.status, findings)
        if self.json:
            print_json(health_json(self.run_directory, record.status, findings))
        else:
            render_diagnosis(record, findings, Terminal())
        return 0 if is_healthy(findings) else 1

    def _print_rows(self, settings: Settings) -> int:
        from albertqa.data.reading import load_several
        from albertqa.health.offending_rows import suspect_rows

        train = load_several(settings.train_file, limit=settings.max_train_examples)
        rows = suspect_rows(self.run_directory, train)
        return show_rows(rows, self.max_cases, self.write_rows, as_json=self.json)


def show_rows(rows: Sequence["OffendingRow"], most: int, output: Path | None, *, as_json: bool) -> int:
    """Print rows of the data, and write them to a file where one is named.

    Args:
        rows: The rows.
        most: How many to print for a person.
        output: The file.
        as_json: Print all as JSON.
    """
    from albertqa.cli.terminal import Terminal
    from albertqa.health.console import render_rows
    from albertqa.health.offending_rows import write_rows

    if output is not None:
        write_rows(output, rows)
    if as_json:
        print_json([row.to_json() for row in rows])
    else:
        render_rows(rows, most, Terminal(), written_to=output)
    return 0
