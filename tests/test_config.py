"""The settings' defaults are the published recipe; files round-trip; every problem is listed at once."""

import dataclasses
import math
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from albertqa import cli
from albertqa.config import Settings, field_docs, load_settings, to_flags, to_toml
from albertqa.errors import SettingsError

# The public model card Palak/albert-base-v2_squad, and run_qa.py's defaults where the card is silent.
PUBLISHED = {
    "model": "albert/albert-base-v2",
    "train_file": ("rajpurkar/squad:train",),
    "validation_file": ("rajpurkar/squad:validation",),
    "max_seq_length": 384,
    "doc_stride": 128,
    "max_answer_length": 30,
    "n_best_size": 20,
    "null_score_diff_threshold": 0.0,
    "learning_rate": 3e-5,
    "train_batch_size": 16,
    "eval_batch_size": 32,
    "gradient_accumulation_steps": 1,
    "epochs": 3.0,
    "lr_scheduler_type": "linear",
    "warmup_ratio": 0.0,
    "warmup_steps": 0,
    "weight_decay": 0.0,
    "adam_beta1": 0.9,
    "adam_beta2": 0.999,
    "adam_epsilon": 1e-8,
    "max_grad_norm": 1.0,
    "seed": 42,
}
# What changes results is opt-in: none of it is on.
OPT_IN = {
    "max_train_examples": None,
    "max_eval_examples": None,
    "version_2_with_negative": None,
    "max_steps": None,
    "hidden_dropout": None,
    "attention_dropout": None,
    "head_dropout": None,
    "from_scratch": False,
    "early_stopping_patience": 0,
}
OUT_OF_RANGE: list[tuple[str, Any, str]] = [
    ("train_batch_size", 0, "at least 1"),
    ("eval_batch_size", 0, "at least 1"),
    ("gradient_accumulation_steps", 0, "at least 1"),
    ("n_best_size", 0, "at least 1"),
    ("logging_steps", 0, "at least 1"),
    ("max_answer_length", 0, "at least 1"),
    ("save_total_limit", 0, "at least 1"),
    ("max_train_examples", 0, "at least 1"),
    ("max_eval_examples", 0, "at least 1"),
    ("max_steps", 0, "at least 1"),
    ("num_threads", 0, "at least 1"),
    ("hidden_dropout", 1.0, "from 0 to below 1"),
    ("attention_dropout", -0.1, "from 0 to below 1"),
    ("head_dropout", float("nan"), "from 0 to below 1"),
    ("eval_steps", 1.5, "whole steps or a fraction of an epoch between 0 and 1"),
    ("save_steps", 0, "whole steps or a fraction of an epoch between 0 and 1"),
    ("weight_decay", -0.1, "0 or more, and finite"),
    ("warmup_steps", -1, "0 or more"),
    ("max_grad_norm", -1.0, "0 or more, and finite"),
    ("early_stopping_patience", -1, "0 or more"),
    ("doc_stride", -1, "0 or more"),
    ("seed", -1, "from 0 to 2^63 - 1"),
    ("seed", 2**63, "from 0 to 2^63 - 1"),
    ("train_file", (), "at least one file"),
    ("validation_file", (), "at least one file"),
    ("learning_rate", float("inf"), "above 0 and finite"),
    ("epochs", 0.0, "above 0 and finite"),
    ("warmup_ratio", 1.5, "from 0 to 1"),
    ("adam_beta1", 1.0, "from 0 to below 1"),
    ("adam_beta2", -0.5, "from 0 to below 1"),
    ("adam_epsilon", 0.0, "above 0 and finite"),
    ("max_seq_length", 3, "above doc_stride"),
    ("null_score_diff_threshold", float("nan"), "a finite number"),
]


def refusal(settings: Settings) -> str:
    with pytest.raises(SettingsError) as caught:
        settings.check()
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
@pytest.mark.parametrize(
    "name", [name for name, hint in get_type_hints(Settings).items() if float in {hint, *get_args(hint)}]
)
def test_no_setting_is_infinite_or_no_number(name: str, value: float) -> None:
    assert f"{name} is {value}, expected " in refusal(Settings(**{name: value}))


