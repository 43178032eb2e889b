"""Rules about what a trained model predicts, and how precise its scores are."""

from collections.abc import Iterator

from albertqa.health.advice import evaluate_again, more_questions, train_again
from albertqa.health.curve import proportion_error
from albertqa.health.record import DataView, RunRecord
from albertqa.rundir.findings import Finding

# A model that reads answers nothing to about as many questions as have no answer.
_TOO_EMPTY_POINTS = 50


def threshold_off(record: RunRecord) -> Iterator[Finding]:
    """v2.0: a null threshold that costs points, or that leaves nothing but "no answer"."""
    scores, data = record.scores, record.data("validation")
    best, threshold = scores.get("best_f1"), scores.get("best_f1_thresh")
    if best is None or threshold is None or not record.is_over:
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
        int(scores.get("step", record.step)),
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
    )  # fmt: skip


def small_validation(view: DataView) -> Iterator[Finding]:
    """Validation data too small to compare steps or runs."""
    if view.validation is None:
        return
    questions = view.validation.questions
    half_width = 1.96 * proportion_error(50.0, questions)
    if half_width < 10:
        return
    limit = view.settings.max_eval_examples
    is_limited = limit is not None and limit <= questions
    yield Finding(
        "small-validation",
        "note",
        0,
        f"{questions} validation questions give f1 to about ±{half_width:.0f} points: too imprecise to compare steps "
        "or runs. Use several hundred; a thousand give ±3."
        + (f" max_eval_examples limits them to {limit}." if is_limited else ""),
        train_again(view, "more-validation", max_eval_examples=1000)
        if is_limited
        else more_questions(view, "validation"),
        {"questions": questions, "f1_half_width": round(half_width, 2)},
    )
