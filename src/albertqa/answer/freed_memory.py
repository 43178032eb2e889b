"""Memory that was freed goes back to the system, so that a process that answers for days does not grow.

Batches have ever new shapes, and what one of them frees rarely fits the next: glibc's heap grows to several times what
is used (docs/experiments.md). Nothing of the process is set otherwise for that.
"""

import ctypes
import sys
import time

SECONDS_BETWEEN = 3.0
"""Returning it, and touching it again, takes tens of milliseconds; what ten seconds leave behind grows for minutes."""


class FreedMemory:
    """Returns it now and then."""

    def __init__(self) -> None:
        self._returned_at = time.monotonic()

    def return_if_due(self) -> None:
        """Return it where that is some seconds ago (Linux with glibc; elsewhere nothing happens)."""
        if time.monotonic() - self._returned_at < SECONDS_BETWEEN:
            return
        self._returned_at = time.monotonic()
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform.startswith("linux") else None
        if trim is not None:
            trim(0)
