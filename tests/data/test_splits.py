"""A validation part is split off by context: nothing leaks, nothing is lost, and the same seed gives the same parts."""

import random
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from albertqa.data import Example, load_examples, split_by_context
from albertqa.data.label_checks import shared_content
from albertqa.errors import DataError

from .cases import clean_examples


def contexts(examples: list[Example]) -> set[str]:
    return {example.context for example in examples}


@given(clean_examples(), st.floats(0.01, 0.99), st.integers(-5, 5))
def test_no_context_is_on_both_sides_and_no_question_is_lost(
    examples: list[Example], fraction: float, seed: int
) -> None:
    plain = {"".join(filter(str.isalnum, context.casefold())) or context for context in contexts(examples)}
    if len(plain) < 2:
        with pytest.raises(DataError, match="at least 2 different contexts"):
            split_by_context(examples, fraction, seed)
        return
    train, validation = split_by_context(examples, fraction, seed)
    assert train
    assert validation
    assert not contexts(train) & contexts(validation)
    assert sorted(train + validation, key=examples.index) == examples
    assert [one for one in examples if one in train] == train


@pytest.mark.parametrize("source", ["starter:train", "starter-v2:train"])
@pytest.mark.parametrize("fraction", [0.1, 0.3])
@pytest.mark.parametrize("seed", range(5))
def test_the_part_has_the_size_and_the_share_of_unanswerable_questions(source: str, fraction: float, seed: int) -> None:
    examples = load_examples(source)
    train, validation = split_by_context(examples, fraction, seed)
    assert len(validation) == pytest.approx(fraction * len(examples), rel=0.05)
    shares = [sum(not one.has_answer for one in part) / len(part) for part in (train, validation)]
    assert shares[1] == pytest.approx(shares[0], abs=0.05)
    assert shared_content(train, validation)["shared_contexts_percent"] == 0


def test_contexts_wholly_without_answers_are_split_like_the_others() -> None:
    examples = [
        Example(f"{number}-{at}", f"Q{at}?", f"Context {number}.") if number % 3 == 0 else answered
        for number in range(60)
        for at in range(4)
        for answered in [load_examples([_row(number, at)])[0]]
    ]
    for seed in range(20):
        train, validation = split_by_context(examples, 0.2, seed)
        shares = [sum(not one.has_answer for one in part) / len(part) for part in (train, validation)]
        assert shares == pytest.approx([1 / 3, 1 / 3], abs=0.03)


def _row(number: int, at: int) -> dict[str, object]:
    answers = {"text": ["Context"], "answer_start": [0]}
    return {"id": f"{number}-{at}", "question": f"Q{at}?", "context": f"Context {number}.", "answers": answers}


def test_the_seed_decides_and_the_order_of_the_examples_does_not() -> None:
    examples = load_examples("starter:train")
    split = split_by_context(examples, 0.2, 7)
    assert split_by_context(examples, 0.2, 7) == split
    assert contexts(split_by_context(examples, 0.2, 8)[1]) != contexts(split[1])
    shuffled = random.Random(0).sample(examples, len(examples))
    assert contexts(split_by_context(shuffled, 0.2, 7)[1]) == contexts(split[1])


def test_the_split_is_the_same_in_every_process() -> None:
    code = (
        "from albertqa.data import load_examples, split_by_context, content_sha256;"
        "print(content_sha256(split_by_context(load_examples('starter:train'), 0.1, 42)[1]))"
    )
    done = {
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed, "PYTHONPATH": str(_SOURCES)},
            capture_output=True, text=True, check=True,
        ).stdout
        for seed in ("1", "2")
    }  # fmt: skip
    assert len(done) == 1


_SOURCES = Path(sys.modules["albertqa"].__file__ or "").parents[1]


def test_texts_that_differ_in_spaces_and_case_stay_together() -> None:
    examples = [
        Example(str(number), "Q?", text) for number, text in enumerate(["Rollo came.", "rollo  CAME", "Other."])
    ]
    for seed in range(10):
        train, validation = split_by_context(examples, 0.5, seed)
        assert sorted(len(part) for part in (train, validation)) == [1, 2]


@pytest.mark.parametrize("fraction", [0, 1, -0.1, 1.5, float("nan")])
def test_a_fraction_beyond_its_range_is_refused(fraction: float) -> None:
    with pytest.raises(DataError, match="expected a fraction between 0 and 1"):
        split_by_context(load_examples("starter:validation"), fraction, 0)
