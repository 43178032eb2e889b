"""Rules about settings that keep a model from learning whatever the data; most show before the first step."""

from collections.abc import Iterator

import numpy as np

from albertqa.data.problems import Severity
from albertqa.health.advice import short, train_again
from albertqa.health.record import RunRecord
from albertqa.rundir.findings import Finding, evidence

_FIRST_NORMS = 20
# R-Drop's paper uses 1 to 5; from here on the two passes agreeing is all that is learned.
_LARGE_R_DROP = 20


def long_warmup(record: RunRecord) -> Iterator[Finding]:
    """A warm-up that takes most of the run, or does not end within it."""
    warmup, total = record.plan.warmup_steps, record.total_steps
    if warmup < 10 or warmup <= 0.5 * total:
        return
    reached = min(1.0, total / warmup) * record.settings.learning_rate
    yield Finding(
        "long-warm-up",
        "error" if warmup >= total else "warning",
        f"The warm-up takes {warmup:,} of {total:,} steps: the learning rate only rises, to {short(reached)}, and "
        "hardly any step uses the learning rate that was set. A tenth of the steps is usual.",
        train_again(record, "short-warm-up", warmup_steps=0, warmup_ratio=0.1),
        {"warmup_steps": warmup, "total_steps": total, "highest_learning_rate": reached},
    )


def damped_steps(record: RunRecord) -> Iterator[Finding]:
    """Gradients so small, beside AdamW's epsilon, that its steps are a fraction of the learning rate.

    AdamW divides the mean gradient by its root mean square plus epsilon, so the size of gradients cancels out unless
    epsilon is as large as they are. Clipping to a norm matters only through this.
    """
    settings, weights = record.settings, record.model.trainable_parameters
    if len(record.norms) < min(10, record.total_steps) or not weights:
        return
    norm = float(np.median(record.norms[:_FIRST_NORMS]))
    clipped = min(norm, settings.max_grad_norm or norm)
    epsilon = settings.adam_epsilon

    def kept(norm: float, epsilon: float) -> float:
        """Return the share of a step that epsilon leaves, for gradients of this norm."""
        size = norm / weights**0.5
        return float(size / (size + epsilon))

    share = kept(clipped, epsilon)
    if share > 0.5 or norm == 0:
        return
    severity: Severity = "error" if share < 0.1 else "warning"
    numbers = evidence(share_of_step=share, grad_norm=norm, max_grad_norm=settings.max_grad_norm, adam_epsilon=epsilon)
    if kept(clipped, 1e-8) > 0.9 or (epsilon > 1e-6 and settings.max_grad_norm >= 0.1):
        yield Finding(
            "large-epsilon",
            severity,
            f"adam_epsilon is {short(epsilon)}, far above the size of the gradients (about "
            f"{clipped / weights**0.5:.1e} a weight), so AdamW's steps are {100 * share:.2g} % of the learning rate. "
            "1e-8 is usual.",
            train_again(record, "epsilon-1e-8", adam_epsilon=1e-8),
            numbers,
            record.step,
        )
    elif kept(norm, epsilon) > 2 * share:
        yield Finding(
            "strong-clipping",
            severity,
            f"max_grad_norm is {short(settings.max_grad_norm)}, while gradients have a norm of {norm:.3g}. Clipped so "
            f"far, they are small beside AdamW's epsilon, and its steps are {100 * share:.2g} % of the learning rate. "
            "(Clipping every step to 1.0 is normal.)",
            train_again(record, "clip-1", max_grad_norm=1.0),
            numbers,
            record.step,
        )


def strong_decay(record: RunRecord) -> Iterator[Finding]:
    """Weight decay that takes the pretrained weights away."""
    decay = record.settings.weight_decay
    left = float(np.exp(-decay * record.largest_change))
    if left > 0.7 and decay < 1:
        return
    yield Finding(
        "strong-weight-decay",
        "error" if left < 0.5 else "warning",
        f"weight_decay is {short(decay)}: over this run it alone shrinks every weight matrix to {100 * left:.3g} % of "
        "its pretrained size. Usual is 0 to 0.1.",
        train_again(record, "decay-0.01", weight_decay=0.01),
        {"weight_decay": decay, "percent_of_weights_left": 100 * left},
    )


