"""Some training windows, evaluated beside the validation data: does the model agree with their labels, too?

A model that reads finds labels which are wrong as improbable as an attentive reader does, long before it has memorised
them. So where it contradicts training labels far more often than validation labels, training labels are wrong; and
where its loss on the validation data is below that on what it was trained on, it has seen the validation data before.
"""

from typing import TypedDict

import numpy as np

from albertqa.decode.agreement import Agreement, label_agreement
from albertqa.decode.predict import run_windows
from albertqa.model.load import SpanModel
from albertqa.run.loop import TrainingWindows

_MOST, _FEWEST = 256, 128


class SampleFigures(TypedDict, total=False):
    """What a row of ``metrics.jsonl`` has of the sample; see `EvaluationRow`."""

    sample_windows: int
    sample_loss: float
    sample_loss_error: float
    sample_contradicted_percent: float


class Suspect(TypedDict):
    """A training question whose label the model contradicts: its own answer, and how many times as probable it is."""

    id: str
    start_char: int
    end_char: int
    times: float


class TrainSample:
    """Windows with an answer from all over the training data, as they are without augmentation.

    Args:
        data: The training windows.
        num_validation: Validation windows; the sample takes no longer than they do, and is never tiny.
    """

    def __init__(self, data: TrainingWindows, num_validation: int) -> None:
        self._data = data
        answered = np.flatnonzero(data.store.columns["start_position"] > 0)
        count = min(len(answered), _MOST, max(_FEWEST, num_validation))
        at = np.linspace(0, max(0, len(answered) - 1), count).astype(np.int64)
        self._indices = answered[at]
        self._windows = data.store.take(self._indices)
        # By window, in all evaluations so far: in the end a model has memorised what it contradicted at first.
        self._found: dict[int, Suspect] = {}

    def evaluate(self, model: SpanModel, *, batch_size: int) -> tuple[SampleFigures, list[Suspect]]:
        """Run the model over the sample; it is left in the mode it is in.

        Returns:
            Figures for ``metrics.jsonl``, none where no window has an answer; and the suspects: questions whose labels
            the model contradicts, now or in an evaluation before, the clearest first.
        """
        if not len(self._windows):
            return {}, []
        passed = run_windows(model, self._windows, batch_size=batch_size)
        labels = (self._windows.columns[name] for name in ("start_position", "end_position"))
        agreement = label_agreement(passed.logits, *labels)
        figures: SampleFigures = {
            "sample_windows": len(passed.losses),
            "sample_loss": passed.loss,
            "sample_loss_error": passed.loss_error,
            "sample_contradicted_percent": round(100 * float(agreement.contradicts.mean()), 3),
        }
        return figures, self._suspects(agreement)

    def _suspects(self, agreement: Agreement) -> list[Suspect]:
        for index in np.flatnonzero(agreement.contradicts).tolist():
            window, times = self._windows[index], round(float(agreement.times[index]), 1)
            first, last = (int(tokens[index]) - window.context_start for tokens in (agreement.starts, agreement.ends))
            before = self._found[index]["times"] if index in self._found else 0.0
            if first < 0 or last >= len(window.end_char) or before >= times:
                continue
            (question_id,) = self._data.question_ids(self._indices[index : index + 1])
            self._found[index] = {
                "id": question_id,
                "start_char": int(window.start_char[first]),
                "end_char": int(window.end_char[last]),
                "times": times,
            }
        return sorted(self._found.values(), key=lambda suspect: -suspect["times"])
