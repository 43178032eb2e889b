"""Experiment trackers: TensorBoard, Weights & Biases and MLflow log the numbers of ``metrics.jsonl``."""

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeAlias

from albertqa.errors import SettingsError
from albertqa.run.callbacks import Callback
from albertqa.rundir.rows import EvaluationRow, Row, StepRow

_NUMBERS = ("train_loss", "learning_rate", "grad_norm", "tokens_per_second", "validation_loss", "exact", "f1")

Hyperparameters: TypeAlias = Mapping[str, int | float | str]


class ExperimentTracker(Callback):
    """Base class of the trackers: `log` takes the numbers of a step or an evaluation."""

    def log(self, numbers: dict[str, float], step: int) -> None:
        """Log numbers by name at a step."""
        raise NotImplementedError

    def on_step(self, row: StepRow) -> None:
        """Log a training step."""
        self._log_row(row)

    def on_evaluation(self, row: EvaluationRow) -> None:
        """Log an evaluation."""
        self._log_row(row)

    def _log_row(self, row: Row) -> None:
        values = {name: getattr(row, name, None) for name in _NUMBERS}
        self.log({name: float(value) for name, value in values.items() if value is not None}, row.step)


class TensorBoard(ExperimentTracker):
    """Writes event files to ``trackers/`` in the run."""

    def __init__(self, run: Path, hyperparameters: Hyperparameters) -> None:
        from torch.utils.tensorboard.writer import SummaryWriter

        self._writer: Any = SummaryWriter(str(run / "trackers"))
        text = "\n".join(f"    {name} = {value}" for name, value in hyperparameters.items())
        self._writer.add_text("settings", text, global_step=0)

    def log(self, numbers: dict[str, float], step: int) -> None:
        """Log numbers by name at a step."""
        for name, value in numbers.items():
            self._writer.add_scalar(name, value, step)

    def on_end(self) -> None:
        """Finish writing."""
        self._writer.close()


class WandB(ExperimentTracker):
    """Logs to Weights & Biases, project ``albertqa``."""

    def __init__(self, run: Path, hyperparameters: Hyperparameters) -> None:
        import wandb

        self._run: Any = wandb.init(project="albertqa", name=run.name, dir=str(run), config=dict(hyperparameters))

    def log(self, numbers: dict[str, float], step: int) -> None:
        """Log numbers by name at a step."""
        self._run.log(numbers, step=step)

    def on_end(self) -> None:
        """Finish writing."""
        self._run.finish()


class MLflow(ExperimentTracker):
    """Logs to MLflow, experiment ``albertqa``, where ``MLFLOW_TRACKING_URI`` says."""

    def __init__(self, run: Path, hyperparameters: Hyperparameters) -> None:
        import mlflow

        self._mlflow: Any = mlflow
        mlflow.set_experiment("albertqa")
        mlflow.start_run(run_name=run.name)
        mlflow.log_params(dict(hyperparameters))

    def log(self, numbers: dict[str, float], step: int) -> None:
        """Log numbers by name at a step."""
        self._mlflow.log_metrics(numbers, step=step)

    def on_end(self) -> None:
        """Finish writing."""
        self._mlflow.end_run()


_TRACKERS: dict[str, type[TensorBoard] | type[WandB] | type[MLflow]] = {
    "tensorboard": TensorBoard,
    "wandb": WandB,
    "mlflow": MLflow,
}


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
