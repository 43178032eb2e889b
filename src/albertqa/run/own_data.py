"""Data of the user's own, as a run keeps it: in SQuAD's form, and with a part to validate on."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from albertqa.config import DataConfig, Settings
from albertqa.data.example import Example
from albertqa.data.formats.squad_json import write_squad_json
from albertqa.data.raw_rows import ReadOptions
from albertqa.data.reading import load_several
from albertqa.data.splits import split_by_context
from albertqa.errors import DataError
from albertqa.files import CONFIG_TOML, plural

FRACTION = 0.1
PARTS = ("train.json", "validation.json")
_DEFAULTS = ReadOptions()


def write_parts(train: Sequence[Example], validation: Sequence[Example], folder: Path) -> None:
    """Write a training and a validation part in SQuAD's form, as `PARTS` of a folder, which is created if needed."""
    folder.mkdir(parents=True, exist_ok=True)
    for part, name in zip((train, validation), PARTS, strict=True):
        write_squad_json(folder / name, part)


def with_own_data(
    settings: Settings, say: Callable[[str], None], *, has_validation: bool, options: ReadOptions = _DEFAULTS
) -> Settings:
    """Return settings for data of the user's own.

    Without validation data, SQuAD's training data is validated on SQuAD's validation part, and no other data ever is: a
    part of it is split off by context. Data that is split, or that needs options to be read, is written into ``data/``
    of the run directory in SQuAD's form, and the settings name those files.

    Args:
        settings: The settings.
        say: Takes a line for the user.
        has_validation: Whether the user named validation data; otherwise what the settings name is not looked at.
        options: How to read the data.

    Raises:
        AlbertQAError: The settings are out of range, or the data is damaged or has too few contexts.
    """
    if not has_validation:
        settings = replace(settings, validation_file=DataConfig.validation_file)
    settings.check()
    is_plain = options == _DEFAULTS and (has_validation or settings.train_file == DataConfig.train_file)
    run = settings.output_dir
    # A folder that is taken is refused where the run begins.
    if is_plain or (run / CONFIG_TOML).exists() or run.is_file():
        return settings
    train = load_several(settings.train_file, options=options)
    if has_validation:
        validation = load_several(settings.validation_file, options=options)
    else:
        train, validation = _split_off(train, settings)
    folder = run / "data"
    write_parts(train, validation, folder)
    how = "" if has_validation else f", split off by context (seed {settings.seed}); or name --validation-file"
    say(
        f"data in {folder}: {plural(len(train), 'question')} to train on, "
        f"{plural(len(validation), 'question')} to validate on{how}"
    )
    train_file, validation_file = (str(folder / name) for name in PARTS)
    return replace(settings, train_file=(train_file,), validation_file=(validation_file,))


def _split_off(examples: Sequence[Example], settings: Settings) -> tuple[list[Example], list[Example]]:
    try:
        return split_by_context(examples, FRACTION, settings.seed)
    except DataError as error:
        raise DataError(f"no --validation-file is given, and no part can be split off: {error}") from error
