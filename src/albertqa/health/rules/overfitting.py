"""Rules about a training that goes too far, or stops too soon.

Validation loss alone is no judge: with ALBERT on SQuAD it rises in the third epoch (.90 to .99) while f1 still rises,
because a surer model pays more for each error. So every rule here weighs f1, with the noise of so many questions.
"""

import math
from collections.abc import Iterator

from albertqa.health.advice import crop_contexts, train_again, train_less
from albertqa.health.curve import proportion_error
from albertqa.health.record import MANY_PASSES, RunRecord
from albertqa.health.rules.learning import has_stopped_before_learning
from albertqa.rundir.findings import Finding
from albertqa.rundir.rows import EvaluationRow

# Evaluations without a better one after which a run is to stop by itself.
_PATIENCE = 3


def overfitting(record: RunRecord) -> Iterator[Finding]:
    """Validation loss up, f1 down, training loss far below: the training questions are being learned by heart."""
    if len(record.evaluations) < 2 or record.loss is None:
        return
    best, last, lowest = _best(record), record.evaluations[-1], _lowest(record)
    drop, noise = best.f1 - last.f1, _noise(record, best.f1)
    is_far_below = _is_far_below(record, 0.7 * last.loss)
    if drop < max(1.0, 2 * noise) or not is_far_below or not _rose(record, 1.08):
        return
    advice, remedy = _mend(record, best.epoch)
    yield Finding(
        "overfitting",
        "warning",
        int(last.step),
        f"Since step {best.step:,} f1 fell from {best.f1:.1f} to {last.f1:.1f} (noise: ±{noise:.1f}) while "
        f"the validation loss rose from {lowest.loss:.2f} to {last.loss:.2f}; the "
        f"training loss is {_spelled(record, record.loss.mean)}. The model learns its training questions by heart and "
        f"forgets how to read others. {_kept(record)} {advice}",
        remedy,
        {"best_f1": round(best.f1, 3), "f1": round(last.f1, 3), "f1_noise": round(noise, 3),
         "lowest_validation_loss": round(lowest.loss, 4),
         "validation_loss": round(last.loss, 4), "train_loss": round(record.loss.mean, 4),
         "best_step": best.step},
    )  # fmt: skip


def too_many_epochs(record: RunRecord) -> Iterator[Finding]:
    """Nothing left to learn from the training questions, and nothing gained since long."""
    if len(record.evaluations) < 2 or record.loss is None:
        return
    last, lowest = record.evaluations[-1], _lowest(record)
    passes = record.passes
    gain = max(row.f1 for row in record.evaluations[-3:]) - lowest.f1
    noise = _noise(record, lowest.f1)
    is_far_below = _is_far_below(record, 0.25 * last.loss)
    if passes < MANY_PASSES or gain > noise or not is_far_below or not _rose(record, 1.4):
        return
    advice, remedy = _mend(record, lowest.epoch)
    yield Finding(
        "too-many-epochs",
        "warning",
        int(last.step),
        f"After {passes:.0f} passes over {record.data('train').questions:,} questions the training loss is "
        f"{_spelled(record, record.loss.mean)}, and the validation loss {last.loss:.2f}, up from "
        f"{lowest.loss:.2f} at step {lowest.step:,}; f1 has gained nothing since "
        f"({lowest.f1:.1f} there, {last.f1:.1f} now). The questions are known by heart; more passes only make "
        f"wrong answers surer. {advice}",
        remedy,
        {"epochs": round(passes, 3), "questions": record.data("train").questions,
         "train_loss": round(record.loss.mean, 4), "validation_loss": round(last.loss, 4),
         "lowest_validation_loss": round(lowest.loss, 4), "f1": round(last.f1, 3)},
    )  # fmt: skip


def train_validation_gap(record: RunRecord) -> Iterator[Finding]:
    """A training loss far below a validation loss that rises, while f1 gains nothing beyond its noise."""
    if len(record.evaluations) < 2 or record.loss is None:
        return
    last, lowest = record.evaluations[-1], _lowest(record)
    train_loss = float(record.losses[-record.plan.steps_per_epoch :].mean())
    gain = max(row.f1 for row in record.evaluations if row.step >= lowest.step) - lowest.f1
    noise = _noise(record, lowest.f1)
    has_gap = train_loss - _smoothing_floor(record) < last.loss / 3
    if not has_gap or gain > noise or not _rose(record, 1.25):
        return
    advice, remedy = _mend(record, lowest.epoch)
    yield Finding(
        "train-validation-gap",
        "warning",
        int(last.step),
        f"The training loss of the last epoch is {_spelled(record, train_loss)}, the validation loss "
        f"{last.loss:.2f}. It was {lowest.loss:.2f} at step {lowest.step:,}, and f1 has "
        f"gained nothing since ({lowest.f1:.1f} there, {last.f1:.1f} now; noise: ±{noise:.1f}). What is still "
        f"learned of the training questions does not hold for others; wrong answers only get surer. {advice}",
        remedy,
        {"train_loss": round(train_loss, 4), "validation_loss": round(last.loss, 4),
         "lowest_validation_loss": round(lowest.loss, 4), "f1": round(last.f1, 3),
         "f1_gain": round(gain, 3), "f1_noise": round(noise, 3)},
    )  # fmt: skip


