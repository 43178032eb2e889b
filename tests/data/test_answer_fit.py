"""Answers that belong to their questions are told from those that do not, in any language and domain."""

import dataclasses
import random

import pytest

from albertqa.data.answer_fit import answer_fit
from albertqa.data.example import Example, Gold
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


def swapped(examples: list[Example], share: float, *, seed: int = 0) -> list[Example]:
    """Give a share of the questions the answer of another question on the same context."""
    rng = random.Random(seed)
    of_context: dict[str, list[Example]] = {}
    for one in examples:
        of_context.setdefault(one.context, []).append(one)

    def other(one: Example) -> Example:
        others = [two for two in of_context[one.context] if two.golds != one.golds]
        return dataclasses.replace(one, golds=rng.choice(others).golds) if others and rng.random() < share else one

    return [other(one) for one in examples]


@pytest.mark.parametrize("source", ["starter:train", "starter:validation"])
def test_answers_fit_their_own_questions_better_than_others(source: str) -> None:
    examples = load_examples(source, limit=400)
    right, wrong, some = (answer_fit(one) for one in (examples, shuffled(examples), swapped(examples, 0.4)))
    assert right is not None
    assert wrong is not None
    assert some is not None
    assert right["others_fit_better"] + 2 * right["error"] < 0.25
    assert some["others_fit_better"] - 2 * some["error"] > 0.25
    assert wrong["others_fit_better"] - 2 * wrong["error"] > 0.45
    # Shuffled within their contexts, questions are still where they belong.
    assert wrong["at_home"] == right["at_home"] > 0.8 > 5 * right["elsewhere"]


def test_a_damaged_half_shows_in_its_quarters_and_nowhere_else() -> None:
    examples = load_examples("starter:train", limit=400)
    found = answer_fit([*examples[:200], *shuffled(examples[200:])])
    assert found is not None
    shares = [one["others_fit_better"] for one in found["quarters"]]
    assert max(shares[:2]) < 0.3 < 0.5 < min(shares[2:])
    assert sum(one["questions"] for one in found["quarters"]) == found["questions"]


def test_questions_of_other_contexts_show_in_all_and_where_they_are() -> None:
    examples = load_examples("starter:train", limit=600)
    moved = [one.question for one in [*examples[450:], *examples[:450]]]
    wrong = [dataclasses.replace(one, question=q) for one, q in zip(examples, moved, strict=True)]
    right, half, third = (
        answer_fit(one)
        for one in (
            examples,
            [*examples[:300], *wrong[300:]],
            [two if at % 3 == 0 else one for at, (one, two) in enumerate(zip(examples, wrong, strict=True))],
        )
    )
    assert right is not None
    assert half is not None
    assert third is not None
    assert right["strange"] < 0.08
    assert third["strange"] > 0.2
    assert max(one["strange"] for one in half["quarters"][:2]) < 0.2
    assert min(one["strange"] for one in half["quarters"][2:]) > 0.7


REAL = ["squad/dev-v1.1.json", "shifts/reddit_v1.0.json", "shifts/new_wiki_v1.0.json",
        *(f"xquad/xquad.{of}.json" for of in ("ar", "de", "hi", "ru", "tr", "zh"))]  # fmt: skip


@pytest.mark.real_data
@pytest.mark.parametrize("file", REAL)
def test_two_wrong_answers_of_five_are_found_in_every_language(real_data: pytest.TempPathFactory, file: str) -> None:
    examples = load_examples(f"{real_data}/{file}", limit=3000)
    right, some, wrong = (answer_fit(one) for one in (examples, swapped(examples, 0.4), shuffled(examples)))
    moved = [one.question for one in [*examples[300:], *examples[:300]]]
    shifted = answer_fit([dataclasses.replace(one, question=q) for one, q in zip(examples, moved, strict=True)])
    assert right is not None
    assert some is not None
    assert wrong is not None
    assert shifted is not None
    assert right["others_fit_better"] - 2 * right["error"] < 0.2
    assert some["others_fit_better"] - 2 * some["error"] > 0.25
    assert wrong["others_fit_better"] - 2 * wrong["error"] > 0.35
    assert right["at_home"] > 5 * right["elsewhere"]
    assert right["strange"] < 0.1
    assert shifted["strange"] > 0.5
    assert shifted["at_home"] < 0.5 * right["at_home"]


def test_no_spaces_between_words_are_needed() -> None:
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
    right, wrong = answer_fit(examples), answer_fit(shuffled(examples))
    assert right is not None
    assert wrong is not None
    assert right["questions"] == len(examples)
    assert right["others_fit_better"] < 0.05
    assert wrong["others_fit_better"] > 0.4


def test_questions_that_share_no_words_with_their_contexts_cannot_be_compared() -> None:
    examples = [Example(str(at), "Quid est?", f"The number is {at}.", (Gold(str(at), 14),)) for at in range(50)]
    assert answer_fit(examples) is None
