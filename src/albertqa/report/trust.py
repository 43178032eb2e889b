"""The charts of how far a run can be believed: reliability, risk and coverage, thresholds for "no answer"."""

from collections.abc import Sequence

from albertqa.report.analysis import Analysis
from albertqa.report.calibration import Bin
from albertqa.report.chart import Chart, Mark, Series, numbers, pooled

_MOST_POINTS = 300


def trust_charts(analyses: Sequence[Analysis]) -> list[Chart]:
    """Draw what is known of the runs' probabilities.

    Args:
        analyses: The runs.

    Returns:
        The charts that have points; a sweep of thresholds for each run on v2.0.
    """
    several = len(analyses) > 1
    charts = [
        Chart(
            "reliability",
            "Reliability: how often answers of a given probability are right",
            "probability of the answer",
            "share that is right (exact)",
            tuple(_reliability_lines(analyses)),
            x_range=(0.0, 1.0),
            y_range=(0.0, 1.0),
            diagonal=True,
        ),
        Chart(
            "coverage",
            "Exact match and F1 of the surest answers",
            "share of the questions that is answered, percent",
            "percent",
            tuple(_coverage_lines(analyses)),
            x_range=(0.0, 100.0),
        ),
    ]
    for index, one in enumerate(analyses):
        charts += _sweep_charts(index, one, one.run.name if several else "")
    return [chart for chart in charts if chart.series]


def _reliability_lines(analyses: Sequence[Analysis]) -> list[Series]:
    several = len(analyses) > 1
    lines = []
    for index, one in enumerate(analyses):
        calibration = one.calibration
        if calibration is None:
            continue
        name = one.run.name if several else "as the run gives them"
        lines.append(_bins(name, calibration.bins, index, 0, whiskers=not several))
        if calibration.temperature is not None and not several:
            named = f"with temperature {calibration.temperature.temperature:.2f}, on the other half"
            lines.append(_bins(named, calibration.temperature.bins_after, 1, 1, whiskers=False))
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
        prefix = f"{one.run.name}: " if several else ""
        lines.append(Series(f"{prefix}F1", shares, numbers(point.f1 for point in shown), index))
        exact = numbers(point.exact for point in shown)
        lines.append(Series(f"{prefix}exact", shares, exact, index if several else 1, 1))
    return lines


def _sweep_charts(index: int, analysis: Analysis, name: str) -> list[Chart]:
    judged = analysis.no_answer
    if judged is None:
        return []
    thresholds = numbers(point.threshold for point in judged.sweep)
    suffix = f" ({name})" if name else ""
    used = (Mark(judged.threshold, f"used: {judged.threshold:g}", "best"),)
    scores = (
        Series("F1", thresholds, numbers(point.f1 for point in judged.sweep), 0),
        Series("exact", thresholds, numbers(point.exact for point in judged.sweep), 1, 1),
    )
    finding = (
        Series("precision", thresholds, numbers(point.precision for point in judged.sweep), 2),
        Series("recall", thresholds, numbers(point.recall for point in judged.sweep), 3, 1),
    )
    axis = "threshold: “no answer” where the null odds are above it"
    return [
        Chart(f"sweep-{index}", f"Exact match and F1 by threshold{suffix}", axis, "percent", scores, used),
        Chart(f"finding-{index}", f"Precision and recall of “no answer”{suffix}", axis, "percent", finding, used),
    ]