def best_long_past(record: RunRecord) -> Iterator[Finding]:
    """Many evaluations since the best, all of them clearly worse."""
    patience = record.settings.early_stopping_patience
    best = _best(record) if record.evaluations else None
    if best is None or record.status == "stopped early" or 0 < patience <= _PATIENCE:
        return
    after = [row.f1 for row in record.evaluations if row.step > best.step]
    noise = _noise(record, best.f1)
    if len(after) < 3 or best.step > 0.6 * record.step or best.f1 - sum(after) / len(after) < max(1.0, 2 * noise):
        return
    yield Finding(
        "best-long-past",
        "warning",
        int(best.step),
        f"The best evaluation (f1 {best.f1:.1f}) was at step {best.step:,}; the {len(after)} since were "
        f"{sum(after) / len(after):.1f} on average (noise: ±{noise:.1f}). The steps since then only cost time. Let "
        "the run stop by itself.",
        train_again(record, "early-stopping", early_stopping_patience=_PATIENCE),
        {"best_step": best.step, "best_f1": round(best.f1, 3), "f1_since": round(sum(after) / len(after), 3)},
    )


def stopped_too_soon(record: RunRecord) -> Iterator[Finding]:
    """A run that stopped early while the validation loss was still going down."""
    if record.status != "stopped early" or len(record.evaluations) < 2 or has_stopped_before_learning(record):
        return
    before, last = record.evaluations[-2].loss, record.evaluations[-1].loss
    if last > 0.99 * before or last > _lowest(record).loss:
        return
    patience = record.settings.early_stopping_patience
    yield Finding(
        "stopped-too-soon",
        "warning",
        record.step,
        f"Early stopping ended the run at step {record.step:,} of {record.total_steps:,}, but the validation loss "
        f"was still going down ({before:.2f}, then {last:.2f}). f1 moves in jumps at first. Wait for more "
        "evaluations.",
        train_again(record, "more-patience", early_stopping_patience=max(5, 3 * patience)),
        {"validation_loss_before": round(before, 4), "validation_loss": round(last, 4), "patience": patience},
    )


def _best(record: RunRecord) -> EvaluationRow:
    return max(record.evaluations, key=lambda row: row.f1)


def _lowest(record: RunRecord) -> EvaluationRow:
    return min(record.evaluations, key=lambda row: row.loss)


def _rose(record: RunRecord, times: float) -> bool:
    """Tell whether the validation loss is more than so many times its lowest, which may be 0."""
    return bool(record.evaluations[-1].loss > times * _lowest(record).loss)


def _noise(record: RunRecord, f1: float) -> float:
    return proportion_error(f1, int(record.data("validation").questions))


def _is_far_below(record: RunRecord, limit: float) -> bool:
    """Tell whether the training loss is below a limit, as far as it can be told apart from what regularizers add."""
    # How large R-Drop's divergence is, which the training loss has in it, no run says.
    return record.loss is not None and (
        record.settings.r_drop_alpha > 0 or record.loss.mean - _smoothing_floor(record) < limit
    )


def _smoothing_floor(record: RunRecord) -> float:
    """Give what label smoothing leaves of the training loss at best: the entropy of its target over a mean window."""
    smoothing, tokens = record.settings.label_smoothing_factor, math.exp(record.uniform_loss())
    other = smoothing / tokens
    gold = 1 - smoothing + other
    return -gold * math.log(gold) - (tokens - 1) * other * math.log(other) if smoothing else 0.0


def _spelled(record: RunRecord, train_loss: float) -> str:
    floor = _smoothing_floor(record)
    return f"{train_loss:.2f}" + (f" ({floor:.2f} of it is label smoothing's)" if floor else "")


def _kept(record: RunRecord) -> str:
    """Say which model is in ``best/``: what is best by one measure need not be so by f1."""
    metric, best = record.settings.metric_for_best_model, _best(record)
    kept = _lowest(record) if metric == "loss" else max(record.evaluations, key=lambda row: _score(row, metric))
    if kept.step == best.step:
        return "best/ holds the better model."
    return f"best/ goes by {metric} and holds the model of step {kept.step:,} (f1 {kept.f1:.1f})."


def _score(row: EvaluationRow, metric: str) -> float:
    return (row.exact or 0.0) if metric == "exact" else row.f1


def _mend(record: RunRecord, epochs: float) -> tuple[str, str]:
    """Give what to do against learning by heart, where so many epochs were best, and the command."""
    if (cropped := crop_contexts(record)) is not None:
        return "Crop the contexts anew in every pass; else train for fewer epochs, or on more questions.", cropped
    if (less := train_less(record, epochs)) is not None:
        return "Train for fewer epochs, or on more questions.", less
    return (
        "Evaluate more often and let the run stop by itself, or train on more questions.",
        train_again(
            record,
            "early-stopping",
            early_stopping_patience=_PATIENCE,
            eval_steps=max(1, record.evaluations[0].step // 2),
        ),
    )
