"""Read the two files a run leaves for scoring: predictions (id to text) and null odds (id to number)."""

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TypeVar

from albertqa.data.example import Example
from albertqa.errors import DataError
from albertqa.schema import ParseError, parse_json, read_text

T = TypeVar("T", str, float)


def compare_ids(examples: Iterable[Example], predictions: Mapping[str, object]) -> tuple[list[str], list[str]]:
    """Compare the question ids of a data set with those of a predictions or null odds file.

    Returns:
        Questions without a prediction, in the order of the data set; and predictions for no question of it, in the
        order of the file.
    """
    question_ids = dict.fromkeys(example.id for example in examples)
    missing = [question_id for question_id in question_ids if question_id not in predictions]
    unknown = [question_id for question_id in predictions if question_id not in question_ids]
    return missing, unknown


def read_predictions(path: Path) -> dict[str, str]:
    """Read a predictions file: a JSON object (UTF-8) of question id to answer text.

    Returns:
        The answer text of each question id, in file order.

    Raises:
        DataError: The file is missing, not UTF-8, not JSON, not such an object, or names an id twice.
    """
    return _read_object(path, str, "answer text", 'write the text itself, "" for no answer')


def read_null_odds(path: Path) -> dict[str, float]:
    """Read a null odds file: a JSON object (UTF-8) of question id to null score minus best answer's score.

    Returns:
        The null odds of each question id, in file order (the official threshold search depends on it).

    Raises:
        DataError: The file is missing, not UTF-8, not JSON, not such an object, or names an id twice.
    """
    return _read_object(path, float, "number", "write null score minus best answer's score")


def _read_object(path: Path, kind: type[T], name: str, remedy: str) -> dict[str, T]:
    try:
        content = parse_json(read_text(path, DataError), by_id=True)
    except ParseError as error:
        raise DataError(f"{path}: {error.message}; write one {name} for each question id") from error
    if not isinstance(content, dict):
        raise DataError(
            f"{path}: expected an object of question id to {name}, found {_shown(content)} at the top; "
            f'write {{"ID": {name}, …}}'
        )
    for question_id, value in content.items():
        if not isinstance(value, kind) or (isinstance(value, float) and math.isnan(value)):
            raise DataError(f"{path}: question {question_id}: expected one {name}, found {_shown(value)}; {remedy}")
    return content


def _shown(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)[:40]