def test_an_infinite_threshold_is_one_line_and_takes_no_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    assert cli.main(["train", "--null_score_diff_threshold", "inf", "--output-dir", str(run)]) == 2
    message = "albertqa: settings: --null_score_diff_threshold is inf, expected a finite number\n"
    assert capsys.readouterr().err == message
    assert not run.exists()


def test_the_defaults_are_the_published_recipe() -> None:
    defaults = dataclasses.asdict(Settings())
    assert {name: defaults[name] for name in PUBLISHED} == PUBLISHED
    assert {name: defaults[name] for name in OPT_IN} == OPT_IN
    assert Settings().step_windows == 16


def test_the_defaults_are_in_range() -> None:
    Settings().check()


def test_settings_are_values() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Settings().seed = 1  # type: ignore[misc]
    assert Settings(seed=1) == Settings(seed=1) != Settings()


def test_every_field_has_a_docstring_of_whole_sentences() -> None:
    docs = field_docs()
    assert list(docs) == [field.name for field in dataclasses.fields(Settings)]
    assert all(len(text) > 10 and text.endswith((".", ")")) for text in docs.values())


def test_a_step_has_batch_times_accumulation_windows() -> None:
    assert Settings(train_batch_size=6, gradient_accumulation_steps=8).step_windows == 48


def values_of(hint: Any) -> st.SearchStrategy[Any]:
    """Give a strategy for every value that a field of a type can have (NaN and infinity are refused by the checks)."""
    if get_origin(hint) is tuple:
        return st.lists(values_of(get_args(hint)[0]), max_size=3).map(tuple)
    if get_origin(hint) is Literal:
        return st.sampled_from(get_args(hint))
    if get_args(hint):
        return st.one_of(*(values_of(option) for option in get_args(hint) if option is not type(None)))
    text = st.text(st.characters(exclude_categories=["Cs"]))
    return {
        bool: st.booleans(),
        int: st.integers(-(2**63), 2**63 - 1),
        float: st.floats(allow_nan=False, allow_infinity=False),
        str: text,
        Path: text.map(Path),
    }[hint]


def any_settings() -> st.SearchStrategy[Settings]:
    hints = get_type_hints(Settings)
    unset = {field.name for field in dataclasses.fields(Settings) if field.default is None}
    return st.builds(
        Settings,
        **{
            name: st.one_of(st.none(), values_of(hint)) if name in unset else values_of(hint)
            for name, hint in hints.items()
        },
    )


@given(any_settings())
def test_every_field_survives_the_file(tmp_path_factory: pytest.TempPathFactory, settings: Settings) -> None:
    path = tmp_path_factory.getbasetemp() / "round-trip.toml"
    path.write_text(to_toml(settings), encoding="utf-8")
    assert load_settings(path) == settings


@pytest.mark.parametrize(
    "settings",
    [
        Settings(),
        Settings(
            model="my model",
            train_file=("a.json", "b c.json"),
            output_dir=Path("runs/it's mine"),
            version_2_with_negative=False,
            max_train_examples=10,
            learning_rate=1.8e-4,
            eval_steps=0.25,
            hidden_dropout=0.1,
            from_scratch=True,
            fit=False,
            gradient_checkpointing=True,
            lr_scheduler_type="constant",
            augment=("crop",),
            report_to=("tensorboard",),
            mixed_precision="bf16",
        ),
    ],
)
def test_flags_give_the_settings_back(settings: Settings) -> None:
    words = to_flags(settings)
    assert cli.parse(["train", *words]).settings == settings
    assert (words == []) == (settings == Settings())


def test_the_file_explains_every_key(tmp_path: Path) -> None:
    lines = to_toml(Settings(max_steps=5)).splitlines()
    for name, text in field_docs().items():
        assert f"# {text}" in lines
        assert any(line.startswith((f"{name} = ", f"# {name} =")) for line in lines)
    assert "max_steps = 5" in lines
    assert "# hidden_dropout =" in lines
    path = tmp_path / "c.toml"
    path.write_text("\n".join(lines))
    assert load_settings(path) == Settings(max_steps=5)


