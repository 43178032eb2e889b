"""The page of a study: one HTML file without scripts that loads nothing from anywhere."""

from dataclasses import dataclass
from pathlib import Path

from albertqa import files
from albertqa.report.templates import render_page
from albertqa.study.result import STUDY_HTML, SettingResult, StudyResult

_WIDTH, _HEIGHT, _MARGIN = 640, 260, 46


@dataclass(frozen=True, slots=True)
class Axis:
    """A vertical axis of parallel coordinates, for a setting or the metric, with places and labels of its values."""

    name: str
    x: float
    ticks: list[tuple[float, str]]


@dataclass(frozen=True, slots=True)
class Line:
    """A setting's line in a chart, as SVG takes it, with the outline of the range over seeds."""

    label: str
    points: str
    band: str = ""


@dataclass(frozen=True, slots=True)
class Curves:
    """The metric while training: a line for each setting, and the ends of the axes, in steps and percent."""

    lines: list[Line]
    last_step: int
    low: float
    high: float


def write_study_page(result: StudyResult, folder: Path) -> Path:
    """Write a study's page into its folder; return the file."""
    ranked = [one for one in result.settings if one.f1 is not None]
    axes, parallel = _parallel_coordinates(ranked, result.metric)
    html = render_page(
        "study.html.jinja",
        result=result,
        compared={one.setting: one for one in result.comparisons},
        num_trials=sum(len(one.trials) for one in result.settings),
        axes=axes,
        parallel=parallel,
        curves=_folded_curves(ranked),
        width=_WIDTH,
        height=_HEIGHT,
        margin=_MARGIN,
    )
    target = folder / STUDY_HTML
    files.write_text(target, html)
    return target


def _parallel_coordinates(settings: list[SettingResult], metric: str) -> tuple[list[Axis], list[Line]]:
    """Return one axis for each tried setting and one for the metric, and a line for each setting."""
    if not settings:
        return [], []
    names = list(settings[0].values)
    columns = [[one.values[name] for one in settings] for name in names]
    columns.append([getattr(one, metric).mean for one in settings])
    axes, heights = [], []
    for at, (name, column) in enumerate(zip([*names, metric], columns, strict=True)):
        is_number = all(isinstance(one, int | float) and not isinstance(one, bool) for one in column)
        different = sorted(set(column), key=None if is_number else str)
        place = {one: _height(rank, len(different) - 1) for rank, one in enumerate(different)}
        x = _MARGIN + at * (_WIDTH - 2 * _MARGIN) / max(1, len(columns) - 1)
        shown = different if len(different) <= 6 else [different[0], different[-1]]
        labels = [f"{one:.4g}" if isinstance(one, float) else str(one) for one in shown]
        axes.append(Axis(name, round(x, 1), [(place[one], label) for one, label in zip(shown, labels, strict=True)]))
        heights.append([place[one] for one in column])
    lines = []
    for one, places in zip(settings, zip(*heights, strict=True), strict=True):
        points = " ".join(f"{axis.x},{place}" for axis, place in zip(axes, places, strict=True))
        lines.append(Line(one.label, points))
    return axes, lines


def _folded_curves(settings: list[SettingResult]) -> Curves:
    """Return each setting's mean curve over its seeds, with the range of the seeds."""
    curves = []
    for setting in settings:
        by_step: dict[int, list[float]] = {}
        for trial in setting.trials:
            for step, value in trial.curve:
                by_step.setdefault(step, []).append(value)
        curves.append(dict(sorted(by_step.items())))
    steps = [step for curve in curves for step in curve]
    values = [value for curve in curves for found in curve.values() for value in found]
    if not steps:
        return Curves([], 0, 0.0, 0.0)
    last, low, high = max(steps), min(values), max(values)

    def point(step: int, value: float) -> str:
        x = _MARGIN + step / last * (_WIDTH - 2 * _MARGIN)
        return f"{x:.1f},{_height(value - low, high - low)}"

    lines = []
    for setting, curve in zip(settings, curves, strict=True):
        means = " ".join(point(step, sum(found) / len(found)) for step, found in curve.items())
        ends = [point(step, min(found)) for step, found in curve.items()]
        ends += [point(step, max(found)) for step, found in reversed(curve.items())]
        lines.append(Line(setting.label, means, " ".join(ends) if len(curve) > 1 else ""))
    return Curves(lines, last, low, high)


def _height(value: float, largest: float) -> float:
    """Return how far down a value is drawn."""
    share = value / largest if largest else 0.5
    return round(_HEIGHT - _MARGIN - share * (_HEIGHT - 2 * _MARGIN), 1)
