"""The one boundary for JSON and TOML: text to values, values to typed structures, each fault one line.

Python's parsers raise `RecursionError` on deep nesting, `ValueError` on long integers, accept NaN, and take whatever
memory a text asks for. Here whatever a text holds gives a value or one error with file, place, expected and found.
"""

import errno
import json
import math
import re
import stat
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from albertqa.errors import AlbertQAError, DataError, RunError

MAX_DEPTH = 100
"""How deep lists and objects may be nested."""

MAX_MEMORY_BYTES = 2**30
"""How much memory a parsed text may take: 1 GiB."""

PUT_BACK = "Put the file back as it was, or train again in another --output-dir"
"""What to do about a damaged file of a run."""

LFS_POINTER = b"version https://git-lfs.github.com/spec/"
"""How a file begins that Git LFS has not fetched."""

T = TypeVar("T")

_ERROR = re.compile(r"(?P<problem>.*?)(?: - at `\$(?P<at>.*)`)?")
_MISSING = re.compile(r"Object missing required field `(?P<name>.*)`")
_TYPE = re.compile(r"Expected `(?P<type>[^`]*)`(?P<bound>[^,]*)(, got `.*`)?")
_PLAIN = {
    "int": "a number",
    "float": "a number",
    "str": "text",
    "bool": "true or false",
    "array": "a list",
    "object": "an object",
    "null": "null",
}
# The n-best answers of a run's own large validation set.
_MAX_RUN_BYTES = 2**33
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


def parse_json(
    text: str,
    *,
    first_line: int = 1,
    nan_as_null: bool = False,
    by_id: bool = False,
    max_memory_bytes: int = MAX_MEMORY_BYTES,
) -> Any:
    """Parse one JSON value.

    Args:
        text: The whole value.
        first_line: The line of the file on which it begins.
        nan_as_null: Read NaN, which pandas writes for a missing value, as null; refuse it otherwise.
        by_id: It maps ids to values: refuse a key that is there twice (else the last one counts), read all numbers as
            floats, NaN included.
        max_memory_bytes: How much memory the value may take.

    Raises:
        ParseError: Not JSON, nested deeper than `MAX_DEPTH`, or with a number nobody can mean.
        TooLargeError: It would take more memory than it may.
    """
    needed = memory_needed(text)
    if needed > max_memory_bytes:
        raise TooLargeError(
            f"the JSON would take about {needed / 2**30:,.1f} GiB of memory, more than the limit of "
            f"{max_memory_bytes / 2**30:g} GiB; split it, or write it as JSON lines, which are read one by one",
            first_line,
        )
    try:
        value = (_NAN_AS_NULL if nan_as_null else _BY_ID if by_id else _STRICT).decode(text)
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


def read_object(path: Path, *, remedy: str = "Is the run still being written?") -> dict[str, Any]:
    """Read a JSON file of a run that holds an object.

    Args:
        path: The file.
        remedy: What the user can do about a damaged one, a sentence.

    Raises:
        RunError: It is missing, cannot be read, or holds something else.
    """
    if not path.exists():
        raise RunError(f"{path.parent}: no {path.name} there, expected a run directory of 'albertqa train'")
    content = _read(path, RunError, remedy, lambda text: parse_json(text, max_memory_bytes=_MAX_RUN_BYTES))
    if not isinstance(content, dict):
        raise RunError(f"{path}: expected an object, found {type(content).__name__}")
    return content


def read_toml(path: Path, refusal: type[AlbertQAError]) -> dict[str, Any]:
    """Read a TOML file.

    Args:
        path: The file.
        refusal: The error to raise where it cannot be read, or is not TOML.
    """
    tables: dict[str, Any] = _read(path, refusal, "", parse_toml)
    return tables


def require_fetched(content: bytes, path: Path, refusal: type[AlbertQAError]) -> None:
    """Check that what was read is a file and not what Git LFS leaves in its place.

    Raises:
        AlbertQAError: A `refusal`: it is a pointer.
    """
    if content.startswith(LFS_POINTER):
        raise refusal(f"{path}: a Git LFS pointer instead of the file; run 'git lfs pull' in its repository")


def is_unicode(text: str) -> bool:
    """Return whether a text can be written as UTF-8: it has no half of a character (lone surrogate)."""
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)


