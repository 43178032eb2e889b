"""The page's data: charts as JSON, questions as compressed JSON; nothing in either can close its script element.

Characters are counted in UTF-16 code units, as browsers count them. Answers are positions in their context, so that
every context is in the page only once.
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
    """Return JSON that is safe inside a script element: without `<`, `>` and `&`."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def packed_json(value: Any) -> str:
    """Return JSON as base64 of a zlib stream, which browsers can decompress (`DecompressionStream`)."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return base64.b64encode(zlib.compress(text.encode("ascii"), 9)).decode("ascii")


def questions_json(examples: Sequence[Example], facets: Sequence[Facet]) -> dict[str, Any]:
    """Return the questions of a data set in columns.

    Returns:
        ``contexts``, ``titles`` (of the contexts), and for each question ``ids``, ``questions``, ``context`` (its
        index), ``golds`` (start, length, start, length …; each span once) and one column of groups for each facet.
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
    """Return a run's answers in columns, in the order of the questions.

    Args:
        name: The run's name.
        outcomes: Its answers, one for each question.

    Returns:
        ``answer`` (start and length, or the text if its position is unknown), ``exact``, ``f1`` (percent),
        ``probability`` (None if unknown), ``kind``, ``rank`` and ``n_best`` (start, length, probability, start …).
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
    """Round; whole numbers become integers."""
    rounded = round(value, digits)
    return int(rounded) if rounded == int(rounded) else rounded


class _Units:
    """Converts character positions to UTF-16 code units."""

    def __init__(self) -> None:
        self._before: dict[str, list[int] | None] = {}

    def span(self, context: str, start: int, end: int) -> list[int]:
        """Return a span's start and length in UTF-16 code units."""
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
