"""Rules about a training that memorises, goes on too long, or stops too soon.

Validation loss alone is no judge: with ALBERT on SQuAD it rises in the third epoch (.90 to .99) while f1 still rises,
because a surer model pays more for each error. So a rise counts where f1 gains nothing beyond the noise of so many
questions. Only above the uniform baseline the loss says by itself that nothing carries over.
"""

import math
from collections.abc import Iterator

from albertqa.health.advice import crop_contexts, more_questions, train_again, train_less
from albertqa.health.curve import level, proportion_error
from albertqa.health.record import MANY_PASSES, RunRecord
from albertqa.health.rules.learning import has_stopped_before_learning
from albertqa.rundir.findings import Finding
from albertqa.rundir.rows import EvaluationRow

# f1 that spans which know nothing of the question may reach.
_BLIND_F1 = 15


def memorised(record: RunRecord) -> Iterator[Finding]:
    """A training loss far below the uniform baseline beside a validation loss that is not below it at all."""
    train_loss = _plain_train_loss(record)
    if not record.evaluations or train_loss is None or len(record.losses) < 50:
        return
    last, blind = record.evaluations[-1], record.blind_loss("validation")
    train_blind = record.blind_loss()
    is_baseline = train_loss < 0.7 * train_blind and last.loss >= 0.95 * blind
    is_near_baseline = train_loss < 0.2 * train_blind and last.loss >= 0.8 * blind
    is_unread = train_loss < 0.7 * train_blind and record.ended_unread and last.f1 <= _BLIND_F1
    if not (is_baseline or is_near_baseline or is_unread):
        return
    questions = record.train.questions - (record.train.repeated_questions or 0)
    by_heart = record.passes >= MANY_PASSES or record.train.questions >= 2 * questions
    seen = (
        f"The training loss is {train_loss:.2f}, but the validation loss is {last.loss:.2f}, hardly better than the "
        f"uniform baseline ({blind:.2f}), and f1 is {last.f1:.1f}."
    )
    if by_heart:
        why = (
            f"In {record.passes * record.train.questions / questions:.0f} passes the {questions:,} training "
            "questions were memorised. Learning to read takes thousands of questions: use more. Cropped contexts or "
            "fewer epochs make memorising slower, and teach no more."
        )
    else:
        why = (
            f"What is learned from these {questions:,} training questions does not hold for the validation questions: "
            "they are too few, or of another kind. Train on more questions like those that will be asked."
        )
    yield Finding(
        "memorised" if by_heart else "no-generalisation",
        "error" if last.f1 <= _BLIND_F1 else "warning",
        f"{seen} {why}",
        more_questions(record),
        {"epochs": round(record.passes, 3), "questions": questions, "loss": round(train_loss, 4),
         "validation_loss": round(last.loss, 4), "uniform_loss": round(blind, 4), "f1": round(last.f1, 3)},
        last.step,
    )  # fmt: skip


def overfitting(record: RunRecord) -> Iterator[Finding]:
    """A training loss far below a validation loss that rises, while f1 falls, or gains nothing beyond its noise."""
    if len(record.evaluations) < 2 or record.loss is None:
        return
    best, last, lowest = _best(record), record.evaluations[-1], _lowest(record)
    train_loss, floor = level(record.losses[-record.plan.steps_per_epoch :]).mean, _smoothing_floor(record)
    noise, noise_there = (proportion_error(row.f1, record.validation.questions) for row in (best, lowest))
    drop, gain = best.f1 - last.f1, max(row.f1 for row in record.evaluations if row.step >= lowest.step) - lowest.f1
    # How large R-Drop's divergence is, which the training loss contains, no run records.
    is_far_below = record.settings.r_drop_alpha > 0 or record.loss.mean - floor < 0.7 * last.loss
    # The lowest loss may be 0.
    falls = drop >= max(1.0, 2 * noise) and is_far_below and last.loss > 1.08 * lowest.loss
    stays = gain <= noise_there and train_loss - floor < last.loss / 3 and last.loss > 1.25 * lowest.loss
    if not falls and not stays:
        return
    of_f1 = (
        f"fell from {best.f1:.1f} at step {best.step:,} to {last.f1:.1f}"
        if falls
        else f"has gained nothing since ({lowest.f1:.1f} there, {last.f1:.1f} now)"
    )
    of_train = f"{train_loss:.2f}" + (f" ({floor:.2f} of it is label smoothing)" if floor else "")
    advice, remedy = _remedy(record, (best if falls else lowest).epoch)
    yield Finding(
        "overfitting",
        "warning",
        f"In {record.passes:.1f} passes over {record.train.questions:,} questions the training loss fell to "
        f"{of_train}, and the validation loss rose to {last.loss:.2f}, from {lowest.loss:.2f} at step "
        f"{lowest.step:,}; f1 {of_f1}; its noise is ±{noise:.1f}. What is still learned does not hold for other "
        f"questions. {_kept(record)} {advice}",
        remedy,
        {"train_loss": round(train_loss, 4), "validation_loss": round(last.loss, 4),
         "lowest_validation_loss": round(lowest.loss, 4), "best_f1": round(best.f1, 3), "f1": round(last.f1, 3),
         "f1_noise": round(noise, 3), "best_step": best.step},
        last.step,
    )  # fmt: skip


