"""A short, seeded campaign of every kind; `python -m fuzz` (see `__main__.py`) runs a long one."""

import os
from pathlib import Path

import pytest

from .__main__ import targets
from .campaign import run_campaign

NUM_INPUTS = {"readers": 200, "score": 100, "answer-input": 60, "toml": 200, "model-folders": 30, "runs": 25}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the campaign forks its workers")
@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("kind", NUM_INPUTS)
def test_no_damaged_input_gives_a_traceback_a_crash_or_a_hang(
    kind: str, tiny_folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    target = targets(tmp_path, lambda: tiny_folder)[kind]()
    found = run_campaign(target, seed=3, num_inputs=NUM_INPUTS[kind])
    assert found["bad"] == 0, f"{found}\n{capfd.readouterr().err}"
    assert len(found["outcomes"]) > 1
