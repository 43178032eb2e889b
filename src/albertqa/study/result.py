"""What a study found: every run, settings over seeds, paired tests, and the best one again on what chose nothing."""

import csv
import io
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from albertqa.data.example import Example
from albertqa.errors import RunError
from albertqa.files import EVAL_JSON, METRICS_JSONL, PREDICTIONS_JSON, plural, write_json, write_text
from albertqa.rundir.rows import EvaluationRow, StepRow, read_rows
from albertqa.schema import read_object
from albertqa.scoring.official import score_each
from albertqa.scoring.predictions import read_predictions
from albertqa.study.comparison import holm, paired_test
from albertqa.study.spec import Range, StudySpec, Value
from albertqa.study.trials import TrialRecord

STUDY_JSON, TRIALS_CSV, STUDY_HTML = "study.json", "trials.csv", "study.html"


@dataclass(frozen=True, slots=True)
class Spread:
    """A figure over seeds: mean and the sample's standard deviation, which one seed does not have."""

    mean: float
    sd: float | None
    n: int

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Summarise some values, at least one."""
        return cls(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None, len(values))

    def __str__(self) -> str:
        sd = "" if self.sd is None else f" ± {self.sd:.2f}"
        return f"{self.mean:.2f}{sd}"


@dataclass(frozen=True)
class TrialResult:
    """A run of the study, by the name of its directory.

    Attributes:
        state: ``complete``, ``pruned``, ``failed`` or ``unfinished``.
        failure: Why it failed.
        scores: Exact, F1 and loss on the selection part; empty unless complete.
        seconds: Training time.
        curve: Steps and metric of its evaluations.
    """

    name: str
    setting: int
    seed: int
    state: str
    failure: str
    scores: dict[str, float]
    seconds: float
    curve: list[tuple[int, float]]


@dataclass(frozen=True)
class SettingResult:
    """A setting over its seeds.

    Attributes:
        exact: Exact match, percent; as F1 and validation loss None where no run is complete.
    """

    number: int
    values: dict[str, Value]
    exact: Spread | None
    f1: Spread | None
    loss: Spread | None
    trials: list[TrialResult]

    @property
    def label(self) -> str:
        """What was tried, in words."""
        shown = {name: f"{value:g}" if isinstance(value, float) else value for name, value in self.values.items()}
        return ", ".join(f"{name} {value}" for name, value in shown.items())


@dataclass(frozen=True, slots=True)
class Comparison:
    """A setting against the best one.

    Attributes:
        setting: Its number.
        mean: The best one's metric minus this one's, in points.
        low: Lower end of the 95 % interval; None where one seed does not tell.
        high: Upper end.
        p: Probability of such a difference, were there none; corrected for the number of comparisons.
        seeds: Seeds that both were trained with.
        is_distinguishable: Whether p is below 0.05.
    """

    setting: int
    mean: float
    low: float | None
    high: float | None
    p: float
    seeds: int
    is_distinguishable: bool


@dataclass(frozen=True)
class FreshResult:
    """The best setting again, with seeds that chose nothing, on questions that chose nothing.

    Attributes:
        selection: The metric on the selection part, over the fresh seeds.
        exact: Exact match on the held-out part, as F1 is.
    """

    seeds: tuple[int, ...]
    selection: Spread
    exact: Spread
    f1: Spread


@dataclass(frozen=True)
class StudyResult:
    """What a study found.

    Attributes:
        name: The study's folder's name.
        metric: Metric that settings are compared by.
        search: How settings were chosen.
        questions: Questions of the selection part and of the held-out part.
        settings: The settings, best first; those without a complete run last.
        comparisons: Every further setting with complete runs against the best.
        fresh: The best again; None where it was not asked for.
        importance: For each tried setting the share of the variance between settings that goes with it.
        conclusion: What can be said, in sentences.
    """

    name: str
    metric: str
    search: str
    questions: tuple[int, int]
    settings: list[SettingResult]
    comparisons: list[Comparison]
    fresh: FreshResult | None
    importance: dict[str, float]
    conclusion: list[str]

    @property
    def best(self) -> SettingResult | None:
        """The best setting; None where no run is complete."""
        return self.settings[0] if self.settings and self.settings[0].f1 is not None else None

    def write(self, folder: Path) -> None:
        """Write ``study.json`` and ``trials.csv``."""
        write_json(folder / STUDY_JSON, asdict(self))
        write_text(folder / TRIALS_CSV, self._csv())

    def _csv(self) -> str:
        names = list(self.settings[0].values) if self.settings else []
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["run", *names, "seed", "state", "exact", "f1", "loss", "train_seconds", "failure"])
        for setting in sorted(self.settings, key=lambda one: one.number):
            for trial in setting.trials:
                scores = [trial.scores.get(name, "") for name in ("exact", "f1", "loss")]
                values = [setting.values[name] for name in names]
                writer.writerow([trial.name, *values, trial.seed, trial.state, *scores, trial.seconds, trial.failure])
        return text.getvalue()


def collect(
    spec: StudySpec,
    records: Sequence[TrialRecord],
    selection: Sequence[Example],
    num_heldout: int,
    fresh: FreshResult | None,
) -> StudyResult:
    """Collect what a study found from its run directories.

    Args:
        spec: The study.
        records: Its trials.
        selection: The questions that settings are chosen by.
        num_heldout: Number of the held-out questions.
        fresh: The best setting with fresh seeds, once these are trained.
    """
    trials = sorted((_trial(spec, one) for one in records), key=lambda one: one.seed)
    settings = []
    for number, values in sorted({one.setting: one.values for one in records}.items()):
        own = [one for one in trials if one.setting == number]
        spreads = {
            name: Spread.of(found) if (found := [one.scores[name] for one in own if one.scores]) else None
            for name in ("exact", "f1", "loss")
        }
        settings.append(SettingResult(number, values, **spreads, trials=own))
    # Settings with all of their seeds first: a mean over the lucky ones must not win.
    complete = [one for one in settings if one.f1 is not None and one.f1.n == len(spec.seeds)]
    complete.sort(key=lambda one: -getattr(one, spec.metric).mean)
    ranked = complete + [one for one in settings if one not in complete]
    comparisons = _comparisons(spec, complete, selection)
    return StudyResult(
        name=spec.folder.name,
        metric=spec.metric,
        search=spec.search,
        questions=(len(selection), num_heldout),
        settings=ranked,
        comparisons=comparisons,
        fresh=fresh,
        importance=_importance(spec, complete),
        conclusion=_sentences(spec, complete, comparisons, fresh, num_heldout),
    )


def run_scores(run: Path) -> dict[str, float]:
    """Return exact, F1 and loss of a run's best model."""
    scores = read_object(run / EVAL_JSON)
    return {name: float(scores[name]) for name in ("exact", "f1", "loss")}


