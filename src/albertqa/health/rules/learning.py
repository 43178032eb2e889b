"""Rules about a training that does not learn: why is the loss at the uniform baseline?

They explain one symptom, so only the first that fits is reported (`albertqa.health.diagnosis`): each may assume that
those before it do not hold.
"""

from collections.abc import Iterator

import numpy as np

from albertqa.health.advice import train_again, train_for, use_base_model
from albertqa.health.curve import level
from albertqa.health.record import SHORTEST_PATH, RunRecord
from albertqa.rundir.findings import Finding, evidence

# English has 1.2 tokens a word, in ALBERT's vocabulary as in BERT's; other languages have 1.7 to 5.7 in these two
# (XQuAD). Where answers are one "word", there are no spaces between words.
_MANY_PIECES, _FEWEST_GOLD_WORDS = 1.6, 1.2


def frozen_encoder(record: RunRecord) -> Iterator[Finding]:
    """An encoder whose weights do not change."""
    weights, trainable = record.model.parameters, record.model.trainable_parameters
    known = [row.weights_moved_percent for row in record.evaluations if row.weights_moved_percent is not None]
    moved = known[-1] if known else None
    frozen = weights is not None and trainable is not None and trainable < 0.02 * weights
    still = moved is not None and moved < 1e-4 and record.change_so_far > 1e-5
    if not (frozen or still) or record.has_learned:
        return
    seen = (
        f"Only {trainable:,} of {weights:,} weights are trained (the others have requires_grad false)"
        if frozen
        else f"After {record.step:,} steps the encoder's weights are unchanged (by {moved:.1g} %)"
    )
    yield Finding(
        "frozen-encoder",
        "error",
        f"{seen}: the encoder is frozen, or its weights were not given to the optimizer. A span head alone cannot "
        "learn to read. 'albertqa train' trains all weights; remove what freezes them.",
        train_again(record, "all-weights"),
        evidence(parameters=weights, trainable_parameters=trainable, weights_moved_percent=moved),
        record.step,
    )


def damaged_weights(record: RunRecord) -> Iterator[Finding]:
    """A model that is surer of wrong answers than any fresh head could be, or that no gradient reaches."""
    if len(record.losses) < min(20, record.total_steps) or record.loss is None:
        return
    if not record.has_not_learned and not record.ended_unlearned:
        return
    begun, uniform = level(record.losses[:5]), record.uniform_loss()
    norm = float(np.median(record.norms)) if len(record.norms) else 1.0
    if begun.mean >= 1.5 * uniform and record.loss.mean >= 1.2 * uniform:
        seen = (
            f"The first steps' loss is {begun.mean:.1f}, and it stays at {record.loss.mean:.1f}, where a fresh head "
            f"starts at {uniform:.1f}, the uniform baseline. The weights are damaged or scaled (a wrong conversion), "
            "or the model was trained for something else."
        )
    elif norm <= 1e-3:
        seen = (
            f"The gradient's norm is {norm:.1e}; usual is 1 to 50. Hardly any gradient reaches the weights: they are "
            "damaged (all alike, or far too large), or frozen in part."
        )
    else:
        return
    yield Finding(
        "broken-weights",
        "error",
        f"{seen} Start from an undamaged pretrained encoder.",
        use_base_model(record, learning_rate=3e-5, warmup_ratio=0.1),
        {"first_loss": round(begun.mean, 4), "loss": round(record.loss.mean, 4), "uniform_loss": uniform,
         "grad_norm": norm},
        record.step,
    )  # fmt: skip


