"""Build windows of examples: slice, label, and cache them under what they were made of.

Source: `run_qa.py`'s `prepare_train_features` (Transformers). `doc_stride` is the overlap in tokens; the question is
stripped on the left and never cut; only the context is split; a window without the whole first gold is labelled CLS.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
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
    """The tokens of a context: ids, first character of each, and the character after its last one."""

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
    lengths = {"max_seq_length": max_seq_length, "doc_stride": doc_stride}
    stores = cache if cache is not None else cache_folder() / "windows"
    key_of = [_FORMAT, content_sha256(examples), tokenizer.fingerprint, max_seq_length, doc_stride]
    folder = stores / hashlib.sha256(json.dumps(key_of).encode()).hexdigest()[:32]

    def write(building: Path) -> None:
        with ExitStack() as opened:
            sinks = {name: opened.enter_context(pa.OSFile(str(building / name), "wb")) for name in DATA_FILES}
            _write_files(_cut(examples, tokenizer, **lengths, tokenize=tokenize_contexts), sinks)
        write_manifest(building, {**lengths, "layout": asdict(tokenizer.layout)})

    return WindowStore.open(build_once(folder, is_complete=is_complete, write=write))


def tokenize_contexts(texts: list[str], tokenizer: QATokenizer) -> dict[str, ContextTokens]:
    """Return the tokens of each context, tokenized in parallel."""
    tokens = {}
    for text, encoding in zip(texts, tokenizer.encode_batch(texts), strict=True):
        offsets = np.asarray(encoding.offsets, dtype=np.int32).reshape(-1, 2)
        tokens[text] = ContextTokens(np.asarray(encoding.ids, dtype=np.int32), *token_characters(text, offsets))
    return tokens


def windows_in_memory(
    examples: Sequence[Example],
    tokenizer: QATokenizer,
    *,
    max_seq_length: int = 384,
    doc_stride: int = 128,
    tokenize: Tokenize = tokenize_contexts,
) -> WindowStore:
    """Build the windows of a few examples without touching the disk (see `build_windows`).

    `tokenize` may be another function than `tokenize_contexts`, for example one that remembers contexts.
    """
    sinks = {name: pa.BufferOutputStream() for name in DATA_FILES}
    lengths = {"max_seq_length": max_seq_length, "doc_stride": doc_stride}
    _write_files(_cut(examples, tokenizer, **lengths, tokenize=tokenize), sinks)
    files = {name: pa.BufferReader(sink.getvalue()) for name, sink in sinks.items()}
    return WindowStore(files, tokenizer.layout, **lengths)


@dataclass(frozen=True)
class _Chunk:
    """What some examples became: contexts that no chunk before had, questions, and rows of `WINDOW_COLUMNS`."""

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
    chunks = _cut(examples, tokenizer, max_seq_length=max_seq_length, doc_stride=doc_stride, tokenize=tokenize)
    return sum(length for chunk in chunks for *_, length in chunk.windows)


def _cut(
    examples: Sequence[Example],
    tokenizer: QATokenizer,
    *,
    max_seq_length: int,
    doc_stride: int,
    tokenize: Tokenize,
) -> Iterator[_Chunk]:
    """Yield the windows of examples, some examples at a time.

    Raises:
        LongQuestionsError: In the end, where questions leave no room.
    """
    layout = tokenizer.layout
    context_index: dict[str, int] = {}
    too_long: list[tuple[str, str]] = []
    for first in range(0, len(examples), _EXAMPLES_PER_CHUNK):
        chunk = examples[first : first + _EXAMPLES_PER_CHUNK]
        contexts = tokenize(list(dict.fromkeys(example.context for example in chunk)), tokenizer)
        new = [tokens for text, tokens in contexts.items() if text not in context_index]
        for text in contexts:
            context_index.setdefault(text, len(context_index))
        questions = [
            np.asarray(encoding.ids, dtype=np.int32)
            for encoding in tokenizer.encode_batch([example.question.lstrip() for example in chunk])
        ]
        rows: list[tuple[int, ...]] = []
        for at, (example, question) in enumerate(zip(chunk, questions, strict=True), first):
            context = contexts[example.context]
            num_other = len(question) + layout.num_special_tokens
            room = max_seq_length - num_other
            if room <= doc_stride and room < len(context.input_ids):
                message = (
                    f"has {len(question)} tokens and leaves {room} of {max_seq_length} for the context, expected "
                    f"more than doc_stride ({doc_stride})"
                )
                too_long.append((example.id, message))
                continue
            for begin, end in slices(len(context.input_ids), room, doc_stride):
                labels = _gold_tokens(example, context, begin, end)
                # Of the window; without an answer both are those of CLS.
                start, last = (num_other - len(layout.suffix) + label for label in labels) if labels else (0, 0)
                length = num_other + end - begin
                rows.append((at, context_index[example.context], begin, end, start, last, length))
        yield _Chunk(new, questions, rows)
    if too_long:
        raise LongQuestionsError(too_long)


def _write_files(chunks: Iterable[_Chunk], sinks: dict[str, pa.NativeFile]) -> None:
    with (
        pa.ipc.new_file(sinks[CONTEXTS_ARROW], CONTEXT_SCHEMA) as contexts_out,
        pa.ipc.new_file(sinks[QUESTIONS_ARROW], QUESTION_SCHEMA) as questions_out,
        pa.ipc.new_file(sinks[WINDOWS_ARROW], WINDOW_SCHEMA) as windows_out,
    ):
        for chunk in chunks:
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


def _gold_tokens(example: Example, context: ContextTokens, begin: int, end: int) -> tuple[int, int] | None:
    """Find the first gold's first and last token in a slice of the context; None where it is not wholly inside.

    The start is the last token that begins at or before the answer, the end the first one that ends at or after it;
    a lone ``▁`` shares its offsets with the next token, hence "last" and "first".
    """
    if not example.golds or begin == end:
        return None
    gold = example.golds[0]
    if context.start_char[begin] > gold.answer_start or context.end_char[end - 1] < gold.answer_end:
        return None
    start = int(np.searchsorted(context.start_char[begin:end], gold.answer_start, side="right")) - 1
    last = int(np.searchsorted(context.end_char[begin:end], gold.answer_end, side="left"))
    return start, max(start, last)
