"""What was freed goes back to the system, in processes of their own."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="of Linux with glibc")

HOLES = """
import sys
import numpy as np
from albertqa.model.freed_memory import HeapLimit, keep_freed_memory
from benchmarks.processes import resident_bytes

assert keep_freed_memory()
limit = HeapLimit(int(sys.argv[1]) * 2**20)
begun, kept, sizes = resident_bytes(), [], []
for step in range(60):
    blocks = [np.ones(2_000_000 + 40_000 * step, dtype=np.uint8) for _ in range(20)]
    sizes.append(resident_bytes())
    # What stays of them lies between the holes, which are all too short for the next step's.
    for block in blocks:
        block.resize(2_000, refcheck=False)
    kept.append(blocks)
    if sys.argv[2] == "limited":
        limit.after_step()
print((max(sizes) - begun) / 2**20)
"""
WHEN_DUE = """
import sys
from albertqa.model import freed_memory
from albertqa.model.freed_memory import FreedMemory
from benchmarks.processes import resident_bytes

freed_memory.SECONDS_BETWEEN = float(sys.argv[1])
freed = FreedMemory()
blocks = [bytearray(b"1" * 60_000) for _ in range(5_000)]
before = resident_bytes()
# What is kept lies behind what is freed, so that glibc alone returns nothing.
del blocks[:-1]
freed.return_if_due()
print((before - resident_bytes()) / 2**20)
"""

MIB_OF_A_STEP = 20 * (2_000_000 + 40_000 * 59) / 2**20


def most_mib(room: int, kind: str) -> float:
    command = [sys.executable, "-c", HOLES, str(room), kind]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def test_a_heap_of_holes_is_limited() -> None:
    unlimited = most_mib(100_000, "unlimited")
    assert unlimited > 5 * MIB_OF_A_STEP
    assert most_mib(100_000, "limited") < unlimited / 2
    # Where there is room for little more than a step, what was freed is returned sooner.
    assert most_mib(100, "limited") < 2.5 * MIB_OF_A_STEP


@pytest.mark.parametrize(("seconds", "is_due"), [(0.0, True), (1000.0, False)])
def test_freed_memory_is_returned_when_it_is_due(seconds: float, is_due: bool) -> None:
    command = [sys.executable, "-c", WHEN_DUE, str(seconds)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (float(done.stdout) > 200) == is_due
