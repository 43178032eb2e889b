"""The rules in their order, and what a run's record comes to.

A rule is a function that takes a `RunRecord` and yields `Finding`s. To add one: write it in `albertqa.health.rules`,
name it below at its place, and add a planted fault and a test to ``tests/health``.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

import msgspec

from albertqa import files
from albertqa.errors import RunError
from albertqa.health.record import RunRecord
from albertqa.health.rules import answers, labels, learning, machine, overfitting, parts, rates, settings, text, windows
from albertqa.rundir.findings import SEVERITIES, Finding

Rule: TypeAlias = Callable[[RunRecord], Iterator[Finding]]

# What can be seen before the first step, and needs to be looked at once: faults of data, windows, model and settings.
BEFORE_TRAINING: tuple[Rule, ...] = (
    labels.swapped_fields,
    text.lost_blanks,
    labels.labels_contradict,
    labels.answers_in_one_place,
    labels.labels_off,
    labels.labels_unrelated,
    parts.leaking_validation,
    labels.labels_partly_unrelated,
    parts.no_answers,
    parts.other_answers,
    parts.other_questions,
    parts.larger_validation,
    labels.few_texts,
    windows.cut_answers,
    windows.short_windows,
    windows.much_overlap,
    text.case_mismatch,
    text.strange_embeddings,
    text.other_vocabulary,
    text.unknown_tokens,
    text.other_language,
    text.missing_segments,
    settings.strong_decay,
    settings.strong_noise,
    settings.swapped_betas,
    settings.long_warmup,
    settings.no_warmup,
    settings.answers_not_allowed,
)
# Further faults of their own, which look at steps or evaluations.
CAUSES: tuple[Rule, ...] = (answers.long_golds, settings.damped_steps)
# Why a model does not learn, by direct signs; they explain one symptom, so only the first that fits is reported.
STUCK: tuple[Rule, ...] = (learning.nothing_trainable, rates.rate_at_zero)
RATES: tuple[Rule, ...] = (rates.high_rate, rates.low_rate)
# The symptom itself: reported only where nothing before explains it.
SYMPTOMS: tuple[Rule, ...] = (
    machine.no_numbers,
    learning.wild_start,
    learning.vanishing_gradients,
    learning.stopped_before_learning,
    learning.too_few_steps,
    learning.random_weights,
    answers.mostly_empty,
    answers.one_position,
    learning.learned_by_heart_only,
    learning.loss_without_score,
    learning.not_learning,
)
# What may be said of any run, sound or not.
OTHERS: tuple[Rule, ...] = (
    overfitting.overfitting,
    overfitting.too_many_epochs,
    overfitting.train_validation_gap,
    overfitting.stopped_too_soon,
    overfitting.best_long_past,
    answers.threshold_off,
    answers.long_answers,
    answers.small_validation,
    machine.fp16_overflow,
    machine.out_of_memory,
    machine.ended_without_a_word,
    machine.small_micro_batch,
    machine.slow_data,
    machine.swapping,
    machine.emulated_bf16,
    machine.full_disk,
    machine.costly_evaluations,
)
# Findings before the first step that a model which reads disproves.
_DISPROVED_BY_LEARNING = ("strange-embeddings", "no-warm-up")

_Ask: TypeAlias = Callable[[Rule], list[Finding]]
_Failed: TypeAlias = Callable[[RunError], None]


def diagnose_before_training(record: RunRecord, *, failed: _Failed | None = None) -> list[Finding]:
    """Judge what is known of a run before its first step.

    Args:
        record: The run; its rows are not looked at.
        failed: See `diagnose`.

    Returns:
        What is wrong with data, windows, model and settings.
    """
    ask = _asking(record, failed)
    return [finding for rule in BEFORE_TRAINING for finding in ask(rule)]


def diagnose(
    record: RunRecord, *, before: Sequence[Finding] | None = None, failed: _Failed | None = None
) -> list[Finding]:
    """Judge a run.

    Args:
        record: The run, over or still going on.
        before: What `diagnose_before_training` found; None: it is asked now.
        failed: Takes the error of a rule that cannot judge the record, and the others go on; None: it is raised.

    Returns:
        What is wrong with it, the root first: errors before warnings, causes before symptoms. Empty where it is sound.

    Raises:
        RunError: A rule cannot judge the record.
    """
    if before is None:
        before = diagnose_before_training(record, failed=failed)
    ask = _asking(record, failed)
    findings = [finding for finding in before if not _is_disproved(finding, record)]
    findings += [finding for rule in CAUSES for finding in ask(rule)]
    # Where something else is wrong, an ordinary learning rate is not to blame.
    may_blame_rate = not _has_error(findings) or not 0.1 < record.rate_ratio < 10
    findings += _first(ask, (*STUCK, *(RATES if may_blame_rate else ())))
    symptoms = [] if _has_error(findings) else _first(ask, SYMPTOMS)
    if learning.is_stuck(record):
        # What only slows a run that learns is to be fixed in one that does not, after what keeps any from learning.
        findings = [msgspec.structs.replace(one, severity="error") for one in _by_severity(findings)]
    return _by_severity([*findings, *symptoms, *_others(ask)])


def _asking(record: RunRecord, failed: _Failed | None) -> _Ask:
    """Return what asks one rule about a record."""

    def ask(rule: Rule) -> list[Finding]:
        try:
            return list(rule(record))
        except Exception as error:
            fault = RunError(
                f"{record.path}: the doctor's rule '{rule.__name__}' failed ({type(error).__name__}: {error}), as it "
                f"should on no run. Report it with {files.RUN_JSON} and {files.METRICS_JSONL}, unless somebody "
                "changed them by hand"
            )
            if failed is None:
                raise fault from error
            failed(fault)
            return []

    return ask


def _is_disproved(finding: Finding, record: RunRecord) -> bool:
    """Return whether what the model has learned since speaks against a finding."""
    if finding.name in _DISPROVED_BY_LEARNING:
        return record.has_learned
    # What was trained holds on the validation data, so the labels of both are right.
    validates = record.evaluations and record.evaluations[-1].loss < 0.6 * record.blind_loss("validation")
    return finding.name == "labels-unrelated" and bool(validates)


def _by_severity(findings: Sequence[Finding]) -> list[Finding]:
    return sorted(findings, key=lambda one: SEVERITIES.index(one.severity))


def _has_error(findings: Sequence[Finding]) -> bool:
    return any(finding.severity == "error" for finding in findings)


def _first(ask: _Ask, rules: tuple[Rule, ...]) -> list[Finding]:
    return next((findings for rule in rules if (findings := ask(rule))), [])


def _others(ask: _Ask) -> Iterator[Finding]:
    reported = set()
    for rule in OTHERS:
        for finding in ask(rule):
            # Several ways to say that training went too far; one is enough.
            family = "overfitting" if rule.__module__ == overfitting.__name__ else finding.name
            if family not in reported:
                reported.add(family)
                yield finding
