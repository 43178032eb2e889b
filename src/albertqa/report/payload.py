"""The page's data: charts as JSON, questions as compressed JSON; nothing in either can close its script element.

Characters are counted in UTF-16 code units, as browsers count them. Answers are positions in their context, so that
every context is in the page only once.
"""

import base64
import itertools
import json
import zlib
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from albertqa.data.example import Example
from albertqa.report.breakdown import Facet
from albertqa.report.outcome import Outcome

N_BEST_SHOWN = 5
"""Candidates of a question that the page shows."""


def script_json(value: Any) -> str:
    """Return JSON that is safe inside a script element: without `<`, `>` and `&`."""
    return _compact(value).replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def packed_json(value: Any) -> str:
    """Return JSON as base64 of a zlib stream, which browsers can decompress (`DecompressionStream`)."""
    return base64.b64encode(zlib.compress(_compact(value).encode("ascii"), 9)).decode("ascii")


def questions_json(examples: Sequence[Example], facets: Sequence[Facet]) -> dict[str, Any]:
    """Return the questions of a data set in columns.

    Returns:
        ``contexts``, ``titles`` (of the contexts), and for each question ``ids``, ``questions``, ``context`` (its
        index), ``golds`` (start, length, start, length …; each span once) and one column of groups for each facet.
    """
    places = {text: at for at, text in enumerate(dict.fromkeys(example.context for example in examples))}
    titles = [""] * len(places)
    golds = []
    for example in examples:
        titles[places[example.context]] = example.title
        spans = dict.fromkeys((gold.answer_start, gold.answer_end) for gold in example.golds)
        golds.append([number for span in spans for number in _span(example.context, *span)])
    return {
        "contexts": list(places),
        "titles": titles,
        "ids": [example.id for example in examples],
        "questions": [example.question for example in examples],
        "context": [places[example.context] for example in examples],
        "golds": golds,
        "facets": [{"key": one.key, "title": one.title, "groups": one.groups, "of": one.of_question} for one in facets],
    }


def answers_json(name: str, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Return a run's answers in columns, in the order of the questions.

    Returns:
        ``answer`` (start and length, or the text if its position is unknown), ``exact``, ``f1`` (percent),
        ``probability`` (None if unknown), ``kind``, ``rank`` and ``n_best`` (start, length, probability, start …).
    """
    return {
        "name": name,
        "answer": [_span(one.example.context, *one.span) if one.span is not None else one.text for one in outcomes],
        "exact": [int(one.exact) for one in outcomes],
        "f1": [_short(100 * one.f1, 1) for one in outcomes],
        "probability": [None if one.probability is None else _short(one.probability, 4) for one in outcomes],
        "kind": [one.kind for one in outcomes],
        "rank": [-1 if one.rank is None else one.rank for one in outcomes],
        "n_best": [_n_best(one) for one in outcomes],
    }


def _n_best(outcome: Outcome) -> list[float | int]:
    numbers: list[float | int] = []
    for one in outcome.n_best[:N_BEST_SHOWN]:
        numbers += [*_span(outcome.example.context, one.start_char, one.end_char), _short(one.probability, 4)]
    return numbers


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))


def _short(value: float, digits: int) -> float | int:
    """Round; whole numbers become integers."""
    rounded = round(value, digits)
    return int(rounded) if rounded == int(rounded) else rounded


def _span(context: str, start: int, end: int) -> list[int]:
    """Return a span's start and length in UTF-16 code units."""
    if context.isascii():
        return [start, end - start]
    before, last = _units_before(context), len(context)
    first = before[min(start, last)]
    return [first, before[min(end, last)] - first]


# Questions on one context are near each other.
@lru_cache(maxsize=16)
def _units_before(context: str) -> list[int]:
    """Return the UTF-16 code units before each character, and all at the end."""
    return [0, *itertools.accumulate(1 + (character > "\uffff") for character in context)]
