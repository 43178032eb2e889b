"""The settings of a run: the published recipe as defaults, each field with its unit and effect.

Settings that belong together are one frozen dataclass, which checks itself; `Settings` is all of them. So a function
that needs, say, window lengths takes a `WindowConfig`, and a run's settings are one. Flags win over the file, which
wins over defaults. The docstring under a field is its help on the command line.
"""

import ast
import dataclasses
import inspect
import json
import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

import msgspec
import tyro

from albertqa.errors import SettingsError, did_you_mean
from albertqa.schema import read_toml

Precision = Literal["auto", "no", "bf16", "fp16"]
Backend = Literal["auto", "torch", "onnx"]
Metric = Literal["f1", "exact", "loss"]
Schedule = Literal["linear", "cosine", "constant"]
Augmentation = Literal["crop"]
Tracker = Literal["tensorboard", "wandb", "mlflow"]

_REMOVED = {"cuda_graphs", "ema_decay"}
"""Settings of earlier versions that a run directory may still have; they changed nothing that is there to see."""


def flag(*aliases: str, metavar: str | None = None) -> Any:
    """Describe a field as a flag of the command line.

    Args:
        aliases: Its other common names.
        metavar: What its help calls the value.

    Returns:
        An annotation. Help names the default where there is one; of a field that is unset, its docstring says more.
    """
    return tyro.conf.arg(
        aliases=[f"--{name}" for name in aliases] or None,
        metavar=metavar,
        help_behavior_hint=lambda default: "" if default in {"", "None", "False"} else f"(default: {default})",
    )


Switch = Annotated[bool, tyro.conf.FlagCreatePairsOff, flag()]
"""A flag without a value that is off by default."""


class Bounds(NamedTuple):
    """The range of a setting, in the annotation of its field: from `low` to less than `below`; NaN is in none.

    Attributes:
        expected: The range in words.
        low: The least value.
        below: What all values are below.
    """

    expected: str
    low: float
    below: float = math.inf


FINITE = Bounds("a finite number", low=-sys.float_info.max)
POSITIVE = Bounds("above 0 and finite", low=math.ulp(0.0))
NOT_NEGATIVE = Bounds("0 or more, and finite", low=0)
AT_LEAST_0, AT_LEAST_1 = Bounds("0 or more", low=0), Bounds("at least 1", low=1)
SHARE, SHARE_BELOW_1 = Bounds("from 0 to 1", 0, math.nextafter(1, 2)), Bounds("from 0 to below 1", 0, 1)


@cache
def _bounds_of(kind: type) -> tuple[tuple[str, Bounds], ...]:
    """Return the fields of settings that have a range; read once, as a server checks settings at every request."""
    hints = get_type_hints(kind, include_extras=True)
    return tuple((name, one) for name, hint in hints.items() for one in get_args(hint) if isinstance(one, Bounds))


class Config:
    """Settings that belong together; a base class of frozen dataclasses."""

    def problems(self) -> Iterator[str]:
        """Yield what is out of range, one text a problem."""
        for name, bounds in _bounds_of(type(self)):  # type: ignore[arg-type] # mypy asks whether instances hash
            value = getattr(self, name)
            if value is not None and not bounds.low <= value < bounds.below:
                yield f"{name} is {value}, expected {bounds.expected}"

    def check(self) -> None:
        """Check ranges and combinations.

        Raises:
            SettingsError: Listing every problem in one line.
        """
        found = list(self.problems())
        if found:
            raise SettingsError("settings: " + "; ".join(found))


@dataclass(frozen=True)
class WindowConfig(Config):
    """How contexts are split into windows."""

    max_seq_length: int = 384
    """Maximum tokens of a window, special tokens included."""
    doc_stride: Annotated[int, AT_LEAST_0] = 128
    """Overlap of neighbouring windows of one context, in tokens."""

    def problems(self) -> Iterator[str]:
        """Yield what is out of range."""
        if self.max_seq_length <= self.doc_stride + 4:
            yield f"max_seq_length is {self.max_seq_length}, expected above doc_stride ({self.doc_stride})"
        yield from super().problems()


