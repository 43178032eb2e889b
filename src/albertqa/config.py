"""The settings of a run: the published recipe as defaults, each field with its unit and effect.

One frozen dataclass; flags over file over defaults. The docstring under a field is its help on the command line.
"""

import dataclasses
import difflib
import math
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import tyro

from albertqa.errors import SettingsError

Precision = Literal["auto", "no", "bf16", "fp16"]
Metric = Literal["f1", "exact", "loss"]
Schedule = Literal["linear", "cosine", "constant"]
Augmentation = Literal["crop", "distractor", "typo", "word-dropout", "token-substitution"]


def _also(*names: str) -> Any:
    """Accept the field's other common names as flags."""
    return tyro.conf.arg(aliases=[f"--{name}" for name in names])


@dataclass(frozen=True)
class Settings:
    """Everything that decides a run. The defaults are the published recipe."""

    # -- what is trained on what
    model: Annotated[str, _also("model-name-or-path")] = "albert/albert-base-v2"
    """Encoder to fine-tune: a Hub name, a local folder, or `starter` (the bundled encoder, offline)."""
    train_file: Annotated[tuple[str, ...], _also("train-data")] = ("rajpurkar/squad:train",)
    """Training questions: SQuAD JSON, JSONL, CSV or Parquet files, Hub names with `:split`, or `starter:train`."""
    validation_file: Annotated[tuple[str, ...], _also("validation-data", "dev-file")] = ("rajpurkar/squad:validation",)
    """Questions for validation loss, exact and f1: same forms as the training questions."""
    output_dir: Path = Path("runs/albert-base-v2-squad")
    """Run directory; must not hold another run."""
    version_2_with_negative: bool | None = None
    """Whether questions may have no answer (SQuAD v2.0); unset: as the data says."""
    max_train_examples: Annotated[int | None, _also("max-train-samples")] = None
    """Use only the first so many training questions."""
    max_eval_examples: Annotated[int | None, _also("max-eval-samples")] = None
    """Use only the first so many validation questions."""

    # -- windows and answers
    max_seq_length: int = 384
    """Most tokens of a window, special tokens included."""
    doc_stride: int = 128
    """Overlap of neighbouring windows of one context, in tokens."""
    max_answer_length: int = 30
    """Longest answer predicted, in tokens."""
    n_best_size: int = 20
    """Candidate starts and ends taken from a window, and answers kept for a question."""
    null_score_diff_threshold: float = 0.0
    """v2.0: predict "no answer" where its score beats the best answer's by more than this."""

    # -- optimization
    learning_rate: Annotated[float, _also("lr")] = 3e-5
    """Peak learning rate of AdamW."""
    train_batch_size: Annotated[int, _also("batch-size", "per-device-train-batch-size")] = 16
    """Windows of one forward and backward; times the accumulation steps, windows of one optimizer step."""
    eval_batch_size: Annotated[int, _also("per-device-eval-batch-size")] = 32
    """Windows of one forward in evaluation; changes speed and memory, not results."""
    gradient_accumulation_steps: int = 1
    """Forward and backward passes of one optimizer step."""
    epochs: Annotated[float, _also("num-train-epochs")] = 3.0
    """Passes over the training windows."""
    max_steps: int | None = None
    """Optimizer steps in all; overrides the epochs."""
    lr_scheduler_type: Schedule = "linear"
    """Course of the learning rate after the warm-up: to zero linearly or as a half cosine, or constant."""
    warmup_ratio: float = 0.0
    """Share of all steps over which the learning rate rises from zero."""
    warmup_steps: int = 0
    """Steps over which the learning rate rises from zero; overrides the ratio."""
    weight_decay: float = 0.0
    """AdamW's weight decay, on weight matrices only (not on biases and LayerNorm)."""
    adam_beta1: float = 0.9
    """AdamW's decay of the first moment."""
    adam_beta2: float = 0.999
    """AdamW's decay of the second moment."""
    adam_epsilon: float = 1e-8
    """AdamW's epsilon."""
    max_grad_norm: float = 1.0
    """Clip the gradient to this norm; 0: never."""
    seed: int = 42
    """Seed of head initialization, data order and dropout."""
    hidden_dropout: float | None = None
    """Dropout of hidden states; unset: as the model has it (0 in ALBERT v2)."""
    attention_dropout: float | None = None
    """Dropout of attention probabilities; unset: as the model has it (0 in ALBERT v2)."""
    head_dropout: float | None = None
    """Dropout before the span head; unset: none, as in Transformers."""
    label_smoothing_factor: Annotated[float, _also("label-smoothing")] = 0.0
    """Share of the target taken from the gold start and end and spread evenly over the window's tokens."""
    r_drop_alpha: Annotated[float, _also("r-drop")] = 0.0
    """Weight of R-Drop: two forward passes with different dropout, drawn to each other; needs dropout above 0."""
    ema_decay: float = 0.0
    """Decay a step of the moving average of weights that is evaluated and saved; 0: none."""
    augment: tuple[Augmentation, ...] = ()
    """Ways in which training windows are changed at random, anew in every epoch; the answer stays exact."""
    augment_rate: float = 0.5
    """Share of the training windows that each way changes."""
    from_scratch: bool = False
    """Train from random weights; without it, a model whose encoder weights were not loaded is refused."""

    # -- watching
    eval_steps: float | None = None
    """Steps between evaluations, or below 1 a fraction of an epoch; unset: after every epoch."""
    save_steps: float | None = None
    """Steps between checkpoints, or below 1 a fraction of an epoch; unset: after every epoch."""
    save_total_limit: int = 2
    """Checkpoints kept, newest first."""
    metric_for_best_model: Metric = "f1"
    """What `best/` and early stopping go by."""
    early_stopping_patience: int = 0
    """Stop after so many evaluations without a better one; 0: never."""
    logging_steps: int = 50
    """Steps between printed lines; `metrics.jsonl` has every step."""
    report_to: tuple[Literal["tensorboard", "wandb", "mlflow"], ...] = ()
    """Trackers that get the same numbers."""

    # -- machine
    mixed_precision: Precision = "auto"
    """Arithmetic of the matrix products; auto: bf16 where the processor or GPU is fast at it, else fp32 (`no`)."""
    device: str = "auto"
    """`cpu`, `cuda`, `cuda:1`, `mps`; auto: a GPU where there is one."""
    fit: bool = True
    """Measure before training how many windows fit into one forward, and accumulate up to the same step."""
    gradient_checkpointing: bool | None = None
    """Recompute activations in the backward pass: less memory, more time; unset: only where nothing else fits."""
    torch_compile: Annotated[bool | None, _also("compile")] = None
    """Compile ALBERT's layer before training; unset: on a CUDA GPU, in runs of 1,000 steps or more."""
    cuda_graphs: bool = True
    """On a CUDA GPU, record a step's kernels once for every shape of it and replay them; less work for the host."""
    num_threads: int | None = None
    """CPU threads; unset: PyTorch's choice. Bit-identical resuming needs the same number."""

    @property
    def step_windows(self) -> int:
        """Windows of one optimizer step."""
        return self.train_batch_size * self.gradient_accumulation_steps


