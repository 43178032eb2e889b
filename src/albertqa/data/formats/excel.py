"""Excel's `.xlsx`: a sheet whose first row is a header, one question a row (extra `xlsx`: openpyxl)."""

import re
import warnings
import zipfile
import zlib
from collections.abc import Sequence
from typing import Any

from albertqa.data.formats.csv_files import table_rows
from albertqa.data.problems import SourceError, listed, quoted
from albertqa.data.raw_rows import ReadOptions, Rows, number_as_text, table_columns
from albertqa.data.unpacking import DataFile, refuse_bomb

_WORKBOOK = "xl/workbook.xml"
_MAX_XML_BYTES = 2**28
_ESCAPE = re.compile("_x([0-9A-Fa-f]{4})_")
# All that openpyxl raises on damaged files; ElementTree's ParseError is a SyntaxError.
_BROKEN = (
    zipfile.BadZipFile, zlib.error, OSError, EOFError, KeyError, IndexError, AttributeError, TypeError, ValueError,
    SyntaxError, NotImplementedError, OverflowError, RuntimeError,
)  # fmt: skip


def read_excel_file(file: DataFile, options: ReadOptions) -> Rows:
    """Return the rows of a sheet.

    Raises:
        SourceError: No Excel file, damaged, too large unpacked, without that sheet or the columns of a question, or
            openpyxl is not installed.
    """
    _refuse_other_archives(file)
    try:
        import openpyxl
    except ImportError as error:
        message = (
            "reading Excel files needs openpyxl; install it with pip install 'albertqa[xlsx]', or save the sheet as CSV"
        )
        raise SourceError("unreadable-file", message) from error
    try:
        with warnings.catch_warnings(), file.path.open("rb") as stream:
            warnings.simplefilter("ignore")  # of styles and extensions, which are not read
            book = openpyxl.load_workbook(stream, read_only=True, data_only=True)
            sheet = _sheet(book, options)
            cells = list(sheet.iter_rows(values_only=True))
    except _BROKEN as error:
        reason = quoted(f"{type(error).__name__}: {error}")
        raise SourceError("broken-xlsx", f"the Excel file is damaged: {reason}") from error
    return _rows(cells, options)


def _refuse_other_archives(file: DataFile) -> None:
    """Refuse archives that are no Excel files, and those that unpack to absurdly much, before they are unpacked."""
    try:
        with zipfile.ZipFile(file.path) as archive:
            parts = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise SourceError("packed-file", "a damaged zip archive or Excel file; fetch or save it again") from error
    names = [part.filename for part in parts]
    if _WORKBOOK not in names:
        advice = "a zip archive; unpack it"
        if "content.xml" in names:
            advice = "an OpenDocument spreadsheet; save it as .xlsx or CSV"
        raise SourceError("packed-file", f"{advice} (it has {listed(names, 3)})")
    unpacked_bytes = sum(part.file_size for part in parts)
    refuse_bomb(unpacked_bytes, file.size_bytes)
    if unpacked_bytes > min(_MAX_XML_BYTES, file.max_bytes):
        message = f"unpacks to {unpacked_bytes / 2**20:,.0f} MiB, more than a sheet that is read; save it as CSV"
        raise SourceError("too-large", message)


def _sheet(book: Any, options: ReadOptions) -> Any:
    if options.sheet is None:
        return book.worksheets[0]
    if options.sheet not in book.sheetnames:
        message = f"expected the sheet {quoted(options.sheet)}, found {listed(book.sheetnames)}"
        raise SourceError("unknown-structure", message)
    return book[options.sheet]


def _rows(sheet: Sequence[Sequence[object]], options: ReadOptions) -> Rows:
    texts = ((f"row {number}", [_text(cell) for cell in row]) for number, row in enumerate(sheet, start=1))
    rows = ((place, row) for place, row in texts if any(row))
    header = [name.strip() for name in next(rows, ("", []))[1]]
    # A sheet has as many cells in every row as in its longest: those beyond the header are only wrong if they are used.
    width = len(header)
    fitted = ((place, row if any(row[width:]) else (row + [""] * width)[:width]) for place, row in rows)
    yield from table_rows(header, table_columns(header, options), fitted)


def _text(cell: object) -> str:
    """Return a cell as it would be in a CSV file, without Excel's way to write control characters, `_x000D_`."""
    if isinstance(cell, str):
        return _ESCAPE.sub(lambda match: chr(int(match[1], 16)), cell)
    return "" if cell is None else number_as_text(cell) or str(cell)
