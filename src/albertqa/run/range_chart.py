"""The chart of a range test, as SVG."""

import math
from pathlib import Path

from albertqa.run.range_curve import RangeTest, spell_rate

_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 880, 76, 455


def draw_range(test: RangeTest, *, title: str) -> str:
    """Draw loss over learning rate, with the suggestion and the learning rate at which the loss climbed back.

    Returns:
        An SVG document that follows the reader's light or dark theme.
    """
    from jinja2 import Template

    low, high = _loss_range(test)
    first, last = math.log10(test.learning_rates[0]), math.log10(test.learning_rates[-1])

    def x(rate: float) -> float:
        return round(_LEFT + (_RIGHT - _LEFT) * (math.log10(rate) - first) / max(last - first, 1e-9), 1)

    def y(loss: float) -> float:
        return round(_BOTTOM - (_BOTTOM - _TOP) * (min(max(loss, low), high) - low) / (high - low), 1)

    marks = []
    if test.suggestion is not None:
        marks.append((x(test.suggestion), f"train with {spell_rate(test.suggestion)}", "suggested"))
    if test.diverged is not None:
        at = min(max(test.diverged, test.learning_rates[0]), test.learning_rates[-1])
        marks.append((x(at), f"diverged at {spell_rate(test.diverged)}", "diverged"))
    found = "no suggestion" if test.suggestion is None else f"lowest smoothed loss at {spell_rate(test.lowest)}"
    pairs = zip(test.learning_rates, test.smoothed, strict=True)
    text: str = Template(Path(__file__).with_name("range_chart.svg.jinja").read_text(encoding="utf-8")).render(
        title=title,
        subtitle=f"learning-rate range test, {len(test.losses)} steps, {found}",
        left=_LEFT,
        right=_RIGHT,
        top=_TOP,
        bottom=_BOTTOM,
        x_ticks=[(x(10.0**power), f"1e{power}") for power in range(math.ceil(first), math.floor(last) + 1)],
        y_ticks=[(y(value), f"{value:.2g}") for value in _ticks(low, high)],
        guess=y(test.guess_loss),
        points=[(x(rate), y(loss)) for rate, loss in zip(test.learning_rates, test.losses, strict=True)],
        smoothed=" ".join(f"{x(rate)},{y(loss)}" for rate, loss in pairs),
        marks=marks,
    )
    return text


def _loss_range(test: RangeTest) -> tuple[float, float]:
    """Show every loss up to a little above start and baseline; a diverged one may be a hundred times as high."""
    low = min(*test.losses, test.guess_loss)
    top = max(test.start_loss, test.guess_loss)
    room = max(top - low, 0.2)
    return low - 0.08 * room, min(max(*test.losses, test.guess_loss), top + 0.5 * room) + 0.12 * room


def _ticks(low: float, high: float) -> list[float]:
    """Return about five round numbers between two."""
    step = 10.0 ** math.floor(math.log10((high - low) / 2))
    step *= next(factor for factor in (1, 2, 5, 10) if (high - low) / (factor * step) <= 6)
    return [step * number for number in range(math.ceil(low / step), math.floor(high / step) + 1)]
