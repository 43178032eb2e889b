"""Score a predictions file on a data set: the figures of the official SQuAD scripts, to the last digit."""

import math
from collections.abc import Collection, Mapping, Sequence

from albertqa.data.example import Example, has_unanswerable
from albertqa.errors import DataError, SettingsError
from albertqa.scoring.metric import QuestionScore, score_answer


def score(
    examples: Sequence[Example],
    predictions: Mapping[str, str],
    *,
    null_odds: Mapping[str, float] | None = None,
    version_2: bool | None = None,
    na_prob_threshold: float | None = None,
) -> dict[str, float | int]:
    """Score predictions on a data set, with the official keys.

    `exact` and `f1` are those of the predictions as they stand, with or without `null_odds`: what the official script
    prints when it gets no no-answer file. Given such a file, that script also discards every answer whose value is
    above 1.0, which is meant for probabilities and changes the result when the values are score differences; to have
    it so, pass `na_prob_threshold=1.0`.

    `best_*` follow the official search, including its habits: it cuts between questions with equal null odds, so a
    `best_*` figure need not be reachable with the threshold beside it, and its threshold is 0.0 where "no answer"
    everywhere is best. `tune_threshold` finds thresholds that keep their promise.

    Where a prediction is missing, version 1.1 counts 0 and version 2.0 leaves the question out of all figures (the
    official script leaves it out of `exact`, `f1` and `total` and then stops with a KeyError); `compare_ids` names the
    questions.

    Args:
        examples: The data set, in file order (sums of floats depend on the order).
        predictions: Answer text for each question id; "" says that there is none. Ids not in the data set are ignored.
        null_odds: For each question id, null score minus best answer's score; adds the `best_*` keys. SQuAD 2.0 only.
        version_2: Follow the script for SQuAD 2.0, or 1.1; None means 2.0 if some question has no answer.
        na_prob_threshold: Take a prediction for "no answer" where its null odds are above this; None means never.

    Returns:
        `exact`, `f1` (percent) and `total` (questions). For SQuAD 2.0 also `HasAns_*` and `NoAns_*`, each only where
        such questions exist, and with `null_odds` also `best_exact`, `best_exact_thresh`, `best_f1` and
        `best_f1_thresh`.

    Raises:
        DataError: Nothing to score, repeated question ids, or a scored question without null odds.
        SettingsError: `null_odds` for SQuAD 1.1, or a threshold without `null_odds`.

    Source:
        `evaluate-v1.1.py` (where `exact` is called `exact_match`) and `evaluate-v2.0.py`, the official SQuAD scripts.
    """
    is_version_2 = has_unanswerable(examples) if version_2 is None else version_2
    if null_odds is None and na_prob_threshold is not None:
        raise SettingsError("a no-answer threshold needs null odds to compare with; pass the null odds file too")
    if null_odds is not None and not is_version_2:
        raise SettingsError("null odds need SQuAD 2.0 scoring, and this is 1.1; leave them out or score as SQuAD 2.0")
    scores = score_each(examples, predictions, version_2=is_version_2)
    if not scores:
        raise DataError(
            f"nothing to score: {len(predictions)} predictions for {len(examples)} questions, no id in both"
        )
    if not is_version_2:
        return _means(scores.values())
    answerable = {example.id for example in examples if example.has_answer}
    final = scores
    if null_odds is not None:
        require_null_odds(scores, null_odds)
        if na_prob_threshold is not None:
            final = _discard_answers_above(na_prob_threshold, scores, null_odds, answerable)
    result = _means(final.values())
    for prefix, has_answer in (("HasAns", True), ("NoAns", False)):
        group = [value for question_id, value in final.items() if (question_id in answerable) == has_answer]
        if group:
            result |= {f"{prefix}_{key}": value for key, value in _means(group).items()}
    if null_odds is not None:
        for key in ("exact", "f1"):
            raw = {question_id: getattr(value, key) for question_id, value in scores.items()}
            best, threshold = _official_best(predictions, raw, null_odds, answerable)
            result |= {f"best_{key}": best, f"best_{key}_thresh": threshold}
    return result


