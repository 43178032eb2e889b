"""Answers from a trained model, through the same windows and decoding as evaluation."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from albertqa.config import Settings, check_settings
from albertqa.data.example import Example
from albertqa.decode.predict import run_windows
from albertqa.decode.reader import load_reader
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
    """Answers questions with a trained model.

    Args:
        model: Run directory (its ``best/``), Transformers folder, or Hub name.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        mixed_precision: ``auto``, ``no``, ``bf16`` or ``fp16``.
        max_seq_length: Most tokens of a window.
        doc_stride: Overlap of neighbouring windows, tokens.

    Raises:
        AlbertQAError: The model cannot be used.
    """

    def __init__(
        self,
        model: str | Path,
        *,
        device: str = "auto",
        mixed_precision: str = "auto",
        max_seq_length: int = 384,
        doc_stride: int = 128,
    ) -> None:
        check_settings(Settings(max_seq_length=max_seq_length, doc_stride=doc_stride))
        self._reader = load_reader(model, max_seq_length=max_seq_length, device=device, mixed_precision=mixed_precision)
        self._lengths = {"max_seq_length": max_seq_length, "doc_stride": doc_stride}

    def answer(
        self,
        question: str,
        context: str,
        *,
        n_best: int = 1,
        max_answer_length: int = 30,
        allow_no_answer: bool = False,
        null_score_diff_threshold: float = 0.0,
    ) -> Answer:
        """Answer one question from its context, however long.

        Args:
            question: The question.
            context: The text that should hold the answer.
            n_best: Candidates to give.
            max_answer_length: Longest answer, tokens.
            allow_no_answer: Whether "no answer" is an answer (a model trained on v2.0-like data).
            null_score_diff_threshold: Say "no answer" where its score beats the best answer's by more than this.

        Returns:
            The answer.

        Raises:
            DataError: Question or context is empty.
        """
        return self.answer_batch(
            [(question, context)],
            n_best=n_best,
            max_answer_length=max_answer_length,
            allow_no_answer=allow_no_answer,
            null_score_diff_threshold=null_score_diff_threshold,
        )[0]

    def answer_batch(
        self,
        pairs: Sequence[tuple[str, str]],
        *,
        n_best: int = 1,
        max_answer_length: int = 30,
        allow_no_answer: bool = False,
        null_score_diff_threshold: float = 0.0,
        batch_size: int = 32,
    ) -> list[Answer]:
        """Answer many questions; see `answer`.

        Args:
            pairs: Question and context of each.
            n_best: Candidates to give.
            max_answer_length: Longest answer, tokens.
            allow_no_answer: Whether "no answer" is an answer.
            null_score_diff_threshold: See `answer`.
            batch_size: Windows of the longest kind in one forward.

        Returns:
            The answers, in order; they do not depend on what else is in the batch.

        Raises:
            DataError: A question or context is empty.
            SettingsError: A number is out of range.
        """
        check_settings(Settings(max_answer_length=max_answer_length, n_best_size=n_best, eval_batch_size=batch_size))
        examples = [Example(str(index), question, context) for index, (question, context) in enumerate(pairs)]
        for index, example in enumerate(examples):
            for name, text in (("question", example.question), ("context", example.context)):
                if not text.strip():
                    raise DataError(f"pair {index}: the {name} is empty, expected text")
        if not examples:
            return []
        store = windows_in_memory(examples, self._reader.tokenizer, **self._lengths)
        passed = run_windows(self._reader.model, store, batch_size=batch_size)
        predictions = decode(
            passed.logits,
            store,
            examples,
            # Always at least the metric's 20, so that an answer and its probability are those of `evaluate`.
            n_best_size=max(20, n_best),
            max_answer_length=max_answer_length,
            version_2=allow_no_answer,
            null_score_diff_threshold=null_score_diff_threshold,
        )
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
