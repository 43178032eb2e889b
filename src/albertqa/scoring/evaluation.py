"""Evaluate a model on a data set: loss, exact and f1 from one pass over the same windows.

Run it as ``albertqa evaluate`` or `albertqa.evaluate(model, data)`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np

from albertqa.config import Backend, DataConfig, DecodeConfig, DeviceConfig, Precision
from albertqa.data.example import Example, has_unanswerable
from albertqa.data.raw_rows import ReadOptions
from albertqa.data.reading import load_parts
from albertqa.decode.agreement import label_agreement
from albertqa.decode.confidence import Confidence
from albertqa.decode.predict import run_windows
from albertqa.decode.reader import load_reader
from albertqa.decode.reader_settings import ReaderChanges, ReaderSettings
from albertqa.decode.spans import Candidate, Prediction, WindowLogits, decode
from albertqa.files import NBEST_JSON, NULL_ODDS_JSON, PREDICTIONS_JSON, write_json
from albertqa.model.window_model import WindowModel
from albertqa.scoring.calibration import LEAST_QUESTIONS, fit_confidence, foreign_questions
from albertqa.scoring.interval import Interval, mean_interval
from albertqa.scoring.official import score, score_each
from albertqa.windows.build import build_windows, windows_in_memory
from albertqa.windows.store import WindowStore
from albertqa.windows.tokenizer import QATokenizer

if TYPE_CHECKING:
    from albertqa.model.world import World

_DEFAULTS = ReadOptions()
_N_BEST_KEYS = ("text", "start_char", "end_char", "probability", "start_logit", "end_logit")


@dataclass(frozen=True, slots=True)
class AnswerStatistics:
    """How a model answers, right or wrong.

    Attributes:
        empty_percent: Share of the questions answered with "".
        words_mean: Words of an answer.
        same_start: The position in the window that most often has the highest start logit.
        same_start_percent: Share of the windows in which it has.
        contradicted_percent: Share of the windows with an answer whose label the model contradicts (see
            `albertqa.decode.agreement`); None where no window has an answer.
    """

    empty_percent: float
    words_mean: float
    same_start: int
    same_start_percent: float
    contradicted_percent: float | None


@dataclass(frozen=True, slots=True)
class FileScore:
    """Scores of one of several files, percent, with their intervals."""

    file: str
    questions: int
    exact: Interval
    f1: Interval


@dataclass(frozen=True)
class Evaluation:
    """What a model scores on a data set.

    Attributes:
        scores: The official keys, in percent.
        loss: Mean loss over the windows, labelled as in training.
        loss_error: Its standard error.
        num_windows: Windows, the card's "samples".
        seconds: Time of the forward passes.
        predictions: One an example, in order.
        answer_statistics: See `answer_statistics`.
        examples: The data, with golds, in order.
        confidence: What turns scores into calibrated probabilities; None unless asked for, and where it does not help.
        files: Where several files were evaluated, the scores of each, and at the end those of all.
    """

    scores: dict[str, float | int]
    loss: float
    loss_error: float
    num_windows: int
    seconds: float
    predictions: tuple[Prediction, ...]
    answer_statistics: AnswerStatistics
    examples: Sequence[Example]
    confidence: Confidence | None = None
    files: tuple[FileScore, ...] = ()

    @property
    def exact(self) -> float:
        """Exact match in percent."""
        return float(self.scores["exact"])

    @property
    def f1(self) -> float:
        """F1 in percent."""
        return float(self.scores["f1"])

    def summary(self) -> dict[str, float | int]:
        """Return the official keys with loss, questions, windows and speed: the content of ``eval.json``."""
        return {
            **self.scores,
            "loss": self.loss,
            "questions": len(self.predictions),
            "windows": self.num_windows,
            "seconds": self.seconds,
            "windows_per_second": self.num_windows / self.seconds,
        }


def evaluate(
    model: str | Path,
    data: str | Path | Sequence[str | Path],
    *,
    version_2: bool | None = None,
    limit: int | None = None,
    options: ReadOptions = _DEFAULTS,
    calibrate: bool = False,
    batch_size: int = DeviceConfig.eval_batch_size,
    device: str = "auto",
    mixed_precision: Precision = "auto",
    num_threads: int | None = None,
    backend: Backend = "auto",
    **reader_settings: Unpack[ReaderChanges],
) -> Evaluation:
    """Evaluate a trained model.

    Args:
        model: Run directory (its ``best/``), Transformers folder, or Hub name.
        data: Data file or Hub name with golds, or several, evaluated as one and each by itself.
        version_2: Whether questions may have no answer; None: as the model was trained, or the data says.
        limit: Evaluate only the first so many questions in all.
        options: How to read the data.
        calibrate: Also fit the model's probabilities to the data, which it must not be trained on.
        batch_size: Maximum-length windows of one forward pass.
        device: See `choose_device`.
        mixed_precision: See `choose_precision`.
        num_threads: See `load_reader`.
        backend: See `load_reader`.
        reader_settings: `max_seq_length`, `doc_stride`, `max_answer_length`, `n_best_size` or
            `null_score_diff_threshold` instead of what the model was trained with.

    Returns:
        Scores, loss, predictions.

    Raises:
        AlbertQAError: Something the user can act on.
    """
    DataConfig(max_eval_examples=limit).check()
    computing = DeviceConfig(batch_size, device, mixed_precision, num_threads)
    reader = load_reader(model, computing, backend=backend, **reader_settings)
    sources = [data] if isinstance(data, str | Path) else data
    parts = load_parts(sources, limit=limit, options=options)
    examples = [example for part in parts for example in part]
    settings = reader.settings
    if version_2 is None:
        version_2 = bool(settings.version_2_with_negative) or has_unanswerable(examples)
    store = build_windows(
        examples, reader.tokenizer, max_seq_length=settings.max_seq_length, doc_stride=settings.doc_stride
    )
    evaluation = evaluate_windows(reader.model, store, examples, settings, version_2=version_2, batch_size=batch_size)
    if calibrate:
        confidence = fit_probabilities(reader.model, reader.tokenizer, settings, evaluation, version_2=version_2)
        evaluation = replace(evaluation, confidence=confidence)
    if len(sources) == 1:
        return evaluation
    named = [(str(source), part) for source, part in zip(sources, parts, strict=True) if part]
    texts = {prediction.id: prediction.text for prediction in evaluation.predictions}
    files = []
    for name, part in (*named, ("all", examples)):
        scores = score_each(part, texts, version_2=version_2).values()
        exact, f1 = (mean_interval([100 * getattr(one, key) for one in scores]) for key in ("exact", "f1"))
        files.append(FileScore(name, len(part), exact, f1))
    return replace(evaluation, files=tuple(files))


def evaluate_windows(
    model: WindowModel,
    store: WindowStore,
    examples: Sequence[Example],
    config: DecodeConfig,
    *,
    version_2: bool,
    batch_size: int = DeviceConfig.eval_batch_size,
    progress: Callable[[int], None] | None = None,
    world: "World | None" = None,
) -> Evaluation:
    """Run a model over windows, decode, and score.

    Args:
        model: The model.
        store: Windows of `examples`.
        examples: The data, with golds.
        config: How answers are chosen.
        version_2: Whether questions may have no answer.
        batch_size: See `run_windows`.
        progress: Called with the number of windows done in each forward pass.
        world: The processes that divide the windows; each gets the whole evaluation.
    """
    passed = run_windows(model, store, batch_size=batch_size, progress=progress, world=world)
    predictions = decode(passed.logits, store, examples, config, version_2=version_2)
    texts = {prediction.id: prediction.text for prediction in predictions}
    scores = score(examples, texts, null_odds=null_odds(predictions) if version_2 else None, version_2=version_2)
    return Evaluation(
        scores=scores,
        loss=passed.loss,
        loss_error=passed.loss_error,
        num_windows=len(store),
        seconds=passed.seconds,
        predictions=tuple(predictions),
        answer_statistics=answer_statistics(passed.logits, predictions, store),
        examples=examples,
    )


def fit_probabilities(
    model: WindowModel, tokenizer: QATokenizer, settings: ReaderSettings, evaluation: Evaluation, *, version_2: bool
) -> Confidence | None:
    """Fit a model's probabilities to an evaluation on questions that it was not trained on (see `fit_confidence`).

    Some of the questions are also asked on foreign contexts, where every answer is wrong.
    """
    if len(evaluation.examples) < LEAST_QUESTIONS:
        return None
    foreign = foreign_questions(evaluation.examples)
    predictions: list[Prediction] = []
    if foreign:
        store = windows_in_memory(
            foreign, tokenizer, max_seq_length=settings.max_seq_length, doc_stride=settings.doc_stride
        )
        predictions = decode(run_windows(model, store).logits, store, foreign, settings, version_2=version_2)
    return fit_confidence(
        [*evaluation.examples, *foreign],
        [*evaluation.predictions, *predictions],
        version_2=version_2,
        n_best_size=settings.n_best_size,
    )


def answer_statistics(logits: WindowLogits, predictions: Sequence[Prediction], store: WindowStore) -> AnswerStatistics:
    """Describe how a model answers, right or wrong: one that has learned nothing repeats itself."""
    labels = store.columns["start_position"], store.columns["end_position"]
    agreement, answered = label_agreement(logits, *labels), int((labels[0] > 0).sum())
    starts = np.bincount(agreement.starts[agreement.starts >= 0], minlength=1)
    words = [len(one.text.split()) for one in predictions]
    return AnswerStatistics(
        empty_percent=round(100 * words.count(0) / len(words), 3),
        words_mean=round(sum(words) / len(words), 3),
        same_start=int(starts.argmax()),
        same_start_percent=round(100 * int(starts.max()) / len(store), 3),
        contradicted_percent=round(100 * int(agreement.contradicts.sum()) / answered, 3) if answered else None,
    )


def null_odds(predictions: Sequence[Prediction]) -> dict[str, float]:
    """Return every v2.0 question's score difference: null score minus the best answer's."""
    return {one.id: one.score_diff for one in predictions if one.score_diff is not None}


def write_predictions(folder: Path, predictions: Sequence[Prediction]) -> None:
    """Write ``predictions.json``, ``nbest_predictions.json`` and, on v2.0, ``null_odds.json``.

    Source:
        The file names and keys of `run_qa.py` and of Google's `run_squad.py`; start_char and end_char are added.
    """
    write_json(folder / PREDICTIONS_JSON, {one.id: one.text for one in predictions})
    write_json(folder / NBEST_JSON, {one.id: [_row(each) for each in one.n_best] for one in predictions})
    odds = null_odds(predictions)
    if odds:
        write_json(folder / NULL_ODDS_JSON, odds)
    else:
        (folder / NULL_ODDS_JSON).unlink(missing_ok=True)


def _row(candidate: Candidate) -> dict[str, Any]:
    return {key: getattr(candidate, key) for key in _N_BEST_KEYS}
