"""What an int8 model loses against the same model in fp32, and whether that is little enough to hand it out.

Both answer the same questions. Where int8 loses too much, the matrices whose rounding moves the logits most stay fp32,
one, two, four and so on, until it is within its limits; where half of them do not help, nothing is exported.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from albertqa.config import DecodeConfig
from albertqa.data.example import Example
from albertqa.decode.predict import run_windows
from albertqa.decode.spans import Prediction
from albertqa.errors import ModelError
from albertqa.export.graph import build_graph, matrices_of
from albertqa.model.load import SpanModel
from albertqa.model.onnx_model import Kind, OnnxModel
from albertqa.model.window_model import WindowModel
from albertqa.scoring.evaluation import evaluate_windows
from albertqa.scoring.interval import Interval, difference_interval
from albertqa.scoring.official import score_each
from albertqa.windows.store import WindowStore

_SENSITIVITY_WINDOWS = 16


@dataclass(frozen=True)
class Limits:
    """What an int8 model may lose.

    Attributes:
        f1_loss: Points of F1.
        same_percent: Least share of the questions with the same span as in fp32.
    """

    f1_loss: float
    same_percent: float


LIMITS: dict[Kind, Limits] = {"faithful": Limits(0.5, 95.0), "fast": Limits(1.0, 80.0)}


@dataclass(frozen=True)
class Questions:
    """Questions to measure on, and how they are read.

    Attributes:
        examples: The questions, with golds.
        store: Their windows.
        reading: How answers are chosen.
        version_2: Whether questions may have no answer.
        name: What to call them.
    """

    examples: Sequence[Example]
    store: WindowStore
    reading: DecodeConfig
    version_2: bool
    name: str


@dataclass(frozen=True)
class Answered:
    """What a model answers to the questions.

    Attributes:
        exact: Exact match in percent.
        f1: F1 in percent.
        f1_of: F1 of each question in percent.
        spans: Span of each question's answer.
    """

    exact: float
    f1: float
    f1_of: dict[str, float]
    spans: list[tuple[int, int] | None]


@dataclass(frozen=True)
class Measured:
    """An exported file, and what it scores.

    Attributes:
        kind: Form of its matrices.
        in_fp32: Matrices that stay fp32 all the same.
        megabytes: Size of the file, in 10^6 bytes.
        exact: Exact match in percent.
        f1: F1 in percent.
        f1_change: F1 minus that in fp32, with its 95 % interval over the questions; None for fp32 itself.
        same_percent: Share of the questions with the same span as in fp32; likewise.
    """

    kind: Kind
    in_fp32: tuple[str, ...]
    megabytes: float
    exact: float
    f1: float
    f1_change: Interval | None = None
    same_percent: float | None = None

    def is_within(self, limits: Limits) -> bool:
        """Report whether the losses are within limits."""
        if self.f1_change is None or self.same_percent is None:
            return True
        return -self.f1_change.mean <= limits.f1_loss and self.same_percent >= limits.same_percent

    @property
    def row(self) -> str:
        """The figures in one line."""
        text = f"{self.kind:8}  {self.megabytes:6.1f} MB  exact {self.exact:6.2f}  F1 {self.f1:6.2f}"
        if self.f1_change is not None:
            one = self.f1_change
            text += f" ({one.mean:+.2f}, {one.low:+.2f} to {one.high:+.2f})  {self.same_percent:5.1f} % the same spans"
        if self.in_fp32:
            text += f"  fp32: {', '.join(self.in_fp32)}"
        return text


def answer_all(model: WindowModel, questions: Questions) -> Answered:
    """Let a model answer the questions.

    Args:
        model: The model.
        questions: The questions.
    """
    found = evaluate_windows(
        model, questions.store, questions.examples, questions.reading, version_2=questions.version_2
    )
    texts = {one.id: one.text for one in found.predictions}
    scores = score_each(questions.examples, texts, version_2=questions.version_2)
    f1_of = {name: 100 * one.f1 for name, one in scores.items()}
    return Answered(found.exact, found.f1, f1_of, [_span(one) for one in found.predictions])


def _span(prediction: Prediction) -> tuple[int, int] | None:
    best = prediction.best_answer
    return (best.start_char, best.end_char) if prediction.text and best is not None else None


def measure(model: OnnxModel, path: Path, questions: Questions, whole: Answered, in_fp32: Sequence[str]) -> Measured:
    """Measure an exported file against fp32.

    Args:
        model: The file's model.
        path: The file.
        questions: The questions.
        whole: What fp32 answers.
        in_fp32: The matrices that stay fp32 in it.
    """
    answered = answer_all(model, questions)
    same = np.mean([one == other for one, other in zip(answered.spans, whole.spans, strict=True)])
    return Measured(
        model.facts.kind,
        tuple(in_fp32),
        path.stat().st_size / 1e6,
        answered.exact,
        answered.f1,
        difference_interval(whole.f1_of, answered.f1_of),
        float(100 * same),
    )


def write_within_limits(
    model: SpanModel,
    kind: Kind,
    path: Path,
    questions: Questions,
    whole: Answered,
    limits: Limits,
    *,
    open_model: Callable[[Path], OnnxModel],
    say: Callable[[str], None],
) -> Measured:
    """Write an int8 model that is within its limits.

    Args:
        model: The model.
        kind: Form of its matrices.
        path: The file to write.
        questions: The questions to measure on.
        whole: What the model answers in fp32.
        limits: What it may lose.
        open_model: Opens an exported file.
        say: Takes a line for every trial.

    Returns:
        What was written.

    Raises:
        ModelError: It loses more, whichever matrices stay fp32.
    """

    def attempt(in_fp32: Sequence[str]) -> Measured:
        onnx.save(build_graph(model, kind, in_fp32=in_fp32), path)
        measured = measure(open_model(path), path, questions, whole, in_fp32)
        say(measured.row)
        return measured

    measured = attempt(())
    if measured.is_within(limits):
        return measured
    say("too much is lost; looking for the matrices that lose it")
    ranked = _by_sensitivity(model, kind, path, questions.store, open_model)
    count = 1
    while count <= len(ranked) // 2:
        measured = attempt(ranked[:count])
        if measured.is_within(limits):
            return measured
        count *= 2
    raise ModelError(
        f"int8 ({kind}) loses too much on {questions.name}, even with {count // 2} of {len(ranked)} matrices in fp32: "
        f"expected at most {limits.f1_loss:g} points of F1 and at least {limits.same_percent:g} % the same spans. "
        f"Nothing was exported. Use --format onnx, or raise --max-f1-loss"
    )


def _by_sensitivity(
    model: SpanModel, kind: Kind, path: Path, store: WindowStore, open_model: Callable[[Path], OnnxModel]
) -> list[str]:
    """Return a model's matrices, those first whose rounding alone moves the logits most."""
    some = store.take(np.linspace(0, len(store) - 1, min(_SENSITIVITY_WINDOWS, len(store)), dtype=np.int64))
    names = matrices_of(model)

    def logits(in_fp32: Collection[str]) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        onnx.save(build_graph(model, kind, in_fp32=in_fp32), path)
        found = run_windows(open_model(path), some).logits
        return np.stack([found.start, found.end])

    expected = logits(names)
    moved = {name: np.abs(logits([one for one in names if one != name]) - expected).mean() for name in names}
    return sorted(names, key=lambda name: -moved[name])
