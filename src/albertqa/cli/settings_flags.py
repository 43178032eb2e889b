"""The settings of a run as flags, in groups, over a settings file, over the defaults."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Self, get_type_hints

from albertqa.config import (
    Config,
    DataConfig,
    DecodeConfig,
    DeviceConfig,
    MemoryConfig,
    MonitoringConfig,
    OptimizerConfig,
    RegularizationConfig,
    Settings,
    Switch,
    WindowConfig,
    flag,
    load_settings,
)
from albertqa.data.raw_rows import ReadOptions


@dataclass(frozen=True)
class SettingsFlags:
    """Commands that take a run's settings; the docstring under a group is its help."""

    # No validation file means that none was given.
    data: DataConfig = field(default_factory=lambda: DataConfig(validation_file=()))
    """What is trained on what. Example: --train-file train.json --validation-file dev.json --output-dir runs/mine"""
    windows: WindowConfig = field(default_factory=WindowConfig)
    """How contexts are split into windows. Example: --max-seq-length 256 --doc-stride 64"""
    decoding: DecodeConfig = field(default_factory=DecodeConfig)
    """How answers are chosen. Example: --max-answer-length 15"""
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    """AdamW, its learning-rate schedule, and the windows of a step. Example: --lr 5e-5 --epochs 2 --warmup-ratio 0.1"""
    regularization: RegularizationConfig = field(default_factory=RegularizationConfig)
    """Against overfitting; none of it is part of the published recipe. Example: --hidden-dropout 0.1 --augment crop"""
    monitoring: MonitoringConfig = field(default_factory=MonitoringConfig)
    """When a run evaluates, saves and reports. Example: --eval-steps 500 --early-stopping-patience 3"""
    device: DeviceConfig = field(default_factory=DeviceConfig)
    """Where and in which precision it computes. Example: --device cpu --num-threads 4"""
    memory: MemoryConfig = field(default_factory=MemoryConfig)
    """How a step fits the memory; results stay the same. Example: --gradient-checkpointing"""
    table: ReadOptions = field(default_factory=ReadOptions)
    """How to read a table of your own. Example: --question-column frage --answer-column antwort --delimiter tab"""
    config: Annotated[Path | None, flag(metavar="FILE.toml")] = None
    """TOML file of settings, named as the flags with underscores. Flags win over it."""
    json: Switch = False
    """Print the result as JSON; progress goes to stderr."""

    @property
    def settings(self) -> Settings:
        """All groups as one, not yet checked. Without a validation file, SQuAD's is named."""
        groups = (getattr(self, name) for name in _groups())
        settings = Settings(**{name: value for group in groups for name, value in vars(group).items()})
        return settings if self.data.validation_file else replace(settings, validation_file=DataConfig.validation_file)

    def with_settings(self, settings: Settings) -> Self:
        """Return a command with these settings, and nothing else of this one."""
        groups = {
            name: group(**{one.name: getattr(settings, one.name) for one in dataclasses.fields(group)})
            for name, group in _groups().items()
        }
        return replace(type(self)(), **groups)

    def over_files(self, parse: Callable[[Self], Self]) -> Self:
        """Parse the command line again, with the settings of the files that it names as defaults.

        Args:
            parse: Parses the command line over other defaults.
        """
        if self.config is None:
            return self
        return parse(self.with_settings(load_settings(self.config, Settings(validation_file=()))))


def _groups() -> dict[str, type]:
    """Return the groups of settings by their names."""
    hints = get_type_hints(SettingsFlags)
    return {name: hint for name, hint in hints.items() if isinstance(hint, type) and issubclass(hint, Config)}
