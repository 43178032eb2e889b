"""Free is what machine and control groups leave; "out of memory" is told from other errors."""

from collections.abc import Mapping
from pathlib import Path

import psutil
import pytest
import torch

from albertqa.model.memory import available_bytes, is_out_of_memory

CPU = torch.device("cpu")
NO_LIMIT = 9223372036854771712


def write(root: Path, files: Mapping[str, object]) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{content}\n")
    return root


def group_v2(folder: str, limit: object, used: int, cache: int) -> dict[str, object]:
    stat = f"anon 1\ninactive_file {cache}\nactive_file 5"
    return {f"{folder}/memory.max": limit, f"{folder}/memory.current": used, f"{folder}/memory.stat": stat}


def group_v1(folder: str, limit: int, used: int, cache: int) -> dict[str, object]:
    stat = f"inactive_file 7\ntotal_inactive_file {cache}"
    names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "memory.stat")
    return {f"{folder}/{name}": value for name, value in zip(names, (limit, used, stat), strict=True)}


def test_without_control_groups_it_is_what_the_machine_has(tmp_path: Path) -> None:
    found = available_bytes(CPU, tmp_path)
    assert 0 < found <= psutil.virtual_memory().total


def test_here_it_is_no_more_than_the_machine_has() -> None:
    assert 0 < available_bytes(CPU) <= psutil.virtual_memory().total


@pytest.mark.parametrize("named", ["/user.slice/job", "/"])
def test_a_limit_counts_less_what_is_used_but_for_cache(tmp_path: Path, named: str) -> None:
    root = write(tmp_path, {"proc/self/cgroup": f"0::{named}"})
    write(root, group_v2(f"sys/fs/cgroup{named}", 9000, 4000, 1500))
    assert available_bytes(CPU, root) == 6500


def test_the_tightest_group_on_the_way_up_decides(tmp_path: Path) -> None:
    root = write(tmp_path, {"proc/self/cgroup": "0::/a/b/c"})
    write(root, group_v2("sys/fs/cgroup/a/b/c", "max", 100, 0))
    write(root, group_v2("sys/fs/cgroup/a/b", 8000, 1000, 500))
    write(root, group_v2("sys/fs/cgroup/a", 5000, 1000, 0))
    assert available_bytes(CPU, root) == 4000


def test_control_groups_of_the_first_version_count_too(tmp_path: Path) -> None:
    root = write(tmp_path, {"proc/self/cgroup": "5:cpu,cpuacct:/x\n4:memory:/job\n1:name=systemd:/\n0::/"})
    write(root, group_v1("sys/fs/cgroup/memory/job", 3000, 2500, 200))
    write(root, group_v1("sys/fs/cgroup/memory", NO_LIMIT, 2500, 200))
    assert available_bytes(CPU, root) == 700


def test_in_a_container_that_sees_the_hosts_names_its_own_group_is_at_the_top(tmp_path: Path) -> None:
    root = write(tmp_path, {"proc/self/cgroup": "4:memory:/docker/0123abcd"})
    write(root, group_v1("sys/fs/cgroup/memory", 3000, 1000, 0))
    assert available_bytes(CPU, root) == 2000


def test_a_group_over_its_limit_leaves_nothing(tmp_path: Path) -> None:
    root = write(tmp_path, {"proc/self/cgroup": "0::/job"})
    write(root, group_v2("sys/fs/cgroup/job", 1000, 1200, 0))
    assert available_bytes(CPU, root) == 0


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        MemoryError(),
        RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("MPS backend out of memory (MPS allocated: 9.00 GB, other allocations: 1.00 GB)"),
    ],
)
def test_memory_that_ran_out_is_told(error: Exception) -> None:
    assert is_out_of_memory(error)


def test_the_cpu_allocators_own_error_is_told() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 60, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)


@pytest.mark.parametrize("error", [RuntimeError("shape mismatch"), ValueError("out of memory"), KeyError("memory")])
def test_other_errors_are_not_taken_for_it(error: Exception) -> None:
    assert not is_out_of_memory(error)
