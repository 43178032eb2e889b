"""Build windows of examples: slice, label, and cache them under what they were made of.

Source: `run_qa.py`'s `prepare_train_features` (Transformers). `doc_stride` is the overlap in tokens; the question is
stripped on the left and never cut; only the context is split; a window without the whole first gold is labelled CLS.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pyarrow as pa

from albertqa.data.example import Example, content_sha256
from albertqa.errors import DataError
from albertqa.files import build_once, cache_folder
from albertqa.windows.offsets import token_characters
from albertqa.windows.store import (
    CONTEXT_SCHEMA,
    CONTEXTS_ARROW,
    DATA_FILES,
    QUESTION_SCHEMA,
    QUESTIONS_ARROW,
    WINDOW_COLUMNS,
    WINDOW_SCHEMA,
    WINDOWS_ARROW,
    Int32Array,
    WindowStore,
    is_complete,
    write_manifest,
)
from albertqa.windows.tokenizer import QATokenizer

# Part of the cache key: raise it whenever the same input would give other files.
_FORMAT = 3
_EXAMPLES_PER_CHUNK = 1024
# Questions listed in one message.
_MOST_SHOWN = 100


class LongQuestionsError(DataError):
    """Some questions leave no room in a window for new context tokens beside the overlap.

    Args:
        questions: Id of each, and what was found and expected.
    """

    remedy = "Shorten the question, raise --max-seq-length or lower --doc-stride"

    def __init__(self, questions: Sequence[tuple[str, str]]) -> None:
        self.questions = tuple(questions)
        shown = "; ".join(f"question {question_id}: {message}" for question_id, message in questions[:_MOST_SHOWN])
        more = f"; and {len(questions) - _MOST_SHOWN} more" if len(questions) > _MOST_SHOWN else ""
        super().__init__(f"{shown}{more}. {self.remedy}")


@dataclass(frozen=True)
class ContextTokens:
    """The tokens of a context.

    Attributes:
        input_ids: Token ids.
        start_char: First character of each token.
        end_char: Character after the last one of each token.
    """

    input_ids: Int32Array
    start_char: Int32Array
    end_char: Int32Array


Tokenize: TypeAlias = Callable[[list[str], QATokenizer], dict[str, ContextTokens]]
"""From contexts, each once, to the tokens of each."""


def build_windows(
    examples: Sequence[Example],
    tokenizer: QATokenizer,
    *,
    max_seq_length: int = 384,
    doc_stride: int = 128,
    cache: Path | None = None,
) -> WindowStore:
    """Build the windows of examples, or open them where they were built before.

    Args:
        examples: The data.
        tokenizer: A checked tokenizer.
        max_seq_length: Most tokens of a window, special tokens included.
        doc_stride: Overlap of neighbouring windows of one context, tokens.
        cache: Folder of window stores (default: ``windows`` in `cache_folder`).

    Returns:
        The store; its windows are in the order of the examples.

    Raises:
        LongQuestionsError: Some questions leave no room for new context tokens beside the overlap.
    """
    stores = cache if cache is not None else cache_folder() / "windows"
    key_of = [_FORMAT, content_sha256(examples), tokenizer.fingerprint, max_seq_length, doc_stride]
    folder = stores / hashlib.sha256(json.dumps(key_of).encode()).hexdigest()[:32]

    def write(building: Path) -> None:
        with ExitStack() as opened:
            sinks = {name: opened.enter_context(pa.OSFile(str(building / name), "wb")) for name in DATA_FILES}
            _write_files(examples, _Slicer(tokenizer, max_seq_length, doc_stride), sinks)
        facts = {"max_seq_length": max_seq_length, "doc_stride": doc_stride, "layout": asdict(tokenizer.layout)}
        write_manifest(building, facts)

    return WindowStore.open(build_once(folder, is_complete=is_complete, write=write))


def tokenize_contexts(texts: list[str], tokenizer: QATokenizer) -> dict[str, ContextTokens]:
    """Tokenize contexts in parallel.

    Args:
        texts: The contexts, each once.
        tokenizer: A checked tokenizer.

    Returns:
        The tokens of each context.
    """
    tokens = {}
    for text, encoding in zip(texts, tokenizer.encode_batch(texts), strict=True):
        offsets = np.asarray(encoding.offsets, dtype=np.int32).reshape(-1, 2)
        tokens[text] = ContextTokens(np.asarray(encoding.ids, dtype=np.int32), *token_characters(text, offsets))
    return tokens


@dataclass(frozen=True)
class _Slicer:
    """Tokenizes contexts and cuts them into windows.

    Attributes:
        tokenizer: The tokenizer.
        max_seq_length: Most tokens of a window.
        doc_stride: Overlap of neighbouring windows, tokens.
        tokenize: Tokenizes contexts.
    """

    tokenizer: QATokenizer
    max_seq_length: int
    doc_stride: int
    tokenize: Tokenize = tokenize_contexts

    def too_long(self, num_question_tokens: int, room: int) -> str:
        return (
            f"has {num_question_tokens} tokens and leaves {room} of {self.max_seq_length} for the context, expected "
            f"more than doc_stride ({self.doc_stride})"
        )

    def windows(
        self, example: Example, num_question_tokens: int, context: ContextTokens, room: int
    ) -> Iterator[tuple[int, int, int, int, int]]:
        """Yield (first_token, end_token, start_position, end_position, length) of every window of one example."""
        layout = self.tokenizer.layout
        num_other = num_question_tokens + layout.num_special_tokens
        context_start = num_other - len(layout.suffix)
        gold = example.golds[0] if example.golds else None
        for first, end in slices(len(context.input_ids), room, self.doc_stride):
            start = last = None
            if gold is not None and first < end and context.start_char[first] <= gold.answer_start:
                inside = slice(first, end)
                start, last = _gold_tokens(
                    context.start_char[inside], context.end_char[inside], gold.answer_start, gold.answer_end
                )
            if start is None or last is None:
                yield first, end, 0, 0, num_other + end - first
            else:
                yield first, end, context_start + start, context_start + last, num_other + end - first


def windows_in_memory(
    examples: Sequence[Example],
    tokenizer: QATokenizer,
    *,
    max_seq_length: int = 384,
    doc_stride: int = 128,
    tokenize: Tokenize = tokenize_contexts,
) -> WindowStore:
    """Build the windows of a few examples without touching the disk (see `build_windows`).

    Args:
        examples: The data.
        tokenizer: A checked tokenizer.
        max_seq_length: Maximum tokens of a window, special tokens included.
        doc_stride: Overlap of neighbouring windows of one context, tokens.
        tokenize: Instead of `tokenize_contexts`, for example one that remembers contexts.
    """
    sinks = {name: pa.BufferOutputStream() for name in DATA_FILES}
    _write_files(examples, _Slicer(tokenizer, max_seq_length, doc_stride, tokenize), sinks)
    files = {name: pa.BufferReader(sink.getvalue()) for name, sink in sinks.items()}
    return WindowStore(files, tokenizer.layout, max_seq_length=max_seq_length, doc_stride=doc_stride)


@dataclass(frozen=True)
class _Chunk:
    """What some examples became.

    Attributes:
        new_contexts: Tokens of the contexts that no chunk before had.
        questions: Token ids of each question.
        windows: The row of each window, as in `WINDOW_COLUMNS`.
    """

    new_contexts: list[ContextTokens]
    questions: list[Int32Array]
    windows: list[tuple[int, ...]]


def count_tokens(
    examples: Sequence[Example],
    tokenizer: QATokenizer,
    *,
    max_seq_length: int = 384,
    doc_stride: int = 128,
    tokenize: Tokenize = tokenize_contexts,
) -> int:
    """Return the tokens of all windows of a few examples without building them (see `windows_in_memory`)."""
    chunks = _cut(examples, _Slicer(tokenizer, max_seq_length, doc_stride, tokenize))
    return sum(length for chunk in chunks for *_, length in chunk.windows)


def _cut(examples: Sequence[Example], slicer: _Slicer) -> Iterator[_Chunk]:
    """Yield the windows of examples, some examples at a time.

    Raises:
        LongQuestionsError: In the end, where questions leave no room.
    """
    context_index: dict[str, int] = {}
    too_long: list[tuple[str, str]] = []
    for first in range(0, len(examples), _EXAMPLES_PER_CHUNK):
        chunk = examples[first : first + _EXAMPLES_PER_CHUNK]
        contexts = slicer.tokenize(list(dict.fromkeys(example.context for example in chunk)), slicer.tokenizer)
        new = [tokens for text, tokens in contexts.items() if text not in context_index]
        for text in contexts:
            context_index.setdefault(text, len(context_index))
        questions = [
            np.asarray(encoding.ids, dtype=np.int32)
            for encoding in slicer.tokenizer.encode_batch([example.question.lstrip() for example in chunk])
        ]
        rows: list[tuple[int, ...]] = []
        for at, (example, question) in enumerate(zip(chunk, questions, strict=True)):
            context = contexts[example.context]
            room = slicer.max_seq_length - slicer.tokenizer.layout.num_special_tokens - len(question)
            if room <= slicer.doc_stride and room < len(context.input_ids):
                too_long.append((example.id, slicer.too_long(len(question), room)))
                continue
            windows = slicer.windows(example, len(question), context, room)
            rows += [(first + at, context_index[example.context], *window) for window in windows]
        yield _Chunk(new, questions, rows)
    if too_long:
        raise LongQuestionsError(too_long)


def _write_files(examples: Sequence[Example], slicer: _Slicer, sinks: dict[str, pa.NativeFile]) -> None:
    with (
        pa.ipc.new_file(sinks[CONTEXTS_ARROW], CONTEXT_SCHEMA) as contexts_out,
        pa.ipc.new_file(sinks[QUESTIONS_ARROW], QUESTION_SCHEMA) as questions_out,
        pa.ipc.new_file(sinks[WINDOWS_ARROW], WINDOW_SCHEMA) as windows_out,
    ):
        for chunk in _cut(examples, slicer):
            if chunk.new_contexts:
                columns = [[getattr(tokens, name) for tokens in chunk.new_contexts] for name in CONTEXT_SCHEMA.names]
                contexts_out.write_batch(_list_batch(CONTEXT_SCHEMA, columns))
            questions_out.write_batch(_list_batch(QUESTION_SCHEMA, [chunk.questions]))
            table = np.asarray(chunk.windows, dtype=np.int32).reshape(-1, len(WINDOW_COLUMNS)).T
            windows_out.write_batch(pa.record_batch([pa.array(column) for column in table], names=WINDOW_COLUMNS))


def _list_batch(schema: pa.Schema, columns: list[list[Int32Array]]) -> pa.RecordBatch:
    arrays = []
    for column in columns:
        offsets = np.concatenate([[0], np.cumsum([len(row) for row in column])]).astype(np.int32)
        arrays.append(pa.ListArray.from_arrays(pa.array(offsets), pa.array(np.concatenate(column))))
    return pa.record_batch(arrays, schema=schema)


def slices(num_tokens: int, room: int, doc_stride: int) -> Iterator[tuple[int, int]]:
    """Cut a context into overlapping slices.

    Args:
        num_tokens: Context tokens.
        room: Most context tokens of a window, at least one more than `doc_stride` where more than one is needed.
        doc_stride: Overlap of neighbours, tokens.

    Yields:
        First token and the one after the last, of each slice; one empty slice for an empty context.
    """
    first = 0
    while first + room < num_tokens:
        yield first, first + room
        first += room - doc_stride
    yield first, num_tokens


def _gold_tokens(
    start_char: Int32Array, end_char: Int32Array, answer_start: int, answer_end: int
) -> tuple[int | None, int | None]:
    """Find the gold's first and last token in a slice that begins at or before it.

    The start is the last token that begins at or before the answer, the end the first one that ends at or after it;
    a lone ``▁`` shares its offsets with the next token, hence "last" and "first".
    """
    if end_char[-1] < answer_end:
        return None, None
    start = int(np.searchsorted(start_char, answer_start, side="right")) - 1
    end = int(np.searchsorted(end_char, answer_end, side="left"))
    return start, max(start, end)
