"""Run work in a fresh process, once or again and again, and read how much memory it took there (Linux)."""

import resource
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any, ParamSpec, Self, TypeVar

Parameters = ParamSpec("Parameters")
Found = TypeVar("Found")

# What takes seconds to import; a fresh process is forked from one that has imported it and done nothing else.
_PRELOADED = ["torch", "transformers.models.albert.modeling_albert", "albertqa.model.load", "albertqa.windows.build"]
_PROC = Path("/proc/self")


def in_fresh_process(
    work: Callable[Parameters, Found], *arguments: Parameters.args, **named: Parameters.kwargs
) -> Found:
    """Call a function in a process of its own, and wait for what it gives.

    Args:
        work: A function at the top level of its module.
        arguments: Its arguments.
        named: Its named arguments.

    Returns:
        What it returns; what it raises is raised here.
    """
    with ProcessPoolExecutor(1, mp_context=_context()) as pool:
        return pool.submit(work, *arguments, **named).result()


class OwnProcess:
    """An object in a process of its own, whose methods are called from here, one at a time.

    Args:
        make: Makes it there; at the top level of its module.
        arguments: Its arguments.
    """

    def __init__(self, make: Callable[..., Any], *arguments: Any) -> None:
        self._pool = ProcessPoolExecutor(1, mp_context=_context(), initializer=_hold, initargs=(make, *arguments))

    def call(self, method: str, *arguments: Any) -> Any:
        """Call a method, and wait for what it gives."""
        return self._pool.submit(_call_held, method, *arguments).result()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()


_held: list[Any] = []


def _hold(make: Callable[..., Any], *arguments: Any) -> None:
    _held[:] = [make(*arguments)]


def _call_held(method: str, *arguments: Any) -> Any:
    return getattr(_held[0], method)(*arguments)


def _context() -> ForkServerContext:
    context = get_context("forkserver")
    context.set_forkserver_preload(_PRELOADED)
    return context


def resident_bytes() -> int:
    """Give this process's memory now."""
    return _status("VmRSS")


def peak_bytes() -> int:
    """Give this process's largest memory since `reset_peak`."""
    return _status("VmHWM")


def reset_peak() -> None:
    """Count the peak from here."""
    (_PROC / "clear_refs").write_text("5")


def limit_bytes(limit: int) -> None:
    """Let this process fail at so much memory, before the machine runs out of it."""
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def _status(name: str) -> int:
    """Read a figure that the kernel gives in KiB, in bytes."""
    lines = (_PROC / "status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))
