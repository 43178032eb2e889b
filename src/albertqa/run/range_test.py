"""The learning-rate range test: a short run with a rising learning rate, and what its loss says.

The steps are the run's own (data order, batch, objective, clipping, precision); only the learning rate differs: it
rises by the same factor at every step. The loss stays level while the rate is too small to matter, falls, and climbs
back when the rate is too large. Afterwards model, optimizer and random generators are as before, to the bit.

Run it as ``albertqa find-lr`` or `albertqa.find_lr(Settings(...))`.

Source:
    L. N. Smith, "Cyclical Learning Rates for Training Neural Networks", section 3.3, and fastai's `lr_find`. What
    differs: fastai stops at four times the lowest loss and never would here, where the loss starts at the uniform
    baseline (5.4 for windows of 220 tokens) and a broken model goes back to it; and its mean looks back only, which
    shifts the curve to higher rates.
"""

import copy
import math
import shlex
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch

from albertqa.config import MonitoringConfig, OptimizerConfig, Settings, to_flags
from albertqa.data.reading import load_several
from albertqa.errors import DataError, RunError, SettingsError
from albertqa.files import free_beside, plural, write_json, write_text
from albertqa.health.curve import FEWEST_STEPS
from albertqa.model.load import SpanModel, resolve_model
from albertqa.run.callbacks import Callback
from albertqa.run.checkpoint import Adaptation, TrainState
from albertqa.run.loop import TrainingWindows, plan_steps, train_steps
from albertqa.run.range_chart import draw_range
from albertqa.run.range_curve import RangeTest, has_diverged, judge, spell_rate
from albertqa.run.setup import build_augmenter, fit_steps, load_learner, open_stepper, set_up_device
from albertqa.run.step import Stepper
from albertqa.rundir.rows import StepRow
from albertqa.windows.build import build_windows
from albertqa.windows.tokenizer import load_tokenizer

RANGE_JSON = "lr_range.json"
RANGE_SVG = "lr_range.svg"


def find_lr(
    settings: Settings,
    *,
    min_lr: float = 1e-7,
    max_lr: float = 1e-1,
    num_steps: int = 100,
    callbacks: Sequence[Callback] = (),
) -> RangeTest:
    """Run a range test on the training data, and write it to ``lr_range.json`` and ``lr_range.svg``.

    Args:
        settings: As for `train`: model and memory are set up by the same functions. The learning rate and its schedule,
            the number of steps, evaluation, checkpoints and trackers have no effect.
        min_lr: Learning rate of the first step.
        max_lr: Learning rate of the last.
        num_steps: Steps; fewer where an epoch has fewer.
        callbacks: Called with every message and step.

    Returns:
        The test with its suggestion, or with the reason why there is none.

    Raises:
        AlbertQAError: Something the user can act on.
    """
    settings.check()
    _check_ramp(min_lr, max_lr, num_steps)
    out = settings.output_dir
    if out.is_file():
        raise RunError(f"{out}: is a file, expected a folder for the range test. Choose another --output-dir")
    out.mkdir(parents=True, exist_ok=True)

    def say(text: str) -> None:
        for callback in callbacks:
            callback.on_message(text)

    started = time.perf_counter()
    device = set_up_device(settings)
    folder = resolve_model(settings.model)
    tokenizer = load_tokenizer(folder)
    examples = load_several(settings.train_file, limit=settings.max_train_examples)
    store = build_windows(examples, tokenizer, max_seq_length=settings.max_seq_length, doc_stride=settings.doc_stride)
    steps = ramp_steps(len(store), step_windows=settings.step_windows, num_steps=num_steps)
    say(
        f"range test: {steps} steps of {plural(settings.step_windows, 'window')}, "
        f"learning rate {min_lr:g} to {max_lr:g}"
        + (f" (an epoch has no more; asked for: {num_steps})" if steps < num_steps else "")
    )
    learner = load_learner(settings, folder, tokenizer, device)
    adaptation = Adaptation()
    fit_steps(settings, learner, store, adaptation, say)
    stepper = open_stepper(settings, learner, adaptation, say)
    windows = TrainingWindows(store, augmenter=build_augmenter(settings, store, examples))
    try:
        for callback in callbacks:
            callback.on_start(0, steps)
        with restored(learner.model, learner.optimizer):
            test = run_range_test(
                stepper, windows, settings, min_lr=min_lr, max_lr=max_lr, num_steps=steps, callbacks=callbacks
            )
    finally:
        for callback in callbacks:
            callback.on_end()
    title = f"{settings.model} on {', '.join(settings.train_file)}, {settings.step_windows} windows a step"
    write_text(out / RANGE_SVG, draw_range(test, title=title))
    facts = {
        "min_lr": min_lr,
        "max_lr": max_lr,
        "num_steps": steps,
        "step_windows": settings.step_windows,
        "model": settings.model,
        "train_file": list(settings.train_file),
        "questions": len(examples),
        "windows": len(store),
        "seed": settings.seed,
        "device": str(device),
        "precision": str(learner.model.autocast_dtype or torch.float32).removeprefix("torch."),
        "seconds": round(time.perf_counter() - started, 3),
    }
    write_json(out / RANGE_JSON, _as_json(test, train_command(settings, test.suggestion), facts))
    return test


