"""Some training windows, evaluated beside the validation data: does the model find their answers, too?

A model that reads finds labels which are wrong as improbable as an attentive reader does, long before it has memorised
them. So where far more training windows than validation windows have a high loss, training labels are wrong, or the
model has seen the validation data before: on what it was trained on it should do better.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from albertqa.decode.predict import Pass, run_windows
from albertqa.files import SUSPECTS_JSON, write_json
from albertqa.model.load import SpanModel
from albertqa.run.loop import TrainingWindows
from albertqa.windows.store import Window, WindowStore

_MOST, _FEWEST = 200, 128


class SampleFigures(TypedDict, total=False):
    """What a row of ``metrics.jsonl`` has of the sample; see `EvaluationRow`."""

    sample_windows: int
    sample_loss: float
    sample_above_percent: float


@dataclass(frozen=True)
class _Windows:
    """Some windows of a store."""

    store: WindowStore
    indices: NDArray[np.int64]

    @property
    def max_seq_length(self) -> int:
        return self.store.max_seq_length

    @property
    def lengths(self) -> NDArray[np.int32]:
        return self.store.lengths[self.indices]

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Window:
        return self.store[int(self.indices[index])]


class TrainSample:
    """Windows with an answer from all over the training data, as they are without augmentation.

    Args:
        data: The training windows.
        num_validation: Validation windows; the sample takes half the time that they do, or less, if that is enough.
    """

    def __init__(self, data: TrainingWindows, num_validation: int) -> None:
        self._data = data
        answered = np.flatnonzero(data.store.columns["start_position"] > 0)
        count = min(len(answered), _MOST, max(_FEWEST, num_validation // 2))
        at = np.linspace(0, max(0, len(answered) - 1), count).astype(np.int64)
        self._windows = _Windows(data.store, answered[at])

    def evaluate(
        self, model: SpanModel, *, limit: float | None, batch_size: int
    ) -> tuple[SampleFigures, list[dict[str, Any]]]:
        """Run the model over the sample.

        Args:
            model: The model; left in the mode it is in.
            limit: A loss that few validation windows have; None: unknown.
            batch_size: See `run_windows`.

        Returns:
            Figures for ``metrics.jsonl``, and the suspects: questions whose loss is above the limit, the highest first,
            each with what the model finds instead. Nothing where no window has an answer, or the limit is unknown.
        """
        if not len(self._windows) or limit is None:
            return {}, []
        passed = run_windows(model, self._windows, batch_size=batch_size)
        figures: SampleFigures = {
            "sample_windows": len(passed.losses),
            "sample_loss": passed.loss,
            "sample_above_percent": round(100 * float((passed.losses > limit).mean()), 3),
        }
        highest = np.argsort(-passed.losses, kind="stable")
        return figures, [self._suspect(index, passed) for index in highest.tolist() if passed.losses[index] > limit]

    def _suspect(self, index: int, passed: Pass) -> dict[str, Any]:
        """Return a question's id and loss, and where the model's most probable span is."""
        window = self._windows[index]
        tokens = slice(*passed.logits.first_token[index : index + 2])
        context = slice(window.context_start, window.context_start + len(window.start_char))
        first = int(passed.logits.start[tokens][context].argmax())
        last = first + int(passed.logits.end[tokens][context][first:].argmax())
        (question_id,) = self._data.question_ids(self._windows.indices[index : index + 1])
        return {
            "id": question_id,
            "loss": round(float(passed.losses[index]), 3),
            "start_char": int(window.start_char[first]),
            "end_char": int(window.end_char[last]),
        }


def write_suspects(run: Path, step: int, suspects: list[dict[str, Any]]) -> None:
    """Write ``suspect_answers.json``."""
    write_json(run / SUSPECTS_JSON, {"step": step, "suspects": suspects})
