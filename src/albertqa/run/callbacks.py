"""What happens beside the steps: callbacks, which the loop calls in order.

To add one, derive from `Callback`, override what it needs, and pass it to `albertqa.train(settings, callbacks=[…])`.
"""

from collections.abc import Callable

from albertqa.run.checkpoint import TrainState
from albertqa.rundir.rows import EvaluationRow, RowWriter, StepRow


class Callback:
    """Base class of callbacks; each method does nothing."""

    def on_message(self, text: str) -> None:
        """Take a line for the user."""

    def on_start(self, step: int, total_steps: int) -> None:
        """Called before the first step, with the steps done already and all steps of the run."""

    def on_step(self, row: StepRow) -> None:
        """Called after every training step."""

    def on_evaluation_progress(self, done: int, total: int) -> None:
        """Called during an evaluation, with the windows done and all windows."""

    def on_evaluation(self, row: EvaluationRow) -> None:
        """Called after every evaluation."""

    def on_save(self, state: TrainState) -> None:
        """Called where the run saves a checkpoint."""

    def on_end(self) -> None:
        """Called when the run ends, however it ends."""


class RecordRows(Callback):
    """Writes ``metrics.jsonl``."""

    def __init__(self, writer: RowWriter) -> None:
        self._writer = writer

    def on_step(self, row: StepRow) -> None:
        """Write a training step's line."""
        self._writer.add(row)

    def on_evaluation(self, row: EvaluationRow) -> None:
        """Write an evaluation's line."""
        self._writer.add(row)

    def on_end(self) -> None:
        """Close the file."""
        self._writer.sync()
        self._writer.close()


class Checkpoints(Callback):
    """Saves checkpoints, each by a call of `save`."""

    def __init__(self, save: Callable[[], None]) -> None:
        self._save = save

    def on_save(self, state: TrainState) -> None:  # noqa: ARG002 -- what it writes, `save` knows
        """Write a checkpoint."""
        self._save()
