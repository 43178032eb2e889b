"""The window store: tokens of every question and context once, windows as slices of them.

A window is ``[CLS] question [SEP] context[first:end] [SEP]``. Questions and contexts are tokenized once each (SQuAD
asks five questions a context), so the store keeps their tokens in two Arrow files and the windows as seven integers a
row. Opening maps the files; a batch copies only its own tokens, so memory stays flat as the data grows.
"""

import bisect
import copy
import json
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from albertqa.files import file_sha256
from albertqa.schema import ParseError, parse_json
from albertqa.windows.tokenizer import PairLayout

CONTEXTS_ARROW = "contexts.arrow"
QUESTIONS_ARROW = "questions.arrow"
WINDOWS_ARROW = "windows.arrow"
MANIFEST_JSON = "manifest.json"
DATA_FILES = (CONTEXTS_ARROW, QUESTIONS_ARROW, WINDOWS_ARROW)

CONTEXT_SCHEMA = pa.schema([(name, pa.list_(pa.int32())) for name in ("input_ids", "start_char", "end_char")])
QUESTION_SCHEMA = pa.schema([("input_ids", pa.list_(pa.int32()))])
WINDOW_COLUMNS = (
    "example_index",
    "context_index",
    "first_token",
    "end_token",
    "start_position",
    "end_position",
    "length",
)
WINDOW_SCHEMA = pa.schema([(name, pa.int32()) for name in WINDOW_COLUMNS])

Int32Array: TypeAlias = NDArray[np.int32]
Int64Array: TypeAlias = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Window:
    """One slice of an example that fits the model.

    Attributes:
        example_index: Position of its example in the data.
        input_ids: Token ids, special tokens included.
        token_type_ids: Segment ids, 0 up to the question's separator, 1 after it.
        context_start: Index of the first context token in the window.
        start_char: First character of each context token in the context.
        end_char: Character after the last one of each context token.
        start_position: Label: token index of the first gold's start, or 0 (CLS) where the gold is not wholly inside.
        end_position: Label: token index of its last token, inclusive, or 0 (CLS).

    Shapes:
        input_ids, token_type_ids: (T,) int64
        start_char, end_char: (C,) int32, C context tokens
    """

    example_index: int
    input_ids: Int64Array
    token_type_ids: Int64Array
    context_start: int
    start_char: Int32Array
    end_char: Int32Array
    start_position: int
    end_position: int


class _TokenLists:
    """Lists of integers in an Arrow IPC file, mapped or in memory, by position; nothing is read before a list is."""

    def __init__(self, source: pa.NativeFile) -> None:
        reader = pa.ipc.open_file(source)
        batches = [reader.get_batch(index) for index in range(reader.num_record_batches)]
        self._first_rows: list[int] = list(accumulate((batch.num_rows for batch in batches), initial=0))
        self._columns: list[dict[str, tuple[Int32Array, Int32Array]]] = [
            {name: (batch[name].offsets.to_numpy(), batch[name].values.to_numpy()) for name in batch.schema.names}
            for batch in batches
        ]

    def __len__(self) -> int:
        return self._first_rows[-1]

    def get(self, row: int, column: str) -> Int32Array:
        """Return one list as a view of the file."""
        index = bisect.bisect_right(self._first_rows, row) - 1
        offsets, values = self._columns[index][column]
        at = row - self._first_rows[index]
        return values[offsets[at] : offsets[at + 1]]


