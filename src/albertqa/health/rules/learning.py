"""Rules about a training that goes nowhere: why is the loss where a blind guess would have it?

These explain one symptom, so only the first that fits is told (`albertqa.health.diagnose`): each may take for granted
that those before it do not hold.
"""

from collections.abc import Iterator

import numpy as np

from albertqa.health.advice import check_data, short, train_again, use_base_model
from albertqa.health.curve import blocks, level
from albertqa.health.finding import Finding
from albertqa.health.record import RunRecord

# Encoders leave the ground once their weights have been moved by some thousandths (docs/experiments.md: the starter
# encoder at 0.005 to 0.01; the published recipe goes 0.25 altogether).
_SHORTEST_PATH = 0.005


def nothing_trainable(record: RunRecord) -> Iterator[Finding]:
    """An encoder whose weights are kept from moving."""
    weights, trainable = record.model("parameters"), record.model("trainable_parameters")
    moved = next((row["weights_moved_percent"] for row in reversed(record.evaluations)
                  if "weights_moved_percent" in row), None)  # fmt: skip
    frozen = bool(weights) and trainable < 0.02 * weights
    still = moved is not None and moved < 1e-4 and record.path > 1e-5
    if not (frozen or still) or record.has_learned:
        return
    seen = (
        f"Only {trainable:,} of {weights:,} weights are trained (the rest has requires_grad false)"
        if frozen
        else f"After {record.step:,} steps the encoder's weights are what they were (changed by {moved:.1g} %)"
    )
    yield Finding(
        "nothing-trainable",
        "error",
        record.step,
        f"{seen}: the encoder is frozen, or its weights were not given to the optimizer. A span head alone cannot "
        "learn to read. 'albertqa train' trains all weights; take out what freezes them.",
        train_again(record, "all-weights"),
        {"parameters": weights, "trainable_parameters": trainable,
         **({} if moved is None else {"weights_moved_percent": moved})},
    )  # fmt: skip


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
    yield Finding(
        "high-learning-rate",
        "error",
        step,
        f"{seen} The learning rate, {short(record.settings.learning_rate)}, is too high for this model (usual for "
        f"its width is about {short(record.usual_rate)}): the first steps destroyed what pretraining had made, and "
        "going on will not bring it back. Start again with less.",
        train_again(record, f"lr{short(better)}", learning_rate=better),
        {"learning_rate": record.settings.learning_rate, "usual_learning_rate": record.usual_rate, **evidence},
    )


_Sign = tuple[int, str, dict[str, float | int | str]]


def _blew_up(record: RunRecord) -> _Sign | None:
    """Losses or gradients that are no number, at an unusual rate."""
    faults = [row for row in record.steps if row.get("skipped")]
    failed = record.status == "failed" and "loss is" in str(record.facts.get("failure", ""))
    if (not faults and not failed) or record.rate_ratio < 5:
        return None
    step = faults[0]["step"] if faults else record.step
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
    if record.loss is None or not record.has_not_learned or record.rate_ratio < 5 or record.path < 0.05:
        return None
    seen = (f"After {record.step:,} steps the loss is {record.loss.mean:.2f}; guessing blindly costs "
            f"{record.uniform_loss():.2f}.")  # fmt: skip
    return record.step, seen, {"loss": round(record.loss.mean, 4), "path": round(record.path, 6)}


def low_rate(record: RunRecord) -> Iterator[Finding]:
    """A learning rate too low to move the weights as far as learning needs."""
    if record.loss is None or len(record.losses) < min(20, record.total_steps) or not record.has_not_learned:
        return
    if record.rate_ratio > 0.2 or record.planned_path > 2 * _SHORTEST_PATH:
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


def vanishing_gradients(record: RunRecord) -> Iterator[Finding]:
    """Gradients too small to move anything, from the first step on."""
    if len(record.norms) < min(20, record.total_steps) or not record.has_not_learned:
        return
    norm = float(np.median(record.norms))
    if norm > 1e-3:
        return
    yield Finding(
        "vanishing-gradients",
        "error",
        record.step,
        f"The gradient's norm is {norm:.1e}; in sound runs it is between 1 and 50. Hardly anything reaches the "
        "weights: they are frozen in part, damaged (all alike, or far too large), or the model is not the one you "
        "mean.",
        use_base_model(record, learning_rate=3e-5, warmup_ratio=0.1),
        {"grad_norm": norm},
    )


