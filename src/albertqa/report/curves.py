"""Training curves of one or several runs: losses, scores, learning rate, gradient norm and speed by step."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from albertqa.report.chart import Chart, Mark, Series, numbers, pooled
from albertqa.rundir.directory import Run

MOST_POINTS = 600
"""Points of a line at most; more steps are pooled, and a band shows their minimum and maximum."""

_SMOOTHED_SHARE, _LEAST_SMOOTHED = 0.02, 10
_MOST_EPOCH_MARKS = 12
_LOG_FROM_RATIO = 40.0


def curves_of(runs: Mapping[str, Run], references: Sequence[Mark] = ()) -> list[Chart]:
    """Return the curves of runs, drawn over each other.

    Args:
        runs: The runs by their names.
        references: Published scores to mark in the chart of exact match and F1.

    Returns:
        The charts that have points; all have the same range of steps.
    """
    marks = _marks(runs)
    training = _step_lines(runs, "train_loss", _minimized)
    validation = _evaluation_lines(runs, ("validation_loss", "validation", 1))
    charts = [
        Chart("loss", "Loss", "step", "loss", (*training, *validation), marks, end_labels=True),
        Chart(
            "scores",
            "Exact match and F1 on the validation questions",
            "step",
            "percent",
            _evaluation_lines(runs, ("f1", "F1", 0), ("exact", "exact", 1)),
            marks,
            tuple(references),
            style="percent",
            end_labels=True,
        ),
        Chart(
            "rate",
            "Learning rate",
            "step",
            "learning rate",
            _step_lines(runs, "learning_rate", "learning rate", smooth=False),
            marks,
            style="power",
        ),
        _norm_chart(runs, marks),
        Chart(
            "speed",
            "Training speed",
            "step",
            "tokens per second, without padding",
            _step_lines(runs, "tokens_per_second", "tokens per second"),
            marks,
            style="thousands",
        ),
    ]
    last = max([1, *(run.step for run in runs.values())])
    drawn = [chart for chart in charts if any(value is not None for line in chart.series for value in line.y)]
    return [replace(chart, x_range=(0.0, float(last))) for chart in drawn]


def smoothed_loss(run: Run, step: int) -> float | None:
    """Return the training loss at a step as the curve shows it; None without a finite loss up to there."""
    losses = [row.loss for row in run.steps if row.step <= step and math.isfinite(row.loss)]
    return float(np.mean(losses[-smoothed_steps(run) :])) if losses else None


def smoothed_steps(run: Run) -> int:
    """Return how many steps the running mean of a curve spans: 2 % of them, but at least 10 if there are more."""
    num_steps = len(run.steps)
    return max(1, round(num_steps * _SMOOTHED_SHARE), min(_LEAST_SMOOTHED, num_steps // 5))


def _minimized(run: Run) -> str:
    """Name the training loss; with a regularizer in it, it does not compare with the validation loss."""
    parts = {"label smoothing": run.settings.label_smoothing_factor, "R-Drop": run.settings.r_drop_alpha}
    return "training" + "".join(f" + {name}" for name, strength in parts.items() if strength)


def _norm_chart(runs: Mapping[str, Run], marks: tuple[Mark, ...]) -> Chart:
    lines = _step_lines(runs, "grad_norm", "gradient norm")
    values = [value for line in lines for value in (*line.y, *line.low, *line.high) if value]
    clips = {run.settings.max_grad_norm for run in runs.values() if run.settings.max_grad_norm}
    clip_marks = tuple(Mark(clip, f"clipped above {clip:g}", "reference") for clip in sorted(clips))
    is_wide = bool(values) and min(values) > 0 and max(values) / min(values) > _LOG_FROM_RATIO
    return Chart(
        "norm", "Gradient norm before clipping", "step", "gradient norm", lines, marks, clip_marks, log=is_wide
    )


def _label(runs: Mapping[str, Run], name: str, what: str) -> str:
    return f"{name}: {what}" if len(runs) > 1 else what


def _evaluation_lines(runs: Mapping[str, Run], *drawn: tuple[str, str, int]) -> tuple[Series, ...]:
    """Return lines of figures, each with its key, its name and its dash pattern, for one run after the other."""
    lines = []
    for index, (name, run) in enumerate(runs.items()):
        steps = numbers(row.step for row in run.evaluations)
        for key, what, dash in drawn:
            values = numbers(getattr(row, key) for row in run.evaluations)
            colour = index if len(runs) > 1 else dash
            lines.append(Series(_label(runs, name, what), steps, values, colour, dash, points=True))
    return tuple(lines)


def _step_lines(
    runs: Mapping[str, Run], key: str, what: str | Callable[[Run], str], *, smooth: bool = True
) -> tuple[Series, ...]:
    lines = []
    for index, (name, run) in enumerate(runs.items()):
        label = _label(runs, name, what if isinstance(what, str) else what(run))
        lines.append(_step_line(run, key, label, index, smooth=smooth, band=smooth and len(runs) == 1))
    return tuple(lines)


def _step_line(run: Run, key: str, label: str, colour: int, *, smooth: bool, band: bool) -> Series:
    steps = [row.step for row in run.steps]
    raw = np.asarray([getattr(row, key) for row in run.steps], dtype=np.float64)
    window = smoothed_steps(run) if smooth else 1
    values = _running_mean(raw, window)
    slices = pooled(steps, MOST_POINTS)
    if len(slices) == len(steps) and window == 1:
        return Series(label, numbers(steps), numbers(values.tolist()), colour)

    def pool(of: NDArray[np.float64], reduce: Callable[[NDArray[np.float64]], np.float64]) -> tuple[float | None, ...]:
        finite = [of[one][np.isfinite(of[one])] for one in slices]
        return numbers(float(reduce(part)) if len(part) else math.nan for part in finite)

    return Series(
        label,
        numbers(steps[one][-1] for one in slices),
        pool(values, np.mean),
        colour,
        low=pool(raw, np.min) if band else (),
        high=pool(raw, np.max) if band else (),
    )


def _running_mean(values: NDArray[np.float64], window: int) -> NDArray[np.float64]:
    """Average each value with those before it, `window` in all; NaN and infinity are left out."""
    known = np.isfinite(values)
    total = np.concatenate([[0.0], np.cumsum(np.where(known, values, 0.0))])
    number = np.concatenate([[0], np.cumsum(known)])
    end = np.arange(1, len(values) + 1)
    begin = np.maximum(0, end - window)
    count = number[end] - number[begin]
    mean = (total[end] - total[begin]) / np.maximum(count, 1)
    return np.where(count > 0, mean, math.nan)


def _marks(runs: Mapping[str, Run]) -> tuple[Mark, ...]:
    """Mark the ends of epochs, the best step, and findings at their steps; those of step 0 are of the whole run."""
    marks = []
    plans = {(run.facts.plan.steps_per_epoch, run.facts.plan.total_steps) for run in runs.values()}
    if len(plans) == 1:
        ((per_epoch, total),) = plans
        ends = range(per_epoch, total + 1, per_epoch)
        if len(ends) <= _MOST_EPOCH_MARKS:
            marks += [Mark(step, f"epoch {number}", "epoch") for number, step in enumerate(ends, 1)]
    for name, run in runs.items():
        if run.scores and len(runs) == 1:
            marks.append(Mark(run.best_step, "best", "best"))
        marks += [
            Mark(one.step, _label(runs, name, f"{one.name}: {one.message}"), one.severity)
            for one in run.findings
            if one.step
        ]
    return tuple(marks)
