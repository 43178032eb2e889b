"""Draw the documents' figures from results, each for light and dark pages."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

Result: TypeAlias = dict[str, Any]
Draw: TypeAlias = Callable[["Theme"], Figure]


@dataclass(frozen=True)
class Theme:
    """Colours for light or dark pages; the background is transparent.

    Attributes:
        ink: Text.
        muted: Provenance.
        faint: Axes and grid.
        ours: This project.
        theirs: Its baseline.
        series: Lines that are all of this project.
    """

    ink: str
    muted: str
    faint: str
    ours: str
    theirs: str
    series: tuple[str, ...]


# Distinct for every kind of colour vision; lines also differ in their markers.
THEMES = {
    "light": Theme("#1f2328", "#59636e", "#818b98", "#0969da", "#bc4c00", ("#0969da", "#bc4c00", "#1a7f37", "#8250df")),
    "dark": Theme("#f0f6fc", "#9198a1", "#656c76", "#4493f8", "#f0883e", ("#4493f8", "#f0883e", "#3fb950", "#ab7df8")),
}
_MARKERS = "os^D"
_NAMES = {
    "A": "A  run_qa's defaults",
    "B": "B  run_qa's best flags",
    "B_kept": "B, freed memory kept",
    "Transformers": "Transformers, padded to 384",
    "Transformers_kept": "the same, freed memory kept",
    "ours_fp32": "albertqa, fp32",
    "ours": "albertqa, bf16",
    "ours_on_B": "albertqa, on B's windows",
}
_WAYS = {"padded": "Transformers, padded", "ours": "albertqa", "ours_recomputed": "albertqa, recomputing"}


def draw_figures(newest: dict[str, Result], folder: Path) -> list[Path]:
    """Draw every figure for which there are results.

    Args:
        newest: The newest result of every name.
        folder: Where to; created if missing.

    Returns:
        The files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    drawn: list[Path] = []
    for suffix in ("", "-cuda"):
        rates = {name: newest[name + suffix] for name in ("train-throughput", "evaluate") if name + suffix in newest}
        if rates:
            drawn += _draw(f"throughput{suffix}", partial(_throughput, rates), folder)
        if memory := newest.get(f"memory{suffix}"):
            drawn += _draw(f"memory{suffix}", partial(_memory, memory), folder)
    if scaling := newest.get("scaling"):
        drawn += _draw("scaling", partial(_scaling, scaling), folder)
    return drawn


def _draw(name: str, draw: Draw, folder: Path) -> Iterator[Path]:
    for kind, theme in THEMES.items():
        path = folder / f"{name}-{kind}.svg"
        with _style(theme):
            # No date and a fixed salt: the same results give the same file.
            draw(theme).savefig(path, transparent=True, metadata={"Date": None})
        yield path


@contextmanager
def _style(theme: Theme) -> Iterator[None]:
    settings: Any = {
        "svg.hashsalt": "albertqa",
        "svg.fonttype": "none",
        "font.family": "sans-serif",
        "font.size": 10,
        "axes.facecolor": "none",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.titlesize": 11,
        "axes.titleweight": "bold",
        "axes.titlelocation": "left",
        "axes.edgecolor": theme.faint,
        "axes.labelcolor": theme.ink,
        "axes.titlecolor": theme.ink,
        "text.color": theme.ink,
        "xtick.color": theme.faint,
        "ytick.color": theme.faint,
        "xtick.labelcolor": theme.ink,
        "ytick.labelcolor": theme.ink,
        "grid.color": theme.faint,
        "grid.alpha": 0.25,
        "figure.constrained_layout.use": True,
        "legend.frameon": False,
    }
    with mpl.rc_context(settings):
        yield


def _throughput(rates: dict[str, Result], theme: Theme) -> Figure:
    """Draw bars of median rates with error bars from minimum to maximum, and the ratio to the first bar."""
    keys = {"train-throughput": "real_tokens_per_second", "evaluate": "windows_per_second"}
    titles = {"train-throughput": "Training, real tokens a second", "evaluate": "Evaluation, windows a second"}
    bars = [len(result[keys[name]]) for name, result in rates.items()]
    figure = Figure(figsize=(7.2, 0.9 * len(rates) + 0.42 * sum(bars)))
    axes = figure.subplots(len(rates), 1, squeeze=False, gridspec_kw={"height_ratios": bars})[:, 0]
    for (name, result), axis in zip(rates.items(), axes, strict=True):
        found = result[keys[name]]
        first = next(iter(found))
        for at, (way, rate) in enumerate(found.items()):
            whiskers = [[rate["median"] - rate["min"]], [rate["max"] - rate["median"]]]
            color = theme.ours if way.startswith("ours") else theme.theirs
            axis.barh(at, rate["median"], 0.62, color=color, alpha=0.85)
            axis.errorbar(rate["median"], at, xerr=whiskers, color=theme.ink, capsize=3, lw=1)
            # Computed round by round, so not exactly the ratio of these medians.
            ratio = result["ratios"].get(f"{way} / {first}")
            times = f"   {ratio['median']:.2f} times" if ratio else ""
            axis.annotate(
                (f"{rate['median']:,.0f}" if rate["median"] >= 100 else f"{rate['median']:.3g}") + times,
                (rate["max"], at),
                xytext=(7, 0),
                textcoords="offset points",
                va="center",
            )
        axis.set_yticks(range(len(found)), [_NAMES[way] for way in found])
        axis.invert_yaxis()
        axis.set_xlim(0, 1.3 * max(rate["max"] for rate in found.values()))
        axis.tick_params(axis="y", length=0)
        axis.set_title(titles[name])
        axis.set_xlabel(_provenance(result), color=theme.muted, fontsize=8, loc="left")
    return figure


