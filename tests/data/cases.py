"""A small data set in every form a user may hold it, and hypothesis strategies for clean ones."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from albertqa.data import Example, Gold, squad_document

CONTEXT = "The Normans were in Normandy. Their duke was Rollo, and Rollo was a Viking."
OTHER = "Beyoncé rose to fame in the late 1990s \u2028 as lead singer of Destiny's Child."

EXAMPLES = [
    Example("q1", "Who was the duke?", CONTEXT, (Gold("Rollo", 45), Gold("duke", 36)), "Normans"),
    Example("q2", "Where were they?", CONTEXT, (Gold("in Normandy", 17),), "Normans"),
    Example("q3", "When did she rise?", OTHER, (Gold("late 1990s", 28),), "Beyoncé"),
]
UNANSWERABLE = Example("q4", "Who was the king?", CONTEXT, (), "Normans")
V2_EXAMPLES = [*EXAMPLES, UNANSWERABLE]


def row(example: Example, **changes: Any) -> dict[str, Any]:
    """Return an example as a Hugging Face row, with some fields changed."""
    answers = {
        "text": [gold.text for gold in example.golds],
        "answer_start": [gold.answer_start for gold in example.golds],
    }
    plain = {
        "id": example.id,
        "title": example.title,
        "context": example.context,
        "question": example.question,
        "answers": answers,
    }
    return plain | changes


def rows(examples: Sequence[Example]) -> list[dict[str, Any]]:
    return [row(example) for example in examples]


def bare_row(**fields: Any) -> dict[str, Any]:
    """Return a good row with some fields changed; a field set to `...` is left out."""
    made = row(EXAMPLES[0]) | fields
    return {key: value for key, value in made.items() if value is not ...}


def write_json(path: Path, value: object) -> Path:
    path.write_text(json.dumps(value), encoding="utf-8")
    return path


def write_squad(path: Path, examples: Sequence[Example]) -> Path:
    return write_json(path, squad_document(examples))


def write_lines(path: Path, values: Sequence[object]) -> Path:
    path.write_text("".join(json.dumps(value, ensure_ascii=False) + "\n" for value in values), encoding="utf-8")
    return path


TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30).filter(
    lambda text: bool(text.strip())
)


@st.composite
def clean_examples(draw: st.DrawFn) -> list[Example]:
    """Draw a data set without a problem of severity error or warning."""
    contexts = draw(st.lists(TEXT, min_size=1, max_size=3))
    titles = draw(st.lists(st.sampled_from(["", "A", "B\n"]), min_size=len(contexts), max_size=len(contexts)))
    chosen = draw(st.lists(st.integers(0, len(contexts) - 1), min_size=1, max_size=6))
    examples = []
    for number, which in enumerate(chosen):
        context = contexts[which]
        golds = draw(st.lists(spans(context), max_size=3))
        examples.append(Example(f"q{number}", draw(TEXT), context, tuple(golds), titles[which]))
    return examples


@st.composite
def spans(draw: st.DrawFn, context: str) -> Gold:
    """Draw a gold of a context, without outer white space."""
    inside = [place for place, character in enumerate(context) if not character.isspace()]
    first, last = sorted((draw(st.sampled_from(inside)), draw(st.sampled_from(inside))))
    return Gold(context[first : last + 1], first)
