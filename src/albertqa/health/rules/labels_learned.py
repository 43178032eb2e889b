"""Rules about what a model makes of its labels: training answers that it finds elsewhere, validation answers it knows.

They compare a sample of the training questions with the validation questions, both evaluated in the same way (see
`albertqa.run.train_sample`). A model should do better on what it was trained on.
"""

import shlex
from collections.abc import Iterator

from albertqa.health.curve import proportion_error
from albertqa.health.record import RunRecord
from albertqa.rundir.findings import Finding

# Standard errors that a difference must exceed, where two differences must agree, and where one is all there is.
_CLEAR, _VERY_CLEAR = 2.0, 4.0


def wrong_labels(record: RunRecord) -> Iterator[Finding]:
    """Training labels that the model contradicts more often than validation labels: many of them are wrong."""
    last = record.evaluations[-1] if record.evaluations else None
    if last is None or last.contradicted_percent is None or last.sample_contradicted_percent is None:
        return
    train, validation, count = last.sample_contradicted_percent, last.contradicted_percent, last.sample_windows or 1
    errors = proportion_error(train, count), proportion_error(validation, record.data("validation").answered)
    is_contradicted = train - validation > max(5.0, _CLEAR * (errors[0] ** 2 + errors[1] ** 2) ** 0.5)
    if not is_contradicted or _excess(record) < _CLEAR or last.sample_loss is None:
        return
    yield Finding(
        "wrong-labels",
        "error",
        last.step,
        f"The model contradicts {train:.0f} % of {count} training answers it was trained on, and only {validation:.0f} "
        f"% of the validation answers; its loss is {last.sample_loss:.2f} on the first and {last.loss:.2f} on the "
        "second. It should do better on what it was trained on, so many training answers are wrong: in the wrong "
        "place, or of other questions. The command lists what it answers instead; correct the file or leave them out.",
        shlex.join(["albertqa", "doctor", str(record.path), "--show-rows"]),
        {"sample_contradicted_percent": train, "contradicted_percent": validation,
         "sample_loss": round(last.sample_loss, 4), "validation_loss": round(last.loss, 4), "sample_questions": count},
    )  # fmt: skip


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
        "probably been trained on the validation data before, or the validation questions are much easier. Validate "
        "on other questions, or start from another model.",
        shlex.join(["albertqa", "doctor", str(record.path), "--show-rows"]),
        {"sample_loss": round(last.sample_loss, 4), "validation_loss": round(last.loss, 4), "f1": round(last.f1, 3)},
    )


def _excess(record: RunRecord) -> float:
    """Return by how many standard errors the loss on the training sample exceeds the validation loss."""
    last = record.evaluations[-1]
    if last.sample_loss is None or last.sample_loss_error is None or last.validation_loss_error is None:
        return 0.0
    error = (last.sample_loss_error**2 + last.validation_loss_error**2) ** 0.5
    return (last.sample_loss - last.loss) / error if error else 0.0