def stopped_too_soon(record: RunRecord) -> Iterator[Finding]:
    """A run that stopped early while the validation loss was still falling."""
    if record.status != "stopped early" or len(record.evaluations) < 2 or has_stopped_before_learning(record):
        return
    before, last = record.evaluations[-2].loss, record.evaluations[-1].loss
    if last > 0.99 * before or last > _lowest(record).loss:
        return
    patience = record.settings.early_stopping_patience
    yield Finding(
        "stopped-too-soon",
        "warning",
        f"Early stopping ended the run at step {record.step:,} of {record.total_steps:,}, but the validation loss was "
        f"still falling ({before:.2f}, then {last:.2f}). f1 moves in jumps at first. Use more patience.",
        train_again(record, "more-patience", early_stopping_patience=max(5, 3 * patience)),
        {"validation_loss_before": round(before, 4), "validation_loss": round(last, 4), "patience": patience},
        record.step,
    )


def _best(record: RunRecord) -> EvaluationRow:
    return max(record.evaluations, key=lambda row: row.f1)


def _lowest(record: RunRecord) -> EvaluationRow:
    return min(record.evaluations, key=lambda row: row.loss)


def _plain_train_loss(record: RunRecord) -> float | None:
    """Return the loss on training questions at the last evaluation; of older runs, what the steps say of it."""
    if record.evaluations and record.evaluations[-1].sample_loss is not None:
        return record.evaluations[-1].sample_loss
    return record.loss.mean - _smoothing_floor(record) if record.loss is not None else None


def _smoothing_floor(record: RunRecord) -> float:
    """Return what label smoothing leaves of the training loss at best: its target's entropy over a mean window."""
    smoothing, tokens = record.settings.label_smoothing_factor, math.exp(record.uniform_loss())
    other = smoothing / tokens
    gold = 1 - smoothing + other
    return -gold * math.log(gold) - (tokens - 1) * other * math.log(other) if smoothing else 0.0


def _kept(record: RunRecord) -> str:
    """Return a sentence about the model in ``best/``: what is best by one metric need not be so by f1."""
    metric, best = record.settings.metric_for_best_model, _best(record)
    kept = _lowest(record) if metric == "loss" else max(record.evaluations, key=lambda row: getattr(row, metric) or 0.0)
    if kept.step == best.step:
        return "best/ holds the better model."
    return f"best/ is selected by {metric} and holds the model of step {kept.step:,} (f1 {kept.f1:.1f})."


def _remedy(record: RunRecord, epochs: float) -> tuple[str, str]:
    """Return what to do against memorising, where so many epochs were best, and the command."""
    if (cropped := crop_contexts(record)) is not None:
        return "Crop the contexts anew in every pass; or train for fewer epochs, or on more questions.", cropped
    if (less := train_less(record, epochs)) is not None:
        return "Train for fewer epochs, or on more questions.", less
    more_often = max(1, record.evaluations[0].step // 2)
    stopping = train_again(record, "early-stopping", early_stopping_patience=3, eval_steps=more_often)
    return "Evaluate more often with early stopping, or train on more questions.", stopping
