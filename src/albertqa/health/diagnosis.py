"""The rules in their order, and what a run's record comes to.

A rule is a function that takes a `RunRecord` and yields `Finding`s (rules about data: `albertqa.health.data_rules`). To
add one: write it in `albertqa.health.rules`, add it below, and add a planted fault that only it finds to
``tests/health``.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias, TypeVar

import msgspec

from albertqa import files
from albertqa.data.problems import SEVERITIES
from albertqa.errors import RunError
from albertqa.health import data_rules
from albertqa.health.record import RunRecord
from albertqa.health.rules import (
    answering,
    hyperparameters,
    labels_learned,
    learning,
    learning_rates,
    model_files,
    overfitting,
    resources,
)
from albertqa.rundir.findings import Finding, is_healthy

Rule: TypeAlias = Callable[[RunRecord], Iterator[Finding]]

# Causes that are known before the first step, and looked at once: first those of the texts; then this one, of which
# unknown tokens in the windows are a consequence; then those of windows, then the others.
TOKENIZER_RULES: tuple[Rule, ...] = (model_files.case_mismatch,)
SETUP_RULES: tuple[Rule, ...] = (
    model_files.random_layers,
    model_files.case_of_data,
    model_files.vocabulary_mismatch,
    model_files.missing_segments,
    hyperparameters.strong_decay,
    hyperparameters.strong_dropout,
    hyperparameters.strong_label_smoothing,
    hyperparameters.large_r_drop,
    hyperparameters.swapped_betas,
    hyperparameters.long_warmup,
    hyperparameters.no_answer_forbidden,
)
# Causes that steps and evaluations show.
STEP_RULES: tuple[Rule, ...] = (hyperparameters.damped_steps,)
# They compare the model's answers to training and validation questions, which only an else sound run allows.
LABEL_RULES: tuple[Rule, ...] = (labels_learned.wrong_labels, labels_learned.known_answers)
# Why a model does not learn, by direct signs; they explain one symptom, so only the first that fits is reported.
STUCK_RULES: tuple[Rule, ...] = (learning.frozen_encoder, learning_rates.zero_rate)
RATE_RULES: tuple[Rule, ...] = (learning_rates.high_rate, learning_rates.low_rate)
# The symptom itself: reported only where no cause explains it.
SYMPTOMS: tuple[Rule, ...] = (
    resources.nan_loss,
    learning.damaged_weights,
    learning.stopped_before_learning,
    learning.too_few_steps,
    learning.random_weights,
    learning.foreign_vocabulary,
    learning.not_learning,
)
# Whether the training went too far or not far enough: several ways to say it, of which the first is reported.
FIT_RULES: tuple[Rule, ...] = (
    overfitting.memorised,
    overfitting.overfitting,
    overfitting.stopped_too_soon,
)
# What may be said of any run, whether it learns or not.
OTHERS: tuple[Rule, ...] = (
    answering.threshold_off,
    resources.fp16_overflow,
    resources.out_of_memory,
    resources.terminated,
    resources.slow_data,
    resources.swapping,
    resources.emulated_bf16,
    resources.full_disk,
)
# Warnings that rest on evaluations are reported in mid-run only where two evaluations in a row show them.
NEED_TWO_EVALUATIONS = {*STEP_RULES, *LABEL_RULES, *FIT_RULES}

# What is said before the first step and a model that reads disproves.
_DISPROVED_BY_LEARNING = {"vocabulary-mismatch"}

_T = TypeVar("_T")
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

    def ask_data(rules: Sequence[data_rules.DataRule]) -> list[Finding]:
        return [finding for rule in rules for finding in _ask(rule, record.data_view, record, failed)]

    def ask(rules: Sequence[Rule]) -> list[Finding]:
        return [finding for rule in rules for finding in _ask(rule, record, record, failed)]

    texts = ask_data(data_rules.TEXT_RULES)
    return [*texts, *ask(TOKENIZER_RULES), *ask_data(data_rules.WINDOW_RULES), *ask(SETUP_RULES)]


def diagnose(
    record: RunRecord, *, before: Sequence[Finding] | None = None, failed: _Failed | None = None
) -> list[Finding]:
    """Judge a run.

    Args:
        record: The run, over or still going on.
        before: What `diagnose_before_training` found; None: it is asked now.
        failed: Takes the error of a rule that cannot judge the record, and the others go on; None: it is raised.

    Returns:
        What is wrong with it, the root first: causes before consequences, and each of them by severity. Empty where
        nothing is.

    Raises:
        RunError: A rule cannot judge the record.
    """
    if before is None:
        before = diagnose_before_training(record, failed=failed)
    earlier = record.without_last_evaluation() if record.status == "running" else None

    def ask(rule: Rule) -> list[Finding]:
        found = _ask(rule, record, record, failed)
        if earlier is None or rule not in NEED_TWO_EVALUATIONS:
            return found
        confirmed = {finding.name for finding in _ask(rule, earlier, record, failed)}
        return [finding for finding in found if finding.severity == "error" or finding.name in confirmed]

    causes = [one for one in before if not (one.name in _DISPROVED_BY_LEARNING and record.has_learned)]
    causes += [finding for rule in STEP_RULES for finding in ask(rule)]
    if is_healthy(causes):
        causes += [finding for rule in LABEL_RULES for finding in ask(rule)]
    # Where something else is wrong, a usual learning rate is not to blame.
    may_blame_rate = not _has_error(causes) or not 0.1 < record.rate_ratio < 10
    causes += _first(ask, (*STUCK_RULES, *(RATE_RULES if may_blame_rate else ())))
    consequences = [] if _has_error(causes) else _first(ask, SYMPTOMS)
    if learning.is_stuck(record):
        # What only slows a run that learns is to be fixed in one that does not, after what keeps any from learning.
        causes = [msgspec.structs.replace(one, severity="error") for one in _by_severity(causes)]
    if not any(finding.severity == "error" for finding in consequences):
        consequences += _first(ask, FIT_RULES)
    remarks = [finding for rule in data_rules.REMARKS for finding in _ask(rule, record.data_view, record, failed)]
    remarks += [finding for rule in OTHERS for finding in ask(rule)]
    # A run that ended for want of memory, say, has its cause there.
    causes += [finding for finding in remarks if finding.severity == "error"]
    remarks = [finding for finding in remarks if finding.severity != "error"]
    return [*_by_severity(causes), *_by_severity(consequences), *_by_severity(remarks)]


def _ask(rule: Callable[[_T], Iterator[Finding]], of: _T, record: RunRecord, failed: _Failed | None) -> list[Finding]:
    """Ask one rule."""
    try:
        return list(rule(of))
    except Exception as error:
        fault = RunError(
            f"{record.path}: the doctor's rule '{rule.__name__}' failed ({type(error).__name__}: {error}), which is a "
            f"bug. Report it with {files.RUN_JSON} and {files.METRICS_JSONL}, unless somebody changed them by hand"
        )
        if failed is None:
            raise fault from error
        failed(fault)
        return []


def _by_severity(findings: Sequence[Finding]) -> list[Finding]:
    return sorted(findings, key=lambda one: SEVERITIES.index(one.severity))


def _has_error(findings: Sequence[Finding]) -> bool:
    return any(finding.severity == "error" for finding in findings)


def _first(ask: _Ask, rules: tuple[Rule, ...]) -> list[Finding]:
    return next((findings for rule in rules if (findings := ask(rule))), [])
