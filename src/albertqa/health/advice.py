"""Remedies: commands that can be run as they stand, for a run or for data files that no run has."""

import dataclasses
import math
import re
import shlex
from pathlib import Path
from typing import Any, get_type_hints

from albertqa import files
from albertqa.config import Settings, to_flags
from albertqa.health.record import MANY_PASSES, SHORTEST_PATH, DataView, RunRecord
from albertqa.rundir.run_json import Part

BASE_MODEL = "albert/albert-base-v2"
# Where ALBERT's is in use: its vocabulary has the letters of a hundred languages.
_OTHER_MODEL = "google-bert/bert-base-multilingual-cased"
_STARTER = "starter"
# Public questions to add to one's own: of the bundled set for the bundled encoder, so that no network is needed.
_PUBLIC = {"train": ("starter:train", "rajpurkar/squad:train"),
           "validation": ("starter:validation", "rajpurkar/squad:validation")}  # fmt: skip
_NUM_PUBLIC = {"starter:train": 2_180, "rajpurkar/squad:train": 87_599}
# What an evaluation takes over from a run.
_DECODING = ("version_2_with_negative", "max_eval_examples", "max_seq_length", "doc_stride", "max_answer_length",
             "n_best_size", "null_score_diff_threshold")  # fmt: skip


def train_again(view: DataView, suffix: str, **changes: Any) -> str:
    """Return the command that repeats a run with other settings, beside it; or that trains so, where there is no run.

    That is ``albertqa train --config RUN/config.toml --… --output-dir RUN-SUFFIX``.
    """
    words = ["albertqa", "train", *_configured(view, **changes)]
    if view.path is not None:
        words += ["--output-dir", str(files.free_beside(view.path, suffix))]
    return shlex.join(words)


def train_for(record: RunRecord, suffix: str, epochs: float, **changes: Any) -> str:
    """Return the command that repeats a run for so many epochs, or for as many steps where it was given those."""
    settings = dataclasses.replace(record.settings, **changes)
    if settings.max_steps is None:
        return train_again(record, suffix, epochs=epochs, **changes)
    steps = math.ceil(epochs * record.train.windows / settings.step_windows)
    return train_again(record, suffix, max_steps=steps, **changes)


def train_less(record: RunRecord, epochs: float) -> str | None:
    """Return the command that repeats a run for fewer epochs; None where they are not fewer, or too few to learn in."""
    epochs = float(f"{epochs:.2g}")
    share = epochs * record.plan.steps_per_epoch / record.total_steps
    if share >= 1 or share * record.largest_change <= 2 * SHORTEST_PATH:
        return None
    return train_for(record, "fewer-epochs", epochs)


def crop_contexts(record: RunRecord) -> str | None:
    """Return the command that crops each context anew in every epoch; None where few epochs are done, or it is set."""
    if record.settings.augment or record.passes < MANY_PASSES:
        return None
    return train_again(record, "cropped", augment=("crop",), augment_rate=1.0)


def more_questions(view: DataView, part: Part = "train") -> str:
    """Return the command that adds public questions to a run's own, or takes away the limit on their number."""
    settings, named = view.settings, _files(view, part)
    public = _PUBLIC[part][settings.model != _STARTER]
    changes: dict[str, Any] = {} if public in named else {f"{part}_file": (*named, public)}
    limit = "max_train_examples" if part == "train" else "max_eval_examples"
    if getattr(settings, limit) is not None or not changes:
        changes[limit] = 100_000
    if part == "train":
        if settings.max_steps is None:
            changes["epochs"] = min(2.0, settings.epochs)
        elif public not in named:
            # What was enough for its own questions would not see most of the others.
            steps = math.ceil(2 * _NUM_PUBLIC[public] / settings.step_windows)
            changes["max_steps"] = max(settings.max_steps, steps)
    return train_again(view, "more-questions", **changes)


def find_rate(record: RunRecord) -> str:
    """Return the command that measures a learning rate on the run's data, with its settings."""
    return shlex.join(["albertqa", "find-lr", *_configured(record)])


def evaluate_again(record: RunRecord, **changes: int | bool) -> str:
    """Return the command that evaluates a run's model on its validation data as the run did, but for some settings."""
    words = ["albertqa", "evaluate", str(record.path), *_files(record, "validation")]
    for name in _DECODING:
        value = changes.get(name, getattr(record.settings, name))
        if value != getattr(Settings, name):
            words += _flag(name, value)
    return shlex.join(words)


def show_rows(view: DataView, name: str, *, by_model: bool = False) -> str:
    """Return the command that shows the rows of the data that a finding of this name is about.

    With `by_model`, the model's folder says which rows.
    """
    words = ["albertqa", "check", *_files(view, "train")]
    if validation := _files(view, "validation"):
        words += ["--validation-file", *validation]
    if by_model:
        words += ["--tokenizer", _path(view, view.settings.model)]
    return shlex.join([*words, "--show-rows", name])


