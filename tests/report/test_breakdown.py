"""Groups of questions: every question is in one, and how they are guessed."""

import doctest

import pytest
from hypothesis import given
from hypothesis import strategies as st

from albertqa.data.example import Example, Gold
from albertqa.report import breakdown
from albertqa.report.breakdown import answer_type, facets_of, group_scores, lexical_overlap, question_word
from albertqa.report.outcome import Outcome

from . import cases


def test_doctests() -> None:
    assert doctest.testmod(breakdown).failed == 0


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("1066", "date"),
        ("14 October 1066", "date"),
        ("October 14", "date"),
        ("the 11th century", "date"),
        ("1990s", "date"),
        ("Monday", "date"),
        ("500 BC", "date"),
        ("24", "number"),
        ("about 3,000 men", "number"),
        ("$1.2 billion", "number"),
        ("two", "number"),
        ("Forty-two", "number"),
        ("85 %", "number"),
        ("Denver Broncos", "name"),
        ("Duke of Normandy", "name"),
        ("Levi's Stadium", "name"),
        ("Marching Band", "name"),
        ("may have been lost", "phrase"),
        ("the rule of law", "phrase"),
        ("because Rollo won", "phrase"),
        ("", "phrase"),
    ],
)
def test_answer_type(text: str, kind: str) -> None:
    assert answer_type(text) == kind


@pytest.mark.parametrize(
    ("question", "word"),
    [
        ("Whom did she meet?", "who"),
        ("To what extent?", "what"),
        ("What's new?", "what"),
        ("How much is it?", "how many/much"),
        ("How is it?", "how"),
        ("Name the king.", "other"),
        ("", "other"),
        ("In whose reign?", "whose"),
    ],
)
def test_question_word(question: str, word: str) -> None:
    assert question_word(question) == word


def test_overlap_is_measured_in_the_sentence_of_the_gold() -> None:
    context = 'It rose 3.5 percent. "Why?" asked Dr. Who.\nNo one knew e.g. the cause.'

    def overlap(question: str, answer: str) -> float | None:
        return lexical_overlap(Example("q", question, context, (Gold(answer, context.index(answer)),)))

    assert overlap("Rose percent?", "It") == 1.0
    assert overlap("Asked Dr. rose percent?", "Who") == 2 / 4
    assert overlap("Asked Dr. knew cause?", "cause") == 2 / 4


def test_overlap_is_the_share_of_content_words_in_the_gold_sentence() -> None:
    context = "Rollo led the Normans. Cats sleep."
    example = Example("q", "Who led all the Normans to Paris?", context, (Gold("Rollo", 0),))
    assert lexical_overlap(example) == pytest.approx(2 / 4)  # led, normans of led, all, normans, paris
    assert lexical_overlap(Example("q", "Who?", context, (Gold("Rollo", 0),))) is None
    assert lexical_overlap(Example("q", "Who led?", context)) is None


@given(st.lists(st.tuples(st.text(max_size=40), st.text(min_size=1, max_size=80)), min_size=1, max_size=8))
def test_every_question_is_in_one_group_of_every_facet_whatever_its_text(texts: list[tuple[str, str]]) -> None:
    examples = [
        Example(str(at), question, context, (Gold(context[:3], 0),) if at % 2 else ())
        for at, (question, context) in enumerate(texts)
    ]
    for facet in facets_of(examples, [1 + at % 4 for at in range(len(examples))]):
        assert len(facet.of_question) == len(examples)
        assert all(-1 <= group < len(facet.groups) for group in facet.of_question)
        assert len(set(facet.of_question)) > 1


def test_facets_with_one_group_are_left_out() -> None:
    keys = [facet.key for facet in facets_of(cases.examples_of(2), None)]
    assert "answerable" not in keys
    assert "windows" not in keys
    assert {"word", "type"} <= set(keys)
    assert "answerable" in [facet.key for facet in facets_of(cases.examples_of(2, version_2=True), None)]


def test_group_scores_are_the_means_of_the_groups() -> None:
    examples = cases.examples_of(3)
    outcomes = [
        Outcome(one, "", None, None, None, float(at % 2), 0.5 + 0.5 * (at % 2), (), 0, None)
        for at, one in enumerate(examples)
    ]
    facet = next(one for one in facets_of(examples, None) if one.key == "word")
    scores = dict(zip(facet.groups, group_scores(facet, outcomes), strict=True))
    when, who = scores["when"], scores["who"]
    assert when is not None
    assert who is not None
    assert (when.questions, when.exact, when.f1.mean) == (12, 0.0, 50.0)
    assert (who.questions, who.exact, who.f1.low, who.f1.high) == (12, 100.0, 100.0, 100.0)
    assert scores["why"] is None
