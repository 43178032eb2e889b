"""TensorBoard, W&B and MLflow through Accelerate: they get the numbers of the record."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from albertqa.errors import SettingsError

_NUMBERS = ("train_loss", "learning_rate", "grad_norm", "tokens_per_second", "validation_loss", "exact", "f1")


class Trackers:
    """The trackers of one run; with none chosen, nothing is imported.

    Args:
        names: ``tensorboard``, ``wandb``, ``mlflow``.
        run: The run directory; TensorBoard and MLflow write to ``trackers/`` in it.
        settings: The run's settings, logged as hyperparameters.

    Raises:
        SettingsError: A tracker's package is not installed.
    """

    def __init__(self, names: Sequence[str], run: Path, settings: dict[str, Any]) -> None:
        self._accelerator = None
        if not names:
            return
        from accelerate import Accelerator
        from accelerate.tracking import get_available_trackers

        missing = [name for name in names if name not in {str(one) for one in get_available_trackers()}]
        if missing:
            raise SettingsError(f"report_to: {missing[0]} is not installed. Run: pip install 'albertqa[{missing[0]}]'")
        # Devices and precision are not Accelerate's here; it must not move to a GPU of its own accord.
        self._accelerator = Accelerator(log_with=list(names), project_dir=str(run / "trackers"), cpu=True)
        plain = {key: value if isinstance(value, int | float | str) else str(value) for key, value in settings.items()}
        self._accelerator.init_trackers("albertqa", config=plain)

    def log(self, row: dict[str, Any]) -> None:
        """Log one line of the record."""
        if self._accelerator is not None:
            values = {key: row[key] for key in _NUMBERS if row.get(key) is not None}
            self._accelerator.log(values, step=row["step"])

    def close(self) -> None:
        """Finish writing."""
        if self._accelerator is not None:
            self._accelerator.end_training()