class WindowStore:
    """All windows of a data set, in the order of its examples.

    Args:
        files: The three Arrow files by name (`DATA_FILES`).
        layout: How question and context are joined.
        max_seq_length: Most tokens of a window.
        doc_stride: Overlap of neighbouring windows, tokens.

    Attributes:
        columns: The windows' integers by name (`WINDOW_COLUMNS`), (W,) int32 each.
        first_window: First window of each example, and the number of windows last, (examples + 1,) int64.
    """

    def __init__(
        self, files: dict[str, pa.NativeFile], layout: PairLayout, *, max_seq_length: int, doc_stride: int
    ) -> None:
        self.layout = layout
        self.max_seq_length = max_seq_length
        self.doc_stride = doc_stride
        self._questions, self._contexts = _TokenLists(files[QUESTIONS_ARROW]), _TokenLists(files[CONTEXTS_ARROW])
        table = pa.ipc.open_file(files[WINDOWS_ARROW]).read_all()
        self._set_columns({name: table[name].to_numpy().copy() for name in WINDOW_COLUMNS})

    def _set_columns(self, columns: dict[str, Int32Array]) -> None:
        self.columns = columns
        counts = np.bincount(columns["example_index"], minlength=len(self._questions))
        self.first_window: Int64Array = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)

    @classmethod
    def open(cls, folder: Path) -> "WindowStore":
        """Map the files of a complete store (see `is_complete`)."""
        manifest = json.loads((folder / MANIFEST_JSON).read_text(encoding="utf-8"))
        layout: dict[str, Any] = manifest["layout"]
        special = {name: tuple(ids) for name, ids in layout.items() if isinstance(ids, list)}
        return cls(
            {name: pa.memory_map(str(folder / name)) for name in DATA_FILES},
            PairLayout(**{**layout, **special}),
            max_seq_length=manifest["max_seq_length"],
            doc_stride=manifest["doc_stride"],
        )

    def take(self, windows: Int64Array) -> "WindowStore":
        """Return a store of some of the windows, given in rising order; it reads the same files."""
        part = copy.copy(self)
        part._set_columns({name: values[windows] for name, values in self.columns.items()})
        return part

    def __len__(self) -> int:
        return len(self.columns["length"])

    @property
    def num_examples(self) -> int:
        """Number of examples (questions)."""
        return len(self._questions)

    @property
    def num_contexts(self) -> int:
        """Number of different contexts."""
        return len(self._contexts)

    @property
    def lengths(self) -> Int32Array:
        """Real tokens of each window, (W,) int32."""
        return self.columns["length"]

    def __getitem__(self, index: int) -> Window:
        """Assemble one window from its question and its slice of the context."""
        row = {name: int(values[index]) for name, values in self.columns.items()}
        question = self._questions.get(row["example_index"], "input_ids")
        inside = slice(row["first_token"], row["end_token"])
        context, start_char, end_char = (one[inside] for one in self.context(row["context_index"]))
        layout = self.layout
        input_ids = np.concatenate([layout.prefix, question, layout.middle, context, layout.suffix]).astype(np.int64)
        context_start = len(layout.prefix) + len(question) + len(layout.middle)
        token_type_ids = np.full(len(input_ids), layout.question_segment, dtype=np.int64)
        token_type_ids[context_start:] = layout.context_segment
        return Window(
            example_index=row["example_index"],
            input_ids=input_ids,
            token_type_ids=token_type_ids,
            context_start=context_start,
            start_char=start_char,
            end_char=end_char,
            start_position=row["start_position"],
            end_position=row["end_position"],
        )

    def context(self, index: int) -> tuple[Int32Array, Int32Array, Int32Array]:
        """Return token ids, first and end characters of a whole context's tokens (see `Window`)."""
        input_ids, starts, ends = (self._contexts.get(index, name) for name in CONTEXT_SCHEMA.names)
        return input_ids, starts, ends

    def characters(self, index: int) -> tuple[int, Int32Array, Int32Array]:
        """Return a window's `context_start`, `start_char` and `end_char` (see `Window`)."""
        context, first, end = (int(self.columns[name][index]) for name in ("context_index", "first_token", "end_token"))
        context_start = int(self.columns["length"][index]) - len(self.layout.suffix) - (end - first)
        starts, ends = (self._contexts.get(context, name)[first:end] for name in ("start_char", "end_char"))
        return context_start, starts, ends


def write_manifest(folder: Path, facts: dict[str, Any]) -> None:
    """Write the manifest, the last file of a store, with size and SHA-256 of the others."""
    files = {name: [(folder / name).stat().st_size, file_sha256(folder / name)] for name in DATA_FILES}
    (folder / MANIFEST_JSON).write_text(json.dumps({**facts, "files": files}, indent=2) + "\n", encoding="utf-8")


def is_complete(folder: Path) -> bool:
    """Return whether a store is complete: its manifest is there and every file is what the manifest says."""
    try:
        files = parse_json((folder / MANIFEST_JSON).read_text(encoding="utf-8"))["files"]
        return all(
            (folder / name).stat().st_size == files[name][0] and file_sha256(folder / name) == files[name][1]
            for name in DATA_FILES
        )
    except (OSError, ParseError, ValueError, KeyError, TypeError, IndexError):
        return False
