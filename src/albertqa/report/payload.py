"""The page's data: charts as JSON, questions as deflated JSON; nothing in either can end its script element.

Characters are counted as browsers count them, in UTF-16 code units; answers are written as places in their context, so
that every context stands in the page once.
"""

import base64
import itertools
import json
import zlib
from collections.abc import Sequence
from typing import Any

from albertqa.data.example import Example
from albertqa.report.breakdown import Facet
from albertqa.report.outcome import Outcome

N_BEST_SHOWN = 5
"""Candidates of a question that the page shows."""

_LAST_NARROW = "\uffff"


def script_json(value: Any) -> str:
    """Write JSON that is safe inside a script element: no `<` can open or close anything there."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def packed_json(value: Any) -> str:
    """Write JSON as base64 of its zlib stream, which browsers unpack themselves (`DecompressionStream`)."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return base64.b64encode(zlib.compress(text.encode("ascii"), 9)).decode("ascii")


def questions_json(examples: Sequence[Example], facets: Sequence[Facet]) -> dict[str, Any]:
    """Lay out the questions of a data set, in columns.

    Args:
        examples: The questions.
        facets: Their groups.

    Returns:
        ``contexts``, ``titles`` (one a context), and for each question ``ids``, ``questions``, ``context`` (its index),
        ``golds`` (start and length, one after the other; each place once) and one column of groups for each facet.
    """
    places = {text: at for at, text in enumerate(dict.fromkeys(example.context for example in examples))}
    titles = [""] * len(places)
    units = _Units()
    golds = []
    for example in examples:
        titles[places[example.context]] = example.title
        spans = dict.fromkeys((gold.answer_start, gold.answer_end) for gold in example.golds)
        golds.append([number for span in spans for number in units.span(example.context, *span)])
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
    """Lay out what a run said, in columns in the order of the questions.

    Args:
        name: The run's name.
        outcomes: What it said, one for each question.

    Returns:
        ``answer`` (start and length, or the text itself where its place is not known), ``exact``, ``f1`` (percent),
        ``probability`` (None where not known), ``kind``, ``rank`` and ``n_best`` (start, length and probability, one
        after the other).
    """
    units = _Units()
    return {
        "name": name,
        "answer": [
            units.span(one.example.context, *one.span) if one.span is not None else one.text for one in outcomes
        ],
        "exact": [int(one.exact) for one in outcomes],
        "f1": [_short(100 * one.f1, 1) for one in outcomes],
        "probability": [None if one.probability is None else _short(one.probability, 4) for one in outcomes],
        "kind": [one.kind for one in outcomes],
        "rank": [-1 if one.rank is None else one.rank for one in outcomes],
        "n_best": [
            [
                number
                for candidate in one.n_best[:N_BEST_SHOWN]
                for number in (
                    *units.span(one.example.context, candidate.start_char, candidate.end_char),
                    _short(candidate.probability, 4),
                )
            ]
            for one in outcomes
        ],
    }


def _short(value: float, digits: int) -> float | int:
    """Round; whole numbers without their point."""
    rounded = round(value, digits)
    return int(rounded) if rounded == int(rounded) else rounded


class _Units:
    """Counts characters as browsers do."""

    def __init__(self) -> None:
        self._before: dict[str, list[int] | None] = {}

    def span(self, context: str, start: int, end: int) -> list[int]:
        """Give a span's start and length in UTF-16 code units."""
        if context not in self._before:
            wide = (1 + (character > _LAST_NARROW) for character in context)
            is_wide = max(context, default="") > _LAST_NARROW
            self._before[context] = [0, *itertools.accumulate(wide)] if is_wide else None
        before = self._before[context]
        if before is None:
            return [start, end - start]
        last = len(before) - 1
        first = before[min(start, last)]
        return [first, before[min(end, last)] - first]
