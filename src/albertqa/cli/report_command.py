"""``albertqa report``: the page of a run, or of several."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional

from albertqa.cli.output import print_json
from albertqa.config import Switch, flag
from albertqa.errors import SettingsError


@dataclass(frozen=True)
class Report:
    """Write one self-contained HTML page about a run, or several runs side by side."""

    runs: Positional[Annotated[tuple[Path, ...], flag(metavar="RUN ...")]]
    """Run directories; with several, the first is what the others are compared with."""
    output: Annotated[Path | None, flag(metavar="FILE.html")] = None
    """The file to write; unset: report.html in the run, or in the current folder for several runs."""
    push_to_hub: Annotated[str | None, flag(metavar="OWNER/NAME")] = None
    """Also upload the run's best/ with its model card as this model on the Hub."""
    private: Switch = False
    """Make the model on the Hub private where it is created."""
    json: Switch = False
    """Print what was written, and every number of it, as JSON."""

    def run(self) -> int:
        """Write the page, and print where it is."""
        from albertqa import files
        from albertqa.cli.terminal import Terminal
        from albertqa.report import describe_run, push_to_hub, report_numbers, write_report

        if not self.runs:
            raise SettingsError("report: expected at least one run directory, found none")
        if self.push_to_hub is not None and len(self.runs) > 1:
            raise SettingsError(f"--push-to-hub: uploads one run's model, found {len(self.runs)} runs. Name one")
        written: dict[str, str | list[str]]
        if len(self.runs) == 1:
            description = describe_run(self.runs[0], self.output)
            written = {"report": str(description.page)}
            if description.model_cards:
                written["model_cards"] = [str(card) for card in description.model_cards]
        else:
            written = {"report": str(write_report(self.runs, self.output))}
        if self.push_to_hub is not None:
            written["model"] = push_to_hub(self.runs[0] / files.BEST, self.push_to_hub, private=self.private)
        if self.json:
            print_json({**written, **report_numbers(self.runs)})
        else:
            for name, value in written.items():
                Terminal().say(f"{name.replace('_', ' ')}: {', '.join(value) if isinstance(value, list) else value}")
        return 0