def too_few_steps(record: RunRecord) -> Iterator[Finding]:
    """A run that ends before it has left the ground."""
    if record.loss is None or not record.ended_unlearned or record.planned_path > 2 * _SHORTEST_PATH:
        return
    settings = record.settings
    windows = record.data("train", "windows")
    batch = max(1, min(settings.step_windows, 16, windows // 100))
    epochs = max(3.0, settings.epochs, float(np.ceil(600 * batch / windows)))
    yield Finding(
        "too-few-steps",
        "error",
        record.step,
        f"The run has only {record.total_steps:,} steps ({settings.step_windows} windows each, of {windows:,}), and "
        f"the loss stays near that of a blind guess ({record.loss.mean:.2f}; blind {record.uniform_loss():.2f}). "
        "Learning takes steps, some hundreds at least. Take smaller steps, and more of them.",
        train_again(record, "more-steps", train_batch_size=batch, gradient_accumulation_steps=1, epochs=epochs),
        {"total_steps": record.total_steps, "step_windows": settings.step_windows, "windows": windows,
         "planned_path": record.planned_path, "loss": round(record.loss.mean, 4)},
    )  # fmt: skip


def random_weights(record: RunRecord) -> Iterator[Finding]:
    """An encoder that was never pretrained, and learns nothing."""
    untrained = record.settings.from_scratch or bool(record.model("untrained"))
    if not untrained or not _is_stuck(record) or record.loss is None:
        return
    why = "--from-scratch was given" if record.settings.from_scratch else "the model's files hold fresh random weights"
    yield Finding(
        "random-weights",
        "error",
        record.step,
        f"The encoder started from random weights ({why}), and after {record.step:,} steps the loss is "
        f"{record.loss.mean:.2f}, near a blind guess's {record.uniform_loss():.2f}. Reading is learned in "
        "pretraining, from billions of words; question answering alone cannot teach it. Start from a pretrained "
        "encoder.",
        use_base_model(record, learning_rate=3e-5),
        {"loss": round(record.loss.mean, 4), "uniform_loss": record.uniform_loss()},
    )


def not_learning(record: RunRecord) -> Iterator[Finding]:
    """A loss that stays near a blind guess's for no reason that another rule knows."""
    if not _is_stuck(record) or record.loss is None:
        return
    steps = len(record.losses)
    yield Finding(
        "not-learning",
        "error",
        record.step,
        f"After {record.step:,} steps the loss is {record.loss.mean:.2f}; guessing blindly costs "
        f"{record.uniform_loss():.2f}, and knowing only what answers look like and where they tend to stand about "
        "four fifths of that. The model has not learned to read the question. Sometimes it takes another seed or "
        "more steps; else look at the data.",
        train_again(record, "longer", epochs=2 * record.settings.epochs, warmup_ratio=0.1)
        if record.settings.max_steps is None
        else train_again(record, "longer", max_steps=2 * steps, warmup_ratio=0.1),
        {"loss": round(record.loss.mean, 4), "uniform_loss": record.uniform_loss(), "path": round(record.path, 6)},
    )


def learned_by_heart_only(record: RunRecord) -> Iterator[Finding]:
    """Training goes well, validation is as if nothing had been learned."""
    if record.loss is None or not record.evaluations or len(record.losses) < 50:
        return
    blind = record.blind_loss("validation")
    validation = record.evaluations[-1]["validation_loss"]
    if record.loss.high > 0.4 * record.blind_loss() or validation < 0.9 * blind:
        return
    yield Finding(
        "nothing-carries-over",
        "error",
        record.evaluations[-1]["step"],
        f"The training loss is {record.loss.mean:.2f}, but the validation loss {validation:.2f}, no better than a "
        f"blind guess ({blind:.2f}): nothing of what was learned holds for the validation data. The training answers "
        f"were learned by heart (too few questions: {record.data('train', 'questions'):,}, too many epochs: "
        f"{record.step / record.plan('steps_per_epoch'):.1f}), or the two parts are not of one kind.",
        check_data(record),
        {"loss": round(record.loss.mean, 4), "validation_loss": round(validation, 4), "blind_loss": round(blind, 4)},
    )


def _is_stuck(record: RunRecord) -> bool:
    """Tell whether nothing was learned in a time in which something should have been."""
    patient = len(record.losses) >= 300 and record.path >= 0.05
    return record.ended_unlearned or (record.has_not_learned and patient)
