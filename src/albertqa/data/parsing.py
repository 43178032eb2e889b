"""The one boundary for parsing JSON and TOML: whatever a text holds, it gives a value or one `ParseError`.

Python's parsers raise `RecursionError` on deep nesting, `ValueError` on long integers, accept NaN, and take whatever
memory a text asks for; this module turns each of these into one line with the place.
"""

import json
import re
import sys
import tomllib
from pathlib import Path
from typing import Any

from albertqa.errors import AlbertQAError, DataError

MAX_DEPTH = 100
"""How deep lists and objects may be nested."""

MAX_MEMORY_BYTES = 2**30
"""How much memory a parsed text may take: 1 GiB."""

_MAX_SETTINGS_BYTES = 2**26
_LONG_NUMBER = re.compile(r"\d{4300,}")
# At most so many bytes for a list, an object, a text, and any further value, in CPython on 64 bits.
_LIST_BYTES, _OBJECT_BYTES, _TEXT_BYTES, _VALUE_BYTES = 120, 280, 64, 40


class ParseError(DataError):
    """A text cannot be parsed.

    Args:
        message: What is wrong and where, on one line.
        line: The line of the fault, from 1.
    """

    def __init__(self, message: str, line: int = 1) -> None:
        super().__init__(message)
        self.message = message
        self.line = line


class TooLargeError(ParseError):
    """A text would take more memory than it may."""


def parse_json(text: str, *, first_line: int = 1, nan_as_null: bool = False) -> Any:
    """Parse one JSON value.

    Args:
        text: The whole value.
        first_line: The line of the file on which it begins.
        nan_as_null: Read NaN, which pandas writes for a missing value, as null; refuse it otherwise.

    Returns:
        The value; objects keep the last of two equal keys.

    Raises:
        ParseError: Not JSON, nested deeper than `MAX_DEPTH`, or with a number nobody can mean.
        TooLargeError: It would take more memory than `MAX_MEMORY_BYTES`.
    """
    needed = memory_needed(text)
    if needed > MAX_MEMORY_BYTES:
        raise TooLargeError(
            f"the JSON would take about {needed / 2**30:,.1f} GiB of memory, more than the limit of "
            f"{MAX_MEMORY_BYTES / 2**30:g} GiB; split it, or write it as JSON lines, which are read one by one",
            first_line,
        )
    try:
        value = (_NAN_AS_NULL if nan_as_null else _STRICT).decode(text)
    except json.JSONDecodeError as error:
        line = first_line + error.lineno - 1
        fault = f"{error.msg[:1].lower()}{error.msg[1:]}"
        raise ParseError(f"broken JSON at line {line:,} column {error.colno:,}: {fault}", line) from error
    except RecursionError as error:
        raise _too_deep("JSON", first_line) from error
    except ValueError as error:  # an integer of more digits than Python reads, or NaN
        number = _LONG_NUMBER.search(text)
        if number is None:
            raise ParseError(str(error), first_line) from error
        line = first_line + text.count("\n", 0, number.start())
        raise ParseError(f"a number of absurd length at line {line:,}", line) from error
    if _is_deeper(value, MAX_DEPTH):
        raise _too_deep("JSON", first_line)
    return value


def parse_toml(text: str) -> dict[str, Any]:
    """Parse a TOML document.

    Args:
        text: The document.

    Returns:
        Its tables.

    Raises:
        ParseError: Not TOML, nested deeper than `MAX_DEPTH`, or with a number nobody can mean.
    """
    try:
        value = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ParseError(f"broken TOML: {error}") from error
    except RecursionError as error:
        raise _too_deep("TOML", 1) from error
    except ValueError as error:
        raise ParseError("a number of absurd length, or an impossible date") from error
    if _is_deeper(value, MAX_DEPTH):
        raise _too_deep("TOML", 1)
    return value


def read_json(path: Path, *, refusal: type[AlbertQAError] = DataError, remedy: str = "") -> Any:
    """Read a small JSON file: a config, a record, predictions; at most 64 MiB.

    Args:
        path: The file.
        refusal: The error to raise.
        remedy: What the user can do about it, a sentence without its full stop.

    Returns:
        The value.

    Raises:
        AlbertQAError: A `refusal` in one line: not a readable file, not UTF-8, not JSON, too large.
    """
    return _read(path, refusal, remedy, parse_json)


def read_toml(path: Path, *, refusal: type[AlbertQAError] = DataError, remedy: str = "") -> dict[str, Any]:
    """Read a TOML file of at most 64 MiB; as `read_json` otherwise."""
    tables: dict[str, Any] = _read(path, refusal, remedy, parse_toml)
    return tables


def memory_needed(text: str) -> int:
    """Estimate from above how many bytes a JSON text takes once it is parsed, the text included; fast."""
    size = sys.getsizeof(text)
    if size < 2**20:
        return 2 * size  # of no interest
    containers = text.count("[") * _LIST_BYTES + text.count("{") * _OBJECT_BYTES
    return 2 * size + containers + text.count('"') // 2 * _TEXT_BYTES + text.count(",") * _VALUE_BYTES


def _read(path: Path, refusal: type[AlbertQAError], remedy: str, parse: Any) -> Any:
    advice = f". {remedy}" if remedy else ""
    try:
        if not path.is_file():
            raise refusal(f"{path}: there is no such file{advice}")
        if path.stat().st_size > _MAX_SETTINGS_BYTES:
            raise refusal(f"{path}: expected at most {_MAX_SETTINGS_BYTES:,} bytes, found more{advice}")
        return parse(path.read_bytes().decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise refusal(f"{path}: expected UTF-8, found other bytes at offset {error.start:,}{advice}") from error
    except OSError as error:
        raise refusal(f"{path}: cannot be read: {error.strerror or error}{advice}") from error
    except ParseError as error:
        raise refusal(f"{path}: {error.message}{advice}") from error


def _is_deeper(value: Any, limit: int) -> bool:
    """Check the nesting level by level, so that no nesting exhausts the stack."""
    level = [value] if isinstance(value, dict | list) else []
    for _ in range(limit):
        level = [
            item
            for node in level
            for item in (node.values() if type(node) is dict else node)
            if type(item) is dict or type(item) is list
        ]
        if not level:
            return False
    return True


def _too_deep(what: str, line: int) -> ParseError:
    return ParseError(f"{what} nested too deeply (more than {MAX_DEPTH} levels)", line)


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON value")


def _nan_as_null(name: str) -> Any:
    return None if name == "NaN" else float(name)


_STRICT = json.JSONDecoder(parse_constant=_no_constant)
_NAN_AS_NULL = json.JSONDecoder(parse_constant=_nan_as_null)
