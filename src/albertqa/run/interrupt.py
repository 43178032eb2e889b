"""Ctrl-C and SIGTERM ask a run to stop after the step it is in; a second one stops it at once."""

import signal
import threading
from types import FrameType
from typing import Any


class StopRequest:
    """Remembers a signal while it is entered as a context.

    Attributes:
        signal_number: The signal received, or None.
    """

    def __init__(self) -> None:
        self.signal_number: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "StopRequest":
        # Python takes signals in its main thread only.
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._remember)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _remember(self, number: int, _frame: FrameType | None) -> None:
        if self.signal_number is not None:
            raise KeyboardInterrupt
        self.signal_number = number