def read_text(path: Path, refusal: type[AlbertQAError], remedy: str = "") -> str:
    """Read a text file (UTF-8, with or without a byte-order mark).

    Args:
        path: The file.
        refusal: The error to raise where it cannot be read.
        remedy: What the user can do about it, a sentence without its full stop.
    """
    advice = remedy and f". {remedy}"
    try:
        require_file(path)
        content = path.read_bytes()
        require_fetched(content, path, refusal)
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise refusal(f"{path}: expected UTF-8, found other bytes at offset {error.start:,}{advice}") from error
    except OSError as error:
        raise refusal(f"{path}: cannot be read: {error.strerror or error}{advice}") from error


def require_file(path: Path) -> None:
    """Refuse what is no regular file: a pipe would be waited for, and a device has no end.

    Raises:
        OSError: There is no regular file.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError(errno.EINVAL, "not a regular file", str(path))


def memory_needed(text: str) -> int:
    """Estimate from above how many bytes a JSON text takes once it is parsed, the text included; fast."""
    size = sys.getsizeof(text)
    if size < 2**20:
        return 2 * size  # of no interest
    containers = text.count("[") * _LIST_BYTES + text.count("{") * _OBJECT_BYTES
    return 2 * size + containers + text.count('"') // 2 * _TEXT_BYTES + text.count(",") * _VALUE_BYTES


def _read(path: Path, refusal: type[AlbertQAError], remedy: str, parse: Callable[[str], Any]) -> Any:
    try:
        return parse(read_text(path, refusal, remedy))
    except ParseError as error:
        raise refusal(f"{path}: {error.message}{remedy and f'. {remedy}'}") from error


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


def _finite(number: str) -> float:
    value = float(number)
    if math.isinf(value):
        raise ValueError(f"{number[:20]} is too large a number")
    return value


def _nan_as_null(name: str) -> Any:
    return None if name == "NaN" else float(name)


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content: dict[str, Any] = {}
    for key, value in pairs:
        if key in content:
            raise ParseError(f"{key!r} is there twice")
        content[key] = value
    return content


_STRICT = json.JSONDecoder(parse_constant=_no_constant, parse_float=_finite)
_BY_ID = json.JSONDecoder(parse_int=float, object_pairs_hook=_unique_keys)
_NAN_AS_NULL = json.JSONDecoder(parse_constant=_nan_as_null)


def read_struct(path: Path, kind: type[T], *, remedy: str = PUT_BACK) -> T:
    """Read a JSON file of a run or a model into a typed structure (see `read_object` and `convert`)."""
    return convert(read_object(path, remedy=remedy), kind, str(path), remedy=remedy)


def convert(content: object, kind: type[T], where: str, *, remedy: str = PUT_BACK) -> T:
    """Turn parsed JSON into a typed structure.

    Args:
        content: The parsed JSON.
        kind: The structure.
        where: File and line, for the error.
        remedy: What to do about an error, a sentence without its full stop.

    Returns:
        The structure; keys that it does not know are ignored.

    Raises:
        RunError: A value is missing, or is not what it must be.
    """
    try:
        return msgspec.convert(content, kind)
    except msgspec.ValidationError as error:
        raise RunError(f"{where}: {_explain(str(error), content)}. {remedy}") from error


def _explain(message: str, content: object) -> str:
    """Rewrite msgspec's message as expected and found."""
    matched = _ERROR.fullmatch(message)
    problem, at = (matched["problem"], matched["at"] or "") if matched else (message, "")
    name = at.lstrip(".")
    if missing := _MISSING.fullmatch(problem):
        return f"expected '{'.'.join(filter(None, (name, missing['name'])))}', found none"
    found = json.dumps(_value_at(content, at), ensure_ascii=False)
    found = found if len(found) <= 40 else f"{found[:40]}…"
    if typed := _TYPE.fullmatch(problem):
        expected = " or ".join(_PLAIN.get(one, one) for one in typed["type"].split(" | "))
        bound = typed["bound"].replace(" >= ", " of ")
        return f"expected {expected}{bound}{' or more' if bound else ''} as '{name}', found {found}"
    return f"{problem} as '{name}', found {found}"


def _value_at(content: Any, at: str) -> Any:
    """Return the value at one of msgspec's paths, such as ``.plan.total_steps`` or ``.windows[2]``."""
    for name, index in re.findall(r"\.([^.\[\]]+)|\[(\d+)\]", at):
        content = content[int(index)] if index else content[name]
    return content