def run_range_test(
    stepper: Stepper,
    windows: TrainingWindows,
    config: OptimizerConfig,
    *,
    min_lr: float,
    max_lr: float,
    num_steps: int,
    callbacks: Sequence[Callback] = (),
) -> RangeTest:
    """Run the steps of a range test; the model is trained by them (see `restored`).

    Args:
        stepper: Does the steps.
        windows: Training windows.
        config: Windows of a step, seed of the data order.
        min_lr: Learning rate of the first step.
        max_lr: Learning rate of the last.
        num_steps: Steps, at most those of one epoch (see `ramp_steps`).
        callbacks: Called with every step that counts.

    Raises:
        RunError: The very first loss is NaN or infinite.
    """
    plan = plan_steps(len(windows.store), replace(config, max_steps=num_steps), MonitoringConfig())
    ramp = _Ramp(num_steps, callbacks)
    factor = partial(ramp_factor, ratio=min_lr / max_lr, num_steps=num_steps)
    train_steps(
        stepper,
        windows,
        config,
        plan,
        TrainState(),
        callbacks=[ramp],
        should_stop=lambda: ramp.diverged is not None,
        learning_rate=lambda step: max_lr * factor(step),
    )
    if not ramp.losses:
        raise RunError("range test: the first loss is NaN or infinite; the model is broken before any update")
    guess_loss = float(np.log(windows.store.lengths).mean())
    return judge(ramp.learning_rates, ramp.losses, num_steps=num_steps, diverged=ramp.diverged, guess_loss=guess_loss)


def ramp_factor(step: int, *, ratio: float, num_steps: int) -> float:
    """Return the factor on the highest learning rate at a step, from 0.

    It rises from `ratio`, that of the lowest learning rate, to 1, at every step by the same multiple.
    """
    return float(ratio ** (1 - step / (num_steps - 1)))


def ramp_steps(num_windows: int, *, step_windows: int, num_steps: int) -> int:
    """Count the steps of a range test: those asked for, or the whole steps of one epoch if it has fewer.

    No window is seen twice, because the loss of a known window falls anyway.

    Raises:
        DataError: Too few for a range test.
    """
    available = num_windows // step_windows
    if available < FEWEST_STEPS:
        raise DataError(
            f"range test: {plural(num_windows, 'window')} are {plural(available, 'step')} of {step_windows}, "
            f"expected at least {FEWEST_STEPS}. Use more questions, or fewer windows a step (--train-batch-size)"
        )
    return min(num_steps, available)


def train_command(settings: Settings, learning_rate: float | None) -> str | None:
    """Return the command that trains with these settings and a learning rate, in a new folder beside the test's."""
    if learning_rate is None:
        return None
    run = free_beside(settings.output_dir, "train")
    others = replace(settings, learning_rate=Settings.learning_rate, output_dir=run)
    return shlex.join(["albertqa", "train", "--lr", spell_rate(learning_rate), *to_flags(others)])


@contextmanager
def restored(model: SpanModel, optimizer: torch.optim.Optimizer) -> Iterator[None]:
    """Put weights, optimizer, mode, precision and random generators back afterwards, to the bit."""
    weights = {name: value.clone() for name, value in model.model.state_dict().items()}
    moments = copy.deepcopy(optimizer.state_dict())
    was_training, precision = model.model.training, model.autocast_dtype
    with torch.random.fork_rng([model.device] if model.device.type == "cuda" else []):
        try:
            yield
        finally:
            optimizer.zero_grad(set_to_none=True)
            model.model.load_state_dict(weights)
            optimizer.load_state_dict(moments)
            model.model.train(was_training)
            # A step gives half precision up with the first NaN.
            model.autocast_dtype = precision


class _Ramp(Callback):
    """Collects the losses, and sees where they diverge."""

    def __init__(self, num_steps: int, callbacks: Sequence[Callback]) -> None:
        self._num_steps, self._callbacks = num_steps, callbacks
        self.learning_rates: list[float] = []
        self.losses: list[float] = []
        self.diverged: float | None = None

    def on_step(self, row: StepRow) -> None:
        """Take a step's loss."""
        if row.train_loss is None or row.skipped:
            self.diverged = row.learning_rate
            return
        self.learning_rates.append(row.learning_rate)
        self.losses.append(row.train_loss)
        if has_diverged(self.losses, num_steps=self._num_steps):
            self.diverged = row.learning_rate
        for callback in self._callbacks:
            callback.on_step(row)


def _check_ramp(min_lr: float, max_lr: float, num_steps: int) -> None:
    problems = []
    if not 0 < min_lr < max_lr < math.inf:
        problems.append(f"min_lr is {min_lr:g} and max_lr {max_lr:g}, expected 0 < min_lr < max_lr")
    if num_steps < FEWEST_STEPS:
        problems.append(f"num_steps is {num_steps}, expected at least {FEWEST_STEPS}")
    if problems:
        raise SettingsError("range test: " + "; ".join(problems))


def _as_json(test: RangeTest, command: str | None, facts: dict[str, Any]) -> dict[str, Any]:
    steps = zip(test.learning_rates, test.losses, test.smoothed, strict=True)
    return {
        "suggested_lr": test.suggestion,
        "reason": test.reason,
        "command": command,
        "lowest_lr": test.lowest,
        "diverged_lr": test.diverged,
        "start_loss": test.start_loss,
        "descent": test.descent,
        "noise": test.noise,
        "guess_loss": test.guess_loss,
        **facts,
        "points": [
            {"step": step, "learning_rate": rate, "loss": loss, "smoothed_loss": smoothed}
            for step, (rate, loss, smoothed) in enumerate(steps, 1)
        ],
    }
