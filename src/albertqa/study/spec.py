"""What a study tries: a TOML file, checked as a whole before anything starts."""

import dataclasses
import itertools
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from albertqa.config import Settings, settings_of
from albertqa.errors import SettingsError, did_you_mean
from albertqa.schema import read_toml

Value = str | int | float | bool


class Range(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Numbers between two ends.

    Attributes:
        low: Smallest value.
        high: Largest value.
        log: Whether orders of magnitude are equally likely.
    """

    low: int | float
    high: int | float
    log: bool = False

    def problem(self) -> str | None:
        """Return what is wrong with it."""
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            return f"is empty (low {self.low}, high {self.high}), expected low below high"
        return "is logarithmic from 0 or below, expected low above 0" if self.log and self.low <= 0 else None


Choices = tuple[Value, ...] | Range


class StudySpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A study, as its file describes it.

    Attributes:
        output: Folder of the study.
        search: All combinations (`grid`), drawn at random, or drawn where earlier ones were good (`tpe`).
        num_settings: Settings to draw; of a grid there are as many as there are combinations.
        seeds: Each setting is trained with each of these seeds.
        fresh_seeds: Seeds with which the best setting is trained once more, and evaluated on the held-out part.
        heldout: Share of the validation questions that no setting is chosen by, split off by context.
        metric: Metric that settings are compared by.
        pruning: Whether a run stops that is worse at an evaluation than half of the earlier runs were.
        base: Settings of every run, named as in ``config.toml``.
        space: Settings that are tried, each with a list of values or ``{low, high, log}``.
    """

    output: str
    search: Literal["grid", "random", "tpe"] = "grid"
    num_settings: int = 0
    seeds: tuple[int, ...]
    fresh_seeds: tuple[int, ...] = ()
    heldout: float = 0.5
    metric: Literal["f1", "exact"] = "f1"
    pruning: bool = False
    base: dict[str, Any] = {}
    space: dict[str, Choices]

    @property
    def folder(self) -> Path:
        """Folder of the study."""
        return Path(self.output)

    @property
    def settings(self) -> Settings:
        """The settings that the runs have in common."""
        return settings_of(self.base, "base")

    def to_json(self) -> dict[str, Any]:
        """Return the study as plain JSON values."""
        content: dict[str, Any] = json.loads(msgspec.json.encode(self))
        return content

    def combinations(self) -> Iterator[dict[str, Value]]:
        """Yield all combinations of a grid."""
        lists = [values for values in self.space.values() if isinstance(values, tuple)]
        for values in itertools.product(*lists):
            yield dict(zip(self.space, values, strict=True))

    def run_settings(self, values: Mapping[str, Value], seed: int, name: str) -> Settings:
        """Return the settings of a run with the values that it tries, its seed, and its folder's name."""
        settings = settings_of({**self.base, **values}, "base")
        return dataclasses.replace(
            settings,
            seed=seed,
            output_dir=self.folder / "runs" / name,
            validation_file=(str(self.folder / "data" / "selection.json"),),
        )


def load_spec(path: Path) -> StudySpec:
    """Read a study's TOML file; every combination of a grid is known to be in range.

    Raises:
        SettingsError: All that is wrong with it, in one line.
    """
    return parse_spec(read_toml(path, SettingsError), str(path))


def parse_spec(content: Mapping[str, Any], name: str) -> StudySpec:
    """Check the content of a study's file; see `load_spec`."""
    known = StudySpec.__struct_fields__
    unknown = [f"unknown key '{key}'{did_you_mean(key, known)}" for key in content if key not in known]
    if unknown:
        raise SettingsError(f"{name}: {'; '.join(unknown)}")
    try:
        spec = msgspec.convert(content, StudySpec)
    except msgspec.ValidationError as error:
        raise SettingsError(f"{name}: {error}") from error
    if problems := list(_problems(spec)):
        raise SettingsError(f"{name}: {'; '.join(problems)}")
    return spec


def _problems(spec: StudySpec) -> Iterator[str]:
    if not spec.seeds:
        yield "seeds is empty, expected at least one"
    for kind in ("seeds", "fresh_seeds"):
        if len(set(getattr(spec, kind))) < len(getattr(spec, kind)):
            yield f"{kind} has a seed twice, so two runs would have one folder"
    if both := sorted({*spec.seeds} & {*spec.fresh_seeds}):
        yield f"fresh_seeds has {both[0]}, which seeds has, too; fresh seeds are others"
    if not 0 < spec.heldout < 1:
        yield f"heldout is {spec.heldout}, expected a share between 0 and 1"
    if not spec.space:
        yield "space is empty, expected at least one setting with its values"
    if spec.search != "grid" and spec.num_settings < 1:
        yield f"num_settings is {spec.num_settings}, expected at least 1 for search = '{spec.search}'"
    for key in (*spec.base, *spec.space):
        # The study splits the validation data that base names.
        if key in {"seed", "output_dir"} or (key == "validation_file" and key in spec.space):
            yield f"{key} belongs to the study; leave it out of base and space"
    for key, values in spec.space.items():
        if isinstance(values, Range):
            if spec.search == "grid":
                yield f"space.{key} is a range, expected a list of values for search = 'grid'"
            elif problem := values.problem():
                yield f"space.{key} {problem}"
        elif not values:
            yield f"space.{key} is empty, expected at least one value"
        elif len(set(values)) < len(values):
            yield f"space.{key} has a value twice, so two runs would be the same"
    yield from _wrong_settings(spec)


def _wrong_settings(spec: StudySpec) -> list[str]:
    """Return what is wrong with the settings of the runs, each once."""
    tried: list[dict[str, Value]] = [{}]
    for key, values in spec.space.items():
        tried += [{key: value} for value in ((values.low, values.high) if isinstance(values, Range) else values)]
    found: dict[str, None] = {}
    for changes in tried:
        try:
            settings_of({**spec.base, **changes}, "settings").check()
        except SettingsError as error:
            found |= dict.fromkeys(str(error).removeprefix("settings: ").split("; "))
    return list(found)
