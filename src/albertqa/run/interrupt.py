"""Ctrl-C, SIGTERM or a closed terminal ask a run to stop after its step, with a checkpoint; a second one stops it."""

import os
import signal
import sys
import threading
from contextlib import suppress
from types import FrameType
from typing import Any

_SIGNALS = [signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]


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
            for number in _SIGNALS:
                # What is ignored stays ignored: `nohup` asks for that.
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._remember)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _remember(self, number: int, _frame: FrameType | None) -> None:
        if self.signal_number is not None:
            raise KeyboardInterrupt
        self.signal_number = number
        # Without Python's buffers: the signal may have come while they are written to. The terminal may be gone.
        with suppress(OSError, ValueError, AttributeError):
            os.write(sys.stderr.fileno(), b"\nstopping after this step, with a checkpoint; once more to stop at once\n")
