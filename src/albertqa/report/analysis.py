"""All that is computed for the page about one run, and about the runs that share their validation data."""

from collections.abc import Sequence
from dataclasses import dataclass

from albertqa import files
from albertqa.data.example import Example
from albertqa.report.breakdown import Facet, GroupScore, facets_of, group_scores
from albertqa.report.calibration import Calibration, calibrate, write_calibration
from albertqa.report.compare import Difference, difference_to_first
from albertqa.report.no_answer import NoAnswer, judge_no_answer
from albertqa.report.outcome import KINDS, RANKS, Outcome, Ranges, outcomes_of, reload_validation, window_ranges
from albertqa.report.published import PublishedCard, card_beside
from albertqa.report.run import Run
from albertqa.scoring.interval import Interval, mean_interval

# Percent; sums of floats in another order differ by far less, another predictions file by far more.
_SAME_PERCENT = 1e-6


@dataclass(frozen=True)
class Analysis:
    """What the page says about one run.

    Attributes:
        run: The run.
        examples: Its validation data; empty where it is not to be had.
        outcomes: What it said to each question; empty where the data is not to be had.
        missing: Why there is nothing about single questions; empty where there is.
        windows: Ranges of each question's windows; None where they are not known.
        exact: Exact match in percent with its interval; None without outcomes.
        f1: F1 likewise.
        card: The published card, where the data is the one that it was evaluated on.
        calibration: How far its probabilities can be believed; None without probabilities.
        no_answer: v2.0: how well it tells that there is no answer.
        notes: What the reader has to know before believing the figures.
    """

    run: Run
    examples: Sequence[Example]
    outcomes: Sequence[Outcome]
    missing: str
    windows: Sequence[Ranges] | None
    exact: Interval | None
    f1: Interval | None
    card: PublishedCard | None
    calibration: Calibration | None
    no_answer: NoAnswer | None
    notes: tuple[str, ...]

    def kind_counts(self) -> list[int]:
        """Count the answers of each kind."""
        kinds = [one.kind for one in self.outcomes]
        return [kinds.count(index) for index in range(len(KINDS))]

    def rank_counts(self) -> list[int]:
        """Count the questions by where the first right candidate stands; empty where the run kept no candidates."""
        ranks = [one.rank for one in self.outcomes if one.rank is not None]
        return [ranks.count(index) for index in range(len(RANKS))] if ranks else []


@dataclass(frozen=True)
class SharedData:
    """Runs that were evaluated on the same questions.

    Attributes:
        analyses: The runs.
        facets: The questions in groups.
        scores: For each facet, and in it for each run, the scores of its groups.
        differences: Every further run against the first.
    """

    analyses: Sequence[Analysis]
    facets: Sequence[Facet]
    scores: Sequence[Sequence[Sequence[GroupScore | None]]]
    differences: Sequence[Difference]


def analyse(runs: Sequence[Run]) -> list[Analysis]:
    """Compute what the page says about each run; keep each one's temperature in its run.

    Args:
        runs: The runs.

    Returns:
        One analysis a run.
    """
    loaded: dict[str, tuple[list[Example], str]] = {}
    analyses = []
    for run in runs:
        key = f"{run.validation['sources']} {run.validation['content_sha256']}"
        if key not in loaded and run.scores:
            loaded[key] = reload_validation(run)
        examples, missing = loaded[key] if run.scores else ([], "This run has not been evaluated yet.")
        analyses.append(_analyse_one(run, examples, missing))
    return analyses


def _analyse_one(run: Run, examples: Sequence[Example], missing: str) -> Analysis:
    without = sum(example.id not in run.predictions for example in examples)
    if without:
        missing = f"{files.PREDICTIONS_JSON} lacks {without:,} of the {len(examples):,} validation questions."
    if missing:
        card = card_beside(run, examples)
        return Analysis(run, (), (), missing, None, None, None, card, None, None, ())
    windows, windows_missing = window_ranges(run, examples)
    outcomes = outcomes_of(run, examples, windows)
    exact = mean_interval([100 * one.exact for one in outcomes])
    f1 = mean_interval([100 * one.f1 for one in outcomes])
    notes = [windows_missing] if windows_missing else []
    if abs(exact.mean - run.scores["exact"]) > _SAME_PERCENT or abs(f1.mean - run.scores["f1"]) > _SAME_PERCENT:
        notes.append(
            f"{files.PREDICTIONS_JSON} and {files.EVAL_JSON} do not belong together: the predictions score "
            f"{exact.mean:.2f} exact and {f1.mean:.2f} F1, the file says {run.scores['exact']:.2f} and "
            f"{run.scores['f1']:.2f}. What is said about single questions is of the predictions."
        )
    calibration = calibrate(outcomes)
    if calibration is not None and calibration.temperature is not None:
        failure = write_calibration(run, calibration.temperature)
        notes += [f"The temperature is not kept in the run: {failure}."] if failure else []
    return Analysis(
        run=run,
        examples=examples,
        outcomes=outcomes,
        missing="",
        windows=windows,
        exact=exact,
        f1=f1,
        card=card_beside(run, examples),
        calibration=calibration,
        no_answer=judge_no_answer(run, outcomes),
        notes=tuple(notes),
    )


def share_data(analyses: Sequence[Analysis]) -> list[SharedData]:
    """Put runs on the same questions together.

    Args:
        analyses: The runs; those without outcomes are left out.

    Returns:
        The groups, in the order of their first run.
    """
    groups: dict[str, list[Analysis]] = {}
    for one in analyses:
        if one.outcomes:
            groups.setdefault(one.run.validation["content_sha256"], []).append(one)
    return [_shared(members) for members in groups.values()]


def _shared(members: Sequence[Analysis]) -> SharedData:
    windows = next((one.windows for one in members if one.windows is not None), None)
    facets = facets_of(members[0].examples, None if windows is None else [len(ranges) for ranges in windows])
    first = members[0]
    return SharedData(
        analyses=members,
        facets=facets,
        scores=[[group_scores(facet, one.outcomes) for one in members] for facet in facets],
        differences=[difference_to_first((first.run, first.outcomes), (one.run, one.outcomes)) for one in members[1:]],
    )