@dataclass(frozen=True)
class DecodeConfig(Config):
    """How answers are chosen from the scores of their tokens."""

    max_answer_length: Annotated[int, AT_LEAST_1] = 30
    """Longest answer predicted, in tokens."""
    n_best_size: Annotated[int, AT_LEAST_1] = 20
    """Candidate starts and ends taken from a window, and answers kept for a question."""
    null_score_diff_threshold: Annotated[float, FINITE] = 0.0
    """v2.0: predict "no answer" where null score minus best answer's score is above this."""


@dataclass(frozen=True)
class DeviceConfig(Config):
    """Where and in which arithmetic a model computes."""

    eval_batch_size: Annotated[int, flag("per-device-eval-batch-size"), AT_LEAST_1] = 32
    """Maximum-length windows of one forward pass in evaluation; changes speed and memory, not results."""
    device: str = "auto"
    """`cpu`, `cuda`, `cuda:1`, `mps`; auto: a GPU where there is one."""
    mixed_precision: Precision = "auto"
    """Type of the matrix products; auto: bf16 where processor or GPU has it in hardware, else fp32 (`no`)."""
    num_threads: Annotated[int | None, flag(), AT_LEAST_1] = None
    """CPU threads; unset: PyTorch's choice. Bit-identical resuming needs the same number."""


@dataclass(frozen=True)
class DataConfig(Config):
    """What is trained on what."""

    model: Annotated[str, flag("model-name-or-path", metavar="MODEL")] = "albert/albert-base-v2"
    """Encoder to fine-tune: a Hub name, a local folder, or `starter` (the bundled encoder, offline)."""
    train_file: Annotated[tuple[str, ...], flag("train-data", metavar="FILE ...")] = ("rajpurkar/squad:train",)
    """Training questions: SQuAD JSON, JSONL, CSV or Parquet files, Hub names with `:split`, or `starter:train`."""
    validation_file: Annotated[tuple[str, ...], flag("validation-data", "dev-file", metavar="FILE ...")] = (
        "rajpurkar/squad:validation",
    )
    """Questions for validation loss, exact and f1: same forms as the training questions. Not given on the command line:
    SQuAD's for SQuAD, else a tenth of the training questions, split off by context."""
    output_dir: Annotated[Path, flag(metavar="DIR")] = Path("runs/albert-base-v2-squad")
    """Run directory; must not hold another run."""
    version_2_with_negative: Annotated[bool | None, flag()] = None
    """Whether questions may have no answer (SQuAD v2.0); unset: as the data says."""
    max_train_examples: Annotated[int | None, flag("max-train-samples"), AT_LEAST_1] = None
    """Use only the first so many training questions."""
    max_eval_examples: Annotated[int | None, flag("max-eval-samples"), AT_LEAST_1] = None
    """Use only the first so many validation questions."""
    from_scratch: Annotated[bool, flag()] = False
    """Train from random weights; otherwise a model whose encoder weights are missing is refused."""

    def problems(self) -> Iterator[str]:
        """Yield what is out of range."""
        for name in ("train_file", "validation_file"):
            if not getattr(self, name):
                yield f"{name} is empty, expected at least one file"
        yield from super().problems()


@dataclass(frozen=True)
class OptimizerConfig(Config):
    """The optimizer steps: AdamW, its learning-rate schedule, and the windows of a step."""

    learning_rate: Annotated[float, flag("lr"), POSITIVE] = 3e-5
    """Peak learning rate of AdamW."""
    train_batch_size: Annotated[int, flag("batch-size", "per-device-train-batch-size"), AT_LEAST_1] = 16
    """Windows of one forward and backward pass; times the accumulation steps, windows of one optimizer step."""
    gradient_accumulation_steps: Annotated[int, AT_LEAST_1] = 1
    """Forward and backward passes of one optimizer step."""
    epochs: Annotated[float, flag("num-train-epochs"), POSITIVE] = 3.0
    """Passes over the training windows."""
    max_steps: Annotated[int | None, flag(), AT_LEAST_1] = None
    """Optimizer steps in all; overrides the epochs."""
    lr_scheduler_type: Schedule = "linear"
    """Learning-rate schedule after the warm-up: to zero linearly or as a half cosine, or constant."""
    warmup_ratio: Annotated[float, SHARE] = 0.0
    """Share of all steps over which the learning rate rises from zero."""
    warmup_steps: Annotated[int, AT_LEAST_0] = 0
    """Steps over which the learning rate rises from zero; overrides the ratio."""
    weight_decay: Annotated[float, NOT_NEGATIVE] = 0.0
    """AdamW's weight decay, on weight matrices only (not on biases and LayerNorm)."""
    adam_beta1: Annotated[float, SHARE_BELOW_1] = 0.9
    """AdamW's decay of the first moment."""
    adam_beta2: Annotated[float, SHARE_BELOW_1] = 0.999
    """AdamW's decay of the second moment."""
    adam_epsilon: Annotated[float, POSITIVE] = 1e-8
    """AdamW's epsilon."""
    max_grad_norm: Annotated[float, NOT_NEGATIVE] = 1.0
    """Clip the gradient to this norm; 0: never."""
    seed: Annotated[int, Bounds("from 0 to 2^63 - 1", low=0, below=2**63)] = 42
    """Seed of head initialization, data order and dropout."""

    @property
    def step_windows(self) -> int:
        """Windows of one optimizer step."""
        return self.train_batch_size * self.gradient_accumulation_steps


