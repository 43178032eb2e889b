"""Read questions to be answered from standard input: JSONL rows without golds."""

import json
import sys
from typing import Any

from albertqa.errors import DataError
from albertqa.schema import ParseError, is_unicode, parse_json


def read_pairs() -> list[dict[str, Any]]:
    """Read questions with their contexts from standard input.

    Returns:
        The rows, in order: each has ``question`` and ``context``, and may have ``id``, a text or a whole number.

    Raises:
        DataError: A row is not such an object: with its line.
    """
    name = "standard input"
    try:
        lines = sys.stdin.buffer.read().decode("utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise DataError(f"{name}: not UTF-8 text (byte {error.start}). Save it as UTF-8") from error
    rows = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = parse_json(line, first_line=number)
        except ParseError as error:
            raise DataError(f"{name}: {error.message}; expected one object a line") from error
        for key in ("question", "context"):
            if not isinstance(row, dict) or not isinstance(row.get(key), str) or not row[key].strip():
                raise DataError(
                    f"{name}: line {number}: expected an object with a text '{key}', found {line.strip()[:60]}"
                )
        if not _is_id(row.get("id")):
            raise DataError(f"{name}: line {number}: expected 'id' as a text, found {json.dumps(row['id'])[:60]}")
        rows.append(row)
    if not rows:
        raise DataError(f"{name}: has no questions, expected JSONL rows with 'question' and 'context'")
    return rows


def _is_id(value: object) -> bool:
    """Return whether a row can have this as its id, or has none."""
    if isinstance(value, str):
        return bool(value.strip()) and is_unicode(value)
    return value is None or type(value) is int
