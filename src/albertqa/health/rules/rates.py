"""Rules about the learning rate: too high, too low, or none at all."""

from collections.abc import Iterator

import numpy as np

from albertqa.health.advice import find_rate, short, train_again
from albertqa.health.curve import FEWEST_STEPS, blocks, level
from albertqa.health.record import SHORTEST_PATH, RunRecord
from albertqa.rundir.findings import Finding


def rate_at_zero(record: RunRecord) -> Iterator[Finding]:
    """Steps done at a learning rate of zero: behind the schedule's end, or by the schedule itself."""
    zero = int((record.rates[1:] <= 1e-6 * record.settings.learning_rate).sum())
    if zero < max(5, 0.1 * len(record.rates)):
        return
    first = 2 + int(np.argmax(record.rates[1:] <= 1e-6 * record.settings.learning_rate))
    yield Finding(
        "rate-at-zero",
        "error",
        first,
        f"{zero:,} of {len(record.rates):,} steps were done at a learning rate of zero, from step {first:,} on: they "
        "change nothing. The schedule has come to its end before the run has. Start a run whose schedule covers all "
        "its steps.",
        train_again(record, "whole-schedule", max_steps=max(record.total_steps, record.step)),
        {"steps_at_zero": zero, "steps": len(record.rates), "first_step_at_zero": first},
    )


def high_rate(record: RunRecord) -> Iterator[Finding]:
    """A learning rate that has destroyed the pretrained weights: divergence, or a model that has gone numb."""
    if len(record.losses) < min(20, record.total_steps) or record.has_learned:
        return
    signs = [sign for sign in (_blew_up(record), _rose(record), _went_numb(record), _forgot(record)) if sign]
    if not signs:
        return
    step, seen, evidence = signs[0]
    # Where the rate was nothing unusual, the model may want far less anyway; where it was, it wants the usual.
    better = min(record.settings.learning_rate / 10, record.usual_rate)
    can_measure = record.data("train").windows // record.settings.step_windows >= FEWEST_STEPS
    measured = f"; '{find_rate(record)}' measures what suits" if can_measure else f": {short(better)}"
    yield Finding(
        "high-learning-rate",
        "error",
        step,
        f"{seen} The learning rate, {short(record.settings.learning_rate)}, is too high for this model (usual for "
        f"its width is about {short(record.usual_rate)}): the first steps destroyed what pretraining had made, and "
        f"going on will not bring it back. Start again with less{measured}.",
        train_again(record, f"lr{short(better)}", learning_rate=better),
        {"learning_rate": record.settings.learning_rate, "usual_learning_rate": record.usual_rate, **evidence},
    )


_Sign = tuple[int, str, dict[str, float | int | str]]


def _blew_up(record: RunRecord) -> _Sign | None:
    """Losses or gradients that are no number, at an unusual rate."""
    faults = record.history.faulty_steps
    failed = "loss is" in record.failure
    if (not faults and not failed) or record.rate_ratio < 5:
        return None
    step = faults[0].step if faults else record.step
    return step, f"From step {step:,} on, loss or gradient is not a number.", {"faulty_steps": len(faults)}


def _rose(record: RunRecord) -> _Sign | None:
    """A loss that rose beyond what knowing nothing costs, or back to it."""
    curve, uniform = blocks(record.losses, most=40, least_size=5), record.uniform_loss()
    if len(curve) < 2:
        return None
    highest = max(range(len(curve)), key=lambda at: curve[at].mean)
    size = len(record.losses) // len(curve)
    step = len(record.losses) - size * (len(curve) - highest) + 1
    evidence: dict[str, float | int | str] = {"uniform_loss": uniform, "highest_loss": round(curve[highest].mean, 4)}
    # A fresh head begins within a few percent of the uniform guess; confident nonsense costs more than that.
    begun = level(record.losses[:3]).mean
    if curve[highest].low > max(1.15 * uniform, begun) and curve[highest].mean > 1.1 * begun:
        seen = (f"The loss rose from {begun:.2f} to {curve[highest].mean:.2f} around step {step:,}, although guessing "
                f"blindly costs only {uniform:.2f}.")  # fmt: skip
        return step, seen, evidence
    best = min(curve[: highest + 1], key=lambda one: one.mean)
    last = curve[-1]
    if best.high < 0.7 * record.blind_loss() and last.low > 0.78 * record.blind_loss():
        seen = f"The loss had come down to {best.mean:.2f} and is at {last.mean:.2f} again."
        return record.step, seen, {**evidence, "lowest_loss": round(best.mean, 4), "loss": round(last.mean, 4)}
    return None


def _went_numb(record: RunRecord) -> _Sign | None:
    """Gradients that vanished although nothing was learned: every token looks alike to the model."""
    if record.loss is None or not record.has_not_learned or len(record.norms) < 10:
        return None
    first, now = float(np.median(record.norms[:3])), float(np.median(record.norms[-10:]))
    if now > 0.01 * first or record.rate_ratio < 0.5:
        return None
    seen = (f"The gradient has all but vanished (norm {now:.1e}, in the first steps {first:.2g}), and the loss, "
            f"{record.loss.mean:.2f}, is that of a blind guess ({record.uniform_loss():.2f}).")  # fmt: skip
    return record.step, seen, {"grad_norm": now, "first_grad_norm": first, "loss": round(record.loss.mean, 4)}


def _forgot(record: RunRecord) -> _Sign | None:
    """Weights moved much farther than fine-tuning needs, and nothing learned."""
    if record.loss is None or not record.has_not_learned or record.rate_ratio < 5 or record.weight_path < 0.05:
        return None
    seen = (f"After {record.step:,} steps the loss is {record.loss.mean:.2f}; guessing blindly costs "
            f"{record.uniform_loss():.2f}.")  # fmt: skip
    return record.step, seen, {"loss": round(record.loss.mean, 4), "weight_path": round(record.weight_path, 6)}


def low_rate(record: RunRecord) -> Iterator[Finding]:
    """A learning rate too low to move the weights as far as learning needs."""
    if record.loss is None or len(record.losses) < min(20, record.total_steps) or not record.has_not_learned:
        return
    if record.rate_ratio > 0.2 or record.planned_path > 2 * SHORTEST_PATH:
        return
    begun = level(record.losses[: max(3, len(record.losses) // 10)]).mean
    yield Finding(
        "low-learning-rate",
        "error",
        record.step,
        f"The loss goes down in a straight line, if at all: {begun:.2f} at first, {record.loss.mean:.2f} after "
        f"{record.step:,} steps (guessing blindly costs {record.uniform_loss():.2f}). At a learning rate of "
        f"{short(record.settings.learning_rate)} no weight can move by more than {short(record.planned_path)} in the "
        "whole run, and learning takes ten times that. Usual for a model of this width is about "
        f"{short(record.usual_rate)}.",
        train_again(record, f"lr{short(record.usual_rate)}", learning_rate=record.usual_rate),
        {"learning_rate": record.settings.learning_rate, "usual_learning_rate": record.usual_rate,
         "planned_path": record.planned_path, "first_loss": round(begun, 4), "loss": round(record.loss.mean, 4),
         "uniform_loss": record.uniform_loss()},
    )  # fmt: skip
