"""Rules about a model's answers beside the labels: those it finds elsewhere, those it knew before, those it withholds.

The first two compare a sample of the training questions with the validation questions, both evaluated in the same way
(see `albertqa.run.train_sample`). A model should do better on what it was trained on.
"""

import math
import shlex
from collections.abc import Iterator

from albertqa.health.advice import evaluate_again, use_base_model
from albertqa.health.curve import Level, level, proportion_error
from albertqa.health.record import RunRecord
from albertqa.rundir.findings import Finding
from albertqa.rundir.rows import EvaluationRow

# Standard errors by which the training sample's share of contradicted labels must exceed the validation data's: in two
# evaluations, or in one. Where a third of the labels was some words beside the answer, 22 to 36 % were contradicted and
# 13 % of the validation labels; in sound runs 6 to 16 % and 10 to 24 %, at most 3 points more than of the validation
# labels; of some ten runs of the starter encoder.
_TWICE, _ONCE = 2.0, 3.0
_LEAST_POINTS, _LEAST_TIMES = 6.0, 1.4
# In sound runs the validation loss is 0.91 of the loss on new training questions and more, where the model had seen the
# validation data 0.69 and less.
_FAR_BELOW, _VERY_CLEAR, _MOST_CONTRADICTED = 0.75, 4.0, 10.0
_NEAR_STEPS = 25
# A model that reads answers nothing to about as many questions as have no answer.
_TOO_EMPTY_POINTS = 50


def wrong_labels(record: RunRecord) -> Iterator[Finding]:
    """Training labels that the model contradicts more often than validation labels: many of them are wrong."""
    clear = [(excess, row) for row in record.evaluations if (excess := _contradicted_excess(record, row)) >= _TWICE]
    if not clear or (len(clear) < 2 and clear[0][0] < _ONCE):
        return
    excess, row = max(clear, key=lambda one: one[0])
    train, validation = row.sample_contradicted_percent or 0.0, row.contradicted_percent or 0.0
    yield Finding(
        "wrong-labels",
        "error" if excess >= _ONCE else "warning",
        f"At step {row.step:,} the model contradicted {train:.0f} % of {row.sample_windows} training answers, and only "
        f"{validation:.0f} % of the validation answers. It should agree better with what it is trained on, so many "
        "training answers are wrong: beside their place, or of other questions. In the end it memorises them, and "
        "nothing shows. The command lists what it answers instead; correct the file or leave them out.",
        shlex.join(["albertqa", "doctor", str(record.path), "--show-rows"]),
        {"sample_contradicted_percent": train, "contradicted_percent": validation,
         "standard_errors": round(excess, 2), "sample_windows": row.sample_windows or 0},
        row.step,
    )  # fmt: skip


def _contradicted_excess(record: RunRecord, row: EvaluationRow) -> float:
    """Return by how many standard errors more of the training sample's labels were contradicted; 0: not clearly more.

    A model that has memorised its training data contradicts little of it, so each evaluation counts.
    """
    train, validation, count = row.sample_contradicted_percent, row.contradicted_percent, row.sample_windows
    if train is None or validation is None or not count:
        return 0.0
    if train < max(validation + _LEAST_POINTS, _LEAST_TIMES * validation):
        return 0.0
    errors = proportion_error(train, count), proportion_error(validation, record.validation.answered)
    return (train - validation) / math.hypot(*errors)


def known_answers(record: RunRecord) -> Iterator[Finding]:
    """A validation loss far below the loss on training questions: the model has seen the validation data before."""
    for row in reversed(record.evaluations):
        known, contradicted = _losses_of_train(record, row), row.contradicted_percent
        if known is None or row.validation_loss_error is None or contradicted is None:
            continue
        error = math.hypot(known.error, row.validation_loss_error)
        is_clear = row.loss <= _FAR_BELOW * known.mean and known.mean - row.loss >= _VERY_CLEAR * error
        if not is_clear or contradicted > _MOST_CONTRADICTED:
            continue
        yield Finding(
            "known-answers",
            "warning",
            f"At step {row.step:,} the loss on the validation data was {row.loss:.2f}, far below the {known.mean:.2f} "
            f"on training questions (f1 {row.f1:.1f}). It should be the other way round: {record.model.source} has "
            "probably been trained on the validation data before, or the validation questions are much easier. Start "
            "from another model, or validate on other questions.",
            use_base_model(record),
            {"train_loss": round(known.mean, 4), "validation_loss": round(row.loss, 4), "f1": round(row.f1, 3)},
            row.step,
        )


def _losses_of_train(record: RunRecord, row: EvaluationRow) -> Level | None:
    """Return the loss on training questions at an evaluation; on new ones where the first pass is not over.

    What regularizers add to the steps' losses is not known; then the sample's loss is all there is.
    """
    settings, model = record.settings, record.model
    dropout = [settings.hidden_dropout, settings.attention_dropout, model.hidden_dropout, model.attention_dropout]
    is_plain = not (settings.augment or settings.label_smoothing_factor or settings.r_drop_alpha or any(dropout))
    near = [
        step.loss
        for step in record.steps[max(0, row.step - _NEAR_STEPS) : row.step + _NEAR_STEPS]
        if step.step <= record.plan.steps_per_epoch and math.isfinite(step.loss)
    ]
    if is_plain and len(near) >= _NEAR_STEPS // 2:
        return level(near)
    if settings.augment or row.sample_loss is None or row.sample_loss_error is None:
        return None
    return Level(row.sample_loss, row.sample_loss_error)


def threshold_off(record: RunRecord) -> Iterator[Finding]:
    """v2.0: a null threshold that costs points, or that leaves nothing but "no answer"."""
    scores, data = record.run.scores, record.validation
    best, threshold = scores.get("best_f1"), scores.get("best_f1_thresh")
    if best is None or threshold is None or record.status in {"running", "interrupted"}:
        return
    gain, set_to = best - scores["f1"], record.settings.null_score_diff_threshold
    empty = (record.evaluations[-1].predicted_empty_percent or 0.0) if record.evaluations else 0.0
    unanswerable = 100 * data.without_answer / data.questions
    if gain >= max(3.0, 2 * proportion_error(scores["f1"], data.questions)):
        seen = f"f1 is {scores['f1']:.1f}; with {threshold:.2f} it would be {best:.1f}."
    elif record.has_learned and empty - unanswerable >= _TOO_EMPTY_POINTS:
        # Where all answers are empty from the beginning, no evaluation is better than the first, which was of a model
        # that could not read yet.
        seen = f"the model answers {empty:.0f} % of the questions with nothing, although it has learned to read."
    else:
        return
    yield Finding(
        "threshold-off",
        "warning",
        f"With null_score_diff_threshold {set_to:g}, {seen} "
        + (
            "Tune it on one data set and use it on others."
            if unanswerable
            else "Every validation question has an answer: let the model answer them all."
        ),
        f"{evaluate_again(record)} --tune-threshold"
        if unanswerable
        else evaluate_again(record, version_2_with_negative=False),
        {"f1": scores["f1"], "best_f1": best, "best_f1_thresh": threshold, "null_score_diff_threshold": set_to,
         "predicted_empty_percent": empty},
        int(scores.get("step", record.step)),
    )  # fmt: skip
