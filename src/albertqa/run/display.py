"""Progress of a run: live lines in a terminal, plain lines elsewhere."""

import math
import time
from collections import deque

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.text import Text

from albertqa.run.callbacks import Callback
from albertqa.rundir.rows import EvaluationRow, StepRow


class TerminalDisplay(Callback):
    """Shows steps, time left, last losses and scores: live in a terminal, else in a line every so many steps."""

    def __init__(self, console: Console, every_steps: int) -> None:
        self._console = console
        self._every_steps = every_steps
        self._losses: deque[float] = deque(maxlen=50)
        self._step = self._total_steps = 0
        self._first = (0, time.monotonic())
        self._last, self._scores = "", ""
        self._windows: tuple[int, int] | None = None
        self._live: Live | None = None

    def on_message(self, text: str) -> None:
        """Show a line."""
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def on_start(self, step: int, total_steps: int) -> None:
        """Start the live lines at a step."""
        self._step, self._total_steps, self._first = step, total_steps, (step, time.monotonic())
        if self._console.is_terminal:
            self._live = Live(get_renderable=self._render, console=self._console, transient=True)
            self._live.start()

    def on_step(self, row: StepRow) -> None:
        """Show a training step."""
        self._step = row.step
        if row.train_loss is not None and not row.skipped:
            self._losses.append(row.train_loss)
        loss = sum(self._losses) / len(self._losses) if self._losses else math.nan
        speed = f"{row.tokens_per_second or 0:,.0f} tokens/s"
        if self._live is not None:
            self._last = f"loss {loss:.3f}  {speed}"
        elif row.step % self._every_steps == 0 or row.step == self._total_steps:
            self.on_message(
                f"step {row.step}/{self._total_steps}  epoch {row.epoch or 0:.2f}  train loss {loss:.4f}  "
                f"lr {row.learning_rate:.2e}  grad norm {row.grad_norm or 0:.2f}  {speed}  {self._left()} left"
            )

    def on_evaluation_progress(self, done: int, total: int) -> None:
        """Show the progress of an evaluation, in windows."""
        self._windows = (done, total) if done < total else None

    def on_evaluation(self, row: EvaluationRow) -> None:
        """Show an evaluation."""
        loss = math.nan if row.validation_loss is None else row.validation_loss
        self._scores = f"  val {loss:.3f}  f1 {row.f1:.1f}"
        best = "  best so far" if row.is_best else ""
        self.on_message(
            f"step {row.step}/{self._total_steps}  epoch {row.epoch or 0:.2f}  "
            f"validation loss {loss:.4f}  exact {row.exact or 0:.2f}  f1 {row.f1:.2f}{best}"
        )

    def on_end(self) -> None:
        """Remove the live lines."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _render(self) -> Group:
        """Return text that wraps in a narrow terminal, step and time first, and a bar below it."""
        done, total = self._windows or (self._step, self._total_steps)
        clock = _clock(time.monotonic() - self._first[1])
        text = f"step {self._step}/{self._total_steps}  {clock}, {self._left()} left"
        text += f"  evaluating: window {done}/{total}" if self._windows else f"  {self._last}{self._scores}"
        return Group(Text(text), ProgressBar(total=max(total, 1), completed=done))

    def _left(self) -> str:
        """Return the time that the steps that are left take, by those done so far."""
        first, since = self._first
        if self._step == first:
            return "-:--"
        return _clock((time.monotonic() - since) / (self._step - first) * (self._total_steps - self._step))


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
