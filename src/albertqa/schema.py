"""Read JSON files into typed structures, with errors that name file, line, expected and found."""

import json
import re
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from albertqa.errors import RunError

PUT_BACK = "Put the file back as it was, or train again in another --output-dir"
"""What to do about a damaged file of a run."""

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


def read_object(path: Path) -> dict[str, Any]:
    """Read a JSON file of a run that holds an object.

    Raises:
        RunError: It is missing, cannot be read, or holds something else.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise RunError(f"{path.parent}: no {path.name} there, expected a run directory of 'albertqa train'") from error
    except (OSError, ValueError, RecursionError) as error:
        raise RunError(f"{path}: cannot be read ({error}); is the run still being written?") from error
    if not isinstance(content, dict):
        raise RunError(f"{path}: expected an object, found {type(content).__name__}")
    return content


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
