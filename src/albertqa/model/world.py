"""The processes that train one model together: `torchrun`'s, or this one alone.

What all must decide alike goes through a few small exchanges: sums of gradients, whether any process ran out of memory
or was asked to stop, and whether all of them began with the same settings and data.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray

from albertqa.errors import RunError, SettingsError
from albertqa.files import first_line

T = TypeVar("T")

_PATIENCE = timedelta(minutes=30)
"""How long a process waits for another one that is alive. One that died is noticed at once."""


@dataclass(frozen=True)
class World:
    """The processes of a run.

    Attributes:
        rank: Number of this process, from 0; process 0 writes the run directory.
        size: Number of processes.
    """

    rank: int = 0
    size: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this process writes."""
        return self.rank == 0

    def sum_(self, tensor: torch.Tensor) -> None:
        """Replace a tensor by its sum over all processes."""
        if self.size > 1:
            with _named_failure():
                dist.all_reduce(tensor)

    def sum_array(self, values: NDArray[np.floating]) -> None:
        """Replace an array by its sum over all processes."""
        self.sum_(torch.from_numpy(values))

    def any(self, flag: bool) -> bool:
        """Return whether a flag is set in any process."""
        return flag if self.size == 1 else any(self.gather(flag))

    def gather(self, value: T) -> list[T]:
        """Return every process's value, by rank."""
        if self.size == 1:
            return [value]
        values = [value] * self.size
        with _named_failure():
            dist.all_gather_object(values, value)
        return values

    def wait(self) -> None:
        """Wait until every process has come here."""
        self.gather(True)

    def shares(self, costs: NDArray[np.integer]) -> list[NDArray[np.int64]]:
        """Divide items, given their costs, among the processes: as equal in cost as can be, the same whoever asks.

        Returns:
            For each process the positions of its items, in ascending order; none where there are fewer items.

        Shapes:
            costs: (N,) integers
        """
        if self.size == 1:
            return [np.arange(len(costs))]
        loads, owner = np.zeros(self.size, dtype=np.int64), np.empty(len(costs), dtype=np.int64)
        for item in np.argsort(-costs, kind="stable"):
            owner[item] = loads.argmin()
            loads[owner[item]] += costs[item]
        return [np.flatnonzero(owner == rank) for rank in range(self.size)]

    def require_agreement(self, facts: Mapping[str, str]) -> None:
        """Refuse processes that do not begin alike, given what must be the same everywhere, by name.

        Raises:
            SettingsError: Naming what differs, in every process.
        """
        everywhere = self.gather(dict(facts))
        for name, value in everywhere[0].items():
            for rank, others in enumerate(everywhere):
                if others.get(name) != value:
                    raise SettingsError(
                        f"{name} is {value} in process 0 and {others.get(name)} in process {rank}; "
                        "start all processes of a run with the same command, data and versions"
                    )


ALONE = World()


@contextmanager
def open_world(device_type: str) -> Iterator[World]:
    """Join the processes that `torchrun` started, by NCCL if `device_type` is ``cuda``, else by gloo.

    Yields:
        The world; outside `torchrun` this process alone.

    Raises:
        RunError: The processes cannot reach each other.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield ALONE
        return
    backend = "cpu:gloo,cuda:nccl" if device_type == "cuda" else "gloo"
    with _named_failure():
        dist.init_process_group(backend, timeout=_PATIENCE)
    try:
        yield World(dist.get_rank(), size)
    finally:
        dist.destroy_process_group()


@contextmanager
def _named_failure() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise RunError(
            f"lost another process of this run ({first_line(error)[:160]}); the last checkpoint is complete. "
            "Resume with the same command and --resume"
        ) from error
