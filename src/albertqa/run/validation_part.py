"""Validation data for a run that was given none: a part of its training data."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from albertqa.config import DataConfig, Settings
from albertqa.data.example import Example
from albertqa.data.formats.squad_json import write_squad_json
from albertqa.data.reading import load_several
from albertqa.data.splits import split_by_context
from albertqa.errors import DataError
from albertqa.files import CONFIG_TOML

FRACTION = 0.1
PARTS = ("train.json", "validation.json")


@dataclass(frozen=True)
class Parts:
    """Two files that share no context.

    Attributes:
        train: The file to train on.
        validation: The file to validate on.
        train_questions: Questions of the first.
        validation_questions: Questions of the second.
    """

    train: Path
    validation: Path
    train_questions: int
    validation_questions: int


def write_parts(examples: Sequence[Example], folder: Path, *, fraction: float, seed: int) -> Parts:
    """Split questions by context, and write both parts in SQuAD's form.

    Args:
        examples: The questions.
        folder: Where to; created where it is missing.
        fraction: Share of the questions in the validation part, about.
        seed: Which contexts it takes depends on it.

    Raises:
        DataError: There are too few contexts, or the fraction is not between 0 and 1.
    """
    parts = split_by_context(examples, fraction, seed)
    folder.mkdir(parents=True, exist_ok=True)
    for part, name in zip(parts, PARTS, strict=True):
        write_squad_json(folder / name, part)
    train, validation = parts
    return Parts(folder / PARTS[0], folder / PARTS[1], len(train), len(validation))


def with_validation(settings: Settings, say: Callable[[str], None]) -> Settings:
    """Return settings with validation data, for a run that was given none.

    SQuAD's training data is validated on SQuAD's validation part, and no other data ever is: a part of it is split off
    by context, and both parts are written into ``data/`` of the run directory.

    Args:
        settings: The settings; their `validation_file` is not looked at.
        say: Takes a line for the user.

    Raises:
        AlbertQAError: The settings are out of range, or the data is damaged or has too few contexts.
    """
    settings = replace(settings, validation_file=DataConfig.validation_file)
    settings.check()
    run = settings.output_dir
    if settings.train_file == DataConfig.train_file or (run / CONFIG_TOML).exists() or run.is_file():
        # A folder that is taken is refused where the run begins.
        return settings
    examples = load_several(settings.train_file)
    try:
        parts = write_parts(examples, run / "data", fraction=FRACTION, seed=settings.seed)
    except DataError as error:
        raise DataError(
            f"no validation file is given, and none can be split off. {error}, or name --validation-file"
        ) from error
    say(
        f"no validation file: split off {parts.validation_questions:,} of {len(examples):,} questions by context "
        f"(seed {settings.seed}), saved in {run / 'data'}; name your own with --validation-file"
    )
    return replace(settings, train_file=(str(parts.train),), validation_file=(str(parts.validation),))
