"""Find a learning rate: settings in, a range test on their data and model out, with its numbers and its picture.

Run it as ``albertqa find-lr`` or `albertqa.find_lr(Settings(...))`; `albertqa.health.range_test` says how it works.
"""

import math
import shlex
import time
from dataclasses import replace
from typing import Any

import torch

from albertqa import rundir
from albertqa.config import Settings, check_settings, equal_passes, to_flags
from albertqa.data.reading import load_several
from albertqa.errors import RunError, SettingsError
from albertqa.health.range_chart import draw_range
from albertqa.health.range_curve import FEWEST_STEPS, RangeTest, spell_rate
from albertqa.health.range_test import ramp_steps, run_range_test
from albertqa.model.load import resolve_model
from albertqa.opening import make_room, open_augmenter, open_device, open_learner
from albertqa.training.checkpoint import TrainState
from albertqa.training.display import Display, Silent
from albertqa.training.objective import build_objective
from albertqa.windows.build import build_windows
from albertqa.windows.tokenizer import load_tokenizer

RANGE_JSON = "lr_range.json"
RANGE_PNG = "lr_range.png"


def find_lr(
    settings: Settings,
    *,
    min_lr: float = 1e-7,
    max_lr: float = 1e-1,
    num_steps: int = 100,
    display: Display | None = None,
) -> RangeTest:
    """Run a range test on the training data, and write it to ``lr_range.json`` and ``lr_range.png``.

    Args:
        settings: As for `train`: model and memory are made ready by the same functions. Without effect are the learning
            rate and its schedule, the number of steps, evaluation, checkpoints, the moving average and the trackers,
            as nothing of them comes into a range test, and `cuda_graphs`: recordings change no loss.
        min_lr: Learning rate of the first step.
        max_lr: Learning rate of the last.
        num_steps: Steps; fewer where an epoch has fewer.
        display: Where to report; None: nowhere.

    Returns:
        The test with its suggestion, or with the reason why there is none.

    Raises:
        AlbertQAError: Something the user can act on.
    """
    check_settings(settings)
    _check_ramp(min_lr, max_lr, num_steps)
    show = display or Silent()
    out = settings.output_dir
    if out.is_file():
        raise RunError(f"{out}: is a file, expected a folder for the range test. Choose another --output-dir")
    out.mkdir(parents=True, exist_ok=True)
    begun = time.perf_counter()
    device = open_device(settings)

    source = resolve_model(settings.model)
    tokenizer = load_tokenizer(source)
    examples = load_several(settings.train_file, limit=settings.max_train_examples)
    store = build_windows(examples, tokenizer, max_seq_length=settings.max_seq_length, doc_stride=settings.doc_stride)
    steps = ramp_steps(len(store), step_windows=settings.step_windows, num_steps=num_steps)
    show.say(f"range test: {steps} steps of {settings.step_windows} windows, "
             f"learning rate {min_lr:g} to {max_lr:g}"
             + (f" (an epoch has no more; asked for: {num_steps})" if steps < num_steps else ""))  # fmt: skip
    learner = open_learner(settings, source, tokenizer, device)
    objective = build_objective(label_smoothing=settings.label_smoothing_factor, r_drop_alpha=settings.r_drop_alpha)
    state, _ = make_room(settings, learner, store, objective, TrainState(), steps=steps, say=show.say)
    micro_batch = equal_passes(settings.step_windows, state.micro_batch or settings.train_batch_size)

    show.start(0, steps)
    try:
        test = run_range_test(
            learner.model,
            store,
            learner.optimizer,
            min_lr=min_lr,
            max_lr=max_lr,
            num_steps=steps,
            micro_batch=micro_batch,
            accumulation=settings.step_windows // micro_batch,
            max_grad_norm=settings.max_grad_norm,
            seed=settings.seed,
            objective=objective,
            view_of_epoch=open_augmenter(settings, store, examples, tokenizer),
            may_recompute=settings.gradient_checkpointing is not False,
            stepped=show.stepped,
            say=show.say,
        )
    finally:
        show.stop()
    seconds = time.perf_counter() - begun
    title = f"{settings.model} on {', '.join(settings.train_file)}, {settings.step_windows} windows a step"
    rundir.write_bytes(out / RANGE_PNG, draw_range(test, title=title))
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
        "seconds": round(seconds, 3),
    }
    rundir.write_json(out / RANGE_JSON, _as_json(test, train_command(settings, test.suggestion), facts))
    return test


def train_command(settings: Settings, learning_rate: float | None) -> str | None:
    """Write the command that trains with these settings and a learning rate, in a folder of its own; None for none.

    Args:
        settings: The settings of the range test; the run's folder is beside its own.
        learning_rate: The suggestion.
    """
    if learning_rate is None:
        return None
    run = rundir.free_beside(settings.output_dir, "train")
    others = replace(settings, learning_rate=Settings.learning_rate, output_dir=run)
    return shlex.join(["albertqa", "train", "--lr", spell_rate(learning_rate), *to_flags(others)])


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
