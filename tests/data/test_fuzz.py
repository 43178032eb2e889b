"""A short, seeded campaign of damaged files of every format; `fuzz.py` beside this file runs a long one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the campaign forks its workers")
def test_no_damaged_file_gives_a_traceback_a_crash_or_a_hang() -> None:
    command = [sys.executable, str(Path(__file__).with_name("fuzz.py")), "--inputs", "25", "--seed", "3"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert '"bad": 0' in done.stdout
