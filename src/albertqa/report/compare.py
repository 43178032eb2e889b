"""Several runs beside each other: what differs in their settings, whether they really differ, and repeated seeds."""

import dataclasses
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from albertqa.config import Settings
from albertqa.report.outcome import Outcome
from albertqa.report.run import Run
from albertqa.scoring.interval import Interval, difference_interval

# Where a run is written and what is shown of it decides no result.
_NO_RESULT = frozenset(
    {"output_dir", "logging_steps", "report_to", "save_total_limit", "save_steps", "eval_batch_size"}
)


@dataclass(frozen=True, slots=True)
class SettingRow:
    """One setting that differs.

    Attributes:
        name: The setting.
        meaning: Its docstring.
        values: Its values, one for each column.
    """

    name: str
    meaning: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Difference:
    """How much better one run is than the first, on the same questions.

    Attributes:
        baseline: Name of the first run.
        candidate: Name of the other.
        questions: Questions that both answered.
        exact: Candidate's exact match less the baseline's, in points, with its interval.
        f1: The same of F1.
        better: Questions with a greater F1 than the baseline's.
        worse: Questions with a smaller one.
    """

    baseline: str
    candidate: str
    questions: int
    exact: Interval
    f1: Interval
    better: int
    worse: int


@dataclass(frozen=True, slots=True)
class Spread:
    """A figure over several seeds.

    Attributes:
        mean: The mean.
        deviation: The sample's standard deviation.
    """

    mean: float
    deviation: float


@dataclass(frozen=True, slots=True)
class SeedGroup:
    """Runs that differ in nothing but the seed.

    Attributes:
        names: Their names.
        seeds: Their seeds.
        exact: Exact match in percent.
        f1: F1 in percent.
        loss: Validation loss.
    """

    names: tuple[str, ...]
    seeds: tuple[int, ...]
    exact: Spread
    f1: Spread
    loss: Spread


def settings_beside_recipe(settings: Settings, docs: Mapping[str, str]) -> list[SettingRow]:
    """List the settings that differ from the published recipe.

    Args:
        settings: A run's settings.
        docs: What each setting means.

    Returns:
        The differing settings that can change a result, with two values each: the run's and the recipe's.
    """
    return _differing([settings, Settings()], docs)


def settings_beside_each_other(runs: Sequence[Run], docs: Mapping[str, str]) -> list[SettingRow]:
    """List the settings that are not the same in all runs.

    Args:
        runs: The runs.
        docs: What each setting means.

    Returns:
        The differing settings that can change a result, with one value a run.
    """
    return _differing([run.settings for run in runs], docs)


def difference_to_first(
    baseline: tuple[Run, Sequence[Outcome]], candidate: tuple[Run, Sequence[Outcome]]
) -> Difference:
    """Tell how much better one run is than another on the same questions.

    Args:
        baseline: A run with what it said.
        candidate: Another, on the same questions.

    Returns:
        The difference with its paired bootstrap intervals.

    Raises:
        DataError: The questions are not the same.
    """

    def percent(outcomes: Sequence[Outcome], figure: str) -> dict[str, float]:
        return {one.example.id: 100 * float(getattr(one, figure)) for one in outcomes}

    f1_before, f1_after = percent(baseline[1], "f1"), percent(candidate[1], "f1")
    return Difference(
        baseline=baseline[0].name,
        candidate=candidate[0].name,
        questions=len(f1_before),
        exact=difference_interval(percent(baseline[1], "exact"), percent(candidate[1], "exact")),
        f1=difference_interval(f1_before, f1_after),
        better=sum(f1_after[key] > value for key, value in f1_before.items()),
        worse=sum(f1_after[key] < value for key, value in f1_before.items()),
    )


def seed_groups(runs: Sequence[Run]) -> list[SeedGroup]:
    """Fold runs that differ in nothing but the seed.

    Args:
        runs: The runs.

    Returns:
        The groups of at least two evaluated runs, in the order of their first run.
    """
    groups: dict[tuple[object, ...], list[Run]] = {}
    for run in runs:
        if run.scores:
            groups.setdefault((_without_seed(run.settings), run.validation["content_sha256"]), []).append(run)
    return [
        SeedGroup(
            names=tuple(run.name for run in members),
            seeds=tuple(run.settings.seed for run in members),
            exact=_spread(members, "exact"),
            f1=_spread(members, "f1"),
            loss=_spread(members, "loss"),
        )
        for members in groups.values()
        if len({run.settings.seed for run in members}) > 1
    ]


def _spread(runs: Sequence[Run], key: str) -> Spread:
    values = [float(run.scores[key]) for run in runs]
    return Spread(statistics.fmean(values), statistics.stdev(values))


def _without_seed(settings: Settings) -> Settings:
    same = Settings()
    return dataclasses.replace(settings, seed=0, **{name: getattr(same, name) for name in _NO_RESULT})


def _differing(columns: Sequence[Settings], docs: Mapping[str, str]) -> list[SettingRow]:
    rows = []
    for field in dataclasses.fields(Settings):
        values = [getattr(settings, field.name) for settings in columns]
        if field.name not in _NO_RESULT and any(value != values[0] for value in values):
            rows.append(SettingRow(field.name, docs.get(field.name, ""), tuple(map(spelled, values))))
    return rows


def spelled(value: Any) -> str:
    """Write a setting's value as a person would."""
    if value is None:
        return "unset"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple | list):
        return ", ".join(map(str, value)) or "none"
    return str(value)
