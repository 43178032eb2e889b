"""Rules about what a model makes of its labels: training answers that it finds elsewhere, validation answers it knows.

They compare a sample of the training questions with the validation questions, both evaluated in the same way (see
`albertqa.run.train_sample`). A model should do better on what it was trained on.
"""

import math
import shlex
from collections.abc import Iterator

from albertqa.health.advice import use_base_model
from albertqa.health.curve import proportion_error
from albertqa.health.record import RunRecord
from albertqa.rundir.findings import Finding
from albertqa.rundir.rows import EvaluationRow

# Standard errors by which the training sample's share of contradicted labels must exceed the validation data's: in two
# evaluations, or in one. Where a third of the labels was some words beside the answer, 22 to 36 % were contradicted and
# 13 % of the validation labels; in sound runs 6 to 16 % and 10 to 24 %, at most 3 points more than of the validation
# labels (docs/experiments.md).
_TWICE, _ONCE = 2.0, 3.0
_LEAST_POINTS, _LEAST_TIMES = 6.0, 1.4
# As above, for the two losses.
_VERY_CLEAR = 4.0


def wrong_labels(record: RunRecord) -> Iterator[Finding]:
    """Training labels that the model contradicts more often than validation labels: many of them are wrong."""
    excesses = [(_contradicted_excess(record, row), row) for row in record.evaluations]
    clear = [(excess, row) for excess, row in excesses if excess >= _TWICE]
    if not clear or (len(clear) < 2 and clear[0][0] < _ONCE):
        return
    excess, row = max(clear, key=lambda one: one[0])
    train, validation = row.sample_contradicted_percent or 0.0, row.contradicted_percent or 0.0
    yield Finding(
        "wrong-labels",
        "error" if excess >= _ONCE else "warning",
        row.step,
        f"At step {row.step:,} the model contradicted {train:.0f} % of {row.sample_windows} training answers, and only "
        f"{validation:.0f} % of the validation answers. It should agree better with what it is trained on, so many "
        "training answers are wrong: beside their place, or of other questions. In the end it memorises them, and "
        "nothing shows. The command lists what it answers instead; correct the file or leave them out.",
        shlex.join(["albertqa", "doctor", str(record.path), "--show-rows"]),
        {"sample_contradicted_percent": train, "contradicted_percent": validation,
         "standard_errors": round(excess, 2), "sample_windows": row.sample_windows or 0},
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
    errors = proportion_error(train, count), proportion_error(validation, record.data("validation").answered)
    return (train - validation) / math.hypot(*errors)


def known_answers(record: RunRecord) -> Iterator[Finding]:
    """A validation loss far below the loss on what the model was trained on: it has seen the validation data before."""
    last = record.evaluations[-1] if record.evaluations else None
    if last is None or last.sample_loss is None or last.contradicted_percent is None or _excess(record) < _VERY_CLEAR:
        return
    if last.loss > 0.75 * last.sample_loss or (last.sample_contradicted_percent or 0.0) > 10 or record.settings.augment:
        return
    yield Finding(
        "known-answers",
        "warning",
        last.step,
        f"The loss on the validation data is {last.loss:.2f}, far below the {last.sample_loss:.2f} on questions the "
        f"model was trained on (f1 {last.f1:.1f}). It should be the other way round: {record.model.source} has "
        "probably been trained on the validation data before, or the validation questions are much easier. Start from "
        "another model, or validate on other questions.",
        use_base_model(record),
        {"sample_loss": round(last.sample_loss, 4), "validation_loss": round(last.loss, 4), "f1": round(last.f1, 3)},
    )


def _excess(record: RunRecord) -> float:
    """Return by how many standard errors the loss on the training sample exceeds the validation loss."""
    last = record.evaluations[-1]
    if last.sample_loss is None or last.sample_loss_error is None or last.validation_loss_error is None:
        return 0.0
    error = (last.sample_loss_error**2 + last.validation_loss_error**2) ** 0.5
    return (last.sample_loss - last.loss) / error if error else 0.0
