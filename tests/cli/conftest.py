"""Fixtures of the command line's tests: commands in this process, in one of their own, and in a terminal."""

import codecs
import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from albertqa import cli

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command in this process; return exit code, stdout, stderr."""

    def call(*arguments: object) -> tuple[int, str, str]:
        code = cli.main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, tiny_folder: Path) -> Path:
    """A run of the tiny ALBERT on a little of the starter set."""
    out = tmp_path_factory.mktemp("cli") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ALBERTQA_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        arguments = ["train", "--model", tiny_folder, "--from-scratch", "--train-file", "starter:train"]
        arguments += ["--validation-file", "starter:validation", "--max-train-examples", 24, "--max-eval-examples", 12]
        arguments += ["--epochs", 1, "--batch-size", 8, "--lr", "1e-3", "--output-dir", out]
        assert cli.main([str(argument) for argument in arguments]) == 0
    return out


def command(*arguments: object) -> list[str]:
    """Return the words that run a command in a process of its own."""
    return [sys.executable, "-m", "albertqa", *(str(argument) for argument in arguments)]


def process(*arguments: object, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """Run a command in a process of its own."""
    return subprocess.run(
        command(*arguments), capture_output=True, check=False, env={**os.environ, **environment}, timeout=120
    )


class Terminal:
    """A command in a terminal of its own.

    Args:
        arguments: The command line.
        columns: The terminal's width.
    """

    def __init__(self, arguments: Sequence[object], columns: int) -> None:
        self._pid, self._file = pty.fork()
        if not self._pid:
            size = struct.pack("HHHH", 50, columns, 0, 0)
            fcntl.ioctl(1, termios.TIOCSWINSZ, size)
            # Python's environment: the process's own has COLUMNS where readline was imported.
            environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
            os.execve(sys.executable, command(*arguments), {**environment, "TERM": "xterm-256color"})
        self.text = ""
        self._decoder = codecs.getincrementaldecoder("utf-8")()

    def read(self, until: str = "", *, seconds: float = 120) -> str:
        """Read until a text is there, or to the end; return all that was shown."""
        end = time.monotonic() + seconds
        while not until or until not in self.text:
            assert time.monotonic() < end, f"no {until!r} in {self.text[-500:]!r}"
            if not select.select([self._file], [], [], 1)[0]:
                continue
            try:
                found = os.read(self._file, 65536)
            except OSError:  # the other side is closed
                break
            if not found:
                break
            self.text += self._decoder.decode(found)
        return self.text

    def send(self, number: int) -> None:
        """Send a signal."""
        os.kill(self._pid, number)

    def close(self) -> None:
        """Close the terminal."""
        os.close(self._file)

    def exit_code(self) -> int:
        """Wait for the end."""
        return os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])
