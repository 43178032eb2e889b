"""Run a command: parse, call, and turn what goes wrong into one line and an exit code."""

import signal
import sys
from collections.abc import Sequence
from importlib import metadata
from typing import Any, TypeAlias

from albertqa.cli.answer_command import Answer
from albertqa.cli.check_command import Check
from albertqa.cli.command_line import is_short_help, parse_command, with_typed_flags
from albertqa.cli.doctor_command import Doctor
from albertqa.cli.evaluate_command import Evaluate
from albertqa.cli.export_command import Export
from albertqa.cli.find_lr_command import FindLr
from albertqa.cli.index_command import Index
from albertqa.cli.output import discard, prepare_output, print_json, warn
from albertqa.cli.quickstart import Quickstart
from albertqa.cli.report_command import Report
from albertqa.cli.run_qa import translated
from albertqa.cli.score_command import Score
from albertqa.cli.serve_command import Serve
from albertqa.cli.settings_flags import SettingsFlags
from albertqa.cli.split_command import Split
from albertqa.cli.study_command import Study
from albertqa.cli.train_command import Train
from albertqa.errors import AlbertQAError, SettingsError
from albertqa.files import SITE, first_line

Command: TypeAlias = (
    Quickstart
    | Check
    | Split
    | FindLr
    | Train
    | Evaluate
    | Score
    | Answer
    | Index
    | Serve
    | Export
    | Report
    | Doctor
    | Study
)
"""Every command: a dataclass whose fields are its flags, with a method `run` that returns the exit code."""

DESCRIPTION = f"""Fine-tune extractive question-answering models, and use them.

Flags of a command: albertqa COMMAND -h, with explanations: COMMAND --help
  Shell completion: albertqa --tyro-write-completion bash FILE (or zsh, fish)

Exit codes:
  0  done
  1  check found errors in the data, or doctor something wrong with the run
  2  an error, in one line; with --json also {{"error": "..."}} on standard output
  129, 130, 143  stopped by a closed terminal, Ctrl-C, SIGTERM

Documentation, with every error and finding: 'make docs' in a clone builds
  {SITE}/index.html"""

_OF_LIBRARIES = {"SafetensorError", "OutOfMemoryError", "PanicException"}
"""Errors that a full disk, memory or a damaged file causes in libraries, which share no class."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: The command line without the program's name; None: the process's own.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    prepare_output()
    try:
        if words[:1] in (["-V"], ["--version"]):
            print(f"albertqa {metadata.version('albertqa')}")
            return 0
        code = int(parse(words).run())
        sys.stdout.flush()
    except SystemExit as stop:
        if is_short_help(words) and not stop.code:
            print(f"albertqa {words[0]} --help explains every flag.")
        return int(stop.code or 0)
    except BrokenPipeError:
        # Whoever read the output has enough.
        discard(sys.stdout)
        return 0
    except KeyboardInterrupt:
        warn("interrupted")
        return 128 + signal.SIGINT
    except BaseException as error:
        explanation = _explained(error)
        if explanation is None:
            raise
        if isinstance(error, SettingsError):
            explanation = with_typed_flags(explanation, Command, words)
        page = f"{SITE}/{getattr(error, 'page', AlbertQAError.page)}.html"
        _report(explanation, page, as_json="--json" in words)
        return 2
    return code


def _report(explanation: str, page: str, *, as_json: bool) -> None:
    """Print an error, and to a person the page that helps on; standard output may be what failed."""
    warn(explanation)
    try:
        if sys.stderr.isatty():
            print(f"more: {page} ('make docs' in a clone builds it)", file=sys.stderr)
        if as_json:
            print_json({"error": explanation, "page": page})
        sys.stdout.flush()
    except OSError:
        discard(sys.stdout)


def parse(arguments: Sequence[str]) -> Any:
    """Parse a command line, with the settings files that it names.

    Args:
        arguments: The command line without the program's name.

    Returns:
        A `Command`.

    Raises:
        AlbertQAError: Something is wrong with it.
        SystemExit: Help was asked for, and printed.
    """
    words = ["--help"] if list(arguments) in ([], ["help"]) else list(arguments)
    if words[0] in {"train", "find-lr"}:
        words[1:] = translated(words[1:], warn)

    def parse_over(default: object = None) -> Any:
        return parse_command(Command, words, default, description=DESCRIPTION)

    command = parse_over()
    return command.over_files(parse_over) if isinstance(command, SettingsFlags) else command


def _explained(error: BaseException) -> str | None:
    """Return what a user can act on, in one line; None: a fault of ours, which needs its traceback."""
    match error:
        case AlbertQAError():
            return str(error)
        case UnicodeEncodeError():
            return f"a text has half a character (lone surrogate) at {error.start}: {error.object[:40]!r}"
        case OSError():
            # A full disk, a folder without permission: the system's own words with the path.
            return f"{error.filename or 'system'}: {error.strerror or first_line(error)}"
        case MemoryError():
            return "out of memory. Use fewer questions at a time, or a machine with more"
        case RecursionError():
            return "the input is nested too deeply to be read"
    # tokenizers raises a bare Exception.
    if type(error).__name__ in _OF_LIBRARIES or type(error) is Exception:
        return first_line(error)
    return None
