"""Facts of data in their typed form: what the rules about data judge by, in a run and in `albertqa check`."""

from collections.abc import Sequence

import msgspec

from albertqa.data.example import Example, content_sha256
from albertqa.data.label_checks import label_statistics, shared_content
from albertqa.data.trained_on import TrainedOn
from albertqa.rundir.run_json import DataFacts, TextFacts
from albertqa.windows.statistics import token_statistics
from albertqa.windows.store import WindowStore


def measure(
    sources: Sequence[str],
    examples: Sequence[Example],
    *,
    train: Sequence[Example] | None = None,
    trained_on: TrainedOn | None = None,
) -> TextFacts:
    """Measure a data set, whatever the tokenizer.

    Args:
        sources: The files or names it was read from.
        examples: The data, at least one question.
        train: The training data, where `examples` is validation data.
        trained_on: What the model was trained on before, where it is.

    Returns:
        The facts.
    """
    facts = {
        "sources": list(sources),
        "content_sha256": content_sha256(examples),
        "questions": len(examples),
        "without_answer": sum(not example.has_answer for example in examples),
        **label_statistics(examples),
        **(shared_content(train, examples) if train else {}),
        **({"seen_by_model_percent": trained_on.percent_of(examples)} if trained_on else {}),
    }
    return msgspec.convert(facts, TextFacts)


def measure_windows(
    facts: TextFacts, examples: Sequence[Example], store: WindowStore, *, unknown_id: int | None, max_answer_length: int
) -> DataFacts:
    """Add to the facts of a data set what a tokenizer and window lengths make of it.

    Args:
        facts: Its facts (see `measure`).
        examples: The data.
        store: Its windows.
        unknown_id: See `token_statistics`.
        max_answer_length: Longest answer predicted, tokens.

    Returns:
        The facts, for ``run.json`` and for the rules about windows.
    """
    statistics = {
        "windows": len(store),
        "windows_without_answer": int((store.columns["start_position"] == 0).sum()),
        "tokens": int(store.lengths.sum()),
        **token_statistics(store, examples, unknown_id=unknown_id, max_answer_length=max_answer_length),
    }
    return msgspec.convert({**statistics, **msgspec.to_builtins(facts)}, DataFacts)
