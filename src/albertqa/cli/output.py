"""Print lines and JSON: control characters escaped, any encoding, NaN never, and output that is closed early."""

import codecs
import json
import logging
import math
import os
import sys
from contextlib import suppress
from typing import Any, TextIO

_CONTROL = [*range(32), *range(127, 160), 0x2028, 0x2029, *range(0x202A, 0x202F), *range(0x2066, 0x206A)]
"""Control characters, and those that break lines or change the direction of writing."""
_ESCAPES = {code: f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" for code in _CONTROL}
_ESCAPES_IN_TEXT = {code: escape for code, escape in _ESCAPES.items() if chr(code) not in "\n\t"}
_ESCAPES_IN_JSON = {code: f"\\u{code:04x}" for code in _CONTROL if code > 126}

_ASCII = {
    "\N{RIGHTWARDS ARROW}": "->",
    "\N{HORIZONTAL ELLIPSIS}": "...",
    "\N{PLUS-MINUS SIGN}": "+-",
    "\N{MULTIPLICATION SIGN}": "x",
    "\N{MIDDLE DOT}": "-",
    "\N{EN DASH}": "-",
    "\N{EM DASH}": "-",
    "\N{NO-BREAK SPACE}": " ",
}
"""Signs of our own messages, for streams that take ASCII only."""


def _replace_unencodable(error: UnicodeError) -> tuple[str, int]:
    """Replace characters that a stream's encoding lacks; lone surrogates, too, which no encoding has."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    found = error.object[error.start : error.end]
    return "".join(_ASCII.get(one) or one.encode("ascii", "backslashreplace").decode() for one in found), error.end


codecs.register_error("albertqa", _replace_unencodable)


class _Log(logging.Handler):
    """Prints the log's warnings."""

    def emit(self, record: logging.LogRecord) -> None:
        warn(record.getMessage())


_LOG = _Log(logging.WARNING)


def prepare_output() -> None:
    """Make stdout and stderr take any text, whatever their encoding, and print the log's warnings as ours."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="albertqa")
    logging.getLogger("albertqa").addHandler(_LOG)


def printable(text: str, *, is_line: bool = False) -> str:
    """Return text with its control characters escaped; a terminal would take them as commands.

    Args:
        text: Any text.
        is_line: Whether it must stay one line, so that line breaks and tabs are escaped, too.
    """
    return text.translate(_ESCAPES if is_line else _ESCAPES_IN_TEXT)


def warn(message: str) -> None:
    """Print one line on stderr, after the program's name."""
    print(f"albertqa: {printable(message, is_line=True)}", file=sys.stderr, flush=True)


def print_json(value: Any) -> None:
    """Print JSON, indented; NaN and infinite numbers become null."""
    print(json_text(value, indent=2))


def json_text(value: Any, *, indent: int | None = None) -> str:
    """Return JSON that stdout can take; NaN and infinite numbers become null."""
    is_unicode = (sys.stdout.encoding or "").lower().startswith("utf")
    text = json.dumps(finite(value), indent=indent, ensure_ascii=not is_unicode, allow_nan=False)
    return text.translate(_ESCAPES_IN_JSON)


def finite(value: Any) -> Any:
    """Return a JSON value with null for NaN and infinite numbers."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: finite(one) for name, one in value.items()}
    return [finite(one) for one in value] if isinstance(value, list | tuple) else value


def discard(stream: TextIO) -> None:
    """Connect a stream that nobody reads to the null device; else Python complains when it closes the stream."""
    with suppress(OSError, ValueError, AttributeError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)
