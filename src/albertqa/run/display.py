"""Progress of a run in the terminal: one live line where there is a terminal, plain lines elsewhere."""

import math
import time
from collections import deque

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from albertqa.run.callbacks import Callback
from albertqa.rundir.rows import EvaluationRow, StepRow


class TerminalDisplay(Callback):
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

    def on_message(self, text: str) -> None:
        """Show one line."""
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def on_start(self, step: int, total_steps: int) -> None:
        """Start the progress bar at a step."""
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

    def on_step(self, row: StepRow) -> None:
        """Show a training step."""
        if row.train_loss is not None and not row.skipped:
            self._losses.append(row.train_loss)
        loss = sum(self._losses) / len(self._losses) if self._losses else math.nan
        if self._progress is not None:
            last = f"loss {loss:.3f}  {row.tokens_per_second or 0:,.0f} tokens/s{self._scores}"
            self._progress.update(self._train, completed=row.step, last=last)
        elif row.step % self._every_steps == 0 or row.step == self._total_steps:
            done = row.step - self._first[0]
            left = (time.monotonic() - self._first[1]) / done * (self._total_steps - row.step)
            self.on_message(
                f"step {row.step}/{self._total_steps}  epoch {row.epoch or 0:.2f}  train loss {loss:.4f}  "
                f"lr {row.learning_rate:.2e}  grad norm {row.grad_norm or 0:.2f}  "
                f"{row.tokens_per_second or 0:,.0f} tokens/s  {_clock(left)} left"
            )

    def on_evaluation_progress(self, done: int, total: int) -> None:
        """Show the progress of an evaluation, in windows."""
        if self._progress is not None:
            self._progress.update(self._evaluate, completed=done, total=total, visible=done < total)

    def on_evaluation(self, row: EvaluationRow) -> None:
        """Show an evaluation."""
        self._scores = f"  val {row.validation_loss or math.nan:.3f}  f1 {row.f1:.1f}"
        best = "  best so far" if row.is_best else ""
        self.on_message(
            f"step {row.step}/{self._total_steps}  epoch {row.epoch or 0:.2f}  "
            f"validation loss {row.validation_loss or math.nan:.4f}  exact {row.exact or 0:.2f}  f1 {row.f1:.2f}{best}"
        )

    def on_end(self) -> None:
        """Remove the progress bar."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
