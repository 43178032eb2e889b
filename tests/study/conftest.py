"""The model of the studies."""

from pathlib import Path

import pytest

from model.cases import save_albert


@pytest.fixture(scope="session")
def tiny_weights(tmp_path_factory: pytest.TempPathFactory, tiny_folder: Path) -> Path:
    """A tiny ALBERT with random weights and a span head."""
    return save_albert(tiny_folder, tmp_path_factory.mktemp("tiny-weights"))
