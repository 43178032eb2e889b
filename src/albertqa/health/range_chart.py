"""The picture of a range test."""

from io import BytesIO
from typing import TYPE_CHECKING

from albertqa.health.range_curve import RangeTest, spell_rate

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# The colours of the report's page.
_INK, _SOFT, _GRID, _GROUND = "#1b1d20", "#595d63", "#dcdcd6", "#ffffff"
_LOSS, _SUGGESTED, _DIVERGED = "#0068a8", "#007a56", "#a4262c"


def draw_range(test: RangeTest, *, title: str) -> bytes:
    """Draw loss over learning rate, with the suggestion and the place where the loss climbed back.

    Args:
        test: The test.
        title: What was tested.

    Returns:
        A PNG of 1,350 × 780 pixels.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 5.2), dpi=150, facecolor=_GROUND, layout="constrained")
    axes = figure.add_subplot()
    low, high = _loss_range(test)
    axes.set_xscale("log")
    axes.set_ylim(low, high)
    axes.plot(test.learning_rates, test.losses, "o", color=_LOSS, alpha=0.45, markersize=4, markeredgewidth=0,
              label="loss of a step")  # fmt: skip
    axes.plot(test.learning_rates, test.smoothed, color=_LOSS, linewidth=2.2, label="smoothed")
    axes.axhline(test.guess_loss, color=_SOFT, linewidth=1, linestyle=(0, (1, 2)), label="uniform guess")
    if test.suggestion is not None:
        _mark(axes, test.suggestion, f"train with {spell_rate(test.suggestion)}", _SUGGESTED, line=0)
    if test.diverged is not None:
        _mark(axes, test.diverged, f"diverged at {spell_rate(test.diverged)}", _DIVERGED, line=1)
    axes.set_xlabel("learning rate", color=_INK)
    axes.set_ylabel("loss", color=_INK)
    axes.set_title(title, loc="left", color=_INK, fontsize=12, fontweight="bold", pad=26)
    found = "no suggestion" if test.suggestion is None else f"lowest smoothed loss at {spell_rate(test.lowest)}"
    axes.text(0, 1.025, f"learning-rate range test, {len(test.losses)} steps, {found}", transform=axes.transAxes,
              color=_SOFT, fontsize=9.5)  # fmt: skip
    axes.grid(color=_GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(colors=_SOFT, which="both")
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(_GRID)
    axes.legend(loc="lower left", frameon=False, labelcolor=_SOFT, fontsize=9)
    buffer = BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _loss_range(test: RangeTest) -> tuple[float, float]:
    """Show every loss up to a little above start and guess; a diverged one may be a hundred times as high."""
    low = min(*test.losses, test.guess_loss)
    top = max(test.start_loss, test.guess_loss)
    room = max(top - low, 0.2)
    return low - 0.08 * room, min(max(*test.losses, test.guess_loss), top + 0.5 * room) + 0.12 * room


def _mark(axes: "Axes", rate: float, label: str, colour: str, *, line: int) -> None:
    """Draw a labelled vertical; labels on lines of their own, so that near ones do not cover each other."""
    axes.axvline(rate, color=colour, linewidth=1.6, linestyle="--")
    axes.annotate(label, (rate, 1), xycoords=("data", "axes fraction"), xytext=(-5, -4 - 15 * line),
                  textcoords="offset points", ha="right", va="top", color=colour, fontsize=10,
                  fontweight="bold")  # fmt: skip
