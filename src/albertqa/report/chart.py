"""What a chart shows, as plain values: the page's script draws any of them."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

Numbers = tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class Series:
    """One line of a chart.

    Attributes:
        name: Its name in the legend.
        x: Where its points stand.
        y: Their values; None leaves a gap.
        colour: Number of its colour in the page's palette.
        dash: Number of its dash pattern; 0 is a full line.
        points: Whether the points are marked.
        low: Lower ends of a band, or of whiskers where the points are marked; empty where there is none.
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
    """A place that is marked on an axis.

    Attributes:
        at: Where.
        label: What is written beside it, or shown when it is pointed at.
        kind: ``epoch``, ``best``, ``reference``, ``error``, ``warning`` or ``info``.
    """

    at: float
    label: str
    kind: str


@dataclass(frozen=True, slots=True)
class Chart:
    """One chart.

    Attributes:
        key: The id of its place on the page.
        title: What it shows; also what a screen reader says.
        x_label: The horizontal axis, with its unit.
        y_label: The vertical axis, with its unit.
        series: Its lines.
        verticals: Marked places of the horizontal axis.
        horizontals: Marked places of the vertical axis.
        x_range: Bounds of the horizontal axis; None: those of the points.
        y_range: Bounds of the vertical axis; None: those of the points.
        log: Whether the vertical axis is logarithmic.
        diagonal: Whether x = y is drawn.
        style: How values are written: ``fixed``, ``thousands``, ``power`` or ``percent``.
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

    def to_json(self) -> dict[str, Any]:
        """Give the chart as a plain dictionary."""
        return asdict(self)


def numbers(values: Iterable[float | None]) -> Numbers:
    """Round to six digits, which no screen can tell from more, and put None for what is not finite."""
    return tuple(None if value is None or not math.isfinite(value) else float(f"{value:.6g}") for value in values)


def pooled(values: Sequence[float | None], most: int) -> list[slice]:
    """Cut a long series into slices of equal length, at most so many, that one point each will stand for."""
    length = max(1, math.ceil(len(values) / most))
    return [slice(first, first + length) for first in range(0, len(values), length)]
