"""Is what a run directory says whole? Checked once, where it is loaded, so that no rule has to ask."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeGuard

from albertqa import rundir
from albertqa.errors import RunError

_STATUSES = ("running", "finished", "stopped early", "interrupted", "failed")
_ANY = -math.inf
# Numbers that rules cannot do without, with the least that each may be.
_PLAN = {"total_steps": 1, "steps_per_epoch": 1, "warmup_steps": 0}
_DATA = {"questions": 1, "without_answer": 0, "windows": 1, "windows_without_answer": 0, "tokens": 1}
_ROWS = {
    "train_loss": {"step": 1, "learning_rate": 0, "tokens": 1},
    "validation_loss": {"step": 1, "epoch": 0, "f1": 0},
}


def is_number(value: object) -> TypeGuard[float]:
    """Tell whether a value is a finite number.

    >>> [is_number(value) for value in (0, 0.5, math.nan, None, "1", True)]
    [True, True, False, False, False, False]
    """
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def check_facts(path: Path, facts: Mapping[str, Any]) -> None:
    """Refuse a ``run.json`` that lacks what rules need.

    Args:
        path: The file.
        facts: Its content.

    Raises:
        RunError: A fact is missing, or is not what it should be.
    """
    status, plan, data = facts.get("status"), facts.get("plan"), facts.get("data")
    if status is None or not isinstance(plan, dict) or not isinstance(data, dict):
        raise RunError(
            f"{path}: expected status, plan and data of a run, found others; was it written by 'albertqa train'?"
        )
    if status not in _STATUSES:
        raise RunError(
            f"{path}: expected status to be one of {', '.join(_STATUSES)}, found {_found(status)}. {rundir.PUT_BACK}"
        )
    objects = {"data.train": data.get("train"), "data.validation": data.get("validation")}
    objects |= {name: facts[name] for name in ("model", "machine") if name in facts}
    for name, value in objects.items():
        if not isinstance(value, dict):
            raise RunError(f"{path}: expected an object as '{name}', found {_found(value)}. {rundir.PUT_BACK}")
    _check_numbers(str(path), plan, _PLAN, "plan.")
    for part in ("train", "validation"):
        _check_numbers(str(path), data[part], _DATA, f"data.{part}.")


def check_rows(path: Path, rows: Sequence[Mapping[str, Any]], facts: Mapping[str, Any]) -> None:
    """Refuse a ``metrics.jsonl`` whose lines lack what rules need, or of which lines are lost.

    Args:
        path: The file.
        rows: Its lines, all of them.
        facts: Content of ``run.json``, checked.

    Raises:
        RunError: A number is missing, or is not what it should be, or there are fewer steps than were done.
    """
    for number, row in enumerate(rows, 1):
        where = f"{path}: line {number}"
        losses = [name for name in _ROWS if name in row]
        if not losses:
            raise RunError(f"{where}: expected {' or '.join(_ROWS)}, found neither. {rundir.PUT_BACK}")
        for name in losses:
            # A loss that is no number is written as null; what that means is for the rules.
            if row[name] is not None and not isinstance(row[name], int | float):
                found = _found(row[name])
                raise RunError(f"{where}: expected a number or null as '{name}', found {found}. {rundir.PUT_BACK}")
            _check_numbers(where, row, _ROWS[name])
    steps, done = sum("train_loss" in row for row in rows), _steps_done(facts)
    if steps < done:
        raise RunError(
            f"{path}: expected the {done:,} steps that {rundir.RUN_JSON} tells of ({facts['status']}), found "
            f"{steps:,}; lines are lost, and with them what there is to judge. {rundir.PUT_BACK}"
        )


def check_scores(path: Path, scores: Mapping[str, Any]) -> None:
    """Refuse an ``eval.json`` that lacks what rules need.

    Args:
        path: The file.
        scores: Its content.

    Raises:
        RunError: A score is missing, or is no number.
    """
    needed = {"f1": 0.0, **({"best_f1": 0.0, "best_f1_thresh": _ANY} if "best_f1" in scores else {})}
    _check_numbers(str(path), scores, needed, remedy="Put the file back as it was, or take it away")


def _steps_done(facts: Mapping[str, Any]) -> int:
    """Give the steps that a run says it has done; one that goes on, or failed, says less than it did."""
    if facts["status"] == "finished":
        return int(facts["plan"]["total_steps"])
    done = facts.get("step")
    return int(done) if facts["status"] in {"stopped early", "interrupted"} and is_number(done) else 0


def _check_numbers(
    where: str, content: Mapping[str, Any], least: Mapping[str, float], prefix: str = "", remedy: str = rundir.PUT_BACK
) -> None:
    for name, low in least.items():
        value = content.get(name)
        if not is_number(value) or value < low:
            bound = "" if low == _ANY else f" of {low:g} or more"
            found = _found(value) if name in content else "none"
            raise RunError(f"{where}: expected a number{bound} as '{prefix}{name}', found {found}. {remedy}")


def _found(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else f"{text[:40]}…"
