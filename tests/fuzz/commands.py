"""Run a command in this process, and judge what it prints."""

import contextlib
import io
import logging

from albertqa import cli
from albertqa.cli.output import printable

from .campaign import strict_json


class _Stream(io.TextIOWrapper):
    """A UTF-8 stream in memory, as a command's output goes to a file."""

    def __init__(self) -> None:
        super().__init__(io.BytesIO(), encoding="utf-8", write_through=True)

    def text(self) -> str:
        self.flush()
        assert isinstance(self.buffer, io.BytesIO)
        return self.buffer.getvalue().decode()


def run_command(*arguments: object) -> tuple[int, str, str]:
    """Run a command; return exit code, standard output and standard error.

    Raises:
        AssertionError: It did not end as documented: exit code 0, 1 or 2, an error in one line, nothing that a terminal
            acts on, JSON where it was asked for.
    """
    words = [str(one) for one in arguments]
    out, err = _Stream(), _Stream()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = cli.main(words)
    log = logging.getLogger("albertqa")
    log.handlers.clear()
    printed, warned = out.text(), err.text()
    assert code in (0, 1, 2), f"exit code {code}"
    for text in (printed, warned):
        assert text == printable(text), f"control characters: {text[:200]!r}"
    if code == 2:
        lines = warned.splitlines()
        assert lines, "exit code 2 without an error"
        assert lines[-1].startswith("albertqa: "), f"no error in one line: {lines[-1]!r}"
        assert len(lines[-1]) < 3000, f"an error of {len(lines[-1])} characters"
    if "--json" in words:
        strict_json(printed)
    return code, printed, warned


def error_kind(message: str) -> str:
    """Return the kind of an error: its words without paths, numbers and quotes."""
    line = message.splitlines()[-1].removeprefix("albertqa: ")
    words = [one for one in line.split() if one.isalpha()]
    return "-".join(words[:4]).lower() or "error"
