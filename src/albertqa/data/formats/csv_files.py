"""Tables: CSV and TSV, and what all tables without types have in common; a header, one question a row.

Numbers and truth values are read from their text here. What separates the cells of a text shows in the header, or in
Excel's line `sep=;` before it.
"""

import csv
import re
from collections.abc import Iterator
from contextlib import contextmanager

from albertqa.data.problems import SourceError, quoted
from albertqa.data.raw_rows import BrokenRow, ReadOptions, Row, Rows, table_columns, text_as_number
from albertqa.data.unpacking import DataFile
from albertqa.errors import DataError, printable

_DELIMITERS = (",", "\t", ";", "|")
_EXCEL_SEPARATOR = re.compile(r'"?sep=(.)"?\s*', re.IGNORECASE)
_MAY_BE_ABSENT = ("id", "title", "answer_start", "answers.answer_start", "is_impossible")
_MAX_CELL_CHARS = 2**26


def read_csv_file(file: DataFile, options: ReadOptions) -> tuple[str, Rows]:
    """Read a text table.

    Returns:
        The format, `csv` or `tsv`, and the rows.

    Raises:
        SourceError: No header with question and context.
        DataError: The user's delimiter is none.
    """
    lines = file.lines()
    first = next(line for line in lines if line.strip())  # a text of white space never comes here
    excel = _EXCEL_SEPARATOR.fullmatch(first)
    header = next(lines, "") if excel else first
    delimiter = _given_delimiter(options) or (excel[1] if excel else _delimiter(header, options))
    rows = _cells(file, delimiter)
    if excel:
        next(rows)
    names = [name.strip() for name in next(rows, (0, []))[1]]
    placed = ((f"row {number} (line {line})", row) for number, (line, row) in enumerate(rows, start=1))
    return "tsv" if delimiter == "\t" else "csv", table_rows(names, table_columns(names, options), placed)


def table_rows(header: list[str], columns: dict[str, str], rows: Iterator[tuple[str, list[str]]]) -> Rows:
    """Return the rows of a table of texts.

    Args:
        header: The names of the columns.
        columns: Which of them has which field (`table_columns`).
        rows: The place and the cells of each row.
    """
    fields = [(header.index(name), field) for field, name in columns.items()]
    for place, row in rows:
        if len(row) == len(header):
            yield Row(place, {field: _cell_value(field, row[at]) for at, field in fields}, header)
        else:
            message = f"expected {len(header)} cells as in the header, found {len(row)}"
            yield BrokenRow(place, "broken-csv", message)


def _given_delimiter(options: ReadOptions) -> str | None:
    given = {"tab": "\t", "\\t": "\t"}.get(options.delimiter or "", options.delimiter)
    if given is not None and (len(given) != 1 or given in '\r\n"'):
        raise DataError(f"delimiter: expected one character or 'tab', found {quoted(given)}")
    return given


def _delimiter(header: str, options: ReadOptions) -> str:
    """Return the separator whose header names a question and a context, else the likeliest."""
    names = options.names
    for delimiter in _DELIMITERS:
        if {names["question"], names["context"]} <= {name.strip().strip('"') for name in header.split(delimiter)}:
            return delimiter
    return max(_DELIMITERS, key=header.count)


@contextmanager
def _large_cells() -> Iterator[None]:
    """Raise the csv module's process-wide limit of 131,072 characters a cell, and put it back."""
    limit = csv.field_size_limit(_MAX_CELL_CHARS)
    try:
        yield
    finally:
        csv.field_size_limit(limit)


def _cells(file: DataFile, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yield each row that is not blank, with its first line."""
    reader = csv.reader(file.lines(), delimiter=delimiter, strict=True)
    while True:
        first_line = reader.line_num + 1
        try:
            with _large_cells():
                row = next(reader, None)
        except csv.Error as error:
            reason = printable(str(error))  # it may quote the tab that separates the cells
            message = f"broken CSV in the row that begins at line {first_line:,}: {reason}; nothing after it was read"
            raise SourceError("broken-csv", message, f"line {first_line}") from error
        if row is None:
            return
        if any(row):
            yield first_line, row


def _cell_value(field: str, cell: str) -> object:
    """Return what the text of a cell means in a field."""
    if field in _MAY_BE_ABSENT and not cell:
        return None
    if field in ("answer_start", "answers.answer_start") and (number := text_as_number(cell)) is not None:
        return number
    return cell
