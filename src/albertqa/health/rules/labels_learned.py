"""Rules about what a model makes of its labels: training answers that it does not believe, validation answers it knows.

They compare a sample of the training questions with the validation questions, both evaluated in the same way (see
`albertqa.run.train_sample`). A model should do better on what it was trained on.
"""

import shlex
from collections.abc import Iterator

from albertqa.health.curve import proportion_error
from albertqa.health.record import RunRecord
from albertqa.rundir.findings import Finding

# Of windows of one kind a tenth has a loss above that of nine in ten; of those trained on, in sound runs, 1 to 5 %.
_MANY_ABOVE_PERCENT = 15.0
# A model this good is not stopped by a few wrong labels, and one that knows the answers is at least that good.
_GOOD_F1 = 80.0


def wrong_labels(record: RunRecord) -> Iterator[Finding]:
    """Training questions on which the model does far worse than on validation questions."""
    last = record.evaluations[-1] if record.evaluations else None
    if last is None or last.sample_above_percent is None or last.sample_loss is None:
        return
    above, count = last.sample_above_percent, last.sample_windows or 1
    answered = record.data("validation").answered
    error = (proportion_error(10.0, count) ** 2 + proportion_error(10.0, answered) ** 2) ** 0.5
    # Before a model reads, its losses say how hard the texts are.
    reads = last.loss < 0.8 * record.blind_loss("validation")
    if not reads or above < max(_MANY_ABOVE_PERCENT, 10.0 + 2 * error):
        return
    knows = last.f1 >= _GOOD_F1 and last.loss < 0.7 * last.sample_loss
    seen = (
        f"{above:.0f} % of {count} training questions have a loss that only 10 % of the validation questions have "
        f"(mean losses: {last.sample_loss:.2f} and {last.loss:.2f}). The model should do better on what it was trained "
        "on."
    )
    why = (
        f"It reaches f1 {last.f1:.1f} on the validation data: {record.model.source} has probably been trained on it "
        "before, or the validation questions are much easier. Validate on other questions."
        if knows
        else "So many training answers are wrong: in the wrong place, or of other questions. The command lists them, "
        "with what the model finds instead. Correct the file, or leave them out."
    )
    yield Finding(
        "known-answers" if knows else "wrong-labels",
        "warning" if knows else "error",
        last.step,
        f"{seen} {why}",
        shlex.join(["albertqa", "doctor", str(record.path), "--show-rows"]),
        {"sample_above_percent": above, "sample_questions": count, "sample_loss": round(last.sample_loss, 4),
         "validation_loss": round(last.loss, 4), "f1": round(last.f1, 3)},
    )  # fmt: skip
