"""``albertqa study``: runs over settings and seeds, and what can be said of the settings."""

import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional

from albertqa.cli.output import print_json
from albertqa.config import Switch, flag
from albertqa.errors import SettingsError


@dataclass(frozen=True)
class Study:
    """Train settings with several seeds each, and compare them; started again, a study goes on."""

    spec: Positional[Annotated[Path, flag(metavar="SPEC.toml")]]
    """What is tried: output, search, seeds, [base] with the settings of every run, [space] with those that are tried
    (docs/guides/studies.md has an example)."""
    workers: int = 1
    """Processes that train at the same time. On further machines with the folder, start the same command."""
    only_trials: Switch = False
    """Train what is left of the trials, and leave the rest to another process."""
    json: Switch = False
    """Print the result as JSON; progress goes to stderr."""

    def run(self) -> int:
        """Conduct the study, and print what it found."""
        from dataclasses import asdict

        from albertqa.cli.terminal import Terminal
        from albertqa.report.study_page import write_study_page
        from albertqa.study.conduct import conduct, work
        from albertqa.study.spec import load_spec

        if self.workers < 1:
            raise SettingsError(f"--workers: expected at least 1, found {self.workers}")
        spec = load_spec(self.spec)
        terminal = Terminal(stderr=self.json or self.only_trials, survives=True)
        if self.only_trials:
            work(spec, terminal.say)
            return 0
        command = ["study", str(self.spec), "--only-trials"]
        result = conduct(spec, say=terminal.say, workers=self.workers, worker_command=command)
        if result is None:
            terminal.say("not finished; what is done stays. Start the same command again to go on")
            return 128 + signal.SIGINT
        page = write_study_page(result, spec.folder)
        if self.json:
            print_json(asdict(result))
            return 0
        for sentence in result.conclusion:
            terminal.say(sentence)
        terminal.say(f"look at it: {page}")
        return 0