def repair_data(view: DataView, part: Part) -> str:
    """Return the commands that repair one part of the data and train on the copy.

    Several files are repaired into a folder; which of them to train on is left to the reader.
    """
    named = _files(view, part)
    copy = files.free_beside(view.path or Path(Path(named[0]).stem), f"{part}-repaired")
    if len(named) > 1:
        return shlex.join(["albertqa", "check", *named, "--write-repaired", str(copy)])
    copy = copy.with_name(f"{copy.name}.json")
    repair = shlex.join(["albertqa", "check", *named, "--write-repaired", str(copy)])
    # Not "&&": a check that found something to repair has the exit code of one that found errors.
    return f"{repair}; {train_again(view, 'repaired', **{f'{part}_file': (str(copy),)})}"


def use_base_model(view: DataView, *, many_languages: bool = False, **changes: Any) -> str:
    """Return the command that repeats a run from ALBERT's own weights; from another model's if it did that.

    With `many_languages`, from a model that was pretrained on many languages.
    """
    is_base = view.settings.model == BASE_MODEL and not view.settings.from_scratch
    model = _OTHER_MODEL if is_base or many_languages else BASE_MODEL
    return train_again(view, "other-model", model=model, from_scratch=False, **changes)


def fix_case(record: RunRecord, *, lowercase: bool) -> str:
    """Return the commands that correct how a model's tokenizer treats upper case, and repeat the run.

    `lowercase` is whether its vocabulary is in lower case.
    """
    folder = Path(_path(record, record.settings.model))
    old, new = ("false", "true") if lowercase else ("true", "false")
    for file, key in (("tokenizer.json", "lowercase"), ("tokenizer_config.json", "do_lower_case")):
        path = folder / file
        if path.is_file() and re.search(rf'"{key}": *{old}', path.read_text(encoding="utf-8", errors="replace")):
            edit = shlex.join(["sed", "-i.before", f's/"{key}": *{old}/"{key}": {new}/', str(path)])
            return f"{edit}; {train_again(record, 'case-fixed')}"
    return use_base_model(record)


def short(value: float) -> str:
    """Write a learning rate or the like with two digits at most: 3e-5, 0.01.

    >>> short(0.0000312), short(0.01), short(2.0), short(0.0002)
    ('3.1e-5', '0.01', '2', '2e-4')
    """
    if value != 0 and not 1e-3 <= abs(value) < 1e4:
        digits, _, exponent = f"{value:.1e}".partition("e")
        return f"{digits.removesuffix('.0')}e{int(exponent)}"
    return f"{value:.2g}" if abs(value) < 100 else f"{value:.0f}"


def _configured(view: DataView, **changes: Any) -> list[str]:
    """Return the words for the settings but for some, paths written so that they are found from here."""
    settings = view.settings
    if view.path is None:
        return to_flags(dataclasses.replace(settings, **changes))
    paths: dict[str, Any] = {
        "model": _path(view, settings.model),
        "train_file": _files(view, "train"),
        "validation_file": _files(view, "validation"),
    }
    moved = {name: path for name, path in paths.items() if path != getattr(settings, name)}
    flags = [word for name, value in {**moved, **changes}.items() for word in _flag(name, value)]
    return ["--config", str(view.path / files.CONFIG_TOML), *flags]


def _files(view: DataView, part: Part) -> tuple[str, ...]:
    """Return the files of one part of the data."""
    return tuple(_path(view, file) for file in getattr(view.settings, f"{part}_file"))


def _path(view: DataView, name: str) -> str:
    """Return a file or folder of the settings so that it is found from here, as far as the run's place tells.

    Paths in settings are relative to where the run was started. That follows from where the run is and what it was
    called there. Names of the Hub stay as they are.
    """
    if view.path is None:
        return name
    run, called = view.path.resolve().parts, view.settings.output_dir.parts
    start = Path(*run[: len(run) - len(called)])
    if run[len(run) - len(called) :] != called or start in {Path(), Path.cwd()}:
        return name
    place = start / name
    folder = place.with_name(place.name.rpartition(":")[0] or place.name)
    return str(place) if place.exists() or folder.is_dir() else name


def _flag(name: str, value: Any) -> list[str]:
    if name == "learning_rate":
        # What comes out of a division is to be read, not to be exact.
        return ["--lr", short(value)]
    flag = name.replace("_", "-")
    if isinstance(value, bool) and get_type_hints(Settings)[name] is bool:
        return [f"--{flag}" if value else f"--no-{flag}"]
    return [f"--{flag}", *value] if isinstance(value, tuple) else [f"--{flag}", str(value)]
