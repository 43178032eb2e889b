"""The machine's memory: how much is free, and how to tell that it ran out."""

from collections.abc import Iterator
from pathlib import Path

import torch

SHARE_OF_FREE = 0.8
"""How much of the free memory a run may take; the rest is for what is not counted (the kernels' scratch space, gaps
between blocks, evaluation) and for other programs."""

# What PyTorch says where it has no exception of its own; each from the source file named.
_OUT_OF_MEMORY = (
    "DefaultCPUAllocator: can't allocate memory",  # c10/core/impl/alloc_cpu.cpp
    "DefaultCPUAllocator: not enough memory",  # the same, on Windows
    "CUDA error: out of memory",  # the driver's, outside PyTorch's allocator
    "CUBLAS_STATUS_ALLOC_FAILED",  # aten/src/ATen/cuda/CUDABlas.cpp
    "MPS backend out of memory",  # aten/src/ATen/mps/MPSAllocator.mm
)


# Of a control group: the files of its limit and of what it uses, and what its statistics call the cache it can drop.
_V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
_V2 = ("memory.max", "memory.current", "inactive_file")


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error means that the device's memory, or the machine's, does not suffice."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _OUT_OF_MEMORY)


def available_bytes(device: torch.device, root: Path = Path("/")) -> int:
    """Return how much more memory this process can have.

    Args:
        device: A CUDA device, or the CPU: the machine's memory, or less where a control group (a container, a batch
            job) has a lower limit.
        root: Where ``proc`` and ``sys`` are.

    Returns:
        Bytes.
    """
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        # What PyTorch holds without using it is ours to use, too.
        return int(free) + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    import psutil

    return min([int(psutil.virtual_memory().available), *_cgroup_rooms(root)])


def _cgroup_rooms(root: Path) -> Iterator[int]:
    """Yield what is left under each limit of the control groups that this process is in, from the inside out."""
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            top, files = root / "sys/fs/cgroup", _V2
        elif "memory" in controllers.split(","):
            top, files = root / "sys/fs/cgroup/memory", _V1
        else:
            continue
        # In a container the path may be the host's and its top the container's own group; so look there as well.
        inner = top / path.lstrip("/")
        for folder in (inner, *inner.parents):
            yield from _cgroup_room(folder, *files)
            if folder == top:
                break


def _cgroup_room(folder: Path, limit_file: str, used_file: str, cache: str) -> Iterator[int]:
    try:
        limit = (folder / limit_file).read_text(encoding="utf-8").strip()
        used = int((folder / used_file).read_text(encoding="utf-8"))
        stat = dict(line.split() for line in (folder / "memory.stat").read_text(encoding="utf-8").splitlines())
    except (OSError, ValueError):
        return
    if limit != "max":
        yield max(0, int(limit) - used + int(stat.get(cache, 0)))