def _memory(result: Result, theme: Theme) -> Figure:
    """Draw peak memory against the windows of a step, a panel for each shape."""
    shapes = list(dict.fromkeys(cell["shape"] for cell in result["cells"]))
    figure = Figure(figsize=(3.9 * len(shapes), 3.4))
    colors = {"padded": theme.theirs, "ours": theme.ours, "ours_recomputed": theme.ours}
    axes = figure.subplots(1, len(shapes), squeeze=False)[0]
    for shape, axis in zip(shapes, axes, strict=True):
        for way, marker in zip(_WAYS, _MARKERS, strict=False):
            cells = [cell for cell in result["cells"] if (cell["shape"], cell["way"]) == (shape, way)]
            fits = [(cell["batch"], cell["peak_mib"] / 1024) for cell in cells if cell["peak_mib"] is not None]
            style = "--" if way == "ours_recomputed" else "-"
            if fits:
                axis.plot(*zip(*fits, strict=True), style, marker=marker, color=colors[way], label=_WAYS[way])
            if fits and len(fits) < len(cells):
                axis.annotate("more does not fit", fits[-1], xytext=(8, -3), textcoords="offset points", fontsize=8)
        axis.set_title(f"albert-{shape}: peak of a step, GiB")
        axis.set_xlabel("windows in the step")
        axis.set_xticks(sorted({cell["batch"] for cell in result["cells"] if cell["shape"] == shape}))
        axis.set_ylim(0)
        axis.set_xlim(0)
        axis.grid(axis="y")
    axes[0].legend(loc="upper left", fontsize=9)
    figure.supxlabel(_provenance(result), color=theme.muted, fontsize=8, x=0.01, ha="left")
    return figure


def _scaling(result: Result, theme: Theme) -> Figure:
    """Draw time and memory against the size, both logarithmic, with a line in proportion to the size."""
    figure = Figure(figsize=(7.8, 6.2))
    axes = figure.subplots(2, 2)
    panels = (("against_windows", "windows"), ("against_context_tokens", "context_tokens"))
    for column, (against, size) in enumerate(panels):
        for row, (cost, title) in enumerate((("seconds", "Seconds"), ("mib", "Memory, MiB"))):
            _growth(axes[row, column], result[against], size, cost, theme)
            axes[row, column].set_title(f"{title} against {size.replace('_', ' ')}")
    figure.supxlabel(f"{_provenance(result)} · dotted: in proportion", color=theme.muted, fontsize=8, x=0.01, ha="left")
    return figure


def _growth(axis: Axes, stages: dict[str, Any], size: str, cost: str, theme: Theme) -> None:
    axis.set_xscale("log")
    axis.set_yscale("log")
    sizes: list[float] = []
    for (stage, found), color, marker in zip(stages.items(), theme.series, _MARKERS, strict=False):
        # Zero has no logarithm.
        points = [(point[size], point[cost]) for point in found["points"] if point[cost]["min"] > 0]
        if not points:
            continue
        sizes = [x for x, _ in points]
        middle = [y["median"] for _, y in points]
        least, most = ([abs(y[end] - y["median"]) for _, y in points] for end in ("min", "max"))
        axis.errorbar(sizes, middle, yerr=[least, most], marker=marker, ms=5, capsize=3, color=color, label=stage)
        axis.plot(sizes, [middle[-1] * x / sizes[-1] for x in sizes], ":", color=color, lw=1)
    ticks = [point[size] for point in next(iter(stages.values()))["points"]]
    axis.set_xticks(ticks)
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axis.xaxis.set_minor_formatter(NullFormatter())
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    axis.yaxis.set_minor_formatter(NullFormatter())
    axis.grid()
    if sizes:
        axis.legend(fontsize=9)


def _provenance(result: Result) -> str:
    """Return the provenance of a figure's numbers in one line."""
    where = result.get("device_name") or result["machine"]["processor"]["name"]
    cores = f", {result['machine']['cores']} cores" if result.get("device", "cpu") == "cpu" else ""
    return f"{where}{cores} · {result['windows']} · n {result['n']} · {result['date'][:10]} · {result['commit']}"
