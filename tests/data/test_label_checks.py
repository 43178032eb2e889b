"""Correct and damaged data give different facts."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import albertqa
from albertqa.data.example import Example, Gold
from albertqa.data.label_checks import (
    function_words,
    is_whole_words,
    label_statistics,
    rare_question_words,
    shared_content,
)
from albertqa.data.reading import load_examples


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
    facts = label_statistics(examples)
    assert (facts["contexts"], facts["repeated_questions"], facts["contradicting_questions"]) == (2, 3, 2)
    assert facts["gold_words_mean"] == pytest.approx((1 + 2 + 1 + 1) / 4)


def test_answers_at_the_end_have_no_word_behind_them() -> None:
    context = "Rollo came in 911 (or so)."
    places = ["Rollo", "911", "or so", "so"]
    examples = [Example(text, "Q?", context, (Gold(text, context.index(text)),)) for text in places]
    assert label_statistics([*examples, Example("none", "Q?", context)])["golds_at_end_percent"] == 50.0


def test_upper_case_is_a_share_of_the_letters_that_have_case() -> None:
    examples = [Example("1", "Q?", "Ab c 東 1", ())]
    assert label_statistics(examples)["upper_case_percent"] == pytest.approx(100 / 3, abs=1e-3)


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
    json.dumps([label_statistics(examples), shared_content(examples, examples[:1])], allow_nan=False)


def test_facts_are_the_same_in_every_process() -> None:
    code = (
        "import json; from albertqa.data import load_examples;"
        "from albertqa.data.label_checks import label_statistics, shared_content;"
        "train = load_examples('starter:train', limit=300); validation = load_examples('starter:validation');"
        "print(json.dumps([label_statistics(train), shared_content(train, validation)]))"
    )
    source = str(Path(albertqa.__file__).parents[1])
    printed = {
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed, "PYTHONPATH": source},
            capture_output=True, text=True, check=True,
        ).stdout
        for seed in ("0", "1", "2")
    }  # fmt: skip
    assert len(printed) == 1
    assert "frequent_words_percent" in printed.pop()


def test_answers_cut_out_of_words_are_told_from_whole_words() -> None:
    context = "Rollo (c. 846) ruled Normandy. 皇帝は京都に。"
    for text, whole in (
        ("Rollo", True),
        ("ollo", False),
        ("Rollo ", False),
        ("846", True),
        ("84", False),
        ("京都", True),
    ):
        assert is_whole_words(context, Gold(text, context.index(text))) is whole, text


def test_in_korean_answers_end_before_their_particles() -> None:
    context = "임종석은 1989년 서울에서 열린 대회에 참가하였다."
    for text, whole in (("임종석", True), ("서울", True), ("1989년", True), ("989년", False)):
        assert is_whole_words(context, Gold(text, context.index(text))) is whole, text


def test_what_texts_on_one_subject_have_in_common_is_no_function_word() -> None:
    texts = [
        f"The relief number {at} is of marble, and the museum has a second relief. It was made by the relief's owner."
        for at in range(30)
    ]
    assert {"the", "of"} <= function_words([Example(text, "Q?", text) for text in texts])
    assert "relief" not in function_words([Example(text, "Q?", text) for text in texts])
    plain = [text.replace(",", "").replace(".", "").replace("'", "") for text in texts]
    assert function_words([Example(text, "Q?", text) for text in plain]) == set()


def test_damaged_texts_are_told_from_sound_ones() -> None:
    sound = load_examples("starter:train", limit=100)
    facts = label_statistics(sound)
    names = ("markup", "mojibake", "doubled", "long_questions", "questions_in_contexts")
    assert {name: facts[f"{name}_percent"] for name in names} == dict.fromkeys(names, 0.0)
    assert max(facts[f"{name}_percent"] for name in ("golds_in_questions", "same_answer", "long_words")) < 6
    # Fewer-than signs and ampersands are no markup, accents no wrong encoding.
    signs = [dataclasses.replace(one, context=f"{one.context} x < 3 & y > 2, R&D; Ça va, Ñandú") for one in sound]
    assert label_statistics(signs)["markup_percent"] == label_statistics(signs)["mojibake_percent"] == 0
    for name, context in (
        ("markup", "<b>{}</b>"), ("markup", "{} caf&eacute;"), ("mojibake", "{} cafÃ©"), ("mojibake", "{} itâ€™s"),
        ("mojibake", "{} caf\ufffd"), ("doubled", "{} {}"),
    ):  # fmt: skip
        changed = [dataclasses.replace(one, context=context.replace("{}", one.context)) for one in sound]
        assert label_statistics(changed)[f"{name}_percent"] == 100, context


def test_kinds_of_questions_that_are_not_trained_on_are_named() -> None:
    train, validation = load_examples("starter:train"), load_examples("starter:validation")
    assert rare_question_words(train, validation) == set()
    how_many = [one for one in train if one.question.lower().startswith(("how many", "when"))]
    assert len(how_many) >= 100
    assert {"what", "who"} <= (rare_question_words(how_many, validation) or set())
    assert rare_question_words(train[:50], validation) is None
    found = shared_content(how_many, validation)
    assert found["rare_question_words_percent"] > 50
    assert shared_content(train, validation)["rare_question_words_percent"] == 0


@pytest.mark.real_data
def test_data_of_one_kind_asks_alike_whatever_its_language(real_data: pytest.TempPathFactory) -> None:
    for file in (
        "shifts/reddit_v1.0.json",
        "squad/dev-v1.1.json",
        *(f"xquad/xquad.{of}.json" for of in ("de", "ru", "zh")),
    ):
        examples = load_examples(f"{real_data}/{file}")
        found = shared_content(examples[: len(examples) * 2 // 3], examples[len(examples) * 2 // 3 :])
        assert found["rare_question_words_percent"] < 15, file
        assert label_statistics(examples)["golds_whole_words_percent"] > 95, file
