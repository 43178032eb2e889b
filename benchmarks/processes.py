"""Functions and objects in processes of their own, and how much memory they take there (Linux)."""

import resource
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any, ParamSpec, Self, TypeVar

Parameters = ParamSpec("Parameters")
Found = TypeVar("Found")

# Slow imports: a new process is forked from one that has imported these and done nothing else.
_PRELOADED = ["torch", "transformers.models.albert.modeling_albert", "albertqa.model.load", "albertqa.windows.build"]
_PROC = Path("/proc/self")


def in_fresh_process(
    work: Callable[Parameters, Found], *arguments: Parameters.args, **named: Parameters.kwargs
) -> Found:
    """Call a function in a new process.

    Args:
        work: A function at the top level of its module.
        arguments: Its arguments.
        named: Its named arguments.

    Returns:
        Its result; its exceptions are raised here.
    """
    with ProcessPoolExecutor(1, mp_context=_context()) as pool:
        return pool.submit(work, *arguments, **named).result()


class OwnProcess:
    """An object in a process of its own; its methods are called from here, one at a time.

    Args:
        make: Creates it there; a function or class at the top level of its module.
        arguments: Its arguments.
    """

    def __init__(self, make: Callable[..., Any], *arguments: Any) -> None:
        self._pool = ProcessPoolExecutor(1, mp_context=_context(), initializer=_create, initargs=(make, *arguments))

    def call(self, method: str, *arguments: Any) -> Any:
        """Call a method and return its result."""
        return self._pool.submit(_call, method, *arguments).result()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()


_created: list[Any] = []


def _create(make: Callable[..., Any], *arguments: Any) -> None:
    _created[:] = [make(*arguments)]


def _call(method: str, *arguments: Any) -> Any:
    return getattr(_created[0], method)(*arguments)


def _context() -> ForkServerContext:
    context = get_context("forkserver")
    context.set_forkserver_preload(_PRELOADED)
    return context


def resident_bytes() -> int:
    """Return this process's memory now."""
    return _status("VmRSS")


def peak_bytes() -> int:
    """Return this process's peak memory since `reset_peak`."""
    return _status("VmHWM")


def reset_peak() -> None:
    """Start to measure the peak."""
    (_PROC / "clear_refs").write_text("5")


def limit_bytes(limit: int) -> None:
    """Make this process fail at so much memory, before the machine runs out of it."""
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def _status(name: str) -> int:
    """Return a figure of the kernel in bytes."""
    lines = (_PROC / "status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))
