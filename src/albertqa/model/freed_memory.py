"""What becomes of memory that a CPU step frees (Linux with glibc; elsewhere nothing is done).

glibc maps every large block anew: the kernel clears its pages and the step waits. Measured on 2 cores without
AVX-512, a training step of 16 windows takes about a quarter less time with `keep_freed_memory`; results do not change.

But batches have ever new shapes, and oneDNN keeps code for each. Between such small blocks, what one batch frees rarely
fits the next: the heap grows to several times what is used, until the free part of it is returned to the system
(docs/experiments.md).
"""

import ctypes
import sys
import time
from typing import Any

import psutil

# From glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4
_NEVER, _TOP_PAD_BYTES = 2**31 - 1, 64 * 2**20

SECONDS_BETWEEN = 3.0
"""Returning it, and touching it again, takes tens of milliseconds; what ten seconds leave behind grows for minutes."""

_GROWTH = 1.5
"""How many times the memory that it needs in a step a process may have; a smaller number returns it more often."""


def keep_freed_memory() -> bool:
    """Make glibc's allocator keep what is freed; return whether it does."""
    mallopt = _glibc("mallopt")
    if mallopt is None:
        return False
    settings = ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, _NEVER), (_M_TOP_PAD, _TOP_PAD_BYTES))
    return all(mallopt(ctypes.c_int(name), ctypes.c_int(value)) == 1 for name, value in settings)


def return_freed_memory() -> None:
    """Return to the system what was freed; touching it again takes some tenths of a second for every GiB."""
    trim = _glibc("malloc_trim")
    if trim is not None:
        trim(0)


def _glibc(name: str) -> Any:
    """Return a function of glibc; None where there is no such function."""
    return getattr(ctypes.CDLL(None), name, None) if sys.platform.startswith("linux") else None


class FreedMemory:
    """Returns what answers freed now and then, so that a process that answers for days does not grow."""

    def __init__(self) -> None:
        self._returned_at = time.monotonic()

    def return_if_due(self) -> None:
        """Return it where that is some seconds ago."""
        if time.monotonic() - self._returned_at >= SECONDS_BETWEEN:
            self._returned_at = time.monotonic()
            return_freed_memory()


class HeapLimit:
    """Returns what training steps freed where the process has grown to much more than they need.

    Args:
        room: Bytes that the process may grow by, if steps need no more.
    """

    def __init__(self, room: int) -> None:
        self._most, self._needed, self._is_returned = _resident_bytes() + room, 0, True

    def after_step(self) -> None:
        """Return what was freed if it is due."""
        resident = _resident_bytes()
        if self._is_returned:
            # Nothing was kept before this step: it needs so much.
            self._needed, self._is_returned = max(self._needed, resident), False
        elif resident > min(_GROWTH * self._needed, self._most):
            return_freed_memory()
            self._is_returned = True


def _resident_bytes() -> int:
    return int(psutil.Process().memory_info().rss)
