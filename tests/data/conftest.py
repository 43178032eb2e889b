"""Fixtures of the data tests."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared_cases() -> Path:
    """The folder of small input cases beside the real data, or a skip with its reason."""
    data = Path(os.environ.get("ALBERTQA_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
    folder = data.parent / "cases"
    if not folder.is_dir():
        pytest.skip(f"no input cases at {folder} (set ALBERTQA_DATA)")
    return folder
