"""A run whose output nobody reads, whose terminal is closed, or that is interrupted goes on, or saves and says so."""

import json
import re
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from albertqa import cli
from albertqa.run.checkpoint import newest_checkpoint
from albertqa.rundir.directory import load_run

from .conftest import Terminal, command

Words = Callable[..., list[object]]


@pytest.fixture
def words(tiny_folder: Path, tmp_path: Path) -> Words:
    """Return the words that train the tiny model in `tmp_path/run`."""

    def words(*more: object) -> list[object]:
        return [
            *("train", "--model", tiny_folder, "--from-scratch", "--no-fit", "--output-dir", tmp_path / "run"),
            *("--train-file", "starter:train", "--validation-file", "starter:validation", "--batch-size", 4),
            *("--max-train-examples", 40, "--max-eval-examples", 8, "--num-threads", 1, *more),
        ]

    return words


def status(run: Path) -> tuple[str, int]:
    loaded = load_run(run)
    return loaded.facts.status, loaded.steps[-1].step


def test_a_run_goes_on_when_nobody_reads_its_output(words: Words, tmp_path: Path) -> None:
    arguments = command(*words("--epochs", 1, "--logging-steps", 1))
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        assert running.stdout.readline().startswith(b"train: 40 questions, ")
        running.stdout.close()
        error = running.stderr.read().decode()
        assert running.wait(120) == 0
    assert error.count("the output cannot be written any more (Broken pipe); the run goes on") == 1
    assert "Traceback" not in error
    assert status(tmp_path / "run")[0] == "finished"
    assert (tmp_path / "run" / "report.html").is_file()


def test_a_closed_terminal_ends_a_run_with_a_checkpoint(words: Words, tmp_path: Path) -> None:
    terminal = Terminal(words("--epochs", 500), 80)
    terminal.read("tokens/s")
    terminal.close()
    assert terminal.exit_code() == 128 + signal.SIGHUP
    kind, step = status(tmp_path / "run")
    assert kind == "interrupted"
    checkpoint, warnings = newest_checkpoint(tmp_path / "run")
    assert (checkpoint and checkpoint.name, warnings) == (f"step-{step:08}", [])


def test_nohup_is_respected(words: Words, tmp_path: Path) -> None:
    arguments = ["nohup", *command(*words("--epochs", 1))]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as running:
        assert running.stdout is not None
        running.stdout.readline()
        running.send_signal(signal.SIGHUP)
        running.stdout.read()
        assert running.wait(120) == 0
    assert status(tmp_path / "run")[0] == "finished"


@pytest.mark.parametrize("columns", [40, 80])
def test_ctrl_c_saves_and_says_how_to_resume(words: Words, tmp_path: Path, columns: int) -> None:
    terminal = Terminal(words("--epochs", 500), columns)
    terminal.read("tokens/s")
    terminal.send(signal.SIGINT)
    shown = terminal.read()
    assert terminal.exit_code() == 130
    assert "stopping after this step, with a checkpoint; once more to stop at once" in shown
    step = status(tmp_path / "run")[1]
    ending = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown).splitlines()[-1]
    command_line = f"albertqa train --resume --output-dir {tmp_path / 'run'}"
    assert ending == f"interrupted at step {step:,}; saved. Resume: {command_line}"
    # Nothing is cut: steps and times are there, whatever the width.
    assert re.search(r"step \d+/5,?000  \d+:\d\d, \d+:\d\d left", shown)
    # What it says works, and ends where the run would have ended.
    assert cli.parse(command_line.split()[1:]).settings.epochs == 500


def test_a_second_ctrl_c_stops_at_once_and_says_what_is_left(words: Words, tmp_path: Path) -> None:
    terminal = Terminal(words("--epochs", 500, "--save-steps", 3), 80)
    terminal.read("best so far")
    terminal.send(signal.SIGINT)
    terminal.read("stopping after this step")
    terminal.send(signal.SIGINT)
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", terminal.read())
    assert terminal.exit_code() == 130
    assert "Traceback" not in shown
    checkpoint, _ = newest_checkpoint(tmp_path / "run")
    assert checkpoint is not None
    step = int(checkpoint.name[5:])
    assert (
        f"stopped at once; the newest checkpoint is of step {step:,}. "
        f"Resume: albertqa train --resume --output-dir {tmp_path / 'run'}" in shown
    ) or f"interrupted at step {step:,}; saved." in shown


def test_stopped_before_the_first_checkpoint(
    words: Words, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from albertqa.run.display import TerminalDisplay

    def on_step(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(TerminalDisplay, "on_step", on_step)
    assert cli.main([str(word) for word in words("--json")]) == 130
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "stopped at once, before the first checkpoint: there is nothing to resume" in captured.err


def test_an_interrupted_run_says_so_as_json(
    words: Words, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    import os

    from albertqa.run.display import TerminalDisplay

    monkeypatch.setattr(TerminalDisplay, "on_step", lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    assert cli.main([str(word) for word in words("--json", "--epochs", 3)]) == 143
    captured = capsys.readouterr()
    found = json.loads(captured.out)
    assert (found["run"], found["status"], found["step"]) == (str(tmp_path / "run"), "interrupted", 1)