def check_settings(settings: Settings) -> None:
    """Check ranges and combinations.

    Args:
        settings: The settings.

    Raises:
        SettingsError: Listing every problem in one line.
    """
    problems = []
    for name in ("train_batch_size", "eval_batch_size", "gradient_accumulation_steps", "n_best_size", "logging_steps"):
        problems += _require(name, getattr(settings, name), "at least 1", getattr(settings, name) >= 1)
    for name in ("max_answer_length", "save_total_limit"):
        problems += _require(name, getattr(settings, name), "at least 1", getattr(settings, name) >= 1)
    for name in ("max_train_examples", "max_eval_examples", "max_steps", "num_threads"):
        value = getattr(settings, name)
        problems += _require(name, value, "at least 1", value is None or value >= 1)
    for name in ("label_smoothing_factor", "ema_decay"):
        problems += _require(name, getattr(settings, name), "from 0 to below 1", 0 <= getattr(settings, name) < 1)
    problems += _require("augment_rate", settings.augment_rate, "from 0 to 1", 0 <= settings.augment_rate <= 1)
    for name in ("hidden_dropout", "attention_dropout", "head_dropout"):
        value = getattr(settings, name)
        problems += _require(name, value, "from 0 to below 1", value is None or 0 <= value < 1)
    for name in ("eval_steps", "save_steps"):
        value = getattr(settings, name)
        whole = value is None or 0 < value < 1 or (value >= 1 and float(value).is_integer())
        problems += _require(name, value, "whole steps or a fraction of an epoch between 0 and 1", whole)
    for name in ("weight_decay", "max_grad_norm", "r_drop_alpha"):
        value = getattr(settings, name)
        problems += _require(name, value, "0 or more, and finite", 0 <= value < math.inf)
    for name in ("warmup_steps", "early_stopping_patience", "doc_stride", "seed"):
        problems += _require(name, getattr(settings, name), "0 or more", getattr(settings, name) >= 0)
    for name in ("train_file", "validation_file"):
        problems += _require(name, "empty", "at least one file", bool(getattr(settings, name)))
    rate = settings.learning_rate
    problems += _require("learning_rate", rate, "above 0 and finite", rate > 0 and math.isfinite(rate))
    problems += _require("epochs", settings.epochs, "above 0 and finite", 0 < settings.epochs < math.inf)
    problems += _require("warmup_ratio", settings.warmup_ratio, "from 0 to 1", 0 <= settings.warmup_ratio <= 1)
    for name in ("adam_beta1", "adam_beta2"):
        problems += _require(name, getattr(settings, name), "from 0 to below 1", 0 <= getattr(settings, name) < 1)
    problems += _require(
        "adam_epsilon", settings.adam_epsilon, "above 0 and finite", 0 < settings.adam_epsilon < math.inf
    )
    threshold = settings.null_score_diff_threshold
    problems += _require("null_score_diff_threshold", threshold, "a finite number", math.isfinite(threshold))
    fits = settings.max_seq_length > settings.doc_stride + 4
    problems += _require("max_seq_length", settings.max_seq_length, f"above doc_stride ({settings.doc_stride})", fits)
    if problems:
        raise SettingsError("settings: " + "; ".join(problems))


