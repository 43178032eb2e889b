"""A run directory as the report reads it: settings, provenance, record, predictions, findings."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from albertqa import files
from albertqa.config import Settings, load_settings
from albertqa.decode.spans import Candidate
from albertqa.errors import RunError
from albertqa.rundir.rows import read_rows
from albertqa.scoring.predictions import read_null_odds, read_predictions

_FACTS = (
    *("status", "step", "best_step", "train_seconds", "command", "seed", "plan", "version_2"),
    *("data", "model", "machine", "versions"),
)
_DATA_FACTS = (
    "sources",
    "questions",
    "without_answer",
    "content_sha256",
    "windows",
    "windows_without_answer",
    "tokens",
)
_SCORES = ("exact", "f1", "loss", "questions", "windows")
_SEVERITIES = ("error", "warning", "info")


@dataclass(frozen=True, slots=True)
class Finding:
    """Something the health monitor noticed.

    Attributes:
        name: Its short name.
        severity: ``error``, ``warning`` or ``info``.
        step: Where it happened; None where it concerns the whole run.
        message: What was seen.
        remedy: What to try; may be empty.
    """

    name: str
    severity: str
    step: int | None
    message: str
    remedy: str


@dataclass(frozen=True)
class Run:
    """What one run directory holds.

    Attributes:
        path: The directory.
        name: What the page calls it; unlike every other run's on the page.
        settings: Its settings.
        facts: Content of ``run.json``.
        rows: Lines of ``metrics.jsonl``.
        scores: Content of ``eval.json``; empty where nothing was evaluated yet.
        findings: What the health monitor noticed, in order of steps.
        predictions: Answer text for each question id, of the best model.
        n_best: Candidates for each question id, best first.
        null_odds: v2.0: null score less the best answer's for each question id; else empty.
    """

    path: Path
    name: str
    settings: Settings
    facts: dict[str, Any]
    rows: tuple[dict[str, Any], ...]
    scores: dict[str, float | int]
    findings: tuple[Finding, ...]
    predictions: dict[str, str]
    n_best: dict[str, tuple[Candidate, ...]]
    null_odds: dict[str, float]

    @property
    def evaluations(self) -> list[dict[str, Any]]:
        """The lines of the record that are evaluations."""
        return [row for row in self.rows if "validation_loss" in row]

    @property
    def steps(self) -> list[dict[str, Any]]:
        """The lines of the record that are training steps."""
        return [row for row in self.rows if "train_loss" in row]

    @property
    def step(self) -> int:
        """Steps done, as the record has them: ``run.json`` of a run that still goes on, or was killed, lags behind."""
        return max((int(row["step"]) for row in self.rows), default=int(self.facts["step"]))

    @property
    def best_step(self) -> int:
        """Step of the best model; 0 where nothing was evaluated yet."""
        return int(self.scores.get("step", self.facts["best_step"]))

    @property
    def train_seconds(self) -> float:
        """Time of the steps, in seconds."""
        return float(next((row["seconds"] for row in reversed(self.steps)), self.facts["train_seconds"]))

    @property
    def version_2(self) -> bool:
        """Whether questions may have no answer."""
        return bool(self.facts["version_2"])

    @property
    def validation(self) -> dict[str, Any]:
        """Facts of the validation data, from ``run.json``."""
        return dict(self.facts["data"]["validation"])


def load_runs(paths: Sequence[Path]) -> list[Run]:
    """Read run directories.

    Args:
        paths: The directories, at least one, each once.

    Returns:
        The runs, each with a name of its own.

    Raises:
        AlbertQAError: A directory is no run, is damaged, or is there twice.
    """
    if not paths:
        raise RunError("a report needs at least one run directory, found none. Name one: albertqa report RUN")
    seen: set[Path] = set()
    for path in paths:
        if path.resolve() in seen:
            raise RunError(f"{path}: this run is named twice; name each run once")
        seen.add(path.resolve())
    return [load_run(path, name) for path, name in zip(paths, _names(paths), strict=True)]


def load_run(path: Path, name: str = "") -> Run:
    """Read one run directory.

    Args:
        path: The directory.
        name: What to call it; its folder's name unless given.

    Returns:
        The run.

    Raises:
        AlbertQAError: The directory is no run, or is damaged.
    """
    facts = _read_object(path / files.RUN_JSON, _FACTS)
    for part in ("train", "validation"):
        _require(path / files.RUN_JSON, facts["data"].get(part, {}), _DATA_FACTS, f"data.{part}.")
    has_scores = (path / files.EVAL_JSON).is_file()
    has_odds = (path / files.NULL_ODDS_JSON).is_file()
    return Run(
        path=path,
        name=name or path.resolve().name,
        settings=load_settings(path / files.CONFIG_TOML),
        facts=facts,
        rows=tuple(msgspec.to_builtins(row) for row in read_rows(path)),
        scores=_read_object(path / files.EVAL_JSON, _SCORES) if has_scores else {},
        findings=_read_findings(path / files.HEALTH_JSON),
        predictions=read_predictions(path / files.PREDICTIONS_JSON) if has_scores else {},
        n_best=_read_n_best(path / files.NBEST_JSON) if has_scores else {},
        null_odds=read_null_odds(path / files.NULL_ODDS_JSON) if has_odds else {},
    )


def _names(paths: Sequence[Path]) -> list[str]:
    """Give each path as few of its last parts as tell it from the others."""
    parts = [path.resolve().parts for path in paths]
    for length in range(1, max(len(one) for one in parts)):
        names = ["/".join(one[-length:]) for one in parts]
        if len(set(names)) == len(names):
            return names
    return [str(path.resolve()) for path in paths]


def _read_object(path: Path, keys: Sequence[str] = ()) -> dict[str, Any]:
    """Read a JSON object that has at least these keys."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise RunError(f"{path.parent}: no {path.name} there, expected a run directory of 'albertqa train'") from error
    except (OSError, ValueError) as error:
        raise RunError(f"{path}: cannot be read ({error}); is the run still being written?") from error
    if not isinstance(content, dict):
        raise RunError(f"{path}: expected an object, found {type(content).__name__}")
    _require(path, content, keys)
    return content


