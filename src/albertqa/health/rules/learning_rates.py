"""Rules about the learning rate: too high, too low, or zero."""

from collections.abc import Iterator
from typing import TypeAlias

import numpy as np

from albertqa.health.advice import find_rate, short, train_again
from albertqa.health.curve import FEWEST_STEPS, blocks, level
from albertqa.health.record import SHORTEST_PATH, RunRecord
from albertqa.rundir.findings import Finding

_Sign: TypeAlias = tuple[int, str, dict[str, float | int | str]]
"""Step, what was seen, the numbers."""


def zero_rate(record: RunRecord) -> Iterator[Finding]:
    """Steps at a learning rate of zero: after the schedule's end, or by the schedule itself."""
    is_zero = np.array(record.rates[1:]) <= 1e-6 * record.settings.learning_rate
    zero = int(is_zero.sum())
    if zero < max(5, 0.1 * len(record.rates)):
        return
    first = 2 + int(np.argmax(is_zero))
    yield Finding(
        "zero-learning-rate",
        "error",
        f"{zero:,} of {len(record.rates):,} steps have a learning rate of zero, from step {first:,} on: they change "
        "nothing. The schedule ended before the run. Start a run whose schedule covers all its steps.",
        train_again(record, "whole-schedule", max_steps=max(record.total_steps, record.step)),
        {"steps_at_zero": zero, "steps": len(record.rates), "first_step_at_zero": first},
        first,
    )


def high_rate(record: RunRecord) -> Iterator[Finding]:
    """A learning rate that has destroyed the pretrained weights: the loss diverged, or the model collapsed."""
    if len(record.losses) < min(20, record.total_steps) or record.has_learned:
        return
    # Where the rate was nothing unusual, the model may want far less anyway; where it was, it wants the usual.
    better = min(record.settings.learning_rate / 10, record.usual_rate)
    can_measure = record.train.windows // record.settings.step_windows >= FEWEST_STEPS
    measured = f"; '{find_rate(record)}' measures what suits" if can_measure else f": {short(better)}"
    for step, seen, numbers in _signs(record):
        yield Finding(
            "high-learning-rate",
            "error",
            f"{seen} The learning rate, {short(record.settings.learning_rate)}, is too high for this model (usual for "
            f"its width is about {short(record.usual_rate)}): the first steps destroyed the pretrained weights, and "
            f"going on will not bring them back. Start again with less{measured}.",
            train_again(record, f"lr{short(better)}", learning_rate=better),
            {"learning_rate": record.settings.learning_rate, "usual_learning_rate": record.usual_rate, **numbers},
            step,
        )


def _signs(record: RunRecord) -> Iterator[_Sign]:
    """Yield what shows that the rate was too high, the clearest first."""
    faults = record.faulty_steps
    if (faults or "loss is" in record.failure) and record.rate_ratio >= 5:
        step = faults[0].step if faults else record.step
        yield step, f"From step {step:,} on, loss or gradient is NaN or infinite.", {"faulty_steps": len(faults)}
    yield from _rises(record)
    if record.loss is None or not record.has_not_learned:
        return
    loss, uniform = record.loss.mean, record.uniform_loss()
    if len(record.norms) >= 10:
        first, now = float(np.median(record.norms[:3])), float(np.median(record.norms[-10:]))
        # To a collapsed model every token looks alike.
        if now <= 0.01 * first and record.rate_ratio >= 0.5:
            seen = (
                f"The model has collapsed: the gradient has vanished (norm {now:.1e}, in the first steps {first:.2g}), "
                f"and the loss, {loss:.2f}, is the uniform baseline's ({uniform:.2f})."
            )
            yield record.step, seen, {"grad_norm": now, "first_grad_norm": first, "loss": round(loss, 4)}
    # The weights moved much farther than fine-tuning needs.
    if record.rate_ratio >= 5 and record.change_so_far >= 0.05:
        seen = f"After {record.step:,} steps the loss is {loss:.2f}; the uniform baseline is {uniform:.2f}."
        yield record.step, seen, {"loss": round(loss, 4)}


def _rises(record: RunRecord) -> Iterator[_Sign]:
    """Yield where the loss rose above the uniform baseline, or back to it."""
    curve, uniform = blocks(record.losses), record.uniform_loss()
    if len(curve) < 2:
        return
    highest = max(range(len(curve)), key=lambda at: curve[at].mean)
    size = len(record.losses) // len(curve)
    step = len(record.losses) - size * (len(curve) - highest) + 1
    numbers: dict[str, float | int | str] = {"uniform_loss": uniform, "highest_loss": round(curve[highest].mean, 4)}
    # A fresh head starts within a few percent of the uniform baseline; being sure of wrong answers costs more.
    begun = level(record.losses[:3]).mean
    if curve[highest].low > max(1.15 * uniform, begun) and curve[highest].mean > 1.1 * begun:
        seen = (f"The loss rose from {begun:.2f} to {curve[highest].mean:.2f} around step {step:,}; the uniform "
                f"baseline is {uniform:.2f}.")  # fmt: skip
        yield step, seen, numbers
    best, last = min(curve[: highest + 1], key=lambda one: one.mean), curve[-1]
    if best.high < 0.7 * record.blind_loss() and last.low > 0.78 * record.blind_loss():
        seen = f"The loss fell to {best.mean:.2f} and is back at {last.mean:.2f}."
        yield record.step, seen, {**numbers, "lowest_loss": round(best.mean, 4), "loss": round(last.mean, 4)}


def low_rate(record: RunRecord) -> Iterator[Finding]:
    """A learning rate too low to move the weights as far as learning needs."""
    if record.loss is None or len(record.losses) < min(20, record.total_steps) or not record.has_not_learned:
        return
    if record.rate_ratio > 0.2 or record.largest_change > 2 * SHORTEST_PATH:
        return
    begun = level(record.losses[: max(3, len(record.losses) // 10)]).mean
    yield Finding(
        "low-learning-rate",
        "error",
        f"The loss hardly falls: {begun:.2f} at first, {record.loss.mean:.2f} after {record.step:,} steps (uniform "
        f"baseline: {record.uniform_loss():.2f}). At a learning rate of {short(record.settings.learning_rate)} no "
        f"weight can change by more than {short(record.largest_change)} in the whole run, and learning takes ten times "
        f"that. Usual for a model of this width is about {short(record.usual_rate)}.",
        train_again(record, f"lr{short(record.usual_rate)}", learning_rate=record.usual_rate),
        {"learning_rate": record.settings.learning_rate, "usual_learning_rate": record.usual_rate,
         "first_loss": round(begun, 4), "loss": round(record.loss.mean, 4), "uniform_loss": record.uniform_loss()},
        record.step,
    )  # fmt: skip
