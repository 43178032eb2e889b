"""Charts as plain values, which the page's script draws."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

Numbers = tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class Series:
    """One line of a chart.

    Attributes:
        name: Its name in the legend.
        x: Horizontal positions of its points.
        y: Their values; None leaves a gap.
        colour: Index of its colour in the page's palette.
        dash: Index of its dash pattern; 0 is a solid line.
        points: Whether the points are marked.
        low: Lower ends of a band, or of error bars if the points are marked; empty for none.
        high: Upper ends.
    """

    name: str
    x: Numbers
    y: Numbers
    colour: int = 0
    dash: int = 0
    points: bool = False
    low: Numbers = ()
    high: Numbers = ()


@dataclass(frozen=True, slots=True)
class Mark:
    """A marked position on an axis.

    Attributes:
        at: The position.
        label: Its label; of a finding (``error``, ``warning``) shown on hover.
        kind: ``epoch``, ``best``, ``reference``, ``error`` or ``warning``.
    """

    at: float
    label: str
    kind: str


@dataclass(frozen=True, slots=True)
class Chart:
    """One chart.

    Attributes:
        key: Id of its element on the page, without ``chart-``.
        title: Its title; screen readers read it too.
        x_label: The horizontal axis, with its unit.
        y_label: The vertical axis, with its unit.
        series: Its lines.
        verticals: Marked positions on the horizontal axis.
        horizontals: Marked positions on the vertical axis.
        x_range: Bounds of the horizontal axis; None: those of the points.
        y_range: Bounds of the vertical axis; None: those of the points.
        log: Whether the vertical axis is logarithmic.
        diagonal: Whether x = y is drawn.
        style: Format of the values: ``fixed``, ``thousands``, ``power`` or ``percent``.
        end_labels: Whether the last value of a line with marked points is written beside it.
    """

    key: str
    title: str
    x_label: str
    y_label: str
    series: tuple[Series, ...]
    verticals: tuple[Mark, ...] = ()
    horizontals: tuple[Mark, ...] = ()
    x_range: tuple[float, float] | None = None
    y_range: tuple[float, float] | None = None
    log: bool = False
    diagonal: bool = False
    style: str = "fixed"
    end_labels: bool = False


def numbers(values: Iterable[float | None]) -> Numbers:
    """Round to six significant digits; NaN and infinity become None."""
    return tuple(None if value is None or not math.isfinite(value) else float(f"{value:.6g}") for value in values)


def pooled(values: Sequence[float | None], most: int) -> list[slice]:
    """Cut a series into at most `most` slices of equal length, each to be drawn as one point."""
    length = max(1, math.ceil(len(values) / most))
    return [slice(first, first + length) for first in range(0, len(values), length)]
