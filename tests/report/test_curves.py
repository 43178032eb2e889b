"""Curves: every step counts, pooled lines keep their extremes, findings are marked at their steps."""

import json
import math
import random
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from albertqa.report.analysis import load_runs
from albertqa.report.chart import Chart, Mark, numbers, pooled
from albertqa.report.curves import MOST_POINTS, curves_of, smoothed_loss, smoothed_steps
from albertqa.rundir.directory import Run, load_run
from albertqa.rundir.rows import StepRow


def _charts(run: Run) -> dict[str, Chart]:
    return {chart.key: chart for chart in curves_of({"run": run})}


def _long(run: Run, num_steps: int) -> Run:
    generator = random.Random(3)
    steps = [
        StepRow(
            step=step,
            epoch=step / num_steps,
            train_loss=generator.expovariate(1),
            learning_rate=1e-5,
            grad_norm=None if step % 5 == 0 else generator.expovariate(1),
            tokens=1,
            tokens_per_second=100.0,
            seconds=1.0,
        )
        for step in range(1, num_steps + 1)
    ]
    return replace(run, steps=tuple(steps), evaluations=())


def test_every_curve_of_the_record_is_there(plain_run: Path) -> None:
    charts = _charts(load_run(plain_run))
    assert list(charts) == ["loss", "scores", "rate", "norm", "speed"]
    assert [line.name for line in charts["loss"].series] == ["training", "validation"]
    assert [line.name for line in charts["scores"].series] == ["F1", "exact"]
    assert charts["rate"].series[0].x == tuple(float(step) for step in range(1, 61))
    assert {chart.x_range for chart in charts.values()} == {(0.0, 60.0)}


@pytest.mark.parametrize(
    ("regularizers", "name"),
    [
        ({"label_smoothing_factor": 0.1}, "training + label smoothing"),
        ({"r_drop_alpha": 1.0}, "training + R-Drop"),
        ({"label_smoothing_factor": 0.1, "r_drop_alpha": 1.0}, "training + label smoothing + R-Drop"),
    ],
)
def test_a_training_loss_says_what_else_was_minimized(
    plain_run: Path, regularizers: dict[str, float], name: str
) -> None:
    plain = load_run(plain_run)
    regularized = replace(plain, settings=replace(plain.settings, **regularizers))
    assert [line.name for line in _charts(regularized)["loss"].series] == [name, "validation"]
    loss = curves_of({"plain": plain, "other": regularized})[0]
    assert [line.name for line in loss.series][:2] == ["plain: training", f"other: {name}"]


def test_evaluations_are_drawn_as_they_are(plain_run: Path) -> None:
    run = load_run(plain_run)
    validation = _charts(run)["loss"].series[1]
    assert validation.x == (20.0, 40.0, 60.0)
    assert validation.y == numbers(row.validation_loss for row in run.evaluations)
    assert validation.points


def test_long_records_are_pooled_and_keep_their_extremes(plain_run: Path) -> None:
    run = _long(load_run(plain_run), 5000)
    line = _charts(run)["loss"].series[0]
    losses = [row.loss for row in run.steps]
    assert len(line.x) <= MOST_POINTS
    assert line.x[-1] == 5000
    lows = [value for value in line.low if value is not None]
    highs = [value for value in line.high if value is not None]
    assert min(lows) == pytest.approx(min(losses), rel=1e-5)
    assert max(highs) == pytest.approx(max(losses), rel=1e-5)
    assert len(json.dumps(line.y)) < 10_000


def test_steps_without_a_norm_are_left_out_of_the_running_mean(plain_run: Path) -> None:
    run = _long(load_run(plain_run), 40)
    line = _charts(run)["norm"].series[0]
    norms = [row.grad_norm for row in run.steps]
    assert line.x == tuple(range(1, 41))
    for at, value in enumerate(line.y, 1):
        known = [norm for norm in norms[max(0, at - 8) : at] if norm is not None]
        assert value == pytest.approx(sum(known) / len(known), rel=1e-5)


def test_smoothed_loss_is_the_mean_of_the_last_steps(plain_run: Path) -> None:
    run = _long(load_run(plain_run), 200)
    losses = [row.loss for row in run.steps[90:100]]
    assert smoothed_loss(run, 100) == pytest.approx(sum(losses) / 10)
    assert smoothed_loss(run, 0) is None


@pytest.mark.parametrize(("num_steps", "window"), [(0, 1), (4, 1), (20, 4), (200, 10), (5000, 100)])
def test_curves_are_smoothed_over_a_fiftieth_of_the_steps_but_over_ten_if_there_are_more(
    plain_run: Path, num_steps: int, window: int
) -> None:
    assert smoothed_steps(_long(load_run(plain_run), num_steps)) == window


def test_findings_are_marked_at_their_steps_and_those_before_the_first_step_are_not(plain_run: Path) -> None:
    marks = _charts(load_run(plain_run))["loss"].verticals
    assert [(mark.at, mark.kind) for mark in marks if mark.kind in ("error", "warning")] == [(30, "warning")]
    assert [mark.label for mark in marks if mark.kind == "epoch"] == ["epoch 1", "epoch 2", "epoch 3"]
    assert [mark.at for mark in marks if mark.kind == "best"] == [60]


def test_several_runs_share_the_charts_in_colours_of_their_own(plain_run: Path, other_seeds: tuple[Path, Path]) -> None:
    runs = load_runs([plain_run, *other_seeds])
    charts = {chart.key: chart for chart in curves_of(runs)}
    lines = charts["loss"].series
    assert [line.colour for line in lines] == [0, 1, 2, 0, 1, 2]
    assert all(line.name.startswith(list(runs)[line.colour]) for line in lines)
    assert not any(line.low for line in lines)
    assert {line.dash for line in charts["scores"].series if line.name.endswith("exact")} == {1}


def test_a_run_without_a_record_has_no_curves(plain_run: Path) -> None:
    run = replace(load_run(plain_run), steps=(), evaluations=())
    assert curves_of({"run": run}, [Mark(1.0, "x", "reference")]) == []


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True)), st.integers(1, 50))
def test_numbers_and_pools_hold_every_value(values: list[float], most: int) -> None:
    rounded = numbers(values)
    json.dumps(rounded, allow_nan=False)
    for value, found in zip(values, rounded, strict=True):
        assert found is None if not math.isfinite(value) else found == pytest.approx(value, rel=1e-5)
    parts = pooled(values, most)
    assert len(parts) <= most
    assert sum(len(values[part]) for part in parts) == len(values)
