"""Charts of the calibration section: reliability, scores by coverage, and thresholds for "no answer"."""

from collections.abc import Sequence

from albertqa.report.analysis import Analysis
from albertqa.report.chart import Chart, Mark, Series, numbers, pooled
from albertqa.report.probabilities import NoAnswer
from albertqa.scoring.calibration import Bin

_MOST_POINTS = 300


def probability_charts(analyses: Sequence[Analysis]) -> list[Chart]:
    """Return the charts of the runs' probabilities that have points; two by threshold for each run on v2.0 data."""
    charts = [
        Chart(
            "reliability",
            "Reliability: share of right answers by probability",
            "probability of the answer",
            "share of right answers (exact match)",
            tuple(_reliability_lines(analyses)),
            x_range=(0.0, 1.0),
            y_range=(0.0, 1.0),
            diagonal=True,
        ),
        Chart(
            "coverage",
            "Exact match and F1 of the most probable answers",
            "answered questions, percent",
            "percent",
            tuple(_coverage_lines(analyses)),
            x_range=(0.0, 100.0),
            style="percent",
        ),
    ]
    for index, one in enumerate(analyses):
        if one.no_answer is not None:
            charts += _threshold_charts(index, one.no_answer, f" ({one.name})" if len(analyses) > 1 else "")
    return [chart for chart in charts if chart.series]


def _reliability_lines(analyses: Sequence[Analysis]) -> list[Series]:
    several = len(analyses) > 1
    lines = []
    for index, one in enumerate(analyses):
        calibration = one.calibration
        if calibration is None:
            continue
        name = one.name if several else "softmax"
        lines.append(_bins(name, calibration.bins, index, 0, whiskers=not several))
        if calibration.fitted is not None and not several:
            lines.append(_bins("calibrated, tested half", calibration.fitted.bins_after, 1, 1, whiskers=False))
    return lines


def _bins(name: str, bins: Sequence[Bin], colour: int, dash: int, *, whiskers: bool) -> Series:
    return Series(
        name,
        numbers(one.probability for one in bins),
        numbers(one.right for one in bins),
        colour,
        dash,
        points=True,
        low=numbers(one.low for one in bins) if whiskers else (),
        high=numbers(one.high for one in bins) if whiskers else (),
    )


def _coverage_lines(analyses: Sequence[Analysis]) -> list[Series]:
    several = len(analyses) > 1
    lines = []
    for index, one in enumerate(analyses):
        if one.calibration is None:
            continue
        points = one.calibration.coverages
        shown = [points[part][-1] for part in pooled(range(len(points)), _MOST_POINTS)]
        shares = numbers(100 * point.share for point in shown)
        prefix = f"{one.name}: " if several else ""
        lines.append(Series(f"{prefix}F1", shares, numbers(point.f1 for point in shown), index))
        exact = numbers(point.exact for point in shown)
        lines.append(Series(f"{prefix}exact", shares, exact, index if several else 1, 1))
    return lines


def _threshold_charts(index: int, judged: NoAnswer, suffix: str) -> list[Chart]:
    thresholds = numbers(judged.sweep["threshold"])
    f1, exact, precision, recall = (
        Series(name, thresholds, numbers(judged.sweep[name.lower()]), colour, colour % 2)
        for colour, name in enumerate(("F1", "exact", "precision", "recall"))
    )
    used = (Mark(judged.threshold, f"used: {judged.threshold:g}", "best"),)
    axis, title = "threshold: “no answer” if the null odds are above it", f"Exact match and F1 by threshold{suffix}"
    found = f"Precision and recall of “no answer”{suffix}"
    return [
        Chart(f"scores-{index}", title, axis, "percent", (f1, exact), used),
        Chart(f"no-answer-{index}", found, axis, "percent", (precision, recall), used),
    ]
