"""A tokenizer and a tiny reader for the tests of this room."""

from pathlib import Path

import pytest

from albertqa.windows.tokenizer import QATokenizer, load_tokenizer

from .cases import save_reader

# Hypothesis prints a dataclass by its fields: here, the whole vocabulary.
QATokenizer._repr_pretty_ = lambda tokenizer, printer, _cycle: printer.text(repr(tokenizer))  # type: ignore[attr-defined]


@pytest.fixture(scope="session")
def tokenizer(spiece_model: Path) -> QATokenizer:
    return load_tokenizer(spiece_model)


@pytest.fixture(scope="session")
def reader_folder(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_reader(tmp_path_factory.mktemp("reader"), tiny_folder)
