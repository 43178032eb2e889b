"""The official SQuAD semantics once more, written from their description, slowly and without the package's code.

What has to be the same for equality to the last digit is the arithmetic: F1 through precision and recall, sums from
left to right in the order of the data set, and `100.0 * total / n`.
"""

from collections.abc import Mapping, Sequence
from itertools import groupby

from albertqa.data import example as data

PUNCTUATION = set(r"""!"#$%&'()*+,-./:;<=>?@[\]^_`{|}~""")


def is_word_character(character: str) -> bool:
    return character.isalnum() or character == "_"


def normalized_tokens(text: str) -> list[str]:
    kept = "".join(character for character in text.lower() if character not in PUNCTUATION)
    runs = ["".join(run) for _, run in groupby(kept, key=is_word_character)]
    return "".join(" " if run in ("a", "an", "the") else run for run in runs).split()


def num_shared(left: Sequence[str], right: Sequence[str]) -> int:
    rest = list(right)
    shared = 0
    for token in left:
        if token in rest:
            rest.remove(token)
            shared += 1
    return shared


def overlap_f1(answer: list[str], gold: list[str]) -> float:
    shared = num_shared(answer, gold)
    if not shared:
        return 0.0
    precision, recall = shared / len(answer), shared / len(gold)
    return 2 * precision * recall / (precision + recall)


def exact_and_f1_v1(prediction: str, golds: Sequence[str]) -> tuple[float, float]:
    answer = normalized_tokens(prediction)
    exact = f1 = 0.0
    for gold in golds:
        tokens = normalized_tokens(gold)
        exact = max(exact, 1.0 if answer == tokens else 0.0)
        f1 = max(f1, overlap_f1(answer, tokens))
    return exact, f1


def exact_and_f1_v2(prediction: str, golds: Sequence[str]) -> tuple[float, float]:
    answer = normalized_tokens(prediction)
    real_golds = [gold for gold in golds if normalized_tokens(gold)]
    if not real_golds:
        return (0.0, 0.0) if answer else (1.0, 1.0)
    return exact_and_f1_v1(prediction, real_golds) if answer else (0.0, 0.0)


def percent(values: Sequence[float]) -> float:
    total = 0.0
    for value in values:
        total = total + value
    return 100.0 * total / len(values)


def texts(example: data.Example) -> list[str]:
    return [gold.text for gold in example.golds]


def score_v1(examples: Sequence[data.Example], predictions: Mapping[str, str]) -> dict[str, float | int]:
    rows = [
        exact_and_f1_v1(predictions[example.id], texts(example)) if example.id in predictions else (0.0, 0.0)
        for example in examples
    ]
    return {"exact": percent([row[0] for row in rows]), "f1": percent([row[1] for row in rows]), "total": len(rows)}


def score_v2(
    examples: Sequence[data.Example],
    predictions: Mapping[str, str],
    null_odds: Mapping[str, float] | None = None,
    na_prob_threshold: float | None = None,
) -> dict[str, float | int]:
    predicted = [example for example in examples if example.id in predictions]
    raw = {example.id: exact_and_f1_v2(predictions[example.id], texts(example)) for example in predicted}
    final = dict(raw)
    if null_odds is not None and na_prob_threshold is not None:
        for example in predicted:
            if null_odds[example.id] > na_prob_threshold:
                final[example.id] = (0.0, 0.0) if example.golds else (1.0, 1.0)
    result: dict[str, float | int] = {}
    for prefix, members in (
        ("", predicted),
        ("HasAns_", [example for example in predicted if example.golds]),
        ("NoAns_", [example for example in predicted if not example.golds]),
    ):
        if members:
            result[prefix + "exact"] = percent([final[example.id][0] for example in members])
            result[prefix + "f1"] = percent([final[example.id][1] for example in members])
            result[prefix + "total"] = len(members)
    if null_odds is not None:
        for position, name in enumerate(("best_exact", "best_f1")):
            score, threshold = official_best(predicted, predictions, raw, null_odds, position)
            result[name], result[name + "_thresh"] = score, threshold
    return result


def official_best(
    predicted: Sequence[data.Example],
    predictions: Mapping[str, str],
    raw: Mapping[str, tuple[float, float]],
    null_odds: Mapping[str, float],
    position: int,
) -> tuple[float, float]:
    """Score every prefix of the questions, ordered by null odds and then by place in the file, from scratch."""
    by_id = {example.id: example for example in predicted}
    file_order = [question_id for question_id in null_odds if question_id in by_id]
    ranked = sorted(enumerate(file_order), key=lambda place: (null_odds[place[1]], place[0]))
    order = [question_id for _, question_id in ranked]
    outcomes: list[tuple[float, float]] = []
    for num_admitted in range(len(order) + 1):
        total = float(len([example for example in predicted if not example.golds]))
        for question_id in order[:num_admitted]:
            if by_id[question_id].golds:
                total += raw[question_id][position]
            elif predictions[question_id] != "":
                total -= 1
        outcomes.append((total, null_odds[order[num_admitted - 1]] if num_admitted else 0.0))
    highest = max(total for total, _ in outcomes)
    first = next(outcome for outcome in outcomes if outcome[0] == highest)
    return 100.0 * first[0] / len(predicted), first[1]
