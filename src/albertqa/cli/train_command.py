"""``albertqa train``: a run from start to finish, or resumed."""

import os
import shlex
import signal
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from albertqa.cli.output import print_json
from albertqa.cli.settings_flags import SettingsFlags
from albertqa.config import Switch, load_settings
from albertqa.files import CONFIG_TOML


@dataclass(frozen=True)
class Train(SettingsFlags):
    """Fine-tune a model; the defaults are the published recipe."""

    resume: Switch = False
    """Go on with the run in --output-dir from its newest checkpoint, with the run's own settings."""

    def over_files(self, parse: Callable[[Self], Self]) -> Self:
        """Parse again over the settings file and, resuming, over the run's own settings."""
        command = super().over_files(parse)
        run = command.data.output_dir
        if not command.resume or not (run / CONFIG_TOML).is_file():
            return command
        return parse(command.with_settings(replace(load_settings(run / CONFIG_TOML, is_run=True), output_dir=run)))

    def run(self) -> int:
        """Train, and print what came of it."""
        from albertqa.cli.terminal import Terminal
        from albertqa.report import describe_run
        from albertqa.run.display import TerminalDisplay
        from albertqa.run.own_data import with_own_data
        from albertqa.run.recipe import train

        # Of several processes, the first one reports.
        is_main = os.environ.get("RANK", "0") == "0"
        terminal = Terminal(stderr=self.json, survives=True, quiet=not is_main)
        settings = with_own_data(
            self.settings, terminal.say, has_validation=bool(self.data.validation_file), options=self.table
        )
        try:
            result = train(settings, resume=self.resume, callbacks=[TerminalDisplay(terminal, settings.logging_steps)])
        except KeyboardInterrupt:
            terminal.say(stopped_at_once(settings.output_dir))
            return 128 + signal.SIGINT
        is_finished = result.status != "interrupted"
        # Before the result is printed: with --json, an error is all there is on standard output.
        page = describe_run(result.run).page if is_main and is_finished else None
        if is_main and self.json:
            outcome = {"run": str(result.run), "status": result.status, "step": result.step}
            print_json({**outcome, "best_step": result.best_step, **result.scores})
        if not is_finished:
            terminal.say(f"interrupted at step {result.step:,}; saved. Resume: {resume_command(result.run)}")
            return 128 + (result.signal_number or signal.SIGINT)
        if page is not None and not self.json:
            title = f"{result.run}: {result.status} at step {result.step:,}, best at step {result.best_step:,}"
            terminal.table(title, without_counters(result.scores))
            terminal.say(f"look at it: {page}")
            terminal.say(f"ask it: albertqa answer {shlex.quote(str(result.run))} --question '…' --context '…'")
        return 0


def resume_command(run: Path) -> str:
    """Return the command that resumes a run."""
    return f"albertqa train --resume --output-dir {shlex.quote(str(run))}"


def stopped_at_once(run: Path) -> str:
    """Return what is left of a run that was stopped within a step."""
    from albertqa.run.checkpoint import newest_checkpoint

    checkpoint, _ = newest_checkpoint(run)
    if checkpoint is None:
        return "stopped at once, before the first checkpoint: there is nothing to resume"
    step = int(checkpoint.name.rpartition("-")[2])
    return f"stopped at once; the newest checkpoint is of step {step:,}. Resume: {resume_command(run)}"


def without_counters(scores: dict[str, float | int]) -> dict[str, float | int]:
    """Return the scores that a person looks at."""
    return {name: value for name, value in scores.items() if name not in {"total", "step"}}
