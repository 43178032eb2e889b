"""What was freed goes back to the system, in a process of its own."""

import subprocess
import sys

import pytest

CODE = """
import sys
from albertqa.answer import freed_memory
from albertqa.answer.freed_memory import FreedMemory
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


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="of Linux with glibc")
@pytest.mark.parametrize(("seconds", "is_due"), [(0.0, True), (1000.0, False)])
def test_freed_memory_is_returned_when_it_is_due(seconds: float, is_due: bool) -> None:
    command = [sys.executable, "-c", CODE, str(seconds)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (float(done.stdout) > 200) == is_due
