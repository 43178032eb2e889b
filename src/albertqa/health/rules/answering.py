"""Rules about what a trained model predicts, and how precise its scores are."""

from collections.abc import Iterator

from albertqa.health.advice import evaluate_again, more_questions, train_again
from albertqa.health.curve import proportion_error
from albertqa.health.record import DataView, RunRecord
from albertqa.rundir.findings import Finding


def threshold_off(record: RunRecord) -> Iterator[Finding]:
    """v2.0: a null threshold that costs points."""
    scores = record.scores
    best, threshold = scores.get("best_f1"), scores.get("best_f1_thresh")
    if best is None or threshold is None or not record.is_over:
        return
    gain = best - scores["f1"]
    if gain < max(3.0, 2 * proportion_error(scores["f1"], record.data("validation").questions)):
        return
    settings, has_unanswerable = record.settings, record.data("validation").without_answer > 0
    yield Finding(
        "threshold-off",
        "warning",
        int(scores.get("step", record.step)),
        f"With null_score_diff_threshold {settings.null_score_diff_threshold:g}, f1 is {scores['f1']:.1f}; with "
        f"{threshold:.2f} it would be {best:.1f}. "
        + (
            "Tune it on one data set and use it on others."
            if has_unanswerable
            else "Every validation question has an answer: let the model answer them all."
        ),
        f"{evaluate_again(record)} --tune-threshold"
        if has_unanswerable
        else evaluate_again(record, version_2_with_negative=False),
        {"f1": scores["f1"], "best_f1": best, "best_f1_thresh": threshold,
         "null_score_diff_threshold": settings.null_score_diff_threshold},
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
