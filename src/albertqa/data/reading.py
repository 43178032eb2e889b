"""Stand-in for the data room's `load_questions`, until its branch is merged (take that one)."""

from pathlib import Path

from albertqa.data.example import Example
from albertqa.data.problem import SourceError
from albertqa.data.read import MAX_UNPACKED_BYTES
from albertqa.data.record import Broken
from albertqa.data.source import open_source, source_name
from albertqa.errors import DataError


def load_questions(source: str | Path) -> list[Example]:
    """Read questions and contexts of any data format; answers are not looked at.

    Raises:
        DataError: The source cannot be read, or a question or context is missing.
    """
    name = source_name(source)
    examples: list[Example] = []
    try:
        for number, item in enumerate(open_source(source, None, MAX_UNPACKED_BYTES).records, 1):
            if isinstance(item, Broken):
                raise DataError(f"{name}: {item.place}: {item.message}")
            texts: dict[str, str] = {}
            for key in ("question", "context"):
                text = item.fields.get(key)
                if not isinstance(text, str) or not text.strip():
                    raise DataError(f"{name}: {item.place}: expected a text '{key}', found {text!r}")
                texts[key] = text
            examples.append(Example(str(item.fields.get("id", f"row-{number}")), texts["question"], texts["context"]))
    except SourceError as error:
        raise DataError(f"{name}: {error.message}") from error
    if not examples:
        raise DataError(f"{name}: expected at least one question, found none")
    return examples
