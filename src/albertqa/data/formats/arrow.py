"""Arrow's columns: Parquet files, and data sets of Hugging Face that are in memory or mapped from a disk.

A text that many rows share is converted once, however many rows name it, and what a Parquet file would take in memory
is computed before it is read: a column of one text repeated takes almost nothing on the disk.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from albertqa.data.formats.in_memory import mapping_rows
from albertqa.data.formats.parquet_footer import ColumnChunk, column_chunks
from albertqa.data.problems import SourceError, quoted
from albertqa.data.raw_rows import ReadOptions, Rows, table_columns
from albertqa.data.unpacking import DataFile, refuse_bomb, too_large

_BATCH_ROWS = 1000
# What a value takes in Python at most, beside its text; and the share of the limit on unpacked data that a file may
# take that is not read line by line.
_VALUE_BYTES, _WHOLE_SHARE = 64, 2


def parquet_rows(file: DataFile, options: ReadOptions) -> Rows:
    """Return the rows of a Parquet file, read a batch at a time.

    Raises:
        SourceError: Damaged, too large unpacked, or without the columns of a question.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with file.path.open("rb") as stream:
            chunks = column_chunks(stream)
            names = pq.read_schema(stream).names
            columns = list(table_columns(names, options).values())
            read = [chunk for chunk in chunks if f"{chunk.path}.".startswith(tuple(f"{name}." for name in columns))]
            _refuse_large(read, file.size_bytes, options.max_unpacked_bytes)
            texts = list({chunk.path for chunk in read if chunk.is_text})
            parquet = pq.ParquetFile(stream, read_dictionary=texts)
            batches = parquet.iter_batches(batch_size=_BATCH_ROWS, columns=columns)
            rows = (row for batch in batches for row in _batch_rows(batch))
            yield from mapping_rows(_counted(rows, options.max_unpacked_bytes), options)
    # All that Arrow raises on damaged files; ValueError: text that is not UTF-8.
    except (pa.ArrowException, OSError, ValueError, KeyError, IndexError, OverflowError, RuntimeError) as error:
        reason = str(error).partition("\n")[0]
        raise SourceError("broken-parquet", f"the Parquet file is damaged: {quoted(reason)}") from error


def dataset_rows(dataset: Any, options: ReadOptions) -> Rows:
    """Return the rows of a `datasets.Dataset`, straight from Arrow, whatever format was set on it.

    Raises:
        SourceError: Without the columns of a question.
    """
    columns = table_columns(dataset.column_names, options)
    used = dataset.select_columns(list(columns.values())).with_format("arrow")
    tables = used.iter(batch_size=_BATCH_ROWS)
    rows = (row for table in tables for batch in table.to_batches() for row in _batch_rows(batch))
    return mapping_rows(rows, options)


def _refuse_large(chunks: Sequence[ColumnChunk], stored_bytes: int, max_bytes: int) -> None:
    """Refuse a file that would take too much memory."""
    unpacked_bytes = sum(chunk.unpacked_bytes for chunk in chunks)
    refuse_bomb(unpacked_bytes, stored_bytes)
    needed = unpacked_bytes + sum(chunk.num_values for chunk in chunks) * _VALUE_BYTES
    if needed > max_bytes // _WHOLE_SHARE:
        message = (
            f"would take about {needed / 2**30:,.1f} GiB of memory, more than the limit of "
            f"{max_bytes / _WHOLE_SHARE / 2**30:,.1f} GiB; split it, or raise max_unpacked_bytes if that is right"
        )
        raise SourceError("too-large", message)


def _counted(rows: Iterable[dict[str, object]], max_bytes: int) -> Iterator[dict[str, object]]:
    """Yield rows until their texts, written out, are more than a file may have unpacked."""
    num_chars = 0
    for row in rows:
        num_chars += sum(len(value) for value in row.values() if isinstance(value, str))
        if num_chars > max_bytes:
            raise too_large("the texts of its rows", max_bytes)
        yield row


def _batch_rows(batch: Any) -> Iterator[dict[str, object]]:
    columns = [_values(column) for column in batch.columns]
    names = batch.schema.names
    return (dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True))


def _values(array: Any) -> list[object]:
    """Return an array's values as Python's; equal texts of a dictionary are one object."""
    import pyarrow as pa

    kind = array.type
    if pa.types.is_dictionary(kind):
        used = array.indices.unique().drop_null()
        shared = dict(zip(used.to_pylist(), array.dictionary.take(used).to_pylist(), strict=True))
        return [shared.get(index) for index in array.indices.to_pylist()]
    valid = array.is_valid().to_pylist()
    if pa.types.is_struct(kind):
        names = [kind.field(number).name for number in range(kind.num_fields)]
        fields = [_values(field) for field in array.flatten()]
        rows = zip(*fields, strict=True) if fields else [()] * len(array)
        return [dict(zip(names, row, strict=True)) if ok else None for row, ok in zip(rows, valid, strict=True)]
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        items, offsets = _values(array.values), array.offsets.to_pylist()
        bounds = zip(offsets, offsets[1:], valid, strict=False)
        return [items[start:end] if ok else None for start, end, ok in bounds]
    values: list[object] = array.to_pylist()
    return values