def _require(name: str, value: object, expected: str, holds: bool) -> list[str]:
    return [] if holds else [f"{name} is {value}, expected {expected}"]


def load_settings(path: Path, base: Settings | None = None) -> Settings:
    """Read settings from a TOML file over defaults.

    Args:
        path: TOML file whose keys are field names.
        base: Settings for the keys that the file leaves out.

    Returns:
        The settings (not yet checked for ranges).

    Raises:
        SettingsError: The file cannot be read, a key is unknown, or a value is of the wrong type.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise SettingsError(f"{path}: no such settings file") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise SettingsError(f"{path}: not a TOML file ({error})") from error
    hints = get_type_hints(Settings)
    problems = []
    for key, value in values.items():
        if key not in hints:
            nearest = difflib.get_close_matches(key, hints, n=1)
            problems.append(f"unknown key '{key}'" + (f", did you mean '{nearest[0]}'?" if nearest else ""))
        elif not _is_a(value, hints[key]):
            problems.append(f"{key} is {value!r}, expected {_spelled(hints[key])}")
    if problems:
        raise SettingsError(f"{path}: " + "; ".join(problems))
    return dataclasses.replace(base or Settings(), **{key: _as_field(values[key], hints[key]) for key in values})


def _is_a(value: Any, hint: Any) -> bool:
    """Tell whether a TOML value fits a field's type."""
    if get_origin(hint) is Literal:
        return value in get_args(hint)
    if get_origin(hint) is tuple:
        return isinstance(value, list) and all(_is_a(item, get_args(hint)[0]) for item in value)
    if get_args(hint):
        return any(_is_a(value, option) for option in get_args(hint) if option is not type(None))
    if hint is bool or isinstance(value, bool):
        return hint is bool and isinstance(value, bool)
    if hint is float:
        return isinstance(value, int | float)
    return isinstance(value, str if hint is Path else hint)


def _as_field(value: Any, hint: Any) -> Any:
    if hint is Path:
        return Path(value)
    return tuple(value) if isinstance(value, list) else value


def _spelled(hint: Any) -> str:
    options = [option for option in get_args(hint) if option is not type(None)]
    if get_origin(hint) is tuple:
        return f"a list of {_spelled(get_args(hint)[0])}"
    if get_origin(hint) is Literal:
        return " or ".join(repr(option) for option in options)
    return " or ".join(_spelled(option) for option in options) if options else str(hint.__name__)


def to_toml(settings: Settings) -> str:
    """Write settings as TOML, a comment with its help above every key; unset ones are commented out."""
    from json import dumps

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
        text = dumps(str(value) if isinstance(value, Path) else value, ensure_ascii=False).replace("\x7f", "\\u007f")
        lines += [f"{field.name} = {text}", ""]
    return "\n".join(lines)


def to_flags(settings: Settings) -> list[str]:
    """Write settings as the command line's words; those at their defaults are left out."""
    words = []
    for field in dataclasses.fields(settings):
        value, default = getattr(settings, field.name), field.default
        if value == default:
            continue
        name = field.name.replace("_", "-")
        if isinstance(default, bool):
            words += [f"--{name}" if value else f"--no-{name}"]
        elif isinstance(value, tuple):
            words += [f"--{name}", *value]
        else:
            words += [f"--{name}", str(value)]
    return words


def field_docs() -> dict[str, str]:
    """Give the docstring under each field of `Settings`."""
    import ast
    import inspect

    body = ast.parse(inspect.getsource(Settings)).body[0]
    if not isinstance(body, ast.ClassDef):  # pragma: no cover -- Settings is a class
        return {}
    docs = {}
    for field, text in zip(body.body, body.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(text, ast.Expr):
            docs[field.target.id] = inspect.cleandoc(str(ast.literal_eval(text.value)))
    return docs


def equal_passes(step_windows: int, most: int) -> int:
    """Give the most windows of one forward and backward that cut a step into equal passes.

    Args:
        step_windows: Windows of one step.
        most: Windows that the memory holds at a time.
    """
    return max(windows for windows in range(1, most + 1) if step_windows % windows == 0)
