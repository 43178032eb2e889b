"""Facts of data, and the rules about data: run by `albertqa check` on files and before every training, with one result.

A rule takes a `DataView` and yields `Finding`s, of which the first counts. `TEXT_RULES` need no tokenizer;
`WINDOW_RULES` say nothing where no windows are known.
"""

from collections.abc import Sequence
from itertools import islice

import msgspec

from albertqa.config import Settings
from albertqa.data.example import Example, content_sha256
from albertqa.data.label_checks import label_statistics, shared_content
from albertqa.data.trained_on import TrainedOn
from albertqa.health.record import DataRule, DataView
from albertqa.health.rules import answer_labels, damaged_texts, data_splits, window_lengths
from albertqa.rundir.findings import Finding, by_severity
from albertqa.rundir.run_json import DataFacts, TextFacts
from albertqa.windows.build import build_windows
from albertqa.windows.statistics import token_statistics
from albertqa.windows.store import WindowStore
from albertqa.windows.tokenizer import QATokenizer

TEXT_RULES: tuple[DataRule, ...] = (
    answer_labels.swapped_fields,
    answer_labels.missing_whitespace,
    answer_labels.contradicting_answers,
    damaged_texts.damaged_texts,
    damaged_texts.questions_in_contexts,
    answer_labels.answers_in_one_place,
    damaged_texts.answers_in_questions,
    answer_labels.misaligned_answers,
    answer_labels.unrelated_answers,
    answer_labels.misplaced_answers,
    data_splits.data_leakage,
    data_splits.missing_answers,
    data_splits.language_mismatch,
    data_splits.answer_length_mismatch,
    data_splits.question_mismatch,
    answer_labels.repeated_questions,
    answer_labels.few_questions,
    answer_labels.few_contexts,
)
WINDOW_RULES: tuple[DataRule, ...] = (
    window_lengths.unknown_tokens,
    window_lengths.truncated_answers,
    window_lengths.short_windows,
    window_lengths.long_answers,
)
# Nothing here keeps a model from learning.
REMARKS: tuple[DataRule, ...] = (
    data_splits.swapped_files,
    window_lengths.large_doc_stride,
    data_splits.small_validation,
)


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
        What the rules about data judge by, in a run and in `albertqa check`.
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
    """
    statistics = {
        "windows": len(store),
        "windows_without_answer": int((store.columns["start_position"] == 0).sum()),
        "tokens": int(store.lengths.sum()),
        **token_statistics(store, examples, unknown_id=unknown_id, max_answer_length=max_answer_length),
    }
    return msgspec.convert({**statistics, **msgspec.to_builtins(facts)}, DataFacts)


def diagnose_data(view: DataView) -> list[Finding]:
    """Return what is wrong with data, errors first."""
    return by_severity([one for rule in (*TEXT_RULES, *WINDOW_RULES, *REMARKS) for one in islice(rule(view), 1)])


def diagnose_examples(
    settings: Settings,
    train: Sequence[Example],
    validation: Sequence[Example] = (),
    tokenizer: QATokenizer | None = None,
    trained_on: TrainedOn | None = None,
) -> list[Finding]:
    """Judge data that no run has: what `diagnose_data` would say before a training on it.

    Args:
        settings: The data's files, and the window lengths.
        train: The training questions, at least one.
        validation: The validation questions, if any.
        tokenizer: The model's tokenizer; None: windows are not judged.
        trained_on: What the model was trained on before, where that is known.

    Returns:
        What is wrong, errors first.

    Raises:
        DataError: A question is too long for a window.
    """

    def with_windows(facts: TextFacts, examples: Sequence[Example]) -> TextFacts:
        if tokenizer is None:
            return facts
        store = build_windows(
            examples, tokenizer, max_seq_length=settings.max_seq_length, doc_stride=settings.doc_stride
        )
        unknown_id, longest = tokenizer.token_id("unk"), settings.max_answer_length
        return measure_windows(facts, examples, store, unknown_id=unknown_id, max_answer_length=longest)

    of_train = with_windows(measure(settings.train_file, train), train)
    of_validation = None
    if validation:
        measured = measure(settings.validation_file, validation, train=train, trained_on=trained_on)
        of_validation = with_windows(measured, validation)
    return diagnose_data(DataView(settings, of_train, of_validation))