def strong_dropout(record: RunRecord) -> Iterator[Finding]:
    """Dropout that leaves little to learn from."""
    settings, model = record.settings, record.model
    rates = {
        "hidden_dropout": _first(settings.hidden_dropout, model.hidden_dropout),
        "attention_dropout": _first(settings.attention_dropout, model.attention_dropout),
        "head_dropout": settings.head_dropout or 0.0,
    }
    strong = {name: rate for name, rate in rates.items() if rate >= 0.5}
    if not strong:
        return
    name, rate = max(strong.items(), key=lambda one: one[1])
    yield Finding(
        "strong-dropout",
        "error" if rate >= 0.7 else "warning",
        f"{name} is {short(rate)}: at every step {100 * rate:.0f} % of the activations it acts on are set to zero, and "
        "the model learns from the rest. Usual is 0 to 0.1; ALBERT v2 was pretrained without dropout.",
        train_again(record, "dropout-0.1", **dict.fromkeys(strong, 0.1)),
        strong,
    )


def strong_label_smoothing(record: RunRecord) -> Iterator[Finding]:
    """Label smoothing that takes most of the target away from the answer."""
    smoothing = record.settings.label_smoothing_factor
    if smoothing < 0.5:
        return
    yield Finding(
        "strong-label-smoothing",
        "error" if smoothing >= 0.8 else "warning",
        f"label_smoothing_factor is {short(smoothing)}: {100 * smoothing:.0f} % of each target is spread over all "
        f"tokens and only {100 * (1 - smoothing):.0f} % is left for the answer. The model learns slowly, and to be "
        "unsure of every answer. Usual is 0 to 0.1.",
        train_again(record, "label-smoothing-0.1", label_smoothing_factor=0.1),
        {"label_smoothing_factor": smoothing},
    )


def large_r_drop(record: RunRecord) -> Iterator[Finding]:
    """An R-Drop weight beside which the answers count for nothing."""
    alpha = record.settings.r_drop_alpha
    if alpha < _LARGE_R_DROP:
        return
    yield Finding(
        "large-r-drop",
        "error" if alpha >= 2 * _LARGE_R_DROP else "warning",
        f"r_drop_alpha is {short(alpha)}: that the two passes agree counts {short(alpha)} times as much as the answer, "
        "and they agree best where the model is unsure of everything. Usual is 0.5 to 5.",
        train_again(record, "r-drop-1", r_drop_alpha=1.0),
        {"r_drop_alpha": alpha},
    )


def swapped_betas(record: RunRecord) -> Iterator[Finding]:
    """AdamW's two decays swapped, or out of the range in which it works."""
    beta1, beta2 = record.settings.adam_beta1, record.settings.adam_beta2
    if beta1 <= 0.97 and beta1 <= beta2:
        return
    yield Finding(
        "swapped-betas",
        "warning",
        f"adam_beta1 is {beta1:g} and adam_beta2 {beta2:g}. The first averages the gradients over 1/(1-beta1) steps, "
        f"here {1 / (1 - beta1):.0f}, and the second their squares, over more. Usual is 0.9 and 0.999.",
        train_again(record, "usual-betas", adam_beta1=0.9, adam_beta2=0.999),
        {"adam_beta1": beta1, "adam_beta2": beta2},
    )


def no_answer_forbidden(record: RunRecord) -> Iterator[Finding]:
    """Data with unanswerable questions, and a setting that forbids "no answer"."""
    without = record.validation.without_answer / record.validation.questions
    if record.settings.version_2_with_negative is not False or not without:
        return
    yield Finding(
        "no-answer-forbidden",
        "error",
        f"{100 * without:.0f} % of the validation questions have no answer, but version_2_with_negative is false: the "
        "model must answer them all, they cannot be scored, and the run fails at its first evaluation.",
        train_again(record, "version-2", version_2_with_negative=True),
        {"without_answer_percent": round(100 * without, 2)},
    )


def _first(setting: float | None, known: float | None) -> float:
    return setting if setting is not None else known or 0.0