def score_each(
    examples: Sequence[Example], predictions: Mapping[str, str], *, version_2: bool | None = None
) -> dict[str, QuestionScore]:
    """Score every question by itself.

    Args:
        examples: The data set, in file order.
        predictions: Answer text for each question id.
        version_2: Follow the script for SQuAD 2.0, or 1.1; None means 2.0 if some question has no answer.

    Returns:
        The score of each question id, in the order of `examples`. A question without a prediction has 0 in version
        1.1 and is left out in version 2.0.

    Raises:
        DataError: A question id is there twice, or version 1.1 is asked for and a question has no answer.
    """
    is_version_2 = has_unanswerable(examples) if version_2 is None else version_2
    scores: dict[str, QuestionScore] = {}
    seen: set[str] = set()
    for example in examples:
        if example.id in seen:
            raise DataError(f"question {example.id}: this id is in the data set twice; give each question its own id")
        seen.add(example.id)
        if not (is_version_2 or example.has_answer):
            raise DataError(f"question {example.id}: expected a gold answer, found none; score as SQuAD 2.0 instead")
        if example.id in predictions:
            gold_texts = [gold.text for gold in example.golds]
            scores[example.id] = score_answer(predictions[example.id], gold_texts, version_2=is_version_2)
        elif not is_version_2:
            scores[example.id] = QuestionScore(0.0, 0.0)
    return scores


def require_null_odds(question_ids: Collection[str], null_odds: Mapping[str, float]) -> None:
    """Check that each of these questions has null odds to compare with a threshold; further ids do not matter.

    Raises:
        DataError: Some have none, or NaN.
    """
    bad = [question_id for question_id in question_ids if math.isnan(null_odds.get(question_id, math.nan))]
    if bad:
        raise DataError(
            f"null odds: {len(bad)} of {len(question_ids)} predicted questions have none or NaN (first: {bad[0]}); "
            "take predictions and null odds from the same run"
        )


def mean_percent(values: Collection[float]) -> float:
    """Average scores from 0 to 1, in the order of the data set, into percent, as the official scripts do."""
    total = 0.0
    # Left to right on purpose: from Python 3.12 on, sum() compensates rounding and can differ in the last digit.
    for value in values:
        total += value
    return 100.0 * total / len(values)


def _means(scores: Collection[QuestionScore]) -> dict[str, float | int]:
    """Summarise some questions under the official keys."""
    return {
        "exact": mean_percent([one.exact for one in scores]),
        "f1": mean_percent([one.f1 for one in scores]),
        "total": len(scores),
    }


def _discard_answers_above(
    threshold: float,
    scores: Mapping[str, QuestionScore],
    null_odds: Mapping[str, float],
    answerable: Collection[str],
) -> dict[str, QuestionScore]:
    """Take answers with null odds above the threshold for "no answer", which is right where there is none."""
    final = dict(scores)
    for question_id in scores:
        if null_odds[question_id] > threshold:
            right = float(question_id not in answerable)
            final[question_id] = QuestionScore(right, right)
    return final


def _official_best(
    answers: Mapping[str, str], scores: Mapping[str, float], null_odds: Mapping[str, float], answerable: Collection[str]
) -> tuple[float, float]:
    """Search the threshold as the official script does: start from "no answer" everywhere, admit answers one by one.

    Kept to the letter, because published figures depend on it: equal null odds are admitted in the order of the null
    odds file, an admitted answer to a question without one costs a point even if it normalises to nothing, and the
    first of several equally good thresholds wins.

    Returns:
        The best score in percent, and its threshold.
    """
    current = float(sum(question_id not in answerable for question_id in scores))
    best, best_threshold = current, 0.0
    for question_id in sorted((known for known in null_odds if known in scores), key=null_odds.__getitem__):
        if question_id in answerable:
            current += scores[question_id]
        elif answers[question_id]:
            current -= 1.0
        if current > best:
            best, best_threshold = current, float(null_odds[question_id])
    return 100.0 * best / len(scores), best_threshold
