"""Records from CSV and TSV: a header, one question a row.

A table has no types: an empty cell is an absent value, and numbers and truth values are read from their text here.
Whether commas, tabs or semicolons separate the cells shows in the header.
"""

import csv
import re
from collections.abc import Iterator
from contextlib import contextmanager

from albertqa.data.formats.tables import known_columns
from albertqa.data.problems import SourceError, one_line
from albertqa.data.rows import Broken, Record
from albertqa.data.unpacking import lines_of

_DELIMITERS = {",": "csv", "\t": "tsv", ";": "csv"}
_WHOLE_NUMBER = re.compile(r"(-?\d{1,18})(?:\.0*)?")
_TRUTH = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False}
_MAY_BE_ABSENT = ("id", "title", "answers", "answer_text", "answer_start", "is_impossible")
_LARGEST_CELL_CHARS = 2**31 - 1


def parse_csv_text(text: str) -> tuple[str, Iterator[Record | Broken]]:
    """Parse a table.

    Args:
        text: The decoded file.

    Returns:
        The format, `csv` or `tsv`, and the records.

    Raises:
        SourceError: No header with question and context.
    """
    delimiter = _delimiter(text)
    rows = _rows(text, delimiter)
    _, header = next(rows, (0, []))
    names = [name.strip() for name in header]
    known_columns(names)
    return _DELIMITERS[delimiter], _records(names, rows)


def _delimiter(text: str) -> str:
    """Give the separator whose header names a question and a context, else the likeliest."""
    header = next(line for line in lines_of(text) if line.strip())  # a text of white space never comes here
    for delimiter in _DELIMITERS:
        names = {name.strip().strip('"') for name in header.split(delimiter)}
        if {"question", "context"} <= names:
            return delimiter
    return max(_DELIMITERS, key=header.count)


@contextmanager
def _any_cell_size() -> Iterator[None]:
    """Lift the csv module's process-wide limit of 131,072 characters a cell, and put it back."""
    limit = csv.field_size_limit(_LARGEST_CELL_CHARS)
    try:
        yield
    finally:
        csv.field_size_limit(limit)


def _rows(text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Give each row that is not blank, with its first line."""
    reader = csv.reader(lines_of(text), delimiter=delimiter, strict=True)
    while True:
        first_line = reader.line_num + 1
        try:
            with _any_cell_size():
                row = next(reader, None)
        except csv.Error as error:
            reason = one_line(str(error))  # it may quote the tab that separates the cells
            message = f"broken CSV in the row that begins at line {first_line:,}: {reason}; nothing after it was read"
            raise SourceError("broken-csv", message, f"line {first_line}") from error
        if row is None:
            return
        if row:
            yield first_line, row


def _records(header: list[str], rows: Iterator[tuple[int, list[str]]]) -> Iterator[Record | Broken]:
    for number, (line, row) in enumerate(rows, start=1):
        place = f"row {number} (line {line})"
        if len(row) == len(header):
            yield Record(place, {name: _value(name, cell) for name, cell in zip(header, row, strict=True)})
        else:
            yield Broken(place, "broken-csv", f"expected {len(header)} cells as in the header, found {len(row)}")


def _value(name: str, cell: str) -> object:
    if name in _MAY_BE_ABSENT and not cell:
        return None
    if name == "answer_start" and (number := _WHOLE_NUMBER.fullmatch(cell.strip())):
        return int(number[1])
    if name == "is_impossible":
        return _TRUTH.get(cell.strip().lower(), cell)
    return cell
