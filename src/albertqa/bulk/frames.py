"""Answers for a data frame: the function that pandas, Spark, Dask and other engines call with a batch of rows."""

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from albertqa.answer.answerer import Answerer
from albertqa.errors import DataError

if TYPE_CHECKING:
    import pandas as pd


def answer_frame(frame: "pd.DataFrame", model: str, *, batch_size: int = 32, **options: Any) -> "pd.DataFrame":
    """Answer the questions of a data frame.

    The model is loaded once a process and kept, so an engine may call this for every batch::

        table.mapInPandas(lambda frames: (answer_frame(one, MODEL) for one in frames), SCHEMA)  # Spark
        table.map_partitions(answer_frame, MODEL, meta=META)  # Dask

    Args:
        frame: Columns ``question`` and ``context``, and any others.
        model: Run directory, model folder, or Hub name; a path that every worker has.
        batch_size: Maximum-length windows of one forward pass.
        options: As in `Answerer`: ``device``, ``num_threads``, reader settings.

    Returns:
        The frame's columns but for the context, with ``text``, ``start_char``, ``end_char``, ``probability``, ``score``
        and ``null_score``.

    Raises:
        DataError: A column is missing, or a question or context is empty.
    """
    for name in ("question", "context"):
        if name not in frame.columns:
            raise DataError(f"expected the column {name}, found {', '.join(map(str, frame.columns))}")
    answerer = _answerer(model, tuple(sorted(options.items())))
    pairs = list(zip(frame["question"], frame["context"], strict=True))
    answers = answerer.answer_batch(pairs, batch_size=batch_size)
    return frame.drop(columns="context").assign(
        text=[one.text for one in answers],
        start_char=[one.start_char for one in answers],
        end_char=[one.end_char for one in answers],
        probability=[one.probability for one in answers],
        score=[one.score for one in answers],
        null_score=[float("nan") if one.null_score is None else one.null_score for one in answers],
    )


@lru_cache(maxsize=1)
def _answerer(model: str, options: tuple[tuple[str, Any], ...]) -> Answerer:
    """Return the process's answerer; another model takes its place."""
    return Answerer(model, **dict(options))
