"""Fixtures that every test may use."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data files, or a skip with its reason."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("ALBERTQA_DATA", default))
    if not (folder / "squad").is_dir():
        pytest.skip(f"no real data at {folder} (set ALBERTQA_DATA)")
    return folder
