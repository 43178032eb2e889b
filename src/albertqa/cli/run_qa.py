"""The flags of Transformers' `run_qa.py`: taken where they mean something here, else answered with ours.

Flags of the same name, and those that ours have as aliases, are not listed.

Source:
    `examples/pytorch/question-answering/run_qa.py` and `TrainingArguments` of Transformers.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from albertqa.errors import SettingsError

_NOTHING_TO_DO = {
    *("do_train", "load_best_model_at_end", "greater_is_better", "save_safetensors", "remove_unused_columns"),
    "logging_strategy",
}
"""What they ask for is what a run does."""

_WITHOUT_EFFECT = {
    "overwrite_output_dir": "a folder that holds a run is never overwritten",
    "pad_to_max_length": "nothing is padded",
    "group_by_length": "nothing is padded",
    "overwrite_cache": "windows are rebuilt when their data changes",
    "preprocessing_num_workers": "windows are built in one process",
    "dataloader_num_workers": "windows are read from a memory-mapped file",
    "disable_tqdm": "the display follows the terminal",
    "logging_first_step": "metrics.jsonl has every step",
    "fp16_opt_level": "half precision is autocast",
    "tf32": "PyTorch's own setting is kept",
    "run_name": "a run is named by its --output-dir",
    "ddp_find_unused_parameters": "every parameter is used",
}

_REPLACED = {
    "fp16": ["--mixed-precision", "fp16"],
    "bf16": ["--mixed-precision", "bf16"],
    "no_cuda": ["--device", "cpu"],
    "use_cpu": ["--device", "cpu"],
}
"""Switches, with or without True, and what they are here."""

_OURS = {
    "do_predict": "albertqa answer RUN --input FILE --output predictions.json",
    "test_file": "albertqa answer RUN --input FILE --output predictions.json",
    "max_predict_samples": "albertqa answer RUN --input FILE --output predictions.json",
    "resume_from_checkpoint": "albertqa train --resume --output-dir RUN",
    "push_to_hub": "albertqa report RUN --push-to-hub OWNER/NAME",
    "hub_model_id": "albertqa report RUN --push-to-hub OWNER/NAME",
    "hub_token": "log in with 'hf auth login'",
    "token": "log in with 'hf auth login'",
    "tokenizer_name": "--model FOLDER, with the tokenizer in the model's folder",
    "config_name": "--model FOLDER, with the configuration in the model's folder",
    "model_revision": "--model FOLDER, of a local copy of that revision",
    "cache_dir": "set the environment variable HF_HOME",
    "dataset_config_name": "--train-file and --validation-file with local files",
    "trust_remote_code": "nothing: code in a model's folder is never run",
}
"""What another command, flag or variable does."""

_VALUES = {
    ("metric_for_best_model", "eval_f1"): ["--metric-for-best-model", "f1"],
    ("metric_for_best_model", "eval_exact_match"): ["--metric-for-best-model", "exact"],
    ("metric_for_best_model", "exact_match"): ["--metric-for-best-model", "exact"],
    ("metric_for_best_model", "eval_loss"): ["--metric-for-best-model", "loss"],
    ("lr_scheduler_type", "constant_with_warmup"): ["--lr-scheduler-type", "constant"],
    ("report_to", "none"): [],
    ("optim", "adamw_torch"): [],
    ("optim", "adamw_torch_fused"): [],
}
"""Values that have another name here."""
_STRATEGIES = {"eval_strategy": "eval_steps", "evaluation_strategy": "eval_steps", "save_strategy": "save_steps"}
"""When to evaluate and save, and the flag that says every how many steps."""


def translated(arguments: Sequence[str], note: Callable[[str], None]) -> list[str]:
    """Return the arguments of `train` or `find-lr` with the flags of `run_qa.py` as ours.

    Args:
        arguments: The command line after the command.
        note: Takes a line about flags without effect.

    Raises:
        SettingsError: A flag has no place here; the message has what takes its place.
    """
    flags = list(_grouped(arguments))
    given = {flag.name for flag in flags}
    words: list[str] = []
    ignored: list[str] = []
    for flag in flags:
        if flag.name in {*_OURS, *_WITHOUT_EFFECT, *_REPLACED, *_NOTHING_TO_DO} and flag.value.lower() == "false":
            continue
        if flag.name in _OURS:
            raise SettingsError(f"{flag.typed}: instead of it, {_OURS[flag.name]}")
        if flag.name == "do_eval" and "do_train" not in given and flag.value.lower() != "false":
            raise SettingsError(f"{flag.typed} without --do_train: instead of it, albertqa evaluate MODEL FILE")
        if flag.name in _STRATEGIES:
            _check_strategy(flag, _STRATEGIES[flag.name], given)
        elif flag.name in _WITHOUT_EFFECT:
            ignored.append(f"{flag.typed} ({_WITHOUT_EFFECT[flag.name]})")
        elif flag.name in _REPLACED:
            words += _REPLACED[flag.name]
        elif flag.name == "dataset_name":
            for part, name in ("train", "train_file"), ("validation", "validation_file"):
                words += [] if name in given else [f"--{name}", f"{flag.value}:{part}"]
        elif (flag.name, flag.value) in _VALUES:
            words += _VALUES[flag.name, flag.value]
        elif flag.name not in {*_NOTHING_TO_DO, "do_eval"}:
            words += flag.words
    if ignored:
        note(f"without effect here: {', '.join(ignored)}")
    return words


@dataclass(frozen=True)
class _Flag:
    """A flag with the words after it.

    Attributes:
        words: As they were typed.
    """

    words: Sequence[str]

    @property
    def typed(self) -> str:
        return self.words[0].partition("=")[0]

    @property
    def name(self) -> str:
        return self.typed.removeprefix("--").replace("-", "_")

    @property
    def value(self) -> str:
        attached = self.words[0].partition("=")[2]
        return attached or " ".join(self.words[1:])


def _grouped(arguments: Sequence[str]) -> Iterator[_Flag]:
    starts = [at for at, word in enumerate(arguments) if at == 0 or word.startswith("--")]
    for start, end in pairwise([*starts, len(arguments)]):
        yield _Flag(arguments[start:end])


def _check_strategy(flag: _Flag, steps: str, given: Collection[str]) -> None:
    """Refuse what a run does not do: never to evaluate or save, or to do so without a number of steps."""
    ours = f"--{steps.replace('_', '-')} N"
    if flag.value == "steps" and steps not in given:
        raise SettingsError(f"{flag.typed} steps: instead of it, {ours}")
    if flag.value not in {"steps", "epoch"}:
        raise SettingsError(f"{flag.typed} {flag.value}: a run does it after every epoch, or every {ours}")
