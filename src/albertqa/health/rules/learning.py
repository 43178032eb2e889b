"""Rules about a training that goes nowhere: why is the loss where a blind guess would have it?

These explain one symptom, so only the first that fits is told (`albertqa.health.diagnosis`): each may take for granted
that those before it do not hold.
"""

from collections.abc import Iterator

import numpy as np

from albertqa.health.advice import check_data, crop_contexts, train_again, train_for, train_less, use_base_model
from albertqa.health.curve import level
from albertqa.health.record import MANY_PASSES, SHORTEST_PATH, RunRecord
from albertqa.rundir.findings import Finding, evidence

# f1 that spans which know nothing of the question may reach.
_BLIND_F1 = 15


def nothing_trainable(record: RunRecord) -> Iterator[Finding]:
    """An encoder whose weights are kept from moving."""
    weights, trainable = record.model.parameters, record.model.trainable_parameters
    known = [row.weights_moved_percent for row in record.evaluations if row.weights_moved_percent is not None]
    moved = known[-1] if known else None
    frozen = weights is not None and trainable is not None and trainable < 0.02 * weights
    still = moved is not None and moved < 1e-4 and record.weight_path > 1e-5
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
        evidence(parameters=weights, trainable_parameters=trainable, weights_moved_percent=moved),
    )


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


