"""Everything that the page and the model cards say about one run."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from albertqa import files
from albertqa.data.example import Example
from albertqa.decode.reader_settings import ReaderSettings
from albertqa.errors import RunError
from albertqa.report.outcome import (
    KINDS,
    RANKS,
    Outcome,
    Ranges,
    outcomes_of,
    percents,
    reload_validation,
    window_ranges,
)
from albertqa.report.probabilities import Calibration, NoAnswer, judge_calibration, judge_no_answer
from albertqa.rundir.directory import Run, load_run
from albertqa.scoring.interval import Interval, mean_interval

# Percent; sums of floats in another order differ by far less, another predictions file by far more.
_SAME_PERCENT = 1e-6


@dataclass(frozen=True, slots=True)
class PublishedCard:
    """The figures of a public model card, percent; its "eval_samples" are windows."""

    name: str
    exact: float
    f1: float
    questions: int
    windows: int
    base: str
    data: str


CARD = PublishedCard(
    "Palak/albert-base-v2_squad", 82.69631031220435, 90.10806626207174, 10_570, 10_808, "albert-base-v2", "SQuAD v1.1"
)

# SHA-256 of the 10,570 question ids of dev-v1.1.json, sorted, one a line. Ids rather than the whole content: copies
# of the set differ in the offsets of their golds, which no score depends on.
_DEV_IDS_SHA256 = "3fdb9bf5e1a187ca5f02c2bcbb252ae1198cc49832c888d608623b5c24bc24c1"


@dataclass(frozen=True)
class Analysis:
    """The analysis of one run.

    Attributes:
        name: The run's name on the page.
        run: The run.
        examples: Its validation data; empty if it cannot be used.
        outcomes: Its answer to each question; empty if the data cannot be used.
        missing: Why there are no outcomes; empty if there are.
        windows: Ranges of each question's windows; None if unknown.
        exact, f1: Percent, with intervals; None without outcomes.
        card: The published card, if it was evaluated on the same questions: the dev set of SQuAD v1.1.
        calibration: None without probabilities.
        no_answer: None on v1.1.
        notes: Warnings about the figures.
    """

    name: str
    run: Run
    examples: Sequence[Example] = ()
    outcomes: Sequence[Outcome] = ()
    missing: str = ""
    windows: Sequence[Ranges] | None = None
    exact: Interval | None = None
    f1: Interval | None = None
    card: PublishedCard | None = None
    calibration: Calibration | None = None
    no_answer: NoAnswer | None = None
    notes: tuple[str, ...] = ()

    def kind_counts(self) -> list[int]:
        """Return the number of answers of each kind."""
        kinds = [one.kind for one in self.outcomes]
        return [kinds.count(index) for index in range(len(KINDS))]

    def rank_counts(self) -> list[int]:
        """Return the number of questions by the rank of the first right candidate; empty without candidates."""
        ranks = [one.rank for one in self.outcomes if one.rank is not None]
        return [ranks.count(index) for index in range(len(RANKS))] if ranks else []


def load_runs(paths: Sequence[Path]) -> dict[str, Run]:
    """Read run directories.

    Args:
        paths: The directories, at least one, each once.

    Returns:
        Each run by its name on the page: as many of its path's last parts as distinguish it from the others.

    Raises:
        AlbertQAError: A directory is not a run, is damaged, or is listed twice.
    """
    if not paths:
        raise RunError("a report needs at least one run directory, found none. Name one: albertqa report RUN")
    resolved = [path.resolve() for path in paths]
    for at, path in enumerate(paths):
        if resolved[at] in resolved[:at]:
            raise RunError(f"{path}: this run is listed twice; list each run once")
    for length in range(1, max(len(path.parts) for path in resolved) + 1):
        names = ["/".join(path.parts[-length:]) for path in resolved]
        if len(set(names)) == len(names):
            break
    return {name: load_run(path) for name, path in zip(names, paths, strict=True)}


def analyse(runs: Mapping[str, Run]) -> list[Analysis]:
    """Analyse runs; the same validation data is read once."""
    loaded: dict[tuple[str, ...], tuple[list[Example], str]] = {}
    analyses = []
    for name, run in runs.items():
        if not run.scores:
            analyses.append(Analysis(name, run, missing="This run has not been evaluated yet."))
            continue
        facts = run.facts.data.validation
        key = (*facts.sources, facts.content_sha256)
        if key not in loaded:
            loaded[key] = reload_validation(run)
        analyses.append(_analyse_one(name, run, *loaded[key]))
    return analyses


def _analyse_one(name: str, run: Run, examples: Sequence[Example], missing: str) -> Analysis:
    unanswered = sum(example.id not in run.predictions for example in examples)
    if unanswered:
        missing = f"{files.PREDICTIONS_JSON} lacks {unanswered:,} of the {len(examples):,} validation questions."
    card = published_card(run, examples)
    if missing:
        return Analysis(name, run, missing=missing, card=card)
    windows, windows_missing = window_ranges(run, examples)
    confidence = ReaderSettings.load(run.path / files.BEST).confidence
    outcomes = outcomes_of(run, examples, windows, confidence)
    exact, f1 = (mean_interval(column.tolist()) for column in percents(outcomes).T)
    notes = [windows_missing] if windows_missing else []
    if abs(exact.mean - run.scores["exact"]) > _SAME_PERCENT or abs(f1.mean - run.scores["f1"]) > _SAME_PERCENT:
        notes.append(
            f"{files.PREDICTIONS_JSON} and {files.EVAL_JSON} are of different evaluations: the predictions score "
            f"{exact.mean:.2f} exact and {f1.mean:.2f} F1, the file has {run.scores['exact']:.2f} and "
            f"{run.scores['f1']:.2f}. Single questions are shown from the predictions."
        )
    return Analysis(
        name=name,
        run=run,
        examples=examples,
        outcomes=outcomes,
        windows=windows,
        exact=exact,
        f1=f1,
        card=card,
        calibration=judge_calibration(outcomes, confidence),
        no_answer=judge_no_answer(run, outcomes),
        notes=tuple(notes),
    )


def ids_sha256(ids: Iterable[str]) -> str:
    """Return the hash of question ids, in any order."""
    return hashlib.sha256("\n".join(sorted(ids)).encode("utf-8", "surrogatepass")).hexdigest()


def published_card(run: Run, examples: Sequence[Example]) -> PublishedCard | None:
    """Return the published card if a run was evaluated on exactly the same questions.

    Args:
        run: The run.
        examples: Its validation data; empty where it cannot be read, then the ids of its predictions count.
    """
    ids = [example.id for example in examples] or list(run.predictions)
    questions = run.facts.data.validation.questions
    if run.facts.version_2 or len(ids) != CARD.questions or questions != CARD.questions:
        return None
    return CARD if ids_sha256(ids) == _DEV_IDS_SHA256 else None
