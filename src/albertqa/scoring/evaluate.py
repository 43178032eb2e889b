"""Evaluate a model on a data set: loss, exact and f1 from one pass over the same windows."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from albertqa import rundir
from albertqa.data.example import Example
from albertqa.decode.predict import run_windows
from albertqa.decode.spans import Prediction, WindowLogits, decode
from albertqa.model.load import SpanModel
from albertqa.scoring.official import score
from albertqa.windows.store import WindowStore


@dataclass(frozen=True)
class Evaluation:
    """What a model scores on a data set.

    Attributes:
        scores: The official keys, in percent.
        loss: Mean loss over the windows, labelled as in training.
        num_windows: Windows, the card's "samples".
        seconds: Time of the forward passes.
        predictions: One an example, in order.
        habits: See `answering_habits`.
        examples: The data, with golds, in order.
    """

    scores: dict[str, float | int]
    loss: float
    num_windows: int
    seconds: float
    predictions: tuple[Prediction, ...]
    habits: dict[str, float | int]
    examples: Sequence[Example]

    @property
    def exact(self) -> float:
        """Exact match in percent."""
        return float(self.scores["exact"])

    @property
    def f1(self) -> float:
        """F1 in percent."""
        return float(self.scores["f1"])

    def summary(self) -> dict[str, float | int]:
        """Give the official keys with loss, questions, windows and speed: the content of ``eval.json``."""
        return {
            **self.scores,
            "loss": self.loss,
            "questions": len(self.predictions),
            "windows": self.num_windows,
            "seconds": self.seconds,
            "windows_per_second": self.num_windows / self.seconds,
        }


def evaluate_windows(
    model: SpanModel,
    store: WindowStore,
    examples: Sequence[Example],
    *,
    version_2: bool,
    batch_size: int = 32,
    n_best_size: int = 20,
    max_answer_length: int = 30,
    null_score_diff_threshold: float = 0.0,
    progress: Callable[[int], None] | None = None,
) -> Evaluation:
    """Run a model over windows, decode, and score.

    Args:
        model: The model.
        store: Windows of `examples`.
        examples: The data, with golds.
        version_2: Whether questions may have no answer.
        batch_size: See `run_windows`.
        n_best_size: See `decode`.
        max_answer_length: See `decode`, tokens.
        null_score_diff_threshold: See `decode`.
        progress: Called with the number of windows done in each forward.

    Returns:
        Scores, loss and predictions.
    """
    passed = run_windows(model, store, batch_size=batch_size, progress=progress)
    predictions = decode(
        passed.logits,
        store,
        examples,
        n_best_size=n_best_size,
        max_answer_length=max_answer_length,
        version_2=version_2,
        null_score_diff_threshold=null_score_diff_threshold,
    )
    texts = {prediction.id: prediction.text for prediction in predictions}
    scores = score(examples, texts, null_odds=null_odds(predictions) if version_2 else None, version_2=version_2)
    habits = answering_habits(passed.logits, predictions)
    return Evaluation(scores, passed.loss, len(store), passed.seconds, tuple(predictions), habits, examples)


def answering_habits(logits: WindowLogits, predictions: Sequence[Prediction]) -> dict[str, float | int]:
    """Tell how a model answers, whether right or wrong: one that has learned nothing has habits instead.

    Args:
        logits: Logits of all windows.
        predictions: What was made of them.

    Returns:
        ``predicted_empty_percent`` and ``predicted_words_mean`` of the answers; ``same_start``, the position in the
        window that most often has the highest start logit, and ``same_start_percent``, the share of those windows.
    """
    first_token = logits.first_token[:-1]
    highest = np.repeat(np.maximum.reduceat(logits.start, first_token), np.diff(logits.first_token))
    # Of equal logits the earlier token counts, so the first of each window; a window of NaN has none.
    tokens = np.flatnonzero(logits.start == highest)
    windows, first = np.unique(np.searchsorted(first_token, tokens, side="right") - 1, return_index=True)
    starts = np.bincount(tokens[first] - first_token[windows], minlength=1)
    words = [len(one.text.split()) for one in predictions]
    return {
        "predicted_empty_percent": round(100 * words.count(0) / len(words), 3),
        "predicted_words_mean": round(sum(words) / len(words), 3),
        "same_start": int(starts.argmax()),
        "same_start_percent": round(100 * int(starts.max()) / len(first_token), 3),
    }


def null_odds(predictions: Sequence[Prediction]) -> dict[str, float]:
    """Give every v2.0 question's score difference: null score less the best answer's."""
    return {one.id: one.score_diff for one in predictions if one.score_diff is not None}


def write_predictions(folder: Path, predictions: Sequence[Prediction]) -> None:
    """Write ``predictions.json``, ``nbest_predictions.json`` and, on v2.0, ``null_odds.json``.

    Args:
        folder: An existing folder.
        predictions: The predictions.

    Source:
        The file names and keys of `run_qa.py` and of Google's `run_squad.py`; start_char and end_char are added.
    """
    rundir.write_json(folder / rundir.PREDICTIONS_JSON, {one.id: one.text for one in predictions})
    rundir.write_json(folder / rundir.NBEST_JSON, {one.id: n_best_rows(one) for one in predictions})
    odds = null_odds(predictions)
    if odds:
        rundir.write_json(folder / rundir.NULL_ODDS_JSON, odds)
    else:
        (folder / rundir.NULL_ODDS_JSON).unlink(missing_ok=True)


def n_best_rows(prediction: Prediction) -> list[dict[str, Any]]:
    """Give a prediction's n-best as JSON rows, best first."""
    return [
        {
            "text": one.text,
            "start_char": one.start_char,
            "end_char": one.end_char,
            "probability": one.probability,
            "start_logit": one.start_logit,
            "end_logit": one.end_logit,
        }
        for one in prediction.n_best
    ]
