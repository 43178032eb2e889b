"""Correct and damaged data give different facts."""

import dataclasses
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from albertqa.data.example import Example, Gold
from albertqa.data.label_checks import answer_statistics, nearness, shared_content
from albertqa.data.reading import load_examples


def shuffled(examples: list[Example]) -> list[Example]:
    """Exchange golds: every question gets those of some question on the same context."""
    rng = random.Random(0)
    of_context: dict[str, list[tuple[Gold, ...]]] = {}
    for one in examples:
        of_context.setdefault(one.context, []).append(one.golds)
    for golds in of_context.values():
        rng.shuffle(golds)
    return [dataclasses.replace(one, golds=of_context[one.context].pop()) for one in examples]


@pytest.mark.parametrize("source", ["starter:train", "starter:validation"])
def test_questions_are_near_their_own_answers_and_not_near_shuffled_ones(source: str) -> None:
    examples = load_examples(source, limit=400)
    sound, damaged = nearness(examples), nearness(shuffled(examples))
    assert sound is not None
    assert damaged is not None
    assert sound["ratio"] - 2 * sound["ratio_error"] > 2.5
    assert damaged["ratio"] + 2 * damaged["ratio_error"] < 1.5
    # Shuffled within their contexts, questions are still where they belong.
    assert damaged["at_home"] == sound["at_home"] > 0.8 > 5 * sound["elsewhere"]


def test_a_damaged_half_shows_in_its_quarters_and_nowhere_else() -> None:
    examples = load_examples("starter:train", limit=400)
    found = nearness([*examples[:200], *shuffled(examples[200:])])
    assert found is not None
    lows = [one["ratio"] - 2 * one["ratio_error"] for one in found["quarters"][:2]]
    highs = [one["ratio"] + 2 * one["ratio_error"] for one in found["quarters"][2:]]
    assert min(lows) > 2
    assert min(lows) > max(highs)
    assert sum(one["questions"] for one in found["quarters"]) == found["questions"]


@pytest.mark.real_data
@pytest.mark.parametrize("file", ["squad/dev-v1.1.json", "shifts/reddit_v1.0.json"])
def test_real_data_tells_shuffled_answers_and_shifted_questions(real_data: pytest.TempPathFactory, file: str) -> None:
    examples = load_examples(f"{real_data}/{file}", limit=3000)
    sound, damaged = nearness(examples), nearness(shuffled(examples))
    moved = [one.question for one in [*examples[1000:], *examples[:1000]]]
    shifted = nearness([dataclasses.replace(one, question=q) for one, q in zip(examples, moved, strict=True)])
    assert sound is not None
    assert damaged is not None
    assert shifted is not None
    assert sound["ratio"] - 2 * sound["ratio_error"] > 2
    assert damaged["ratio"] + 2 * damaged["ratio_error"] < 1.3
    assert sound["at_home"] > 5 * sound["elsewhere"]
    assert shifted["at_home"] < 1.5 * shifted["elsewhere"]


def test_nearness_needs_no_spaces_between_words() -> None:
    letters = [chr(code) for code in range(0x4E00, 0x4E00 + 3000)]
    rng = random.Random(0)
    examples = []
    for number in range(20):
        subjects = ["".join(rng.sample(letters, 4)) for _ in range(4)]
        years = [str(1000 + 10 * number + at) for at in range(4)]
        # Sentences of forty characters: the subject, the year, and what else there is to say.
        sentences = [
            f"{one}は{year}年{''.join(rng.sample(letters, 34))}。" for one, year in zip(subjects, years, strict=True)
        ]
        context = "".join(sentences)
        examples += [
            Example(f"{number}-{at}", f"{subjects[at]}は何年か", context, (Gold(year, context.index(year)),))
            for at, year in enumerate(years)
        ]
    sound, damaged = nearness(examples), nearness(shuffled(examples))
    assert sound is not None
    assert damaged is not None
    assert sound["questions"] == len(examples)
    assert sound["ratio"] > 5
    assert damaged["ratio"] + 2 * damaged["ratio_error"] < 2


