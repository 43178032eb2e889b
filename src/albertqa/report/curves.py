"""The course of a run, or of several: losses, scores, learning rate, gradient norm and speed against the step."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from albertqa.report.chart import Chart, Mark, Numbers, Series, numbers, pooled
from albertqa.report.run import Run

MOST_POINTS = 600
"""Points of a line at most; of more steps, neighbours are pooled, and a band shows the least and the greatest."""

_SMOOTHED_SHARE = 0.02
_LOG_FROM_RATIO = 40.0


def curves_of(runs: Sequence[Run], references: Sequence[Mark]) -> list[Chart]:
    """Draw the curves of runs over each other.

    Args:
        runs: The runs.
        references: Published scores to draw into the chart of exact and f1.

    Returns:
        The charts that have points.
    """
    marks = _marks(runs)
    # The same steps in every chart, so that what stands above each other belongs together.
    steps = (0.0, float(max([1, *(row["step"] for run in runs for row in run.rows)])))
    several = len(runs) > 1
    charts = [
        Chart("loss", "Loss", "step", "loss", tuple(_loss_lines(runs)), verticals=marks),
        Chart(
            "scores",
            "Exact match and F1 on the validation questions",
            "step",
            "percent",
            tuple(_score_lines(runs)),
            verticals=marks,
            horizontals=tuple(references),
        ),
        Chart(
            "rate",
            "Learning rate",
            "step",
            "learning rate",
            tuple(_step_lines(runs, "learning_rate", "learning rate", smooth=False)),
            verticals=marks,
            style="power",
        ),
        _norm_chart(runs, marks),
        Chart(
            "speed",
            "Training speed",
            "step",
            "real tokens per second",
            tuple(_step_lines(runs, "tokens_per_second", "tokens per second", smooth=True, band=not several)),
            verticals=marks,
            style="thousands",
        ),
    ]
    return [replace(chart, x_range=steps) for chart in charts if any(len(line.x) for line in chart.series)]


def smoothed_loss(run: Run, step: int) -> float | None:
    """Give the mean training loss over the steps up to a step, over as many as the curve is smoothed with."""
    rows = run.steps
    losses = [row["train_loss"] for row in rows if row["step"] <= step and row["train_loss"] is not None]
    return float(np.mean(losses[-_window(len(rows)) :])) if losses else None


def _window(num_steps: int) -> int:
    return max(1, round(num_steps * _SMOOTHED_SHARE))


def _loss_lines(runs: Sequence[Run]) -> list[Series]:
    several = len(runs) > 1
    lines = [
        _step_line(run.steps, "train_loss", _named(runs, run, _minimized(run)), index, smooth=True, band=not several)
        for index, run in enumerate(runs)
    ]
    for index, run in enumerate(runs):
        colour = index if several else 1
        lines.append(_evaluation_line(run, "validation_loss", _named(runs, run, "validation"), colour, 1))
    return lines


def _minimized(run: Run) -> str:
    """Name the training loss; where a regularizer is part of it, it does not compare with the validation loss."""
    parts = {"label smoothing": run.settings.label_smoothing_factor, "R-Drop": run.settings.r_drop_alpha}
    return "training" + "".join(f" + {name}" for name, strength in parts.items() if strength)


def _score_lines(runs: Sequence[Run]) -> list[Series]:
    several = len(runs) > 1
    lines = []
    for index, run in enumerate(runs):
        lines.append(_evaluation_line(run, "f1", _named(runs, run, "F1"), index if several else 0, 0))
        lines.append(_evaluation_line(run, "exact", _named(runs, run, "exact"), index if several else 1, 1))
    return lines


def _norm_chart(runs: Sequence[Run], marks: tuple[Mark, ...]) -> Chart:
    lines = tuple(_step_lines(runs, "grad_norm", "gradient norm", smooth=True, band=len(runs) == 1))
    values = [value for line in lines for value in (*line.y, *line.low, *line.high) if value]
    clips = {run.settings.max_grad_norm for run in runs if run.settings.max_grad_norm}
    clip_marks = tuple(Mark(clip, f"clipped above {clip:g}", "reference") for clip in sorted(clips))
    is_wide = bool(values) and min(values) > 0 and max(values) / min(values) > _LOG_FROM_RATIO
    return Chart(
        "norm", "Gradient norm before clipping", "step", "gradient norm", lines, marks, clip_marks, log=is_wide
    )


def _named(runs: Sequence[Run], run: Run, what: str) -> str:
    return f"{run.name}: {what}" if len(runs) > 1 else what


def _evaluation_line(run: Run, key: str, name: str, colour: int, dash: int) -> Series:
    rows = run.evaluations
    steps, values = (numbers(row.get(one) for row in rows) for one in ("step", key))
    return Series(name, steps, values, colour, dash, points=True)


def _step_lines(runs: Sequence[Run], key: str, what: str, *, smooth: bool, band: bool = False) -> list[Series]:
    return [
        _step_line(run.steps, key, _named(runs, run, what), index, smooth=smooth, band=band)
        for index, run in enumerate(runs)
    ]


def _step_line(rows: Sequence[dict[str, Any]], key: str, name: str, colour: int, *, smooth: bool, band: bool) -> Series:
    steps = [row["step"] for row in rows]
    raw = np.asarray([math.nan if row.get(key) is None else row[key] for row in rows], dtype=np.float64)
    window = _window(len(rows)) if smooth else 1
    values = _running_mean(raw, window)
    slices = pooled(steps, MOST_POINTS)
    if len(slices) == len(steps) and window == 1:
        return Series(name, numbers(steps), numbers(values.tolist()), colour)
    low: Numbers = numbers(_of_known(raw[one], np.min) for one in slices) if band else ()
    high: Numbers = numbers(_of_known(raw[one], np.max) for one in slices) if band else ()
    last = numbers(steps[one][-1] for one in slices)
    return Series(name, last, numbers(_of_known(values[one], np.mean) for one in slices), colour, low=low, high=high)


def _running_mean(values: NDArray[np.float64], window: int) -> NDArray[np.float64]:
    """Average each value with those before it, `window` in all; what is not there does not count."""
    known = np.isfinite(values)
    total = np.concatenate([[0.0], np.cumsum(np.where(known, values, 0.0))])
    number = np.concatenate([[0], np.cumsum(known)])
    end = np.arange(1, len(values) + 1)
    begin = np.maximum(0, end - window)
    count = number[end] - number[begin]
    mean = (total[end] - total[begin]) / np.maximum(count, 1)
    return np.where(count > 0, mean, math.nan)


def _of_known(values: NDArray[np.float64], pick: Any) -> float:
    known = values[np.isfinite(values)]
    return float(pick(known)) if len(known) else math.nan


def _marks(runs: Sequence[Run]) -> tuple[Mark, ...]:
    """Mark the ends of epochs, the best step, and findings where they happened."""
    marks = []
    plans = {(run.facts["plan"]["steps_per_epoch"], run.facts["plan"]["total_steps"]) for run in runs}
    if len(plans) == 1:
        per_epoch, total = next(iter(plans))
        ends = range(per_epoch, total + 1, per_epoch)
        marks += [Mark(step, f"epoch {number}", "epoch") for number, step in enumerate(ends, 1) if len(ends) <= 12]
    for run in runs:
        if run.scores and len(runs) == 1:
            marks.append(Mark(run.best_step, "best", "best"))
        for finding in run.findings:
            if finding.step is not None:
                label = f"{finding.name}: {finding.message}"
                marks.append(Mark(finding.step, _named(runs, run, label), finding.severity))
    return tuple(marks)
