"""The rules about data: run by `albertqa check` on files and before every training, with the same result.

A rule takes a `DataView` and yields `Finding`s. `TEXT_RULES` need no tokenizer; `WINDOW_RULES` say nothing where no
windows are known.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

from albertqa.config import Settings
from albertqa.data.example import Example
from albertqa.data.problems import SEVERITIES
from albertqa.data.trained_on import TrainedOn
from albertqa.health.measure import measure, measure_windows
from albertqa.health.record import DataView
from albertqa.health.rules import answer_labels, answering, damaged_texts, data_splits, window_lengths
from albertqa.rundir.findings import Finding
from albertqa.rundir.run_json import TextFacts
from albertqa.windows.build import build_windows
from albertqa.windows.tokenizer import QATokenizer

DataRule: TypeAlias = Callable[[DataView], Iterator[Finding]]

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
    answering.small_validation,
)


def diagnose_data(view: DataView) -> list[Finding]:
    """Judge data.

    Args:
        view: Facts of the data (see `albertqa.health.measure`), and the settings that name its files.

    Returns:
        What is wrong with it, errors first.
    """
    found = [finding for rule in (*TEXT_RULES, *WINDOW_RULES, *REMARKS) for finding in rule(view)]
    return sorted(found, key=lambda finding: SEVERITIES.index(finding.severity))


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
        validation: The validation questions; none: there are none.
        tokenizer: The model's tokenizer; None: windows are not judged.
        trained_on: What the model was trained on before, where that is known.

    Returns:
        What is wrong, errors first.

    Raises:
        DataError: A question is too long for a window.
    """

    def facts(examples: Sequence[Example], sources: Sequence[str], train: Sequence[Example] | None = None) -> TextFacts:
        measured = measure(sources, examples, train=train, trained_on=trained_on if train else None)
        if tokenizer is None:
            return measured
        store = build_windows(
            examples, tokenizer, max_seq_length=settings.max_seq_length, doc_stride=settings.doc_stride
        )
        return measure_windows(
            measured,
            examples,
            store,
            unknown_id=tokenizer.token_id("unk"),
            max_answer_length=settings.max_answer_length,
        )

    return diagnose_data(
        DataView(
            settings,
            facts(train, settings.train_file),
            facts(validation, settings.validation_file, train) if validation else None,
        )
    )
