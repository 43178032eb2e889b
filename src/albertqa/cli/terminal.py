"""The console of the commands: text of unknown origin, tables, and output that nobody reads any more."""

import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import IO, Any, TextIO, cast

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from albertqa.cli.output import discard, printable, warn


class Terminal(Console):
    """A console whose text may hold anything: questions, answers, ids, names.

    Args:
        stderr: Print to stderr instead of stdout.
        survives: Whether the program goes on when its output cannot be written any more.
        quiet: Print nothing.
    """

    def __init__(self, *, stderr: bool = False, survives: bool = False, quiet: bool = False) -> None:
        file = cast(IO[str], _SurvivingStream(sys.stderr if stderr else sys.stdout)) if survives else None
        super().__init__(stderr=stderr, file=file, quiet=quiet, markup=False, emoji=False, highlight=False)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Render with every control character escaped but for the console's own."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=printable(segment.text))

    def on_broken_pipe(self) -> None:
        """Leave the decision to the caller; Rich would exit with code 1."""
        raise BrokenPipeError

    def say(self, text: str) -> None:
        """Print text as it is; a line longer than the terminal is not cut."""
        self.print(text, soft_wrap=True)

    def table(self, title: str, rows: Mapping[str, Any]) -> None:
        """Print names and values under a title."""
        from rich.table import Table

        table = Table(show_header=False)
        table.add_column(overflow="fold")
        table.add_column(justify="right", overflow="fold")
        for name, value in rows.items():
            table.add_row(name, _formatted(value))
        self.say(title)
        self.print(table)


class _SurvivingStream:
    """A stream that drops what it cannot write, and reports that once on stderr."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._is_closed = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        self._try(lambda: self._stream.write(text))
        return len(text)

    def flush(self) -> None:
        self._try(self._stream.flush)

    def _try(self, call: Callable[[], object]) -> None:
        if self._is_closed:
            return
        try:
            call()
        except OSError as error:
            self._is_closed = True
            discard(self._stream)
            with suppress(OSError, ValueError):
                warn(f"the output cannot be written any more ({error.strerror}); the run goes on")


def _formatted(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.2f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
