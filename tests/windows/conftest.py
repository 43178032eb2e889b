"""Tokenizers and data sets that several tests of this room share."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tokenizers import Tokenizer

from albertqa.data.example import Example
from albertqa.data.reading import load_examples
from albertqa.windows.build import build_windows
from albertqa.windows.store import WindowStore
from albertqa.windows.tokenizer import QATokenizer, load_tokenizer

from .cases import starter_examples

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


# Hypothesis prints a dataclass by its fields: here, the whole vocabulary.
QATokenizer._repr_pretty_ = lambda tokenizer, printer, _cycle: printer.text(repr(tokenizer))  # type: ignore[attr-defined]


@pytest.fixture(scope="session")
def tokenizer(spiece_model: Path) -> QATokenizer:
    return load_tokenizer(spiece_model)


@pytest.fixture(scope="session")
def starter_contexts() -> list[str]:
    return list(dict.fromkeys(example.context for example in starter_examples()))


@pytest.fixture(scope="session")
def real_spiece(real_data: Path) -> Path:
    return real_data / "albert" / "spiece.model"


@pytest.fixture(scope="session")
def real_tokenizer(real_spiece: Path) -> QATokenizer:
    return load_tokenizer(real_spiece)


@pytest.fixture(scope="session")
def real_saved_folder(real_tokenizer: QATokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ALBERT's tokenizer as a trained model's folder holds it."""
    folder = tmp_path_factory.mktemp("saved-tokenizer")
    real_tokenizer.save(folder)
    return folder


@pytest.fixture(scope="session")
def real_transformers(real_saved_folder: Path) -> "PreTrainedTokenizerBase":
    """What Transformers makes of that folder."""
    from transformers import AutoTokenizer

    loaded: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(str(real_saved_folder))
    return loaded


@pytest.fixture(scope="session")
def without_digit_comma_rule(real_tokenizer: QATokenizer) -> Tokenizer:
    """ALBERT's tokenizer that may glue a comma to digits."""
    parts = json.loads(real_tokenizer.backend.to_str())
    for piece in parts["model"]["vocab"]:
        if len(piece[0]) > 1 and piece[0][-1] == "," and piece[0][-2].isdigit():
            piece[1] += 100
    return Tokenizer.from_str(json.dumps(parts))


@pytest.fixture(scope="session")
def dev_v1(real_data: Path) -> list[Example]:
    return load_examples(real_data / "squad" / "dev-v1.1.json")


@pytest.fixture(scope="session")
def dev_v1_windows(
    dev_v1: list[Example], real_tokenizer: QATokenizer, tmp_path_factory: pytest.TempPathFactory
) -> WindowStore:
    """SQuAD's dev v1.1 at 384/128, in the cache that every test uses."""
    return build_windows(dev_v1, real_tokenizer, cache=tmp_path_factory.getbasetemp() / "cache" / "windows")
