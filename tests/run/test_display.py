"""The display: live lines in a terminal of any width, plain lines elsewhere."""

import io
import math

import pytest
from rich.console import Console

from albertqa.run.display import TerminalDisplay
from albertqa.rundir.rows import EvaluationRow, StepRow

STEP = {
    "epoch": 0.1,
    "learning_rate": 1e-4,
    "grad_norm": 1.0,
    "tokens": 100,
    "tokens_per_second": 12_345.0,
    "seconds": 1.0,
}


def shown(columns: int) -> list[str]:
    """Return the live lines of a long run, as a terminal of some columns shows them."""
    console = Console(file=io.StringIO(), width=columns, force_terminal=True, color_system=None)
    display = TerminalDisplay(console, every_steps=1)
    display.on_start(0, 16_620)
    display.on_step(StepRow(step=8_310, train_loss=5.5, **STEP))
    display.on_evaluation(EvaluationRow(step=8_310, epoch=0.1, validation_loss=4.25, exact=10.0, f1=20.5, is_best=True))
    lines = ["".join(segment.text for segment in line) for line in console.render_lines(display._render())]
    display.on_end()
    return [line.rstrip() for line in lines]


@pytest.mark.parametrize("columns", [20, 40, 80, 200])
def test_nothing_is_cut_and_step_and_time_come_first(columns: int) -> None:
    *lines, bar = shown(columns)
    assert all(len(line) <= columns for line in [*lines, bar])
    assert set(bar) <= set("━╸╺")
    assert len(bar) == pytest.approx(columns / 2, abs=1)
    words = " ".join(" ".join(lines).split())
    assert words.startswith("step 8310/16620 0:00, ")
    assert words.endswith("left loss 5.500 12,345 tokens/s val 4.250 f1 20.5")
    if columns >= 40:
        assert "left" in lines[0]


def test_an_evaluation_shows_its_windows() -> None:
    console = Console(file=io.StringIO(), width=80, force_terminal=True)
    display = TerminalDisplay(console, every_steps=1)
    display.on_start(3, 10)
    display.on_evaluation_progress(5, 20)
    text = "".join(segment.text for line in console.render_lines(display._render()) for segment in line)
    assert "step 3/10" in text
    assert "evaluating: window 5/20" in text
    display.on_evaluation_progress(20, 20)
    text = "".join(segment.text for line in console.render_lines(display._render()) for segment in line)
    assert "evaluating" not in text
    display.on_end()


def test_elsewhere_there_are_plain_lines() -> None:
    console = Console(file=io.StringIO(), width=200)
    display = TerminalDisplay(console, every_steps=2)
    display.on_start(0, 3)
    for step in (1, 2, 3):
        display.on_step(StepRow(step=step, train_loss=float(step), **STEP))
    display.on_evaluation(EvaluationRow(step=3, epoch=1, validation_loss=None, f1=math.pi))
    display.on_message("[red]as it is[/red]")
    display.on_end()
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert [line.split("  ")[0] for line in lines] == ["step 2/3", "step 3/3", "step 3/3", "[red]as it is[/red]"]
    assert "train loss 1.5000  lr 1.00e-04  grad norm 1.00  12,345 tokens/s" in lines[0]
    assert "validation loss nan  exact 0.00  f1 3.14" in lines[2]
