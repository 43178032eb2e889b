"""Answers from a trained model, through the same windows and decoding as evaluation."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Unpack

from albertqa.answer.answers import NOTHING, Answer, DocumentAnswer
from albertqa.answer.collection import Collection
from albertqa.answer.ranking import rank_answers
from albertqa.answer.remembered import TokenizedContexts
from albertqa.config import Backend, DeviceConfig, Precision
from albertqa.data.example import Example
from albertqa.decode.confidence import with_probability
from albertqa.decode.predict import run_windows
from albertqa.decode.reader import load_reader
from albertqa.decode.reader_settings import ReaderChanges, ReaderSettings
from albertqa.decode.spans import Candidate, Prediction, decode
from albertqa.errors import DataError
from albertqa.model.freed_memory import FreedMemory
from albertqa.windows.build import count_tokens, windows_in_memory

PASSAGES = 10
"""Passages of a collection that are read for a question."""

_REMEMBERED_TOKENS = 2_000_000
"""Tokens of contexts that are remembered: some 40 MB at most, or 3,000 pages."""


class Answerer:
    """Answers questions with a trained model, which reads as it was trained to unless told otherwise.

    Args:
        model: Run directory (its ``best/``), Transformers folder, folder of `albertqa export`, or Hub name.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        mixed_precision: ``auto``, ``no``, ``bf16`` or ``fp16``.
        num_threads: CPU threads, with PyTorch of the whole process; None: left as it is.
        backend: What computes: ``torch``, ``onnx`` or ``auto`` (see `load_reader`).
        one_by_one: Whether every window is read in a forward pass of its own: in half precision an answer then does not
            depend on what is read beside it, to the bit. In bf16 on a CPU with the hardware for it that takes about
            1.8 times as long for a small encoder (docs/experiments.md), which is still less than fp32.
        reader_settings: Any of `ReaderSettings` instead of the model's own: `max_seq_length`, `doc_stride`,
            `max_answer_length`, `null_score_diff_threshold`, `version_2_with_negative` (whether "no answer" is an
            answer), `min_probability` (below it the answer is "no answer").

    Raises:
        AlbertQAError: The model cannot be used.
    """

    def __init__(
        self,
        model: str | Path,
        *,
        device: str = "auto",
        mixed_precision: Precision = "auto",
        num_threads: int | None = None,
        one_by_one: bool = False,
        backend: Backend = "auto",
        **reader_settings: Unpack[ReaderChanges],
    ) -> None:
        computing = DeviceConfig(device=device, mixed_precision=mixed_precision, num_threads=num_threads)
        self._reader = load_reader(model, computing, backend=backend, **reader_settings)
        self._one_by_one = one_by_one
        self._contexts = TokenizedContexts(_REMEMBERED_TOKENS)
        self._freed = FreedMemory()

    @property
    def is_calibrated(self) -> bool:
        """Whether `Answer.probability` was fitted to how often the model is right; `albertqa evaluate --calibrate`."""
        return self._reader.settings.confidence is not None

    @property
    def settings(self) -> ReaderSettings:
        """How the model reads."""
        return self._reader.settings

    def answer(
        self, question: str, context: str, *, n_best: int = 1, **reader_settings: Unpack[ReaderChanges]
    ) -> Answer:
        """Answer one question from its context, however long.

        Args:
            question: The question.
            context: The text that should hold the answer.
            n_best: Candidates to return.
            reader_settings: As in `Answerer`, for this call.

        Raises:
            DataError: Question or context is empty.
            SettingsError: A number is out of range.
        """
        return self.answer_batch([(question, context)], n_best=n_best, **reader_settings)[0]

    async def answer_async(
        self, question: str, context: str, *, n_best: int = 1, **reader_settings: Unpack[ReaderChanges]
    ) -> Answer:
        """Answer one question in a thread of its own, so that an event loop goes on meanwhile; see `answer`."""
        return await asyncio.to_thread(self.answer, question, context, n_best=n_best, **reader_settings)

    def answer_batch(
        self,
        pairs: Sequence[tuple[str, str]],
        *,
        n_best: int = 1,
        batch_size: int = DeviceConfig.eval_batch_size,
        progress: Callable[[int], None] | None = None,
        **reader_settings: Unpack[ReaderChanges],
    ) -> list[Answer]:
        """Answer many questions; see `answer`.

        Args:
            pairs: Question and context of each.
            n_best: As in `answer`.
            batch_size: Maximum-length windows of one forward pass.
            progress: Called after each forward pass with the windows done in it; what it raises ends the work.
            reader_settings: As in `answer`.

        Returns:
            The answers, in order. In fp32 they do not depend on what else is in the batch, and probabilities only by
            less than 1e-5; in bf16 and fp16, where products are rounded, a few in a thousand do: those with two
            candidates that all but tie. With `one_by_one` none does.

        Raises:
            DataError: A question or context is empty.
            SettingsError: A number is out of range.
        """
        settings = self._changed(reader_settings)
        # Always at least the metric's candidates, so that an answer and its probability are those of `evaluate`.
        decoding = settings.changed(n_best_size=max(settings.n_best_size, n_best) if n_best > 0 else n_best)
        DeviceConfig(eval_batch_size=batch_size).check()
        examples = _examples(pairs)
        predictions = self._predict(examples, decoding, batch_size, progress) if examples else []
        return [_answer(prediction, n_best, settings) for prediction in predictions]

    def answer_documents(
        self,
        question: str,
        documents: Mapping[str, str],
        *,
        n_best: int = 1,
        **reader_settings: Unpack[ReaderChanges],
    ) -> DocumentAnswer:
        """Answer a question from several documents, each of any length.

        Args:
            question: The question.
            documents: Text of each document by its id.
            n_best: As in `answer`.
            reader_settings: As in `answer`.

        Returns:
            The answer, ranked over all documents (see `albertqa.answer.ranking`).

        Raises:
            DataError: There are no documents, or a text is empty.
            SettingsError: A number is out of range.
        """
        if not documents:
            raise DataError("documents: expected at least one, found none")
        texts = list(documents.values())
        answers = self.answer_batch([(question, text) for text in texts], n_best=n_best, **reader_settings)
        return rank_answers(question, texts, answers, [(name, 0) for name in documents], n_best)

    def answer_collection(
        self,
        question: str,
        collection: Collection,
        *,
        passages: int = PASSAGES,
        n_best: int = 1,
        **reader_settings: Unpack[ReaderChanges],
    ) -> DocumentAnswer:
        """Answer a question from a collection: find passages by its words, and read them.

        Args:
            question: The question.
            collection: The collection.
            passages: Passages to read.
            n_best: As in `answer`.
            reader_settings: As in `answer`.

        Returns:
            The answer; "no answer" with probability 0 where no passage has a word of the question. Offsets count in
            the document (`Collection.text`).

        Raises:
            DataError: The question is empty.
            SettingsError: A number is out of range.
        """
        if not question.strip():
            raise DataError("the question is empty, expected text")
        found = collection.search(question, limit=passages)
        if not found:
            return DocumentAnswer(NOTHING, None, ())
        texts = [one.text for one in found]
        answers = self.answer_batch([(question, text) for text in texts], n_best=n_best, **reader_settings)
        return rank_answers(question, texts, answers, [(one.document, one.start_char) for one in found], n_best)

    def num_tokens(self, pairs: Sequence[tuple[str, str]], **reader_settings: Unpack[ReaderChanges]) -> int:
        """Return how many tokens the model will read to answer questions, the measure of the work; see `answer_batch`.

        Raises:
            DataError: A question or context is empty.
            SettingsError: A number is out of range.
        """
        return count_tokens(_examples(pairs), **self._windows(self._changed(reader_settings)))

    def _windows(self, settings: ReaderSettings) -> dict[str, Any]:
        """Return what windows are built with."""
        return {
            "tokenizer": self._reader.tokenizer,
            "max_seq_length": settings.max_seq_length,
            "doc_stride": settings.doc_stride,
            "tokenize": self._contexts.tokenize,
        }

    def _changed(self, reader_settings: ReaderChanges) -> ReaderSettings:
        settings = self._reader.settings.changed(**reader_settings)
        self._reader.model.require_positions(settings.max_seq_length, self._reader.source)
        return settings

    def _predict(
        self,
        examples: Sequence[Example],
        settings: ReaderSettings,
        batch_size: int,
        progress: Callable[[int], None] | None,
    ) -> list[Prediction]:
        store = windows_in_memory(examples, **self._windows(settings))
        passed = run_windows(
            self._reader.model, store, batch_size=batch_size, one_by_one=self._one_by_one, progress=progress
        )
        self._freed.return_if_due()
        return decode(passed.logits, store, examples, settings, version_2=bool(settings.version_2_with_negative))


def _examples(pairs: Sequence[tuple[str, str]]) -> list[Example]:
    examples = [Example(str(index), question, context) for index, (question, context) in enumerate(pairs)]
    for index, example in enumerate(examples):
        for name, text in (("question", example.question), ("context", example.context)):
            if not text.strip():
                raise DataError(f"pair {index}: the {name} is empty, expected text")
    return examples


def _answer(prediction: Prediction, n_best: int, settings: ReaderSettings) -> Answer:
    """Turn a prediction into an answer; a span that two windows share is listed once."""
    spans = {(one.start_char, one.end_char): one for one in reversed(prediction.n_best)}
    distinct = sorted(spans.values(), key=prediction.n_best.index)
    chosen = next((one for one in distinct if one.text == prediction.text), None)
    if chosen is None:
        return Answer("", 0, 0, 0.0, 0.0, 0.0, prediction.null_score, ())
    # First what is answered, which a threshold may have chosen below the best score.
    candidates = (chosen, *(one for one in distinct if one is not chosen))
    confidence = settings.confidence
    if confidence and (probability := confidence.probability(prediction, settings.n_best_size)) is not None:
        candidates = with_probability(candidates, 0, probability)
    if candidates[0].text and candidates[0].probability < settings.min_probability:
        candidates = _withheld(candidates, prediction)
    first = candidates[0]
    return Answer(
        text=first.text,
        start_char=first.start_char,
        end_char=first.end_char,
        probability=first.probability,
        softmax=chosen.probability,
        score=first.score,
        null_score=prediction.null_score,
        n_best=candidates[:n_best],
    )


def _withheld(candidates: tuple[Candidate, ...], prediction: Prediction) -> tuple[Candidate, ...]:
    """Put "no answer" first, with the probability that the best answer is wrong."""
    null = prediction.cls_score or 0.0
    nothing = Candidate("", 0, 0, null / 2, null / 2, 1.0 - candidates[0].probability)
    return (nothing, *(one for one in candidates if one.text))
