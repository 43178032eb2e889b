"""Records from JSON: SQuAD's own nested form, lists of rows, `{"data": [rows]}`, and JSON lines.

Which of them a text is shows in its content, never in the file's name alone: `.json` is used for all four.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice

from albertqa.data.problems import SourceError, listed, quoted
from albertqa.data.rows import Broken, Record
from albertqa.data.unpacking import lines_of

_LONG_NUMBER = re.compile(r"\d{4300,}")
_LINES_TRIED = 10
_EXPECTED = "SQuAD's JSON (data, paragraphs, qas) or rows with question, context and answers"


@dataclass(frozen=True, slots=True)
class JsonText:
    """A parsed JSON text.

    Attributes:
        format: `squad-json`, `json-rows` or `jsonl`.
        version: What the file says of itself, if anything.
        records: The questions, in order.
    """

    format: str
    version: str | None
    records: Iterator[Record | Broken]


def parse_json_text(text: str, *, named_lines: bool) -> JsonText:
    """Parse a text as whichever JSON form it has.

    Args:
        text: The decoded file.
        named_lines: Whether the file's name says JSON lines.

    Returns:
        The form and its records.

    Raises:
        SourceError: Not JSON (with line and column), or JSON of another kind.
    """
    try:
        root = parse_json(text)
    except SourceError:
        if _looks_like_lines(text, _LINES_TRIED if named_lines else 1):
            return JsonText("jsonl", None, _line_records(text))
        raise
    if isinstance(root, list):
        items, version = root, None
    elif isinstance(root, dict) and isinstance(root.get("data"), list):
        items, version = root["data"], _version(root.get("version"))
    elif isinstance(root, dict) and _is_single(root):
        items, version = [root], None
    else:
        raise SourceError("unknown-structure", f"expected {_EXPECTED}; found {_described(root)}")
    nested = any(isinstance(item, dict) and ("paragraphs" in item or "qas" in item) for item in items[:1])
    numbered = ((f"row {n + 1}", f"data[{n}]", item) for n, item in enumerate(items))
    return JsonText("squad-json" if nested else "json-rows", version, _records(numbered))


def parse_json(text: str, line: int = 1) -> object:
    """Parse one JSON value.

    Args:
        text: The whole value.
        line: The line of the file on which it begins.

    Returns:
        The value.

    Raises:
        SourceError: With the line and column of the fault.
    """
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        at = line + error.lineno - 1
        message = f"broken JSON at line {at:,} column {error.colno:,}: {error.msg[:1].lower()}{error.msg[1:]}"
        raise SourceError("broken-json", message, f"line {at}") from error
    except RecursionError as error:
        raise SourceError("broken-json", "JSON nested too deeply to be a data set", f"line {line}") from error
    except ValueError as error:  # Python refuses to read integers of more than 4,300 digits.
        number = _LONG_NUMBER.search(text)
        at = line + text.count("\n", 0, number.start() if number else 0)
        raise SourceError("broken-json", f"a number of absurd length at line {at:,}", f"line {at}") from error


def _version(stated: object) -> str | None:
    return str(stated) if isinstance(stated, str | float) or type(stated) is int else None


def _is_single(root: Mapping[str, object]) -> bool:
    """Tell whether an object is itself one article, paragraph or row."""
    if "paragraphs" in root or "qas" in root:
        return True
    return all(isinstance(root.get(key), str) for key in ("question", "context"))


def _described(root: object) -> str:
    if not isinstance(root, dict):
        return quoted(root)
    if any(isinstance(root.get(key), dict | list) for key in ("question", "context")):
        return "one object of columns (from pandas? write it with to_json(path, orient='records', lines=True))"
    if root and all(isinstance(value, str) for value in islice(root.values(), 100)):
        return "texts by id (a predictions file?)"
    return f"an object with the keys {listed(root)}"


def _looks_like_lines(text: str, lines_tried: int) -> bool:
    """Tell whether one of the first lines is a record by itself, as no line of a pretty-printed file's head is."""
    for line in islice((line for line in lines_of(text) if line.strip()), lines_tried):
        try:
            value = parse_json(line)
        except SourceError:
            continue
        if isinstance(value, dict) and not isinstance(value.get("data"), list):
            return True
    return False


def _line_records(text: str) -> Iterator[Record | Broken]:
    for number, line in enumerate(lines_of(text), start=1):
        if not line.strip():
            continue
        place = f"line {number}"
        try:
            value = parse_json(line, number)
        except SourceError as error:
            yield Broken(place, error.kind, error.message)
        else:
            yield from _records([(place, place, value)])


def _records(items: Iterable[tuple[str, str, object]]) -> Iterator[Record | Broken]:
    for row_place, path, item in items:
        if not isinstance(item, dict):
            yield Broken(row_place, "unknown-structure", f"expected an object, found {quoted(item)}")
        elif "paragraphs" in item:
            yield from _article(item, path)
        elif "qas" in item:
            yield from _paragraph(item, item.get("title"), path)
        else:
            yield Record(row_place, item)


def _article(article: Mapping[str, object], path: str) -> Iterator[Record | Broken]:
    paragraphs = article["paragraphs"]
    if not isinstance(paragraphs, list):
        message = f"expected a list of paragraphs, found {quoted(paragraphs)}"
        yield Broken(path, "wrong-type", message, is_question=False)
        return
    for number, paragraph in enumerate(paragraphs):
        place = f"{path}.paragraphs[{number}]"
        if not isinstance(paragraph, dict):
            message = f"expected a paragraph object, found {quoted(paragraph)}"
            yield Broken(place, "wrong-type", message, is_question=False)
        elif "qas" not in paragraph:
            message = f"expected the key 'qas', found {listed(paragraph)}"
            yield Broken(place, "missing-key", message, is_question=False)
        else:
            yield from _paragraph(paragraph, article.get("title"), place)


def _paragraph(paragraph: Mapping[str, object], title: object, path: str) -> Iterator[Record | Broken]:
    qas = paragraph["qas"]
    if not isinstance(qas, list):
        yield Broken(path, "wrong-type", f"expected a list of questions, found {quoted(qas)}", is_question=False)
        return
    shared = {"title": title, "context": paragraph.get("context")}
    for number, question in enumerate(qas):
        place = f"{path}.qas[{number}]"
        if isinstance(question, dict):
            yield Record(place, {**question, **shared}, nested=True)
        else:
            yield Broken(place, "wrong-type", f"expected a question object, found {quoted(question)}")
