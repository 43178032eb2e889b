"""Help: short and long, grouped, with examples that parse, whole in narrow terminals."""

import dataclasses
import re
import shlex
from pathlib import Path
from typing import get_args

import pytest

from albertqa import cli
from albertqa.cli.command_line import command_name, flags_of
from albertqa.cli.commands import DESCRIPTION, Command
from albertqa.cli.reader_flags import ReaderFlags
from albertqa.cli.settings_flags import SettingsFlags
from albertqa.cli.train_command import Train
from albertqa.config import Config, DecodeConfig, Settings, WindowConfig

from .conftest import Run, Terminal, process

KINDS = {command_name(kind): kind for kind in get_args(Command)}


def plain(text: str) -> str:
    """Return what a terminal shows, without its colours and boxes."""
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)
    return re.sub(r"\s+", " ", re.sub(r"[│╭╮╰╯─]", " ", text))


@pytest.mark.parametrize("words", [[], ["help"], ["-h"], ["--help"]])
def test_help_lists_every_command_and_the_exit_codes(run: Run, words: list[str]) -> None:
    code, out, err = run(*words)
    assert (code, err) == (0, "")
    for name, kind in KINDS.items():
        assert f"• {name} " in out
        assert plain(str(kind.__doc__)) in plain(out)
    assert DESCRIPTION in out
    for exit_code in ("0  done", "1  check", "2  an error", "129, 130, 143  stopped"):
        assert f"\n  {exit_code}" in out


@pytest.mark.parametrize("name", KINDS)
def test_short_help_names_every_flag_and_long_help_explains_it(run: Run, name: str) -> None:
    code, short, _ = run(name, "-h")
    assert code == 0
    assert short.endswith(f"albertqa {name} --help explains every flag.\n")
    code, long, _ = run(name, "--help")
    assert code == 0
    for flag in flags_of(KINDS[name]):
        assert re.search(rf"(?<![\w-]){flag}(?![\w-])", short), flag
        assert re.search(rf"(?<![\w-]){flag}(?![\w-])", long), flag
    assert len(short) < len(long) or name == "doctor"
    for words in (short, long):
        for noise in ("(default: )", "None}", "(default: None)", "(default: False)", "Settings(", "{fixed}"):
            assert noise not in words


def test_flags_are_in_groups_each_with_an_example_that_parses() -> None:
    out = process("train", "--help", COLUMNS="80", PYTHONIOENCODING="utf-8").stdout.decode()
    groups = re.findall(r"╭─ (\w+) options ─", out)
    assert groups == [
        *("data", "windows", "decoding", "optimizer", "regularization", "monitoring", "device", "memory", "table"),
    ]
    boxes = re.split(r"╭─", out)[-len(groups) :]
    for group, box in zip(groups, boxes, strict=True):
        example = re.search(r"Example: (.*?) ─", re.sub(r"[│\s]+", " ", box))
        assert example, group
        assert isinstance(cli.parse(["train", *shlex.split(example[1])]), Train)


def test_every_setting_is_in_one_group() -> None:
    groups = [kind for kind in get_groups(SettingsFlags) if issubclass(kind, Config)]
    names = [field.name for kind in groups for field in dataclasses.fields(kind)]
    assert sorted(names) == sorted(field.name for field in dataclasses.fields(Settings))


def get_groups(kind: type) -> list[type]:
    return [
        type(value)
        for field in dataclasses.fields(kind)
        if dataclasses.is_dataclass(value := getattr(kind(), field.name))
    ]


def test_reader_flags_are_those_of_windows_and_decoding() -> None:
    expected = [*dataclasses.fields(WindowConfig), *dataclasses.fields(DecodeConfig)]
    found = {field.name: field.default for field in dataclasses.fields(ReaderFlags)}
    assert found.pop("version_2_with_negative", 1) is None
    assert found == {field.name: None for field in expected}


@pytest.mark.parametrize("columns", [40, 80])
def test_help_fits_the_terminal(columns: int) -> None:
    terminal = Terminal(["train", "--help"], columns)
    lines = [re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", line) for line in terminal.read().splitlines()]
    assert terminal.exit_code() == 0
    boxed = [line.rstrip() for line in lines if line[:1] in "│╭╰"]
    assert len(boxed) > 100
    assert max(map(len, boxed)) <= columns
    words = "What is trained on what. Example: --train-file train.json --validation-file dev.json"
    assert words in plain("".join(lines))
    assert "…" not in "".join(boxed)


def test_the_overview_is_not_wider_than_80_columns() -> None:
    lines = process("--help", COLUMNS="80").stdout.decode().splitlines()
    assert max(len(line) for line in lines if not line.startswith("usage:")) <= 80


def test_help_on_a_stream_that_is_ascii_only() -> None:
    done = process("train", "--help", PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    assert b"+- data options" in done.stdout or b"--train-file" in done.stdout
    assert done.stdout.isascii()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_completes_commands_and_flags(tmp_path: Path, shell: str) -> None:
    script = tmp_path / "completion"
    assert process("--tyro-write-completion", shell, script).returncode == 0
    text = script.read_text()
    for word in ("train", "find-lr", "learning-rate"):
        assert word in text