def stopped_before_learning(record: RunRecord) -> Iterator[Finding]:
    """Early stopping that ended the run before the weights were moved as far as learning needs."""
    if not has_stopped_before_learning(record):
        return
    settings, last = record.settings, record.evaluations[-1]
    yield Finding(
        "stopped-too-soon",
        "error",
        record.step,
        f"Early stopping ended the run at step {record.step:,} of {record.total_steps:,}, before the model had learned "
        f"anything (f1 {last.f1:.1f}, validation loss {last.loss:.2f}; blind "
        f"{record.uniform_loss('validation'):.2f}). Reading takes some hundred steps, and f1 is noise until then; "
        f"{settings.early_stopping_patience} evaluations without a better one say nothing that early. Evaluate less "
        "often, and wait for more evaluations.",
        train_again(
            record,
            "more-patience",
            early_stopping_patience=max(5, 3 * settings.early_stopping_patience),
            eval_steps=float(max(1, record.total_steps // 10)),
        ),
        {"step": record.step, "total_steps": record.total_steps, "f1": round(last.f1, 3),
         "validation_loss": round(last.loss, 4), "patience": settings.early_stopping_patience},
    )  # fmt: skip


def has_stopped_before_learning(record: RunRecord) -> bool:
    """Tell whether a run stopped early, unlearned, with much of its way before it (see `stopped_before_learning`)."""
    way = min(2 * SHORTEST_PATH, 0.5 * record.planned_path)
    return record.status == "stopped early" and record.ended_unlearned and record.weight_path < way


def too_few_steps(record: RunRecord) -> Iterator[Finding]:
    """A run that ends before it has left the ground."""
    if record.loss is None or not record.ended_unlearned or record.planned_path > 2 * SHORTEST_PATH:
        return
    settings = record.settings
    windows = record.data("train").windows
    batch = max(1, min(settings.step_windows, 16, windows // 100))
    # Some hundreds, and as many as move the weights far enough at this rate.
    steps = max(600, 2.2 * SHORTEST_PATH * record.total_steps / record.planned_path)
    epochs = max(3.0, settings.epochs, float(np.ceil(steps * batch / windows)))
    yield Finding(
        "too-few-steps",
        "error",
        record.step,
        f"The run has only {record.total_steps:,} steps ({settings.step_windows} windows each, of {windows:,}), and "
        f"the loss stays near that of a blind guess ({record.loss.mean:.2f}; blind {record.uniform_loss():.2f}). "
        "Learning takes steps, some hundreds at least. Take smaller steps, and more of them.",
        train_for(record, "more-steps", epochs, train_batch_size=batch, gradient_accumulation_steps=1),
        {"total_steps": record.total_steps, "step_windows": settings.step_windows, "windows": windows,
         "planned_path": record.planned_path, "loss": round(record.loss.mean, 4)},
    )  # fmt: skip


def random_weights(record: RunRecord) -> Iterator[Finding]:
    """An encoder that was never pretrained, and learns nothing."""
    untrained = record.settings.from_scratch or bool(record.model.untrained)
    if not untrained or not is_stuck(record) or record.loss is None:
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
    if not is_stuck(record) or record.loss is None:
        return
    yield Finding(
        "not-learning",
        "error",
        record.step,
        f"After {record.step:,} steps the loss is {record.loss.mean:.2f}; guessing blindly costs "
        f"{record.uniform_loss():.2f}, and knowing only what answers look like and where they tend to stand about "
        "four fifths of that. The model has not learned to read the question. Sometimes it takes another seed or "
        "more steps; else look at the data.",
        train_for(record, "longer", 2 * record.total_steps / record.plan.steps_per_epoch, warmup_ratio=0.1),
        {
            "loss": round(record.loss.mean, 4),
            "uniform_loss": record.uniform_loss(),
            "weight_path": round(record.weight_path, 6),
        },
    )


def learned_by_heart_only(record: RunRecord) -> Iterator[Finding]:
    """Training goes well, validation is as if nothing had been learned."""
    if record.loss is None or not record.evaluations or len(record.losses) < 50:
        return
    blind = record.blind_loss("validation")
    validation = record.evaluations[-1].loss
    if record.loss.high > 0.4 * record.blind_loss() or validation < 0.9 * blind:
        return
    if max(row.f1 for row in record.evaluations) > _BLIND_F1:
        # It reads, and is only too sure where it errs: that is for the rules of overfitting.
        return
    passes, questions = record.passes, record.data("train").questions
    by_heart = passes >= MANY_PASSES
    less = (crop_contexts(record) or train_less(record, 3.0)) if by_heart else None
    yield Finding(
        "too-many-epochs" if by_heart else "nothing-carries-over",
        "error",
        record.evaluations[-1].step,
        f"The training loss is {record.loss.mean:.2f}, but the validation loss {validation:.2f}, no better than a "
        f"blind guess ({blind:.2f}): nothing of what was learned holds for the validation data. "
        + (
            f"In {passes:.0f} passes the {questions:,} training questions were learned by heart. Train on more "
            "questions, reading takes thousands of them; with these, crop the contexts anew in every pass, or train "
            "for fewer epochs."
            if by_heart
            else "The two parts are not of one kind, or the training questions are so few that they were learned "
            "by heart."
        ),
        less or check_data(record),
        {
            "epochs": round(passes, 3),
            "questions": questions,
            "loss": round(record.loss.mean, 4),
            "validation_loss": round(validation, 4),
            "blind_loss": round(blind, 4),
        },
    )


def wild_start(record: RunRecord) -> Iterator[Finding]:
    """A model that is surer of wrong answers than any fresh head could be, and stays so."""
    if len(record.losses) < min(20, record.total_steps) or not record.is_unlearned or record.loss is None:
        return
    begun, uniform = level(record.losses[:5]), record.uniform_loss()
    if begun.mean < 1.5 * uniform or record.loss.mean < 1.2 * uniform:
        return
    yield Finding(
        "wild-start",
        "error",
        record.step,
        f"The first steps' loss is {begun.mean:.1f}, and it stays at {record.loss.mean:.1f}, where a fresh head "
        f"begins at {uniform:.1f}, a blind guess's. The weights are damaged or scaled (a bad conversion), or the "
        "model was trained for something else and is sure of it. Start from a sound pretrained encoder.",
        use_base_model(record, learning_rate=3e-5, warmup_ratio=0.1),
        {"first_loss": round(begun.mean, 4), "loss": round(record.loss.mean, 4), "uniform_loss": uniform},
    )


def loss_without_score(record: RunRecord) -> Iterator[Finding]:
    """A validation loss that is low, and answers that are wrong all the same."""
    if not record.evaluations:
        return
    last, blind = record.evaluations[-1], record.blind_loss("validation")
    if last.loss > 0.25 * blind or last.f1 > _BLIND_F1:
        return
    yield Finding(
        "loss-without-score",
        "error",
        int(last.step),
        f"The validation loss is {last.loss:.2f} (a blind guess: {blind:.2f}), so the model finds the "
        f"labelled tokens, but f1 is only {last.f1:.1f}: the labels are not the expected answers. "
        "max_answer_length forbids them, the null threshold hides them, or answers and answer_start do not belong "
        "together.",
        check_data(record),
        {"validation_loss": round(last.loss, 4), "blind_loss": round(blind, 4), "f1": last.f1},
    )


def is_stuck(record: RunRecord) -> bool:
    """Tell whether nothing was learned in a time in which something should have been."""
    patient = len(record.losses) >= 300 and record.weight_path >= 0.05
    return record.ended_unlearned or (record.has_not_learned and patient)