def test_a_file_changes_only_its_own_keys(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text('seed = 7\noutput_dir = "runs/x"\ntrain_file = ["a.json", "b.json"]\nepochs = 2\n')
    base = Settings(learning_rate=1e-4, seed=3)
    expected = dataclasses.replace(base, seed=7, output_dir=Path("runs/x"), train_file=("a.json", "b.json"), epochs=2.0)
    assert load_settings(path, base) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("learning_rat = 1e-4", "unknown key 'learning_rat', did you mean 'learning_rate'?"),
        ("zzz = 1", "unknown key 'zzz'"),
        ("[zzz]\nseed = 1", "unknown key 'zzz'"),
        ('seed = "42"', "seed is '42', expected int"),
        ("seed = 42.0", "seed is 42.0, expected int"),
        ("seed = true", "seed is True, expected int"),
        ("learning_rate = true", "learning_rate is True, expected float"),
        ('learning_rate = "3e-5"', "learning_rate is '3e-5', expected float"),
        ("from_scratch = 1", "from_scratch is 1, expected bool"),
        ("model = 1", "model is 1, expected str"),
        ("output_dir = 1", "output_dir is 1, expected Path"),
        ('train_file = "a.json"', "train_file is 'a.json', expected a list of str"),
        ("train_file = [1]", "train_file is [1], expected a list of str"),
        ('max_steps = "10"', "max_steps is '10', expected int"),
        ('eval_steps = "0.5"', "eval_steps is '0.5', expected float"),
        ('mixed_precision = "fp8"', "mixed_precision is 'fp8', expected 'auto' or 'no' or 'bf16' or 'fp16'"),
        ('report_to = ["tb"]', "report_to is ['tb'], expected a list of 'tensorboard' or 'wandb' or 'mlflow'"),
        (
            'lr_scheduler_type = "step"\nsed = 1',
            "lr_scheduler_type is 'step', expected 'linear' or 'cosine' or 'constant'; "
            "unknown key 'sed', did you mean 'seed'?",
        ),
    ],
)
def test_what_is_wrong_in_a_file_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "c.toml"
    path.write_text(text)
    with pytest.raises(SettingsError) as caught:
        load_settings(path)
    assert str(caught.value) == f"{path}: {message}"


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"c\.toml: no such settings file$"):
        load_settings(tmp_path / "c.toml")


@pytest.mark.parametrize("content", [b"seed = ", b"\xff\xfe", b"seed 42", b"seed = 1\nseed = 2"])
def test_a_file_that_is_no_toml_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "c.toml"
    path.write_bytes(content)
    with pytest.raises(SettingsError, match=r"c\.toml: (broken TOML|expected UTF-8)"):
        load_settings(path)


def test_a_folder_is_no_settings_file(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r": cannot be read: not a regular file"):
        load_settings(tmp_path)


@pytest.mark.parametrize(("name", "value", "expected"), OUT_OF_RANGE, ids=[name for name, _, _ in OUT_OF_RANGE])
def test_a_value_out_of_range_is_named_with_what_was_expected(name: str, value: Any, expected: str) -> None:
    message = refusal(dataclasses.replace(Settings(), **{name: value}))
    found = "empty" if value == () else value
    assert message.startswith(f"settings: {name} is {found}, expected {expected}")


def test_all_that_is_out_of_range_is_named_at_once() -> None:
    message = refusal(dataclasses.replace(Settings(), **{name: value for name, value, _ in OUT_OF_RANGE}))
    # max_seq_length is judged by doc_stride, which is wrong itself here.
    problems = message.removeprefix("settings: ").split("; ")
    assert {problem.split(" is ")[0] for problem in problems} == {
        name for name, _, _ in OUT_OF_RANGE if name != "max_seq_length"
    } | ({"max_seq_length"} & {problem.split(" is ")[0] for problem in problems})


def test_windows_must_hold_more_than_their_overlap() -> None:
    assert refusal(Settings(max_seq_length=132)) == "settings: max_seq_length is 132, expected above doc_stride (128)"
    Settings(max_seq_length=133).check()


@pytest.mark.parametrize("value", [None, 0.001, 0.5, 1, 1.0, 500, 500.0])
def test_intervals_are_whole_steps_or_fractions_of_an_epoch(value: float | None) -> None:
    Settings(eval_steps=value, save_steps=value).check()
