"""Hypothesis strategies: small data sets with predictions and null odds, rich in the metric's corner cases."""

from collections.abc import Mapping
from dataclasses import dataclass

from hypothesis import strategies as st

from albertqa.data.example import Example, Gold

# Spelt as escapes where two characters look alike.
WORDS = (
    *("a", "an", "the", "The", "AN", "rollo", "Rollo", "duke", "1976", "1,976", "a-b", "the.", "_", "--", "x", "y"),
    *("İ", "Straße", "é", "théâtre", "—", "€5", "中文", "Ⅳ", "²", "a\u0301", "\uff08the\uff09", "\u2019s", "\u00a0"),
    *("\u200b", "\ud800"),
)

texts = st.one_of(
    st.just(""),
    st.lists(st.sampled_from(WORDS), max_size=6).flatmap(
        lambda words: st.sampled_from((" ", "  ", "\t", "\n", "")).map(lambda space: space.join(words))
    ),
    st.text(max_size=12),
)

# Few different values, so that ties are the rule.
odds = st.one_of(st.sampled_from((-2.5, -1.0, 0.0, 0.5, 1.0, 1.5)), st.floats(-5.0, 5.0))


def apply_threshold(texts: Mapping[str, str], null_odds: Mapping[str, float], threshold: float) -> dict[str, str]:
    """Predict "" where the null odds are above the threshold, and the best non-null answer elsewhere."""
    return {question_id: "" if null_odds[question_id] > threshold else text for question_id, text in texts.items()}


@dataclass(frozen=True)
class Case:
    examples: list[Example]
    predictions: dict[str, str]
    null_odds: dict[str, float]


def _example(number: int, gold_texts: list[str]) -> Example:
    return Example(f"q{number}", "?", "", tuple(Gold(text, 0) for text in gold_texts))


@st.composite
def cases(draw: st.DrawFn, *, unanswerable: bool, missing: bool = True) -> Case:
    """Draw a data set; every null odds file is in its own order and holds an id that the data set does not."""
    min_golds = 0 if unanswerable else 1
    golds = draw(st.lists(st.lists(texts, min_size=min_golds, max_size=3), min_size=1, max_size=12))
    examples = [_example(number, gold_texts) for number, gold_texts in enumerate(golds)]
    predictions = {"not in the data set": "x"}
    for example in draw(st.permutations(examples)):
        copies = st.sampled_from([gold.text for gold in example.golds]) if example.golds else st.just("")
        chosen = draw(st.one_of(texts, copies, *([st.none()] if missing else [])))
        if chosen is not None:
            predictions[example.id] = chosen
    null_odds = {question_id: draw(odds) for question_id in draw(st.permutations(sorted(predictions)))}
    return Case(examples, predictions, null_odds)
