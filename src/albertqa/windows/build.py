"""Examples become windows: sliced, labelled, and cached under what they were made of.

Source: `run_qa.py`'s `prepare_train_features` (Transformers). `doc_stride` is the overlap in tokens; the question is
stripped on the left and never cut; only the context is split; a window without the whole first gold is labelled CLS.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pyarrow as pa

from albertqa.data.content import content_sha256
from albertqa.data.example import Example
from albertqa.errors import DataError
from albertqa.files import build_once, cache_folder
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
_FORMAT = 1
_EXAMPLES_PER_CHUNK = 1024

ContextTokens: TypeAlias = tuple[Int32Array, Int32Array, Int32Array]
"""Token ids of a context, their first characters, and the characters after their last ones."""

Tokenize: TypeAlias = Callable[[Iterable[str], QATokenizer], dict[str, ContextTokens]]
"""From contexts to the tokens of each."""


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
        DataError: A question leaves no room for new context tokens beside the overlap.
    """
    stores = cache if cache is not None else cache_folder() / "windows"
    key_of = [_FORMAT, content_sha256(examples), tokenizer.fingerprint, max_seq_length, doc_stride]
    folder = stores / hashlib.sha256(json.dumps(key_of).encode()).hexdigest()[:32]

    def write(building: Path) -> None:
        with ExitStack() as opened:
            sinks = {name: opened.enter_context(pa.OSFile(str(building / name), "wb")) for name in DATA_FILES}
            _write_files(examples, tokenizer, max_seq_length, doc_stride, sinks, tokenize_contexts)
        facts = {"max_seq_length": max_seq_length, "doc_stride": doc_stride, "layout": asdict(tokenizer.layout)}
        write_manifest(building, facts)

    return WindowStore.open(build_once(folder, is_complete=is_complete, write=write))


def _write_files(
    examples: Sequence[Example],
    tokenizer: QATokenizer,
    max_seq_length: int,
    doc_stride: int,
    sinks: dict[str, pa.NativeFile],
    tokenize: Tokenize,
) -> None:
    context_index: dict[str, int] = {}
    with (
        pa.ipc.new_file(sinks[CONTEXTS_ARROW], CONTEXT_SCHEMA) as contexts_out,
        pa.ipc.new_file(sinks[QUESTIONS_ARROW], QUESTION_SCHEMA) as questions_out,
        pa.ipc.new_file(sinks[WINDOWS_ARROW], WINDOW_SCHEMA) as windows_out,
    ):
        for first in range(0, len(examples), _EXAMPLES_PER_CHUNK):
            chunk = examples[first : first + _EXAMPLES_PER_CHUNK]
            contexts = tokenize(dict.fromkeys(example.context for example in chunk), tokenizer)
            new = [tokens for text, tokens in contexts.items() if text not in context_index]
            for text in contexts:
                context_index.setdefault(text, len(context_index))
            if new:
                contexts_out.write_batch(
                    _list_batch(CONTEXT_SCHEMA, [list(column) for column in zip(*new, strict=True)])
                )
            questions = [
                np.asarray(encoding.ids, dtype=np.int32)
                for encoding in tokenizer.encode_batch([example.question.lstrip() for example in chunk])
            ]
            questions_out.write_batch(_list_batch(QUESTION_SCHEMA, [questions]))
            rows = [
                (first + at, context_index[example.context], *window)
                for at, (example, question) in enumerate(zip(chunk, questions, strict=True))
                for window in _slice_and_label(
                    example, len(question), contexts[example.context], tokenizer, max_seq_length, doc_stride
                )
            ]
            columns = np.asarray(rows, dtype=np.int32).T
            windows_out.write_batch(pa.record_batch([pa.array(column) for column in columns], names=WINDOW_COLUMNS))


def tokenize_contexts(texts: Iterable[str], tokenizer: QATokenizer) -> dict[str, ContextTokens]:
    """Tokenize contexts in parallel.

    Args:
        texts: The contexts, each once.
        tokenizer: A checked tokenizer.

    Returns:
        The tokens of each context.
    """
    contexts = list(texts)
    tokens = {}
    for text, encoding in zip(contexts, tokenizer.encode_batch(contexts), strict=True):
        offsets = np.asarray(encoding.offsets, dtype=np.int32).reshape(-1, 2)
        start_char, end_char = _without_outer_space(text, offsets[:, 0].copy(), offsets[:, 1].copy())
        tokens[text] = (np.asarray(encoding.ids, dtype=np.int32), start_char, end_char)
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

    Args:
        examples: The data.
        tokenizer: A checked tokenizer.
        max_seq_length: Maximum tokens of a window, special tokens included.
        doc_stride: Overlap of neighbouring windows of one context, tokens.
        tokenize: Instead of `tokenize_contexts`, for example one that remembers contexts.
    """
    sinks = {name: pa.BufferOutputStream() for name in DATA_FILES}
    _write_files(examples, tokenizer, max_seq_length, doc_stride, sinks, tokenize)
    files = {name: pa.BufferReader(sink.getvalue()) for name, sink in sinks.items()}
    return WindowStore(files, tokenizer.layout, max_seq_length=max_seq_length, doc_stride=doc_stride)


def _without_outer_space(text: str, start_char: Int32Array, end_char: Int32Array) -> tuple[Int32Array, Int32Array]:
    """Move offsets off leading white space, which some tokenizers count to the token after it.

    A token of nothing but white space (a lone ``▁``) takes the next character, as it does where the pre-tokenizer
    splits at white space first.
    """
    space = np.fromiter((character.isspace() for character in text), dtype=bool, count=len(text))
    last = len(text) - 1
    while (leading := (start_char < end_char) & space[np.minimum(start_char, last)]).any():
        start_char[leading] += 1
        end_char[leading & (start_char == end_char) & (end_char <= last)] += 1
    return start_char, end_char


def _list_batch(schema: pa.Schema, columns: list[list[Int32Array]]) -> pa.RecordBatch:
    arrays = []
    for column in columns:
        offsets = np.concatenate([[0], np.cumsum([len(row) for row in column])]).astype(np.int32)
        arrays.append(pa.ListArray.from_arrays(pa.array(offsets), pa.array(np.concatenate(column))))
    return pa.record_batch(arrays, schema=schema)


def _slice_and_label(
    example: Example,
    num_question_tokens: int,
    context: ContextTokens,
    tokenizer: QATokenizer,
    max_seq_length: int,
    doc_stride: int,
) -> Iterator[tuple[int, int, int, int, int]]:
    """Give (first_token, end_token, start_position, end_position, length) of every window of one example."""
    _, start_char, end_char = context
    num_other = num_question_tokens + tokenizer.layout.num_special_tokens
    room = max_seq_length - num_other
    if room <= doc_stride and room < len(start_char):
        raise DataError(
            f"question {example.id}: has {num_question_tokens} tokens and leaves {room} of {max_seq_length} for the "
            f"context, expected more than doc_stride ({doc_stride}). Shorten the question, raise --max-seq-length or "
            "lower --doc-stride"
        )
    context_start = num_other - len(tokenizer.layout.suffix)
    gold = example.golds[0] if example.golds else None
    for first, end in slices(len(start_char), room, doc_stride):
        length = num_other + end - first
        start = last = None
        if gold is not None and first < end and start_char[first] <= gold.answer_start:
            start, last = _gold_tokens(start_char[first:end], end_char[first:end], gold.answer_start, gold.answer_end)
        if start is None or last is None:
            yield first, end, 0, 0, length
        else:
            yield first, end, context_start + start, context_start + last, length


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
