"""What a person sees while a run trains: one live line on a terminal, plain lines elsewhere."""

import math
import time
from collections import deque
from typing import Any, Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


class Display(Protocol):
    """Where a run reports to."""

    def say(self, line: str) -> None:
        """Show one line."""

    def start(self, step: int, total_steps: int) -> None:
        """Begin at a step."""

    def stepped(self, row: dict[str, Any]) -> None:
        """Show a training step."""

    def evaluating(self, done: int, total: int) -> None:
        """Show how far an evaluation is, in windows."""

    def evaluated(self, row: dict[str, Any]) -> None:
        """Show an evaluation."""

    def stop(self) -> None:
        """End."""


class Silent:
    """Show nothing (the library's default)."""

    def say(self, line: str) -> None:
        """Show nothing."""

    def start(self, step: int, total_steps: int) -> None:
        """Show nothing."""

    def stepped(self, row: dict[str, Any]) -> None:
        """Show nothing."""

    def evaluating(self, done: int, total: int) -> None:
        """Show nothing."""

    def evaluated(self, row: dict[str, Any]) -> None:
        """Show nothing."""

    def stop(self) -> None:
        """Show nothing."""


class TerminalDisplay:
    """Progress, time left, last losses and scores.

    Args:
        console: Where to; not a terminal means plain lines.
        every_steps: Steps between plain lines.
    """

    def __init__(self, console: Console, every_steps: int) -> None:
        self._console = console
        self._every_steps = every_steps
        self._losses: deque[float] = deque(maxlen=50)
        self._total_steps = 0
        self._first = (0, time.monotonic())
        self._scores = ""
        self._progress: Progress | None = None

    def say(self, line: str) -> None:
        """Show one line."""
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def start(self, step: int, total_steps: int) -> None:
        """Begin at a step."""
        self._total_steps, self._first = total_steps, (step, time.monotonic())
        if not self._console.is_terminal:
            return
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[last]}"),
            console=self._console,
        )
        self._train = self._progress.add_task("train", total=total_steps, completed=step, last="")
        self._evaluate = self._progress.add_task("evaluate", total=1, visible=False, last="")
        self._progress.start()

    def stepped(self, row: dict[str, Any]) -> None:
        """Show a training step."""
        if not row.get("skipped"):
            self._losses.append(row["train_loss"])
        loss = sum(self._losses) / len(self._losses) if self._losses else math.nan
        if self._progress is not None:
            last = f"loss {loss:.3f}  {row['tokens_per_second']:,.0f} tokens/s{self._scores}"
            self._progress.update(self._train, completed=row["step"], last=last)
        elif row["step"] % self._every_steps == 0 or row["step"] == self._total_steps:
            done = row["step"] - self._first[0]
            left = (time.monotonic() - self._first[1]) / done * (self._total_steps - row["step"])
            self.say(
                f"step {row['step']}/{self._total_steps}  epoch {row['epoch']:.2f}  train loss {loss:.4f}  "
                f"lr {row['learning_rate']:.2e}  grad norm {row['grad_norm'] or 0:.2f}  "
                f"{row['tokens_per_second']:,.0f} tokens/s  {_clock(left)} left"
            )

    def evaluating(self, done: int, total: int) -> None:
        """Show how far an evaluation is, in windows."""
        if self._progress is not None:
            self._progress.update(self._evaluate, completed=done, total=total, visible=done < total)

    def evaluated(self, row: dict[str, Any]) -> None:
        """Show an evaluation."""
        self._scores = f"  val {row['validation_loss']:.3f}  f1 {row['f1']:.1f}"
        best = "  best so far" if row["is_best"] else ""
        self.say(
            f"step {row['step']}/{self._total_steps}  epoch {row['epoch']:.2f}  "
            f"validation loss {row['validation_loss']:.4f}  exact {row['exact']:.2f}  f1 {row['f1']:.2f}{best}"
        )

    def stop(self) -> None:
        """End."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