@dataclass(frozen=True)
class RegularizationConfig(Config):
    """What holds against overfitting; none of it is part of the published recipe."""

    hidden_dropout: Annotated[float | None, flag(), SHARE_BELOW_1] = None
    """Dropout of hidden states; unset: as the model has it (0 in ALBERT v2)."""
    attention_dropout: Annotated[float | None, flag(), SHARE_BELOW_1] = None
    """Dropout of attention probabilities; unset: as the model has it (0 in ALBERT v2)."""
    head_dropout: Annotated[float | None, flag(), SHARE_BELOW_1] = None
    """Dropout before the span head; unset: none, as in Transformers."""
    label_smoothing_factor: Annotated[float, flag("label-smoothing"), SHARE_BELOW_1] = 0.0
    """Share of the target taken from the gold start and end and spread evenly over the window's tokens."""
    r_drop_alpha: Annotated[float, flag("r-drop"), NOT_NEGATIVE] = 0.0
    """Weight of R-Drop: two forward passes with different dropout, drawn to each other; needs dropout above 0."""
    augment: Annotated[tuple[Augmentation, ...], flag(metavar="{crop}")] = ()
    """How training windows are changed at random, differently in every epoch; the answer stays exact."""
    augment_rate: Annotated[float, SHARE] = 0.5
    """Share of the training windows that are changed."""


@dataclass(frozen=True)
class MonitoringConfig(Config):
    """When a run evaluates, saves and reports."""

    eval_steps: Annotated[float | None, flag()] = None
    """Steps between evaluations, or below 1 a fraction of an epoch; unset: after every epoch."""
    save_steps: Annotated[float | None, flag()] = None
    """Steps between checkpoints, or below 1 a fraction of an epoch; unset: after every epoch."""
    save_total_limit: Annotated[int, AT_LEAST_1] = 2
    """Checkpoints kept, newest first."""
    metric_for_best_model: Metric = "f1"
    """Metric for model selection (`best/`) and early stopping."""
    early_stopping_patience: Annotated[int, AT_LEAST_0] = 0
    """Stop after so many evaluations without a better one; 0: never."""
    logging_steps: Annotated[int, AT_LEAST_1] = 50
    """Steps between printed lines; `metrics.jsonl` has every step."""
    report_to: Annotated[tuple[Tracker, ...], flag(metavar="{tensorboard,wandb,mlflow} ...")] = ()
    """Experiment trackers to log to."""

    def problems(self) -> Iterator[str]:
        """Yield what is out of range."""
        for name in ("eval_steps", "save_steps"):
            value = getattr(self, name)
            if value is not None and not (0 < value < 1 or (1 <= value < math.inf and float(value).is_integer())):
                yield f"{name} is {value}, expected whole steps or a fraction of an epoch between 0 and 1"
        yield from super().problems()


@dataclass(frozen=True)
class MemoryConfig(Config):
    """How a step fits the machine; none of it changes what a step computes, but for what dropout draws on a GPU."""

    fit: bool = True
    """Measure before training how many windows fit into one forward pass, and accumulate up to the same step."""
    gradient_checkpointing: Annotated[bool | None, flag()] = None
    """Recompute activations in the backward pass: less memory, more time; unset: only where nothing else fits."""
    torch_compile: Annotated[bool, flag("compile")] = False
    """Compile the encoder's layer before training."""