def _trial(spec: StudySpec, record: TrialRecord) -> TrialResult:
    run = spec.folder / "runs" / record.name
    state = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed"}.get(record.state, "unfinished")
    curve, seconds = list[tuple[int, float]](), 0.0
    if (run / METRICS_JSONL).is_file():
        for row in read_rows(run):
            if isinstance(row, StepRow):
                seconds = row.seconds or seconds
            elif isinstance(row, EvaluationRow) and (value := getattr(row, spec.metric)) is not None:
                curve.append((row.step, value))
    scores = run_scores(run) if state == "complete" else {}
    return TrialResult(record.name, record.setting, record.seed, state, record.failure, scores, seconds, curve)


def _comparisons(spec: StudySpec, complete: Sequence[SettingResult], selection: Sequence[Example]) -> list[Comparison]:
    if len(complete) < 2:
        return []
    scores = {one.number: _question_scores(spec, one, selection) for one in complete}
    best = scores[complete[0].number]
    tests = [paired_test(scores[one.number], best) for one in complete[1:]]
    corrected = holm([one.p for one in tests])
    return [
        Comparison(setting.number, test.mean, test.low, test.high, p, test.seeds, p < 0.05)
        for setting, test, p in zip(complete[1:], tests, corrected, strict=True)
    ]


def _question_scores(spec: StudySpec, setting: SettingResult, selection: Sequence[Example]) -> npt.NDArray[np.float64]:
    """Return a setting's scores in percent: (seeds, questions)."""
    rows = []
    for trial in setting.trials:
        predictions = read_predictions(spec.folder / "runs" / trial.name / PREDICTIONS_JSON)
        scores = score_each(selection, predictions)
        if len(scores) < len(selection):
            raise RunError(f"{trial.name}: has no predictions of some questions of data/selection.json")
        rows.append([100 * getattr(scores[one.id], spec.metric) for one in selection])
    return np.array(rows)


def _importance(spec: StudySpec, complete: Sequence[SettingResult]) -> dict[str, float]:
    """Return the share of the variance between settings that goes with each tried setting alone."""
    means = np.array([getattr(one, spec.metric).mean for one in complete])
    if len(complete) < 3 or means.var() == 0:
        return {}
    found = {}
    for name, of in spec.space.items():
        if isinstance(of, Range):
            values = np.array([float(one.values[name]) for one in complete])
            ranks = np.array([np.argsort(np.argsort(one)) for one in (values, means)], dtype=np.float64)
            found[name] = float(np.corrcoef(ranks[0], ranks[1])[0, 1] ** 2)
        else:
            groups: dict[Value, list[float]] = {}
            for one, mean in zip(complete, means, strict=True):
                groups.setdefault(one.values[name], []).append(mean)
            between = sum(len(group) * (np.mean(group) - means.mean()) ** 2 for group in groups.values())
            found[name] = float(between / (len(means) * means.var()))
    return found


def _sentences(
    spec: StudySpec,
    complete: Sequence[SettingResult],
    comparisons: Sequence[Comparison],
    fresh: FreshResult | None,
    num_heldout: int,
) -> list[str]:
    if not complete:
        return ["No setting has a complete run with every seed, so nothing can be said of them."]
    best, metric = complete[0], spec.metric
    said = [f"{best.label}: highest {metric}, {getattr(best, metric)} over {plural(len(spec.seeds), 'seed')}."]
    labels = {one.number: one.label for one in complete}
    for one in comparisons:
        between = "one seed does not tell" if one.low is None else f"95 % interval {one.low:.2f} to {one.high:.2f}"
        verdict = "lower" if one.is_distinguishable else "not distinguishable from it"
        p = "below 0.001" if one.p < 0.001 else f"{one.p:.3f}"
        said.append(f"{labels[one.setting]}: {verdict} (difference {one.mean:.2f} points, {between}, p {p}).")
    if fresh is not None:
        said.append(
            f"With {plural(len(fresh.seeds), 'fresh seed')} the best setting has {metric} {fresh.selection} on the "
            f"questions that chose it, and {getattr(fresh, metric)} on the {num_heldout:,} held-out questions: report "
            "the latter, as the best of several is above its true value where it was chosen."
        )
    return said
