"""``albertqa doctor``: what is wrong with a run."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional

from albertqa.cli.output import print_json
from albertqa.config import Switch, flag


@dataclass(frozen=True)
class Doctor:
    """Report what is wrong with a run and what to do; exit code 1 where something is."""

    run_directory: Positional[Annotated[Path, flag(metavar="RUN")]]
    """Run directory; the run may still be going on."""
    write: Switch = False
    """Also write what was found to health.json in the run, which the report shows."""
    json: Switch = False
    """Print the findings as JSON."""

    def run(self) -> int:
        """Diagnose the run, and print what was found."""
        from albertqa.cli.terminal import Terminal
        from albertqa.health.diagnosis import diagnose
        from albertqa.health.record import load_record
        from albertqa.health.display import render_diagnosis
        from albertqa.rundir.findings import health_json, write_findings

        record = load_record(self.run_directory)
        findings = diagnose(record)
        if self.write:
            write_findings(self.run_directory, record.status, findings)
        if self.json:
            print_json(health_json(self.run_directory, record.status, findings))
        else:
            render_diagnosis(record, findings, Terminal())
        return 1 if findings else 0
