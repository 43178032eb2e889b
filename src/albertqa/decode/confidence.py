"""How likely an answer is right: from the scores of a question's candidates to a calibrated probability.

Two logistic models: one for an answer from the text, one for "no answer". Each adds up a few features of the n-best,
weighted; the weights are fitted to how often answers are right (`fit_confidence`) and saved with the
model in ``reader.json``. Plain arithmetic only, so that a page or another language can do the same.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from albertqa.decode.spans import Candidate, Prediction

LEAST, MOST = 0.001, 0.999
"""Bounds of a calibrated probability: a few hundred questions say nothing about what is beyond."""

FEATURES = ("odds", "score", "length", "null_margin")

_MOST_ODDS = 12.0


@dataclass(frozen=True)
class Logistic:
    """A logistic model of features.

    Attributes:
        intercept: Log-odds where all features are 0.
        weights: Weight of each feature by its name.
    """

    intercept: float
    weights: dict[str, float]

    def probability(self, features: Mapping[str, float]) -> float:
        """Return the probability for the features; others than those with a weight do not count."""
        log_odds = self.intercept + sum(weight * features[name] for name, weight in self.weights.items())
        return min(max(1 / (1 + math.exp(-min(max(log_odds, -50.0), 50.0))), LEAST), MOST)


@dataclass(frozen=True)
class Confidence:
    """What turns a model's scores into calibrated probabilities.

    Attributes:
        answer: How likely the best answer is right.
        no_answer: v2.0: how likely "no answer" is right; None: not fitted.
        questions: Questions it was fitted on, those on foreign contexts included.
        tested: Figures of questions on other contexts, before and after, by name.
    """

    answer: Logistic
    no_answer: Logistic | None = None
    questions: int = 0
    tested: dict[str, float] = field(default_factory=dict)

    def problems(self) -> Iterator[str]:
        """Yield what is wrong with it, one text a problem."""
        for name, model in (("answer", self.answer), ("no_answer", self.no_answer)):
            if model is None:
                continue
            if unknown := sorted(set(model.weights) - set(FEATURES)):
                yield f"confidence.{name} has a weight for '{unknown[0]}', expected {', '.join(FEATURES)}"
            if not all(map(math.isfinite, (model.intercept, *model.weights.values()))):
                yield f"confidence.{name} has a weight that is not finite, expected finite numbers"

    def probability(self, prediction: Prediction, n_best_size: int) -> float | None:
        """Return how likely a prediction's answer is right.

        Args:
            prediction: The prediction.
            n_best_size: Candidates that it was fitted with; further ones are not looked at.

        Returns:
            None where it is unknown: there is no candidate, "no answer" is the answer and was not fitted, or the null
            score is not known and counts.
        """
        model = self.answer if prediction.text else self.no_answer
        found = features(prediction, n_best_size)
        if model is None or found is None or model.weights.keys() - found.keys():
            return None
        return model.probability(found)


def features(prediction: Prediction, n_best_size: int) -> dict[str, float] | None:
    """Return what tells right answers from wrong ones, of so many candidates: further ones would change the features.

    Returns:
        None where there is no candidate that is an answer, else of the best one:

        - ``odds``: log-odds of its softmax among the answers of the n-best, each span once;
        - ``score``: start logit plus end logit;
        - ``length``: natural logarithm of its characters plus 1;
        - ``null_margin``: its score minus the null score, if that is known.
    """
    # On v2.0 "no answer" has taken the place of one candidate.
    most = n_best_size - (prediction.null_score is not None)
    answers = [one for one in prediction.n_best if one.text][: max(most, 1)]
    if not answers:
        return None
    best = answers[0]
    spans = {(one.start_char, one.end_char): one for one in reversed(answers)}
    total = sum(math.exp(one.score - best.score) for one in spans.values())
    others = max(total - 1.0, math.exp(-_MOST_ODDS))
    found = {"odds": -math.log(others), "score": best.score, "length": math.log(1 + len(best.text))}
    if prediction.cls_score is not None:
        found["null_margin"] = best.score - prediction.cls_score
    return found


def with_probability(candidates: tuple[Candidate, ...], chosen: int, probability: float) -> tuple[Candidate, ...]:
    """Return candidates with the calibrated probability of the chosen one, and the others' scaled to fit beside it.

    The others keep their proportions; they are scaled by the same factor as the chosen one, or by less where all
    together would exceed 1.
    """
    own = candidates[chosen].probability
    rest = max(1.0 - own, 1e-12)
    factor = min(probability / max(own, 1e-12), (1.0 - probability) / rest)
    return tuple(
        replace(one, probability=probability if at == chosen else one.probability * factor)
        for at, one in enumerate(candidates)
    )
