"""The rules in their order, and what a run's record comes to.

A rule is a function that takes a `RunRecord` and yields `Finding`s, of which the first counts (rules about data:
`albertqa.health.data_rules`). To add one: write it in `albertqa.health.rules`, add it below, and add a planted fault
that only it finds to ``tests/health``.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import TypeAlias

import msgspec

from albertqa import files
from albertqa.errors import RunError
from albertqa.health import data_rules
from albertqa.health.record import RunRecord
from albertqa.health.rules import (
    hyperparameters,
    labels_learned,
    learning,
    learning_rates,
    model_files,
    overfitting,
    resources,
)
from albertqa.rundir.findings import Finding, by_severity, has_error, is_healthy

Rule: TypeAlias = Callable[[RunRecord], Iterator[Finding]]

# Causes that are known before the first step, and looked at once: those of texts, tokenizer, windows, then the others.
SETUP_RULES: tuple[Rule, ...] = (
    *data_rules.TEXT_RULES,
    # Unknown tokens in the windows are a consequence of it.
    model_files.case_mismatch,
    *data_rules.WINDOW_RULES,
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
    labels_learned.threshold_off,
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

_Failed: TypeAlias = Callable[[RunError], None]


def diagnose_before_training(record: RunRecord, *, failed: _Failed | None = None) -> list[Finding]:
    """Return what is wrong with a run's data, windows, model and settings (see `diagnose`); no rows are looked at."""
    return [finding for rule in SETUP_RULES for finding in _ask(rule, record, failed)]


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

    def ask(*rules: Rule) -> list[Finding]:
        found = []
        for rule in rules:
            said = _ask(rule, record, failed)
            if earlier is not None and rule in NEED_TWO_EVALUATIONS:
                confirmed = {one.name for one in _ask(rule, earlier, failed)}
                said = [one for one in said if one.severity == "error" or one.name in confirmed]
            found += said
        return found

    def first(*rules: Rule) -> list[Finding]:
        return next((found for rule in rules if (found := ask(rule))), [])

    causes = [one for one in before if not (one.name in _DISPROVED_BY_LEARNING and record.has_learned)]
    causes += ask(*STEP_RULES)
    if is_healthy(causes):
        causes += ask(*LABEL_RULES)
    # Where something else is wrong, a usual learning rate is not to blame.
    may_blame_rate = not has_error(causes) or not 0.1 < record.rate_ratio < 10
    causes += first(*STUCK_RULES, *(RATE_RULES if may_blame_rate else ()))
    consequences = [] if has_error(causes) else first(*SYMPTOMS)
    if learning.is_stuck(record):
        # What only slows a run that learns is to be fixed in one that does not, after what keeps any from learning.
        causes = [msgspec.structs.replace(one, severity="error") for one in by_severity(causes)]
    if not has_error(consequences):
        consequences += first(*FIT_RULES)
    remarks = ask(*data_rules.REMARKS, *OTHERS)
    # A run that ended for want of memory, say, has its cause there.
    causes += [one for one in remarks if one.severity == "error"]
    remarks = [one for one in remarks if one.severity != "error"]
    return [*by_severity(causes), *by_severity(consequences), *by_severity(remarks)]


def _ask(rule: Rule, record: RunRecord, failed: _Failed | None) -> list[Finding]:
    """Return what a rule finds first, if anything."""
    try:
        return list(islice(rule(record), 1))
    except Exception as error:
        fault = RunError(
            f"{record.path}: the doctor's rule '{rule.__name__}' failed ({type(error).__name__}: {error}), which is a "
            f"bug. Report it with {files.RUN_JSON} and {files.METRICS_JSONL}, unless somebody changed them by hand"
        )
        if failed is None:
            raise fault from error
        failed(fault)
        return []