def stopped_before_learning(record: RunRecord) -> Iterator[Finding]:
    """Early stopping that ended the run before the weights changed as much as learning needs."""
    if not has_stopped_before_learning(record):
        return
    settings, last = record.settings, record.evaluations[-1]
    yield Finding(
        "stopped-too-soon",
        "error",
        f"Early stopping ended the run at step {record.step:,} of {record.total_steps:,}, before the model had learned "
        f"anything (f1 {last.f1:.1f}, validation loss {last.loss:.2f}; uniform baseline "
        f"{record.uniform_loss('validation'):.2f}). Learning to read takes some hundred steps, and f1 is noise until "
        f"then, so {settings.early_stopping_patience} evaluations without a better one say nothing that early. "
        "Evaluate less often, and use more patience.",
        train_again(
            record,
            "more-patience",
            early_stopping_patience=max(5, 3 * settings.early_stopping_patience),
            eval_steps=float(max(1, record.total_steps // 10)),
        ),
        {"step": record.step, "total_steps": record.total_steps, "f1": round(last.f1, 3),
         "validation_loss": round(last.loss, 4), "patience": settings.early_stopping_patience},
        record.step,
    )  # fmt: skip


def has_stopped_before_learning(record: RunRecord) -> bool:
    """Return whether a run stopped early, unlearned, with much of its way before it (see `stopped_before_learning`)."""
    way = min(2 * SHORTEST_PATH, 0.5 * record.largest_change)
    return record.status == "stopped early" and record.ended_unlearned and record.change_so_far < way


def too_few_steps(record: RunRecord) -> Iterator[Finding]:
    """A run that ends before it has begun to learn."""
    if record.loss is None or not record.ended_unlearned or record.largest_change > 2 * SHORTEST_PATH:
        return
    settings = record.settings
    windows = record.train.windows
    batch = max(1, min(settings.step_windows, 16, windows // 100))
    # Some hundreds, and as many as move the weights far enough at this rate.
    steps = max(600, 2.2 * SHORTEST_PATH * record.total_steps / record.largest_change)
    epochs = max(3.0, settings.epochs, float(np.ceil(steps * batch / windows)))
    yield Finding(
        "too-few-steps",
        "error",
        f"The run has only {record.total_steps:,} optimizer steps of {settings.step_windows} windows each, of "
        f"{windows:,} windows, and the loss stays near the uniform baseline ({record.loss.mean:.2f}; baseline "
        f"{record.uniform_loss():.2f}). Learning takes some hundred steps at least. Use a smaller batch or more "
        "epochs, so that there are more steps.",
        train_for(record, "more-steps", epochs, train_batch_size=batch, gradient_accumulation_steps=1),
        {"total_steps": record.total_steps, "step_windows": settings.step_windows, "windows": windows,
         "loss": round(record.loss.mean, 4), "uniform_loss": record.uniform_loss()},
        record.step,
    )  # fmt: skip


def random_weights(record: RunRecord) -> Iterator[Finding]:
    """An encoder that was never pretrained, and learns nothing."""
    untrained = record.settings.from_scratch or bool(record.model.untrained)
    if not untrained or not is_stuck(record) or record.loss is None:
        return
    why = "--from-scratch was given" if record.settings.from_scratch else "the model's files hold random weights"
    yield Finding(
        "random-weights",
        "error",
        f"The encoder started from random weights ({why}), and after {record.step:,} steps the loss is "
        f"{record.loss.mean:.2f}, near the uniform baseline ({record.uniform_loss():.2f}). Reading is learned in "
        "pretraining, from billions of words; question answering data alone cannot teach it. Start from a pretrained "
        "encoder.",
        use_base_model(record, learning_rate=3e-5),
        {"loss": round(record.loss.mean, 4), "uniform_loss": record.uniform_loss()},
        record.step,
    )


def foreign_vocabulary(record: RunRecord) -> Iterator[Finding]:
    """Nothing learned, in a language that the model's vocabulary was not made for: its words are cut into pieces."""
    facts = record.train
    letters, tokens, word = facts.context_letters_mean, facts.context_tokens_mean, facts.word_letters_mean
    if not letters or not tokens or not word or (facts.gold_words_mean or 0.0) < _FEWEST_GOLD_WORDS:
        return
    pieces = tokens * (word + 1) / letters
    if pieces < _MANY_PIECES or not (is_stuck(record) or record.ended_unread) or record.loss is None:
        return
    last = record.evaluations[-1] if record.evaluations else None
    seen = f"the validation loss is {last.loss:.2f}" if last is not None else f"the loss is {record.loss.mean:.2f}"
    yield Finding(
        "foreign-vocabulary",
        "error",
        f"After {record.step:,} steps {seen}, near the uniform baseline "
        f"({record.uniform_loss():.2f}), and the tokenizer cuts a word of the training texts into {pieces:.1f} pieces "
        "on average; in the language of its vocabulary it is 1.2 to 1.5. The model was pretrained on another language. "
        "Start from one that was pretrained on this language, or on many.",
        use_base_model(record, many_languages=True),
        {"tokens_per_word": round(pieces, 2), "loss": round(record.loss.mean, 4),
         "uniform_loss": record.uniform_loss()},
        record.step,
    )  # fmt: skip


def not_learning(record: RunRecord) -> Iterator[Finding]:
    """A loss that stays near the uniform baseline for no reason that another rule knows."""
    if not is_stuck(record) or record.loss is None:
        return
    last = record.evaluations[-1] if record.evaluations else None
    same = last.same_start_percent if last is not None else None
    empty = last.predicted_empty_percent if last is not None else None
    seen = ""
    if same is not None and same >= 80:
        seen = (
            f" The model has collapsed: in {same:.0f} % of the windows it predicts the same start, whatever they say."
        )
    elif empty is not None and empty >= 90:
        seen = f" It answers {empty:.0f} % of the questions with nothing."
    yield Finding(
        "not-learning",
        "error",
        f"After {record.step:,} steps the loss is {record.loss.mean:.2f}; the uniform baseline is "
        f"{record.uniform_loss():.2f}, and knowing only what answers look like gives four fifths of it. The model has "
        f"not learned to read the question.{seen} Train for longer; another seed helps at times. If not, read some of "
        "the training questions with their answers.",
        train_for(record, "longer", 2 * record.total_steps / record.plan.steps_per_epoch, warmup_ratio=0.1),
        evidence(loss=round(record.loss.mean, 4), uniform_loss=record.uniform_loss(), same_start_percent=same),
        record.step,
    )


def is_stuck(record: RunRecord) -> bool:
    """Return whether nothing was learned in a time in which something should have been."""
    patient = len(record.losses) >= 300 and record.change_so_far >= 0.05
    return record.ended_unlearned or (record.has_not_learned and patient)
