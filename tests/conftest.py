"""Fixtures that every test may use."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from albertqa.data.reading import load_examples
from albertqa.data.starter import starter_file
from albertqa.windows.tokenizer import SPIECE_MODEL
from vocabulary import train_spiece

# A busy machine makes an example slow, not wrong.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")

TINY_ALBERT = {
    "architectures": ["AlbertForQuestionAnswering"],
    "model_type": "albert",
    "embedding_size": 16,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_hidden_groups": 1,
    "inner_group_num": 1,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "hidden_act": "gelu_new",
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
    "pad_token_id": 0,
    "bos_token_id": 2,
    "eos_token_id": 3,
}


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data files, or a skip with its reason."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("ALBERTQA_DATA", default))
    if not (folder / "squad").is_dir():
        pytest.skip(f"no real data at {folder} (set ALBERTQA_DATA)")
    return folder


@pytest.fixture(scope="session")
def spiece_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SentencePiece model of ALBERT's form with 1,000 pieces, trained on the bundled starter set."""
    folder = tmp_path_factory.mktemp("spiece")
    contexts = dict.fromkeys(example.context for example in load_examples(starter_file("train")))
    return train_spiece(folder, (context.lower() for context in contexts))


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory, spiece_model: Path) -> Path:
    """A model folder without weights: config of a tiny ALBERT and its tokenizer, for training from scratch."""
    folder = tmp_path_factory.mktemp("tiny-albert")
    (folder / SPIECE_MODEL).write_bytes(spiece_model.read_bytes())
    (folder / "config.json").write_text(json.dumps({**TINY_ALBERT, "vocab_size": 1000}))
    return folder


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Compute on one thread: small matrices are slower on more, and sums then have one order."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep tests out of the user's cache; one cache for the session, so that stores are built once."""
    monkeypatch.setenv("ALBERTQA_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
