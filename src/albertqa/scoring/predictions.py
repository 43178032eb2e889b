"""Read the two files a run leaves for scoring: predictions (id to text) and null odds (id to number)."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from albertqa.data.example import Example
from albertqa.errors import DataError
from albertqa.schema import ParseError, parse_json, read_text


@dataclass(frozen=True, slots=True)
class IdDifference:
    """Where the ids of a predictions file and a data set differ.

    Attributes:
        missing: Questions without a prediction, in the order of the data set.
        unknown: Predictions for no question of the data set, in the order of the file.
    """

    missing: tuple[str, ...]
    unknown: tuple[str, ...]


def compare_ids(examples: Iterable[Example], predictions: Mapping[str, object]) -> IdDifference:
    """Compare the question ids of a data set with those of a predictions or null odds file.

    Args:
        examples: The data set.
        predictions: Anything keyed by question id.

    Returns:
        The ids that only one of the two has.
    """
    question_ids = dict.fromkeys(example.id for example in examples)
    return IdDifference(
        missing=tuple(question_id for question_id in question_ids if question_id not in predictions),
        unknown=tuple(question_id for question_id in predictions if question_id not in question_ids),
    )


def read_predictions(path: Path) -> dict[str, str]:
    """Read a predictions file: a JSON object of question id to answer text.

    Args:
        path: The file, UTF-8.

    Returns:
        The answer text of each question id, in file order.

    Raises:
        DataError: The file is missing, not UTF-8, not JSON, not such an object, or names an id twice.
    """
    predictions: dict[str, str] = {}
    for question_id, value in _read_object(path, "answer text").items():
        if not isinstance(value, str):
            raise DataError(
                f"{path}: question {question_id}: expected the answer text, found {_kind(value)}; "
                'write the text itself, "" for no answer'
            )
        predictions[question_id] = value
    return predictions


def read_null_odds(path: Path) -> dict[str, float]:
    """Read a null odds file: a JSON object of question id to null score minus best answer's score.

    Args:
        path: The file, UTF-8.

    Returns:
        The null odds of each question id, in file order (the official threshold search depends on it).

    Raises:
        DataError: The file is missing, not UTF-8, not JSON, not such an object, or names an id twice.
    """
    null_odds: dict[str, float] = {}
    for question_id, value in _read_object(path, "number").items():
        if not isinstance(value, float) or math.isnan(value):
            raise DataError(
                f"{path}: question {question_id}: expected a number, found {_kind(value)}; "
                "write null score minus best answer's score"
            )
        null_odds[question_id] = value
    return null_odds


def _read_object(path: Path, value_name: str) -> dict[str, object]:
    """Read a JSON object."""
    try:
        content = parse_json(read_text(path, DataError), by_id=True)
    except ParseError as error:
        raise DataError(f"{path}: {error.message}; write one {value_name} for each question id") from error
    if not isinstance(content, dict):
        raise DataError(
            f"{path}: expected an object of question id to {value_name}, found {_kind(content)} at the top; "
            f'write {{"ID": {value_name}, …}}'
        )
    return content


def _kind(value: object) -> str:
    """Name what JSON value this is, as a person would."""
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case float():
            return "NaN" if math.isnan(value) else f"the number {value:g}"
        case str():
            return "a text"
        case list():
            return "a list"
        case _:
            return "an object"
