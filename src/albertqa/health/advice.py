"""Remedies: commands that can be run as they stand."""

import math
import shlex
from pathlib import Path
from typing import get_type_hints

from albertqa import files
from albertqa.config import Settings
from albertqa.health.record import MANY_PASSES, SHORTEST_PATH, RunRecord
from albertqa.rundir.run_json import Part

BASE_MODEL = "albert/albert-base-v2"
# What an evaluation takes over from a run.
_DECODING = (
    *("version_2_with_negative", "max_eval_examples", "max_seq_length", "doc_stride", "max_answer_length"),
    *("n_best_size", "null_score_diff_threshold"),
)


def train_again(record: RunRecord, suffix: str, **changes: float | int | str | bool | tuple[str, ...]) -> str:
    """Give the command that repeats a run with other settings, beside it.

    Args:
        record: The run.
        suffix: What to add to its directory's name.
        changes: Settings by name.

    Returns:
        ``albertqa train --config RUN/config.toml --… --output-dir RUN-SUFFIX``.
    """
    words = ["albertqa", "train", *_configured(record, **changes)]
    return shlex.join([*words, "--output-dir", str(files.free_beside(record.path, suffix))])


def train_for(record: RunRecord, suffix: str, epochs: float, **changes: float | int) -> str:
    """Give the command that repeats a run for so many epochs (see `train_again`); in steps, where it was told those."""
    settings = record.settings
    if settings.max_steps is None:
        return train_again(record, suffix, epochs=epochs, **changes)
    batch = changes.get("train_batch_size", settings.train_batch_size)
    accumulation = changes.get("gradient_accumulation_steps", settings.gradient_accumulation_steps)
    steps = math.ceil(epochs * record.data("train").windows / (batch * accumulation))
    return train_again(record, suffix, max_steps=steps, **changes)


def train_less(record: RunRecord, epochs: float) -> str | None:
    """Give the command that repeats a run for fewer epochs; None where they are not fewer, or too few to learn in.

    Args:
        record: The run.
        epochs: As many are enough; two digits of it are taken.
    """
    epochs = float(f"{epochs:.2g}")
    share = epochs * record.plan.steps_per_epoch / record.total_steps
    if share >= 1 or share * record.planned_path <= 2 * SHORTEST_PATH:
        return None
    return train_for(record, "fewer-epochs", epochs)


def crop_contexts(record: RunRecord) -> str | None:
    """Give the command that shows questions in another crop every time; None where few come back, or not alike."""
    if record.settings.augment or record.passes < MANY_PASSES:
        return None
    return train_again(record, "cropped", augment=("crop",), augment_rate=1.0)


def find_rate(record: RunRecord) -> str:
    """Give the command that measures a learning rate on the run's data, with its settings."""
    return shlex.join(["albertqa", "find-lr", *_configured(record)])


def evaluate_again(record: RunRecord, **changes: int | bool) -> str:
    """Give the command that evaluates the run's model on its validation data as the run did, but for some settings.

    Args:
        record: The run.
        changes: Settings by name.
    """
    words = ["albertqa", "evaluate", str(record.path), *_files(record, "validation")]
    for name in _DECODING:
        value = changes.get(name, getattr(record.settings, name))
        if value != getattr(Settings, name):
            words += _flag(name, value)
    return shlex.join(words)


def check_data(record: RunRecord) -> str:
    """Give the command that shows what is wrong with the run's data."""
    return shlex.join(["albertqa", "check", *_files(record, "train"), *_files(record, "validation")])


def repair_data(record: RunRecord, part: Part) -> str:
    """Give the commands that repair one part of the run's data and train on the copy.

    Several files are repaired into a folder; which of them to train on is left to the reader.

    Args:
        record: The run.
        part: The part.
    """
    named = _files(record, part)
    copy = files.free_beside(record.path, f"{part}-repaired")
    if len(named) > 1:
        return shlex.join(["albertqa", "check", *named, "--write-repaired", str(copy)])
    copy = copy.with_name(f"{copy.name}.json")
    repair = shlex.join(["albertqa", "check", *named, "--write-repaired", str(copy)])
    # Not "&&": a check that found something to repair has the exit code of one that found errors.
    return f"{repair}; {train_again(record, 'repaired', **{f'{part}_file': (str(copy),)})}"


def use_base_model(record: RunRecord, **changes: float) -> str:
    """Give the command that repeats a run from ALBERT's own weights, or shows what they make of the data if it did.

    Args:
        record: The run.
        changes: Further settings by name.
    """
    settings = record.settings
    if settings.model == BASE_MODEL and not settings.from_scratch and not changes:
        return f"{check_data(record)} --tokenizer {BASE_MODEL}"
    return train_again(record, "albert-base", model=BASE_MODEL, from_scratch=False, **changes)


def short(value: float) -> str:
    """Spell a learning rate or the like with two digits at most: 3e-5, 0.01.

    >>> short(0.0000312), short(0.01), short(2.0), short(0.0002)
    ('3.1e-5', '0.01', '2', '2e-4')
    """
    if value != 0 and not 1e-3 <= abs(value) < 1e4:
        digits, _, exponent = f"{value:.1e}".partition("e")
        return f"{digits.removesuffix('.0')}e{int(exponent)}"
    return f"{value:.2g}" if abs(value) < 100 else f"{value:.0f}"


def _configured(record: RunRecord, **changes: float | int | str | bool | tuple[str, ...]) -> list[str]:
    """Give the words for the run's settings but for some, its paths such that they are found from here."""
    settings = record.settings
    paths: dict[str, str | tuple[str, ...]] = {
        "model": _path(record, settings.model),
        "train_file": _files(record, "train"),
        "validation_file": _files(record, "validation"),
    }
    moved = {name: path for name, path in paths.items() if path != getattr(settings, name)}
    flags = [word for name, value in {**moved, **changes}.items() for word in _flag(name, value)]
    return ["--config", str(record.path / files.CONFIG_TOML), *flags]


def _files(record: RunRecord, part: Part) -> tuple[str, ...]:
    """Give the files of one part of the run's data."""
    named = record.settings.train_file if part == "train" else record.settings.validation_file
    return tuple(_path(record, file) for file in named)


def _path(record: RunRecord, name: str) -> str:
    """Spell a file or folder of the settings such that it is found from here, as far as the run's place tells it.

    Paths in settings are relative to where the run was started, which is told by where the run lies and what it was
    called there. Names of the Hub stay as they are.
    """
    run, called = record.path.resolve().parts, record.settings.output_dir.parts
    start = Path(*run[: len(run) - len(called)])
    if run[len(run) - len(called) :] != called or start in {Path(), Path.cwd()}:
        return name
    place = start / name
    folder = place.with_name(place.name.rpartition(":")[0] or place.name)
    return str(place) if place.exists() or folder.is_dir() else name


def _flag(name: str, value: float | int | str | bool | tuple[str, ...]) -> list[str]:
    flag = "lr" if name == "learning_rate" else name.replace("_", "-")
    if isinstance(value, bool):
        if get_type_hints(Settings)[name] is bool:
            return [f"--{flag}" if value else f"--no-{flag}"]
        return [f"--{flag}", str(value)]
    if isinstance(value, tuple):
        return [f"--{flag}", *value]
    # A learning rate that comes out of a division is to be read, not to be exact.
    return [f"--{flag}", short(float(value)) if name == "learning_rate" else str(value)]
