"""``albertqa find-lr``: a learning-rate range test."""

import json
import signal
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

from albertqa.cli.output import print_json
from albertqa.cli.settings_flags import SettingsFlags
from albertqa.config import DataConfig, Settings
from albertqa.data.raw_rows import ReadOptions

_FOLDER = Path("runs/find-lr")


@dataclass(frozen=True)
class FindLr(SettingsFlags):
    """Find a learning rate by a short run in which it rises; settings as for train."""

    data: DataConfig = field(default_factory=lambda: DataConfig(validation_file=(), output_dir=_FOLDER))
    """What is trained on. Example: --train-file train.json --output-dir runs/find-lr"""
    min_lr: float = 1e-7
    """Learning rate of the first step."""
    max_lr: float = 1e-1
    """Learning rate of the last step; the test ends before it where the loss diverges."""
    num_steps: int = 100
    """Steps of the test; never more than one epoch."""

    def with_settings(self, settings: Settings) -> Self:
        """Return the command with other settings; a settings file names the folder of a run, not of this test."""
        return super().with_settings(replace(settings, output_dir=_FOLDER))

    def run(self) -> int:
        """Run the test, and print its curve and its suggestion."""
        from albertqa.cli.terminal import Terminal
        from albertqa.run.display import TerminalDisplay
        from albertqa.run.own_data import with_own_data
        from albertqa.run.range_curve import spell_rate
        from albertqa.run.range_test import RANGE_JSON, RANGE_SVG, find_lr, train_command

        terminal = Terminal(stderr=self.json, survives=True)
        settings, out = self.settings, self.data.output_dir
        if self.table != ReadOptions():
            settings = with_own_data(settings, terminal.say, has_validation=False, options=self.table)
        try:
            test = find_lr(
                settings,
                min_lr=self.min_lr,
                max_lr=self.max_lr,
                num_steps=self.num_steps,
                callbacks=[TerminalDisplay(terminal, settings.logging_steps)],
            )
        except KeyboardInterrupt:
            terminal.say("interrupted; nothing was written")
            return 128 + signal.SIGINT
        if self.json:
            print_json(json.loads((out / RANGE_JSON).read_text(encoding="utf-8")))
            return 0
        shown = range(0, len(test.smoothed), max(1, len(test.smoothed) // 12))
        rows = {spell_rate(test.learning_rates[at]): f"{test.smoothed[at]:.2f}" for at in shown}
        terminal.table("learning rate and smoothed loss", rows)
        terminal.say(test.reason)
        train_with = train_command(settings, test.suggestion)
        if train_with is not None:
            terminal.say(f"train with it: {train_with}")
        terminal.say(f"look at it: {out / RANGE_SVG}; the numbers: {out / RANGE_JSON}")
        return 0
