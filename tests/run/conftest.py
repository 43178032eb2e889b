"""Fixtures of the training room."""

from pathlib import Path

import pytest
import torch

from albertqa.data.reading import load_examples
from albertqa.windows.build import windows_in_memory
from albertqa.windows.store import WindowStore
from albertqa.windows.tokenizer import QATokenizer, load_tokenizer
from model.cases import save_albert


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    """Compute on one thread: small matrices are slower on more, and sums then have one order."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny_weights(tmp_path_factory: pytest.TempPathFactory, tiny_folder: Path) -> Path:
    """A tiny ALBERT with random weights and a span head."""
    return save_albert(tiny_folder, tmp_path_factory.mktemp("tiny-weights"))


@pytest.fixture(scope="session")
def tokenizer(tiny_folder: Path) -> QATokenizer:
    """The tiny ALBERT's tokenizer."""
    return load_tokenizer(tiny_folder)


@pytest.fixture(scope="session")
def store(tokenizer: QATokenizer) -> WindowStore:
    """Some 290 windows of up to 96 tokens, so that 50 steps of 8 go through an epoch and a half."""
    examples = load_examples("starter:train", limit=41)
    return windows_in_memory(examples, tokenizer, max_seq_length=96, doc_stride=32)
