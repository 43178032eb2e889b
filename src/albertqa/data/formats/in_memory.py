"""Rows that are already in memory: lists of mappings, streams, and pandas' data frames."""

from collections.abc import Iterable, Mapping
from typing import Any

from albertqa.data.problems import quoted
from albertqa.data.raw_rows import BrokenRow, ReadOptions, Row, Rows, is_absent, row_fields, table_columns

_PANDAS_MISSING = {"NAType", "NaTType"}


def mapping_rows(rows: Iterable[object], options: ReadOptions) -> Rows:
    """Return rows that are mappings with the keys of `raw_rows.FIELDS`, or with the user's names for them."""
    names = options.names
    for number, row in enumerate(rows, start=1):
        if isinstance(row, Mapping):
            fields = row_fields(row, names)
            try:
                plain = {field: plain_value(value) for field, value in fields.items()}
            except RecursionError:
                yield BrokenRow(f"row {number}", "wrong-type", "nested too deeply to be a question")
            else:
                yield Row(f"row {number}", plain, row.keys())
        else:
            yield BrokenRow(f"row {number}", "wrong-type", f"expected a mapping of fields, found {quoted(row)}")


def frame_rows(frame: Any, options: ReadOptions) -> Rows:
    """Return the rows of a `pandas.DataFrame`; its index is ignored.

    Raises:
        SourceError: Without the columns of a question.
    """
    used = list(table_columns(list(frame.columns), options).values())
    rows = frame[used].itertuples(index=False, name=None)
    return mapping_rows((dict(zip(used, row, strict=True)) for row in rows), options)


def plain_value(value: Any) -> object:
    """Return a cell as plain Python: arrays as lists, NumPy's scalars as Python's, every sort of missing as None."""
    if isinstance(value, str):
        return value
    if is_absent(value) or type(value).__name__ in _PANDAS_MISSING:
        return None
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")  # a text column whose writer did not say so
    if hasattr(value, "tolist"):
        return plain_value(value.tolist())
    if isinstance(value, Mapping):
        return {key: plain_value(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain_value(item) for item in value]
    return value
