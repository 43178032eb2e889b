"""Experiment trackers: TensorBoard, Weights & Biases and MLflow log the numbers of ``metrics.jsonl``."""

from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeAlias

from albertqa.errors import SettingsError
from albertqa.run.callbacks import Callback
from albertqa.rundir.rows import EvaluationRow, Row, StepRow

_NUMBERS = ("train_loss", "learning_rate", "grad_norm", "tokens_per_second", "validation_loss", "exact", "f1")

Hyperparameters: TypeAlias = Mapping[str, int | float | str]


class ExperimentTracker(Callback):
    """Logs the numbers of steps and evaluations.

    Args:
        log: Takes numbers by name, and their step.
        end: Finishes writing.
    """

    def __init__(self, log: Callable[[dict[str, float], int], object], end: Callable[[], object]) -> None:
        self._log, self._end = log, end

    def on_step(self, row: StepRow) -> None:
        """Log a training step."""
        self._log_row(row)

    def on_evaluation(self, row: EvaluationRow) -> None:
        """Log an evaluation."""
        self._log_row(row)

    def on_end(self) -> None:
        """Finish writing."""
        self._end()

    def _log_row(self, row: Row) -> None:
        values = {name: getattr(row, name, None) for name in _NUMBERS}
        self._log({name: float(value) for name, value in values.items() if value is not None}, row.step)


def _open_tensorboard(run: Path, hyperparameters: Hyperparameters) -> ExperimentTracker:
    """Write event files to ``trackers/`` in the run."""
    from torch.utils.tensorboard.writer import SummaryWriter

    writer: Any = SummaryWriter(str(run / "trackers"))
    text = "\n".join(f"    {name} = {value}" for name, value in hyperparameters.items())
    writer.add_text("settings", text, global_step=0)

    def log(numbers: dict[str, float], step: int) -> None:
        for name, value in numbers.items():
            writer.add_scalar(name, value, step)

    return ExperimentTracker(log, writer.close)


def _open_wandb(run: Path, hyperparameters: Hyperparameters) -> ExperimentTracker:
    """Log to Weights & Biases, project ``albertqa``."""
    import wandb

    opened: Any = wandb.init(project="albertqa", name=run.name, dir=str(run), config=dict(hyperparameters))
    return ExperimentTracker(lambda numbers, step: opened.log(numbers, step=step), opened.finish)


def _open_mlflow(run: Path, hyperparameters: Hyperparameters) -> ExperimentTracker:
    """Log to MLflow, experiment ``albertqa``, where ``MLFLOW_TRACKING_URI`` says."""
    import mlflow

    mlflow.set_experiment("albertqa")
    mlflow.start_run(run_name=run.name)
    mlflow.log_params(dict(hyperparameters))
    return ExperimentTracker(lambda numbers, step: mlflow.log_metrics(numbers, step=step), mlflow.end_run)


_TRACKERS = {"tensorboard": _open_tensorboard, "wandb": _open_wandb, "mlflow": _open_mlflow}


def open_trackers(names: tuple[str, ...], run: Path, settings: Mapping[str, Any]) -> list[ExperimentTracker]:
    """Start the trackers of a run; with none chosen, nothing is imported.

    Args:
        names: ``tensorboard``, ``wandb``, ``mlflow``.
        run: The run directory.
        settings: The run's settings, logged as hyperparameters.

    Raises:
        SettingsError: A tracker's package is not installed.
    """
    for name in names:
        if find_spec(name) is None:
            raise SettingsError(f"report_to: {name} is not installed. Run: pip install 'albertqa[{name}]'")
    plain = {key: value if isinstance(value, int | float | str) else str(value) for key, value in settings.items()}
    return [_TRACKERS[name](run, plain) for name in names]