def _require(path: Path, content: dict[str, Any], keys: Sequence[str], prefix: str = "") -> None:
    missing = [prefix + key for key in keys if key not in content]
    if missing:
        raise RunError(
            f"{path}: expected '{missing[0]}', found none; was it written by this version of 'albertqa train'?"
        )


def _read_n_best(path: Path) -> dict[str, tuple[Candidate, ...]]:
    if not path.is_file():
        return {}
    n_best = {}
    for question_id, rows in _read_object(path).items():
        try:
            n_best[question_id] = tuple(Candidate(**row) for row in rows)
        except TypeError as error:
            raise RunError(
                f"{path}: question {question_id}: expected candidates with text, start_char, end_char, probability, "
                f"start_logit and end_logit, found others ({error}). Write the file anew: albertqa evaluate"
            ) from error
    return n_best


def _read_findings(path: Path) -> tuple[Finding, ...]:
    if not path.is_file():
        return ()
    rows = _read_object(path).get("findings")
    if not isinstance(rows, list) or not all(isinstance(row, dict) and "name" in row for row in rows):
        raise RunError(
            f"{path}: expected a list of findings with names, found something else. "
            f"Write it anew: albertqa doctor {path.parent} --write"
        )
    found = []
    for row in rows:
        severity, step = str(row.get("severity", "warning")), row.get("step")
        found.append(
            Finding(
                name=str(row["name"]),
                severity=severity if severity in _SEVERITIES else "warning",
                step=step if isinstance(step, int) else None,
                message=str(row.get("message", "")),
                remedy=str(row.get("remedy") or ""),
            )
        )
    return tuple(sorted(found, key=lambda one: math.inf if one.step is None else one.step))
