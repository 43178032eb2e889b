"""Answers from a trained model, through the same windows and decoding as evaluation."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from albertqa.config import DeviceConfig, Precision
from albertqa.data.example import Example
from albertqa.decode.predict import run_windows
from albertqa.decode.reader import ReaderSettings, load_reader
from albertqa.decode.spans import Candidate, Prediction, decode
from albertqa.errors import DataError
from albertqa.windows.build import windows_in_memory


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to one question.

    Attributes:
        text: The answer, verbatim from the context; "" for "no answer".
        start_char: Its first character in the context.
        end_char: The character after its last one.
        probability: Softmax of the scores over the question's best candidates.
        score: Start logit plus end logit.
        null_score: Score of "no answer"; None unless it was allowed.
        n_best: The best candidates, best first, each span once.
    """

    text: str
    start_char: int
    end_char: int
    probability: float
    score: float
    null_score: float | None
    n_best: tuple[Candidate, ...]

    def to_json(self) -> dict[str, Any]:
        """Give the answer as a plain dictionary."""
        return asdict(self)


class Answerer:
    """Answers questions with a trained model, which reads as it was trained to unless told otherwise.

    Args:
        model: Run directory (its ``best/``), Transformers folder, or Hub name.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        mixed_precision: ``auto``, ``no``, ``bf16`` or ``fp16``.
        reader_settings: `max_seq_length`, `doc_stride`, `max_answer_length`, `null_score_diff_threshold`,
            `version_2_with_negative` (whether "no answer" is an answer) instead of the model's own.

    Raises:
        AlbertQAError: The model cannot be used.
    """

    def __init__(
        self,
        model: str | Path,
        *,
        device: str = "auto",
        mixed_precision: Precision = "auto",
        **reader_settings: float | bool | None,
    ) -> None:
        self._reader = load_reader(
            model, DeviceConfig(device=device, mixed_precision=mixed_precision), **reader_settings
        )

    @property
    def settings(self) -> ReaderSettings:
        """How the model reads."""
        return self._reader.settings

    def answer(self, question: str, context: str, *, n_best: int = 1) -> Answer:
        """Answer one question from its context, however long.

        Args:
            question: The question.
            context: The text that should hold the answer.
            n_best: Candidates to return.

        Returns:
            The answer.

        Raises:
            DataError: Question or context is empty.
        """
        return self.answer_batch([(question, context)], n_best=n_best)[0]

    def answer_batch(
        self, pairs: Sequence[tuple[str, str]], *, n_best: int = 1, batch_size: int = DeviceConfig.eval_batch_size
    ) -> list[Answer]:
        """Answer many questions; see `answer`.

        Args:
            pairs: Question and context of each.
            n_best: Candidates to return.
            batch_size: Maximum-length windows of one forward pass.

        Returns:
            The answers, in order; they do not depend on what else is in the batch.

        Raises:
            DataError: A question or context is empty.
            SettingsError: A number is out of range.
        """
        DeviceConfig(eval_batch_size=batch_size).check()
        settings = self._reader.settings
        # Always at least the metric's candidates, so that an answer and its probability are those of `evaluate`.
        decoding = settings.changed(n_best_size=max(settings.n_best_size, n_best) if n_best > 0 else n_best)
        examples = [Example(str(index), question, context) for index, (question, context) in enumerate(pairs)]
        for index, example in enumerate(examples):
            for name, text in (("question", example.question), ("context", example.context)):
                if not text.strip():
                    raise DataError(f"pair {index}: the {name} is empty, expected text")
        if not examples:
            return []
        store = windows_in_memory(
            examples, self._reader.tokenizer, max_seq_length=settings.max_seq_length, doc_stride=settings.doc_stride
        )
        passed = run_windows(self._reader.model, store, batch_size=batch_size)
        predictions = decode(passed.logits, store, examples, decoding, version_2=bool(settings.version_2_with_negative))
        return [_answer(prediction, n_best) for prediction in predictions]


def _answer(prediction: Prediction, n_best: int) -> Answer:
    """Give a prediction in the form of an answer; a span that two windows share is listed once."""
    spans = {(one.start_char, one.end_char): one for one in reversed(prediction.n_best)}
    distinct = sorted(spans.values(), key=prediction.n_best.index)
    chosen = next((one for one in distinct if one.text == prediction.text), None)
    if chosen is None:
        return Answer("", 0, 0, 0.0, 0.0, prediction.null_score, ())
    # First what is answered, which a threshold may have chosen below the best score.
    distinct = [chosen, *(one for one in distinct if one is not chosen)]
    return Answer(
        text=chosen.text,
        start_char=chosen.start_char,
        end_char=chosen.end_char,
        probability=chosen.probability,
        score=chosen.score,
        null_score=prediction.null_score,
        n_best=tuple(distinct[:n_best]),
    )
