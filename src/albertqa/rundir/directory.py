"""A run directory as a whole: locked while it is trained in, and read for whoever looks at a run."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from filelock import FileLock, Timeout

from albertqa.config import Settings, load_settings
from albertqa.decode.spans import Candidate
from albertqa.errors import RunError
from albertqa.files import CONFIG_TOML, EVAL_JSON, LOCK, METRICS_JSONL, NBEST_JSON, NULL_ODDS_JSON, PREDICTIONS_JSON
from albertqa.rundir.findings import Finding, read_findings
from albertqa.rundir.rows import EvaluationRow, Row, StepRow, read_rows
from albertqa.rundir.run_json import RunJson, read_run_json
from albertqa.schema import PUT_BACK, convert, read_object
from albertqa.scoring.predictions import read_null_odds, read_predictions

_LOCK_SECONDS = 1.0
"""How long another process that only looks (`is_locked`) may keep a run from starting."""


@dataclass(frozen=True)
class Run:
    """What a run directory holds; predictions and findings are read when they are first asked for.

    Attributes:
        path: The directory, as the user named it.
        settings: Content of ``config.toml``.
        facts: Content of ``run.json``.
        steps: The training steps of ``metrics.jsonl``, in order.
        evaluations: Its evaluations, in order.
        scores: Content of ``eval.json``, the evaluation of ``best/``; empty before the first evaluation.
        is_alive: Whether a process trains in the directory; None where that is unknown, or the run is over.
    """

    path: Path
    settings: Settings
    facts: RunJson
    steps: tuple[StepRow, ...]
    evaluations: tuple[EvaluationRow, ...]
    scores: dict[str, float]
    is_alive: bool | None = None

    @property
    def step(self) -> int:
        """Steps done: ``run.json`` of a run that goes on, or was killed, is behind ``metrics.jsonl``."""
        rows: list[Row] = [*self.steps[-1:], *self.evaluations[-1:]]
        return max((row.step for row in rows), default=self.facts.step)

    @property
    def best_step(self) -> int:
        """Step of the best model; 0 before the first evaluation."""
        return int(self.scores.get("step", self.facts.best_step))

    @property
    def train_seconds(self) -> float:
        """Time of the steps."""
        return next((row.seconds for row in reversed(self.steps) if row.seconds is not None), self.facts.train_seconds)

    @cached_property
    def predictions(self) -> dict[str, str]:
        """Answer text for each question id, of the best model; empty before the first evaluation."""
        return read_predictions(self.path / PREDICTIONS_JSON) if self.scores else {}

    @cached_property
    def n_best(self) -> dict[str, tuple[Candidate, ...]]:
        """Candidates for each question id, best first."""
        path = self.path / NBEST_JSON
        if not self.scores or not path.is_file():
            return {}
        remedy = "Write the file again: albertqa evaluate"
        return {
            question_id: convert(rows, tuple[Candidate, ...], f"{path}: question {question_id}", remedy=remedy)
            for question_id, rows in read_object(path).items()
        }

    @cached_property
    def null_odds(self) -> dict[str, float]:
        """v2.0: null score minus best answer's score for each question id; else empty."""
        path = self.path / NULL_ODDS_JSON
        return read_null_odds(path) if path.is_file() else {}

    @cached_property
    def findings(self) -> tuple[Finding, ...]:
        """What ``health.json`` says is wrong with the run."""
        return read_findings(self.path)


def load_run(path: Path) -> Run:
    """Read a run directory.

    Args:
        path: The directory; the run may still be going on.

    Raises:
        AlbertQAError: It is not a run directory, or is damaged: the file, the line, what was expected and found.
    """
    if path.is_file():
        raise RunError(f"{path}: is a file, expected a run directory of 'albertqa train'. Name the folder it is in")
    facts = read_run_json(path)
    rows = list(read_rows(path))
    steps = tuple(row for row in rows if isinstance(row, StepRow))
    if len(steps) < facts.least_steps:
        raise RunError(
            f"{path / METRICS_JSONL}: expected the {facts.least_steps:,} steps of run.json ({facts.status}), found "
            f"{len(steps):,}; lines are missing. {PUT_BACK}"
        )
    return Run(
        path=path,
        settings=load_settings(path / CONFIG_TOML, is_run=True),
        facts=facts,
        steps=steps,
        evaluations=tuple(row for row in rows if isinstance(row, EvaluationRow)),
        scores=read_scores(path),
        is_alive=is_locked(path) if facts.status == "running" else None,
    )


def read_scores(run: Path) -> dict[str, float]:
    """Read a run's ``eval.json``.

    Returns:
        Its numbers by name; empty where the file is missing.

    Raises:
        RunError: The file is damaged.
    """
    path = run / EVAL_JSON
    if not path.is_file():
        return {}
    remedy = "Put the file back as it was, or remove it"
    scores = read_object(path)
    for name, value in scores.items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise RunError(f"{path}: expected a number as '{name}', found {json.dumps(value)[:40]}. {remedy}")
    expected = ["exact", "f1", "loss", "questions", "windows"]
    for kind in ("HasAns", "NoAns"):
        # The official metric has all three of a kind of questions, or none.
        names = [f"{kind}_exact", f"{kind}_f1", f"{kind}_total"]
        expected += names if scores.keys() & names else []
    missing = [name for name in expected if name not in scores]
    if missing:
        raise RunError(f"{path}: expected '{missing[0]}', found none. {remedy}")
    return scores


@contextmanager
def locked(run: Path) -> Iterator[None]:
    """Lock a run directory while this process trains in it; the lock ends with the process, however that ends.

    Raises:
        RunError: Another process has locked it.
    """
    lock = FileLock(run / LOCK, timeout=_LOCK_SECONDS)
    try:
        lock.acquire()
    except Timeout as error:
        raise RunError(
            f"{run}: another process is training there. Wait for it, stop it, or choose another --output-dir"
        ) from error
    except (OSError, NotImplementedError):
        # Some network drives have no locks; that is no reason not to train there.
        pass
    try:
        yield
    finally:
        lock.release()


def is_locked(run: Path) -> bool | None:
    """Return whether a process trains in a run directory now; None where that cannot be found out."""
    path = run / LOCK
    if not path.is_file():
        return None
    try:
        with FileLock(path, timeout=0):
            return False
    except Timeout:
        return True
    except (OSError, NotImplementedError):
        return None
