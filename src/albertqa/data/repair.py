"""The repaired copy of a data set, and the list of what it had to leave out."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from albertqa import files
from albertqa.data.formats.squad_json import write_squad_json
from albertqa.data.problems import Problem
from albertqa.data.reading import ReadResult, read
from albertqa.errors import DataError

_TEXT_SUFFIXES = {".gz", ".json", ".jsonl", ".ndjson", ".csv", ".tsv", ".txt", ".parquet", ".xlsx"}


@dataclass(frozen=True, slots=True)
class RepairedCopy:
    """What became of one file's repaired copy.

    Attributes:
        source: The input as the user named it.
        path: The copy; None where none was written.
        dropped_path: The list of what is not in the copy, with reasons; None where no copy was written.
        num_questions: Questions in the copy.
        num_repaired: Those of them in which something was repaired or filled in.
        num_dropped: Questions, articles and paragraphs of the input that are not in the copy.
        num_errors: Errors that were found in the copy when it was read again; 0: it is ready for training.
        reason: Why no copy was written; empty where one was.
    """

    source: str
    path: str | None = None
    dropped_path: str | None = None
    num_questions: int = 0
    num_repaired: int = 0
    num_dropped: int = 0
    num_errors: int = 0
    reason: str = ""


def copy_paths(sources: Sequence[str | os.PathLike[str]], out: Path) -> list[Path]:
    """Return where the repaired copies go, before anything is read.

    Args:
        sources: The inputs.
        out: A file for one input; a folder, made if need be, for any number.

    Returns:
        One path for each input: `out`, or `out/<stem>.json`.

    Raises:
        DataError: Several inputs for one file, two inputs of one name, an input in the way, or no such folder.
    """
    if len(sources) > 1 and not out.is_dir() and (out.exists() or out.suffix):
        raise DataError(f"{out}: expected a folder for the repaired copies of {len(sources)} files, found a file name")
    is_file = len(sources) == 1 and not out.is_dir()
    paths = [out] if is_file else [out / f"{_stem(source)}.json" for source in sources]
    written = [*paths, *map(dropped_path, paths)]
    for number, path in enumerate(written):
        if path in written[:number]:
            raise DataError(f"{path}: two inputs would be repaired to this name; repair them one by one")
        if any(_same_file(path, Path(source)) for source in sources):
            raise DataError(f"{path}: this is an input, which is never overwritten; name another")
    folder = paths[0].parent
    if is_file and not folder.is_dir():
        raise DataError(f"{folder}: there is no such folder for the repaired copy; make it first")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{folder}: the folder cannot be made: {error.strerror}") from error
    return paths


def dropped_path(path: Path) -> Path:
    """Return where the list of what a repaired copy leaves out goes."""
    return path.with_name(path.name + ".dropped.json")


def write_repaired_copy(result: ReadResult, path: Path) -> RepairedCopy:
    """Write a repaired copy, whole or not at all, and beside it the list of what it lacks (`[]`: nothing).

    Raises:
        DataError: The folder cannot be written to.
    """
    if not result.complete:
        return RepairedCopy(result.name, reason=f"unusable as a whole: {result.problems[-1].message}")
    examples = [question.repaired for question in result.questions if question.repaired is not None]
    if not examples:
        return RepairedCopy(result.name, reason="no question of it can be used or repaired")
    changed = sum(
        question.converted or any(problem.repairable for problem in question.problems)
        for question in result.questions
        if question.repaired is not None
    )
    dropped = _dropped(result)
    lost = dropped_path(path)
    try:
        files.write_text(lost, json.dumps(dropped, indent=1))
    except OSError as error:
        raise DataError(f"{lost}: cannot be written: {error.strerror or error}") from error
    write_squad_json(path, examples)
    num_errors = len(read(path).errors)
    return RepairedCopy(result.name, str(path), str(lost), len(examples), changed, len(dropped), num_errors)


def _dropped(result: ReadResult) -> list[dict[str, object]]:
    """Return what the copy lacks: questions beyond repair, then unreadable articles and paragraphs."""
    lost = [question for question in result.questions if question.repaired is None]
    items = [_dropped_item(question.place, question.question_id, question.problems) for question in lost]
    of_questions = {id(problem) for question in result.questions for problem in question.problems}
    others = [problem for problem in result.errors if problem.place and id(problem) not in of_questions]
    return items + [_dropped_item(problem.place, "", (problem,)) for problem in others]


def _dropped_item(place: str, question_id: str, problems: tuple[Problem, ...]) -> dict[str, object]:
    beyond = [
        problem
        for problem in problems
        if problem.kind == "skipped-question" or (problem.severity != "note" and not problem.repairable)
    ]
    reasons = [{"kind": problem.kind, "message": problem.message} for problem in beyond]
    return {"id": question_id, "place": place, "reasons": reasons}


def _stem(source: str | os.PathLike[str]) -> str:
    path = Path(os.fspath(source).replace(":", "-"))
    while path.suffix.lower() in _TEXT_SUFFIXES:
        path = path.with_suffix("")
    return path.name


def _same_file(written: Path, source: Path) -> bool:
    try:
        return written.samefile(source)
    except (OSError, ValueError):  # one of them does not exist, or has no possible name
        return False