@dataclass(frozen=True)
class Settings(
    MemoryConfig,
    DeviceConfig,
    MonitoringConfig,
    RegularizationConfig,
    OptimizerConfig,
    DecodeConfig,
    WindowConfig,
    DataConfig,
):
    """Everything that decides a run. The defaults are the published recipe."""


def load_settings(path: Path, base: Settings | None = None, *, is_run: bool = False) -> Settings:
    """Read settings from a TOML file over defaults.

    Args:
        path: TOML file whose keys are field names.
        base: Settings for the keys that the file leaves out.
        is_run: Whether it is a run's own file, which may be of an earlier version.

    Returns:
        The settings (not yet checked for ranges).

    Raises:
        SettingsError: The file cannot be read, a key is unknown, or a value is of the wrong type.
    """
    if not path.exists():
        raise SettingsError(f"{path}: no such settings file")
    values = read_toml(path, SettingsError)
    if is_run:
        values = {key: value for key, value in values.items() if key not in _REMOVED}
    return settings_of(values, str(path), base)


def settings_of(values: dict[str, Any], name: str, base: Settings | None = None) -> Settings:
    """Return settings from a TOML table.

    Args:
        values: The table; its keys are field names.
        name: What the table is called in messages.
        base: Settings for the keys that it leaves out.

    Returns:
        The settings (not yet checked for ranges).

    Raises:
        SettingsError: A key is unknown, or a value is of the wrong type.
    """
    hints = get_type_hints(Settings)
    problems, found = [], {}
    for key, value in values.items():
        if key not in hints:
            problems.append(f"unknown key '{key}'{did_you_mean(key, hints)}")
            continue
        try:
            found[key] = msgspec.convert(value, hints[key], dec_hook=lambda kind, text: kind(text))
        except msgspec.ValidationError:
            problems.append(f"{key} is {value!r}, expected {_type_name(hints[key])}")
    if problems:
        raise SettingsError(f"{name}: " + "; ".join(problems))
    return dataclasses.replace(base or Settings(), **found)


def _type_name(hint: Any) -> str:
    options = [option for option in get_args(hint) if option is not type(None)]
    if get_origin(hint) is tuple:
        return f"a list of {_type_name(get_args(hint)[0])}"
    if get_origin(hint) is Literal:
        return " or ".join(repr(option) for option in options)
    return " or ".join(_type_name(option) for option in options) if options else str(hint.__name__)


def to_toml(settings: Settings) -> str:
    """Return settings as TOML, a comment with its help above every key; unset ones are commented out."""
    lines = []
    docs = field_docs()
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        lines += [f"# {docs[field.name]}"]
        if value is None:
            lines += [f"# {field.name} =", ""]
            continue
        value = list(value) if isinstance(value, tuple) else value
        # JSON's strings, numbers, booleans and arrays are TOML's too, but for one character.
        text = json.dumps(str(value) if isinstance(value, Path) else value, ensure_ascii=False)
        lines += [f"{field.name} = {text}".replace("\x7f", "\\u007f"), ""]
    return "\n".join(lines)


def to_flags(settings: Settings) -> list[str]:
    """Return settings as the command line's words; those at their defaults are left out."""
    words = []
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if value == field.default:
            continue
        name = field.name.replace("_", "-")
        if isinstance(value, bool):
            words += [f"--{name}" if value else f"--no-{name}"]
        elif isinstance(value, tuple):
            words += [f"--{name}", *value] if value else []
        else:
            words += [f"--{name}", str(value)]
    return words


def field_docs() -> dict[str, str]:
    """Return the docstring under each field of `Settings`."""
    docs: dict[str, str] = {}
    for group in reversed(Settings.__mro__[1:-2]):
        body = ast.parse(inspect.getsource(group)).body[0]
        statements = body.body if isinstance(body, ast.ClassDef) else []
        for field, text in pairwise(statements):
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(text, ast.Expr):
                docs[field.target.id] = " ".join(str(ast.literal_eval(text.value)).split())
    return docs


def equal_passes(step_windows: int, most: int) -> int:
    """Return the most windows of one forward and backward pass that divide a step into equal passes.

    Args:
        step_windows: Windows of one step.
        most: Windows that the memory holds at a time.
    """
    return max(windows for windows in range(1, most + 1) if step_windows % windows == 0)
