"""Rules about what a trained model answers, and how sure its scores are."""

from collections.abc import Iterator, Sequence

from albertqa.health.advice import check_data, evaluate_again, train_again
from albertqa.health.curve import proportion_error
from albertqa.health.record import RunRecord
from albertqa.rundir.findings import Finding

_ALWAYS = "Every validation question has an answer: let the model answer them all."


def mostly_empty(record: RunRecord) -> Iterator[Finding]:
    """A model that nearly always says that there is no answer."""
    empty = _last([row.predicted_empty_percent for row in record.evaluations])
    if empty is None or not record.is_over:
        return
    without = 100 * record.data("validation").without_answer / record.data("validation").questions
    if empty < 90 or empty < without + 30:
        return
    yield Finding(
        "mostly-empty",
        "error",
        record.step,
        f"The model answers {empty:.0f} % of the questions with nothing, while only {without:.0f} % have no answer. "
        "The null threshold is far off, most windows are trained as having no answer, or training was too short. "
        + ("Find the threshold that the scores are best with." if without else _ALWAYS),
        _tune(record),
        {"predicted_empty_percent": empty, "without_answer_percent": round(without, 2)},
    )


def threshold_off(record: RunRecord) -> Iterator[Finding]:
    """v2.0: a null threshold that costs points."""
    scores = record.scores
    best, threshold = scores.get("best_f1"), scores.get("best_f1_thresh")
    if best is None or threshold is None or not record.is_over:
        return
    gain = best - scores["f1"]
    if gain < max(3.0, 2 * proportion_error(scores["f1"], int(record.data("validation").questions))):
        return
    settings = record.settings
    yield Finding(
        "threshold-off",
        "warning",
        int(scores.get("step", record.step)),
        f"With null_score_diff_threshold {settings.null_score_diff_threshold:g}, f1 is {scores['f1']:.1f}; with "
        f"{threshold:.2f} it would be {best:.1f}. "
        + ("Tune it on one data set and use it on others." if record.data("validation").without_answer else _ALWAYS),
        _tune(record),
        {"f1": scores["f1"], "best_f1": best, "best_f1_thresh": threshold,
         "null_score_diff_threshold": settings.null_score_diff_threshold},
    )  # fmt: skip


def long_golds(record: RunRecord) -> Iterator[Finding]:
    """Training answers that are longer than any prediction may be."""
    golds, long, settings = record.data("train").golds, record.data("train").golds_too_long, record.settings
    lost = record.data("train").golds_in_no_window or 0
    # Where answers are cut at the windows' edges, longer windows come first.
    if not golds or long is None or long <= 0.05 * golds or lost > 0.02 * golds:
        return
    longer = max(64, 3 * settings.max_answer_length)
    yield Finding(
        "answers-too-long",
        "error" if long > 0.3 * golds else "warning",
        0,
        f"{long:,} of {golds:,} training answers ({100 * long / golds:.3g} %) are longer than max_answer_length "
        f"({settings.max_answer_length} tokens): they can never be predicted whole. Allow longer answers; training "
        "learns from them all the same.",
        evaluate_again(record, max_answer_length=longer)
        if record.evaluations
        else train_again(record, "longer-answers", max_answer_length=longer),
        {"golds_too_long": long, "golds": golds, "max_answer_length": settings.max_answer_length},
    )


def long_answers(record: RunRecord) -> Iterator[Finding]:
    """A trained model that answers with the longest spans it may."""
    words = _last([row.predicted_words_mean for row in record.evaluations])
    gold_words = record.data("validation").gold_words_mean
    if words is None or not gold_words or not record.has_learned or words < max(8.0, 3 * gold_words):
        return
    longest = record.settings.max_answer_length
    yield Finding(
        "long-answers",
        "warning",
        record.step,
        f"Predicted answers have {words:.1f} words on average, the expected ones {gold_words:.1f}. Start and end are "
        "chosen as if they had nothing to do with each other; shorter answers can be asked for, without training "
        "again.",
        evaluate_again(record, max_answer_length=max(5, min(round(4 * gold_words), longest * 3 // 4))),
        {"predicted_words_mean": words, "gold_words_mean": gold_words},
    )


def one_position(record: RunRecord) -> Iterator[Finding]:
    """A model that points at the same position whatever it reads."""
    share = _last([row.same_start_percent for row in record.evaluations])
    position = _last([row.same_start for row in record.evaluations])
    if share is None or not record.is_over or share < 80 or record.has_learned:
        return
    empty = 100 * record.data("validation").windows_without_answer / record.data("validation").windows
    if position == 0 and share < empty + 30:
        return
    where = "at [CLS], which stands for no answer," if position == 0 else f"at token {position:.0f}"
    yield Finding(
        "one-position",
        "error",
        record.step,
        f"In {share:.0f} % of the windows the model sees the answer's start {where} whatever they say. It has "
        "learned a place, not to read: too high a learning rate, or data whose answers stand in one place.",
        train_again(record, "lower-rate", learning_rate=record.settings.learning_rate / 10),
        {"same_start_percent": share, "same_start": position or 0},
    )


def small_validation(record: RunRecord) -> Iterator[Finding]:
    """Validation data too small to tell one step from another."""
    questions = int(record.data("validation").questions)
    if not record.evaluations or not record.is_over:
        return
    best = max(row.f1 for row in record.evaluations)
    half_width = 1.96 * proportion_error(best, questions)
    if half_width < 10:
        return
    yield Finding(
        "small-validation",
        "warning",
        0,
        f"{questions} validation questions give f1 to about ±{half_width:.0f} points: which step, or which run, is "
        "better cannot be told from them. Take several hundred; a thousand give ±3.",
        check_data(record)
        if record.settings.max_eval_examples is None
        else train_again(record, "more-validation", max_eval_examples=1000),
        {"questions": questions, "half_width": round(half_width, 2)},
    )


def _last(values: Sequence[float | None]) -> float | None:
    return next((value for value in reversed(values) if value is not None), None)


def _tune(record: RunRecord) -> str:
    """Give the command against answers that are missing: there is a threshold only where some questions have none."""
    if record.data("validation").without_answer == 0:
        return evaluate_again(record, version_2_with_negative=False)
    return f"{evaluate_again(record)} --tune-threshold"