def test_questions_that_share_no_words_with_their_texts_cannot_be_compared() -> None:
    examples = [Example(str(at), "Quid est?", f"The number is {at}.", (Gold(str(at), 14),)) for at in range(50)]
    assert nearness(examples) is None


def test_repetitions_and_contradictions_are_counted() -> None:
    context = "Rollo came in 911 and William in 1066."
    rollo, william = (Gold("Rollo", 0),), (Gold("William", 22),)
    examples = [
        Example("1", "Who came?", context, rollo),
        Example("2", "Who  came?", context, (Gold("Rollo came", 0),)),  # a longer cut of the same answer
        Example("3", "Who came?", context, william),
        Example("4", "Who came?", context, ()),
        Example("5", "Who came?", context + " ", william),
    ]
    facts = answer_statistics(examples)
    assert (facts["contexts"], facts["repeated_questions"], facts["contradicting_questions"]) == (2, 3, 2)
    assert facts["gold_words_mean"] == pytest.approx((1 + 2 + 1 + 1) / 4)


def test_answers_at_the_end_have_no_word_behind_them() -> None:
    context = "Rollo came in 911 (or so)."
    places = ["Rollo", "911", "or so", "so"]
    examples = [Example(text, "Q?", context, (Gold(text, context.index(text)),)) for text in places]
    assert answer_statistics([*examples, Example("none", "Q?", context)])["golds_at_end_percent"] == 50.0


def test_upper_case_is_a_share_of_the_letters_that_have_case() -> None:
    examples = [Example("1", "Q?", "Ab c 東 1", ())]
    assert answer_statistics(examples)["upper_case_percent"] == pytest.approx(100 / 3, abs=1e-3)


def test_shared_texts_are_found_whatever_their_case_and_spaces() -> None:
    train = [Example("1", "Who came first?", "Rollo came. William came later.", ())]
    validation = [
        Example("a", "who came first", "rollo came -- william came  later", ()),
        Example("b", "Who else?", "Rollo came. William came later.", ()),
        Example("c", "Who came first?", "Nobody came.", ()),
        Example("d", "What?", "Something else.", ()),
    ]
    found = shared_content(train, validation)
    assert (found["shared_contexts_percent"], found["shared_questions_percent"]) == (50.0, 25.0)


def test_another_language_shares_few_frequent_words() -> None:
    from health.german import TEXT

    english, other = load_examples("starter:train", limit=300), load_examples("starter:validation", limit=50)
    german = [Example("g", "Was?", TEXT, ())]
    same, different = shared_content(english, other), shared_content(english, german)
    assert same["frequent_words_percent"] > 0.8 * same["frequent_words_percent_train"]
    assert different["frequent_words_percent"] < 0.2 * different["frequent_words_percent_train"]
    assert "frequent_words_percent" not in shared_content(english[:4], other)


@given(
    st.lists(
        st.builds(
            lambda words, at, length, question: (words, at % len(words), length, question),
            st.lists(st.sampled_from(["Rollo", "came", "ﬁ", "İ", "東京", " ", "1066", "-"]), min_size=1, max_size=12),
            st.integers(0, 11),
            st.integers(1, 3),
            st.text(alphabet="Rolo came東İ?", max_size=10),
        ),
        min_size=1,
        max_size=8,
    )
)
def test_facts_are_finite_numbers_for_any_texts(rows: list[tuple[list[str], int, int, str]]) -> None:
    import json

    examples = []
    for number, (words, at, length, question) in enumerate(rows):
        context = " ".join(words)
        start = len(" ".join(words[:at])) + (1 if at else 0)
        text = context[start : start + length] or context[:1]
        start = start if context[start : start + length] else 0
        examples.append(Example(str(number), question, context, (Gold(text, start),) if number % 3 else ()))
    json.dumps([answer_statistics(examples), shared_content(examples, examples[:1])], allow_nan=False)
