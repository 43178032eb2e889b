"""The lines of ``metrics.jsonl``: one for every training step, one for every evaluation."""

import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Annotated, TypeAlias

import msgspec
from msgspec import UNSET, Meta, UnsetType

from albertqa.errors import RunError
from albertqa.files import METRICS_JSONL
from albertqa.schema import PUT_BACK, ParseError, convert, parse_json, require_file

_Count = Annotated[int, Meta(ge=1)]
_Least0 = Annotated[float, Meta(ge=0)]


class StepRow(msgspec.Struct, frozen=True, kw_only=True):
    """A training step; runs of earlier versions lack what has a default.

    Attributes:
        step: Optimizer step, from 1.
        epoch: Passes over the training windows so far.
        train_loss: Mean loss of its windows, as it is minimized; None if NaN or infinite.
        learning_rate: Its learning rate.
        grad_norm: Gradient norm before clipping; None if NaN or infinite.
        tokens: Real tokens.
        tokens_per_second: Real tokens a second.
        seconds: Training time since the run began, resumed parts included.
        data_seconds: Time spent waiting for its windows.
        micro_batch: Windows of one forward and backward pass, at most.
        out_of_memory: The memory did not hold the step as it was first tried.
        skipped: Loss or gradient was NaN or infinite, so the step was not applied.
        non_finite_windows: Ids of the questions whose windows had such a loss.
    """

    step: _Count
    epoch: float | None = None
    train_loss: float | None
    learning_rate: _Least0
    grad_norm: float | None = None
    tokens: _Count
    tokens_per_second: float | None = None
    seconds: float | None = None
    data_seconds: float | None = None
    micro_batch: int | None = None
    out_of_memory: bool | UnsetType = UNSET
    skipped: bool | UnsetType = UNSET
    non_finite_windows: list[str] | UnsetType = UNSET

    @property
    def loss(self) -> float:
        """The loss; NaN where it was NaN or infinite."""
        return math.nan if self.train_loss is None else self.train_loss


class EvaluationRow(msgspec.Struct, frozen=True, kw_only=True):
    """An evaluation on the validation data; runs of earlier versions lack what has a default.

    Attributes:
        step: Optimizer steps done.
        epoch: Passes over the training windows so far.
        validation_loss: Mean loss over the validation windows; None if NaN or infinite.
        validation_loss_error: Its standard error.
        exact: Exact match in percent.
        f1: F1 in percent.
        eval_seconds: Time of the evaluation.
        is_best: Whether it is the best so far.
        predicted_empty_percent: Share of the questions that were answered with "".
        predicted_words_mean: Words of a predicted answer.
        same_start: The start position predicted most often.
        same_start_percent: Share of the windows in which it was predicted.
        contradicted_percent: Share of the windows with an answer whose label the model contradicts.
        sample_windows: Windows with an answer of the training data, not augmented, that were evaluated as well.
        sample_loss: Their mean loss.
        sample_loss_error: Its standard error.
        sample_contradicted_percent: `contradicted_percent` of them.
        weights_moved_percent: How far the weights have moved since the run began, in percent of their size.
        disk_free_bytes: Free space on the run's disk.
        swap_used_bytes: Swap space in use.
    """

    step: _Count
    epoch: _Least0
    validation_loss: float | None
    validation_loss_error: float | None = None
    exact: float | None = None
    f1: _Least0
    eval_seconds: float | None = None
    is_best: bool = False
    predicted_empty_percent: float | None = None
    predicted_words_mean: float | None = None
    same_start: int | None = None
    same_start_percent: float | None = None
    contradicted_percent: float | None = None
    sample_windows: int | None = None
    sample_loss: float | None = None
    sample_loss_error: float | None = None
    sample_contradicted_percent: float | None = None
    weights_moved_percent: float | None = None
    disk_free_bytes: int | None = None
    swap_used_bytes: int | None = None

    @property
    def loss(self) -> float:
        """The validation loss; NaN where it was NaN or infinite."""
        return math.nan if self.validation_loss is None else self.validation_loss


Row: TypeAlias = StepRow | EvaluationRow


def read_rows(run: Path) -> Iterator[Row]:
    """Read a run's ``metrics.jsonl``.

    Yields:
        Its lines in order. A last line that a crash cut short is left out.

    Raises:
        RunError: The file is missing, or a line is damaged.
    """
    path = run / METRICS_JSONL
    if not path.is_file():
        raise RunError(f"{run}: no {METRICS_JSONL} there, expected a run directory of 'albertqa train'")
    lines = path.read_bytes().splitlines()
    for number, line in enumerate(lines, 1):
        where = f"{path}: line {number}"
        try:
            row = parse_json(line.decode(), nan_as_null=True)
        except (ParseError, UnicodeDecodeError) as error:
            if number == len(lines):
                return
            raise RunError(f"{where} is damaged ({error}). {PUT_BACK}") from error
        if not isinstance(row, dict):
            raise RunError(f"{where}: expected an object, found {line.decode()[:40]}. {PUT_BACK}")
        if "train_loss" in row:
            yield convert(row, StepRow, where)
        elif "validation_loss" in row:
            yield convert(row, EvaluationRow, where)
        else:
            raise RunError(f"{where}: expected train_loss or validation_loss, found neither. {PUT_BACK}")


class RowWriter:
    """Appends to a run's ``metrics.jsonl``.

    Args:
        run: The run directory.
        length_bytes: Keep this much of the file; later lines belong to steps that are done again.

    Raises:
        RunError: The file is shorter than that.
        OSError: It is no file.
    """

    def __init__(self, run: Path, length_bytes: int = 0) -> None:
        path = run / METRICS_JSONL
        if path.exists():
            require_file(path)
        # Unbuffered, so that whoever watches the run sees every step at once.
        self._file: IO[bytes] = path.open("ab", buffering=0)
        found_bytes = self._file.tell()
        if found_bytes < length_bytes:
            self._file.close()
            raise RunError(
                f"{path}: has {found_bytes} bytes, the checkpoint was written when it had {length_bytes}; lines are "
                "missing. Put the file back, or start again in another --output-dir"
            )
        self._file.truncate(length_bytes)
        # Truncating leaves the position where it was, and `sync` returns the position.
        self._file.seek(length_bytes)

    def add(self, row: Row) -> None:
        """Append a line."""
        self._file.write(msgspec.json.encode(row) + b"\n")

    def sync(self) -> int:
        """Bring everything to the disk and return the file's length in bytes."""
        os.fsync(self._file.fileno())
        return self._file.tell()

    def close(self) -> None:
        """Close the file."""
        self._file.close()
