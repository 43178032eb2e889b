"""Records from columns: Parquet, pandas, Hugging Face data sets, and plain rows in memory."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from albertqa.data.problems import SourceError, listed, quoted
from albertqa.data.rows import FIELDS, Broken, Record, is_absent

_BATCH_ROWS = 1000
_PANDAS_MISSING = {"NAType", "NaTType"}


def known_columns(columns: Sequence[object]) -> list[str]:
    """Give the columns of a table that are read; refuse a table that cannot hold questions.

    Args:
        columns: The names in the header.

    Returns:
        Those among `FIELDS`.

    Raises:
        SourceError: Question or context is missing, or one of the names we read is there twice.
    """
    if any(name not in columns for name in ("question", "context")):
        message = f"expected the columns question, context and answers (or answer_text); found {listed(list(columns))}"
        raise SourceError("unknown-structure", message)
    twice = [name for name in FIELDS if list(columns).count(name) > 1]
    if twice:
        raise SourceError("unknown-structure", f"expected each column once, found {listed(twice)} more than once")
    return [name for name in FIELDS if name in columns]


def parquet_records(data: bytes) -> Iterator[Record | Broken]:
    """Read the rows of a Parquet file, a batch at a time.

    Args:
        data: The whole file.

    Yields:
        One record a row.

    Raises:
        SourceError: Damaged, or without the columns we need.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(pa.BufferReader(data))
        batches = file.iter_batches(batch_size=_BATCH_ROWS, columns=known_columns(file.schema_arrow.names))
        yield from _numbered(row for batch in batches for row in batch.to_pylist())
    except (pa.ArrowException, OSError, ValueError) as error:  # ValueError: text in it that is not UTF-8
        reason = str(error).partition("\n")[0]
        raise SourceError("broken-parquet", f"the Parquet file is damaged: {quoted(reason)}") from error


def frame_records(frame: Any) -> Iterator[Record | Broken]:
    """Read the rows of a pandas data frame; the index is ignored.

    Args:
        frame: A `pandas.DataFrame`.

    Yields:
        One record a row.

    Raises:
        SourceError: Without the columns we need.
    """
    used = known_columns(list(frame.columns))
    rows = frame[used].itertuples(index=False, name=None)
    yield from _numbered(dict(zip(used, row, strict=True)) for row in rows)


def dataset_records(dataset: Any) -> Iterator[Record | Broken]:
    """Read the rows of a Hugging Face `Dataset` straight from Arrow, whatever format was set on it.

    Args:
        dataset: A `datasets.Dataset`.

    Yields:
        One record a row.

    Raises:
        SourceError: Without the columns we need.
    """
    used = dataset.select_columns(known_columns(dataset.column_names)).with_format("arrow")
    yield from _numbered(row for table in used.iter(batch_size=_BATCH_ROWS) for row in table.to_pylist())


def row_records(rows: Iterable[object]) -> Iterator[Record | Broken]:
    """Read rows that are already in memory, or that stream in.

    Args:
        rows: Mappings with the keys of `FIELDS`.

    Yields:
        One record a row.
    """
    return _numbered(rows)


def _numbered(rows: Iterable[object]) -> Iterator[Record | Broken]:
    for number, row in enumerate(rows, start=1):
        place = f"row {number}"
        if isinstance(row, Mapping):
            yield Record(place, {name: _plain(row[name]) for name in FIELDS if name in row})
        else:
            yield Broken(place, "wrong-type", f"expected a mapping of fields, found {quoted(row)}")


def _plain(value: Any) -> object:
    """Give a cell as plain Python: arrays as lists, numpy's scalars as Python's, every sort of missing as None."""
    if isinstance(value, str):
        return value
    if is_absent(value) or type(value).__name__ in _PANDAS_MISSING:
        return None
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
