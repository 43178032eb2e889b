"""Several runs: differing settings, paired differences on the same questions, spread over seeds."""

import dataclasses
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from albertqa.config import Settings, field_docs
from albertqa.report.analysis import Analysis
from albertqa.report.breakdown import Facet, GroupScore, facets_of, group_scores
from albertqa.report.outcome import Outcome, percents
from albertqa.report.templates import format_setting
from albertqa.rundir.directory import Run
from albertqa.scoring.interval import Interval, mean_interval

# Settings that change no result: where a run is written, and what is shown of it.
_NO_RESULT = frozenset(
    {"output_dir", "logging_steps", "report_to", "save_total_limit", "save_steps", "eval_batch_size"}
)


@dataclass(frozen=True, slots=True)
class SettingRow:
    """A setting that differs: its docstring, and its values, formatted, in the order of the runs."""

    name: str
    meaning: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Difference:
    """A run minus the first one on the same questions, in points; and its questions with a higher or lower F1."""

    exact: Interval
    f1: Interval
    better: int
    worse: int


@dataclass(frozen=True)
class SharedData:
    """Runs that were evaluated on the same questions.

    Attributes:
        analyses: The runs.
        facets: The questions in groups.
        scores: For each facet and each run, the scores of the facet's groups.
        differences: Every further run against the first.
    """

    analyses: Sequence[Analysis]
    facets: Sequence[Facet]
    scores: Sequence[Sequence[Sequence[GroupScore | None]]]
    differences: Sequence[Difference]


@dataclass(frozen=True, slots=True)
class Spread:
    """A figure over several seeds: its mean and the sample's standard deviation."""

    mean: float
    deviation: float


@dataclass(frozen=True, slots=True)
class SeedGroup:
    """Runs that differ in the seed only: percent, and the validation loss."""

    names: tuple[str, ...]
    seeds: tuple[int, ...]
    exact: Spread
    f1: Spread
    loss: Spread


def differing_settings(columns: Sequence[Settings]) -> list[SettingRow]:
    """Return the settings that differ between runs, or between a run and the recipe, and can change a result."""
    docs = field_docs()
    rows = []
    for field in dataclasses.fields(Settings):
        values = [getattr(settings, field.name) for settings in columns]
        if field.name not in _NO_RESULT and any(value != values[0] for value in values):
            rows.append(SettingRow(field.name, docs[field.name], tuple(map(format_setting, values))))
    return rows


def share_data(analyses: Sequence[Analysis]) -> list[SharedData]:
    """Group runs by their validation questions, in the order of their first run; without outcomes they are left out."""
    groups: dict[str, list[Analysis]] = {}
    for one in analyses:
        if one.outcomes:
            groups.setdefault(one.run.facts.data.validation.content_sha256, []).append(one)
    return [_shared(members) for members in groups.values()]


def _difference(baseline: Sequence[Outcome], candidate: Sequence[Outcome]) -> Difference:
    exact, f1 = (percents(candidate) - percents(baseline)).T
    better, worse = int((f1 > 0).sum()), int((f1 < 0).sum())
    return Difference(mean_interval(exact.tolist()), mean_interval(f1.tolist()), better, worse)


def seed_groups(runs: Mapping[str, Run]) -> list[SeedGroup]:
    """Group evaluated runs that differ in the seed only, in the order of their first run; one seed is no group."""
    groups: dict[tuple[Settings, str], dict[str, Run]] = {}
    for name, run in runs.items():
        if run.scores:
            key = (_without_seed(run.settings), run.facts.data.validation.content_sha256)
            groups.setdefault(key, {})[name] = run
    found = []
    for members in groups.values():
        seeds = tuple(run.settings.seed for run in members.values())
        if len(set(seeds)) > 1:
            values = ([run.scores[key] for run in members.values()] for key in ("exact", "f1", "loss"))
            found.append(SeedGroup(tuple(members), seeds, *map(_spread, values)))
    return found


def _shared(members: Sequence[Analysis]) -> SharedData:
    windows = next((one.windows for one in members if one.windows is not None), None)
    facets = facets_of(members[0].examples, None if windows is None else [len(ranges) for ranges in windows])
    return SharedData(
        analyses=members,
        facets=facets,
        scores=[[group_scores(facet, one.outcomes) for one in members] for facet in facets],
        differences=[_difference(members[0].outcomes, one.outcomes) for one in members[1:]],
    )


def _spread(values: Sequence[float]) -> Spread:
    return Spread(statistics.fmean(values), statistics.stdev(values))


def _without_seed(settings: Settings) -> Settings:
    default = Settings()
    return dataclasses.replace(settings, seed=0, **{name: getattr(default, name) for name in _NO_RESULT})
