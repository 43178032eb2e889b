"""Whoever brings a tokenizer that cannot be used is told in one line where, what was expected, and what to do."""

import json
import re
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest
from sentencepiece import sentencepiece_model_pb2
from tokenizers import Tokenizer, models, processors

from albertqa.errors import TokenizerError
from albertqa.windows.tokenizer import QATokenizer, load_tokenizer

from .cases import bert_like, save_in

REMEDY = "Use the Hub's tokenizer.json of albert/albert-base-v2 or the bare spiece.model"
PROBE, PROBE_PIECES = 'a (b) c "d" - e. 5, 1976, x', '▁a▁(b)▁c▁"d"▁-▁e.▁5,▁1976,▁x'


def refusal(source: Path | str) -> str:
    """The message of a refused tokenizer, which is one line."""
    with pytest.raises(TokenizerError) as error:
        load_tokenizer(source)
    message = str(error.value)
    assert "\n" not in message
    return message


@pytest.fixture
def _offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))


@pytest.mark.usefixtures("_offline")
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("no/such-model", "LocalEntryNotFoundError"),
        ("a/b/no such folder", "HFValidationError"),
    ],
)
def test_a_name_that_is_neither_here_nor_reachable(name: str, reason: str) -> None:
    assert refusal(name) == (
        f"{name}: no such file or folder, and it cannot be fetched from the Hub ({reason}). "
        "Give a local folder with tokenizer.json or spiece.model, or connect to a network"
    )


def test_an_empty_folder(tmp_path: Path) -> None:
    assert refusal(tmp_path) == f"{tmp_path}: no tokenizer there, expected tokenizer.json or spiece.model in {tmp_path}"


def test_a_file_that_is_no_sentencepiece_model(tmp_path: Path) -> None:
    path = tmp_path / "spiece.model"
    path.write_bytes(b"\x80\x04\x95 no protocol buffer")
    assert refusal(path) == f"{path}: not a SentencePiece model (expected ALBERT's spiece.model)"
    assert refusal(tmp_path) == f"{path}: not a SentencePiece model (expected ALBERT's spiece.model)"


def test_an_empty_file_and_a_model_of_another_kind(tmp_path: Path, spiece_model: Path) -> None:
    proto = sentencepiece_model_pb2.ModelProto()
    proto.ParseFromString(spiece_model.read_bytes())
    proto.trainer_spec.model_type = sentencepiece_model_pb2.TrainerSpec.BPE
    for content in (b"", proto.SerializeToString()):
        path = tmp_path / "spiece.model"
        path.write_bytes(content)
        assert refusal(path) == f"{path}: not a unigram SentencePiece model (expected ALBERT's spiece.model)"


def test_a_sentencepiece_model_without_alberts_special_tokens(tmp_path: Path, spiece_model: Path) -> None:
    proto = sentencepiece_model_pb2.ModelProto()
    proto.ParseFromString(spiece_model.read_bytes())
    for piece in proto.pieces:
        piece.piece = {"[CLS]": "<s>", "[SEP]": "</s>"}.get(piece.piece, piece.piece)
    path = tmp_path / "xlnet.model"
    path.write_bytes(proto.SerializeToString())
    assert refusal(path) == f"{path}: lacks the special tokens ['[CLS]', '[SEP]']"


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json", "config.json"])
def test_json_cut_short(tmp_path: Path, tokenizer: QATokenizer, name: str) -> None:
    tokenizer.save(tmp_path)
    if name == "config.json":
        (tmp_path / "tokenizer_config.json").unlink()
    (tmp_path / name).write_text('{"model": ')
    config = tmp_path / "tokenizer_config.json"
    if name == "tokenizer.json":
        config.unlink()
        (tmp_path / "config.json").write_text('{"model_type": "albert"}')
    expected = f"{tmp_path / name}: not readable as JSON (broken JSON at line 1 column 11: expecting value)"
    assert refusal(tmp_path) == expected


def test_json_that_is_no_object(tmp_path: Path, tokenizer: QATokenizer) -> None:
    tokenizer.save(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text("[1]")
    assert refusal(tmp_path) == f"{tmp_path / 'tokenizer_config.json'}: expected a JSON object, found list"


@pytest.mark.parametrize("content", ["{}", '{"model": null}', '{"model": ', '{"version": "1.0", "model": []}'])
@pytest.mark.parametrize("config", [{"tokenizer_class": "AlbertTokenizer"}, {}])
def test_json_that_is_no_tokenizer(tmp_path: Path, content: str, config: dict[str, str]) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "albert"}')
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    (tmp_path / "tokenizer.json").write_text(content)
    path = re.escape(str(tmp_path / "tokenizer.json"))
    assert re.fullmatch(rf"{path}: not (a tokenizer file|readable as JSON) \(.+\)", refusal(tmp_path))


def test_a_tokenizer_without_a_post_processor(tmp_path: Path, starter_contexts: list[str]) -> None:
    parts = json.loads(bert_like(starter_contexts).to_str())
    parts["post_processor"] = None
    folder = save_in(tmp_path, Tokenizer.from_str(json.dumps(parts)))
    assert refusal(folder) == (
        f"{folder}: the tokenizer puts no [CLS] before and no [SEP] between question and context; "
        "its tokenizer.json lacks the post-processor"
    )


@pytest.mark.parametrize(
    "model",
    [models.BPE({}, []), models.WordPiece({"x": 0}, unk_token="[UNK]")],
    ids=["drops what it does not know", "cannot say what it does not know"],
)
def test_a_tokenizer_that_knows_no_letters(tmp_path: Path, model: Any) -> None:
    folder = save_in(tmp_path, Tokenizer(model))
    start = f"{folder}: the tokenizer gives no tokens for a plain letter; it is damaged or empty"
    assert refusal(folder).startswith(start)


def test_a_tokenizer_that_python_code_defines(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "esm"}')
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "EsmTokenizer"}')
    (tmp_path / "vocab.txt").write_text("<cls>\n<pad>\n<eos>\n<unk>\nA\nB\n")
    assert refusal(tmp_path) == (
        f"{tmp_path}: tokenizer_class is 'EsmTokenizer', which needs a tokenizer.json here. "
        "Write one with Transformers: AutoTokenizer.from_pretrained(...).save_pretrained(...)"
    )


def test_a_vocabulary_without_special_tokens(tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_text("[UNK]\na\n")
    assert refusal(tmp_path) == f"{tmp_path / 'vocab.txt'}: lacks the special tokens ['[CLS]', '[SEP]']"


def test_an_albert_without_segment_ids(tmp_path: Path, tokenizer: QATokenizer) -> None:
    tokenizer.save(tmp_path)
    backend = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:0 [SEP]:0", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    save_in(tmp_path, backend)
    assert refusal(tmp_path) == (
        f"{tmp_path}: segment ids of question and context are (0, 0), expected (0, 1). {REMEDY}"
    )


def test_alberts_tokenizer_as_transformers_converts_it(tmp_path: Path, spiece_model: Path) -> None:
    _saved_by_transformers(spiece_model, tmp_path)
    assert refusal(tmp_path) == _moved_spaces(tmp_path, '▁a(▁b)▁c▁"d"▁-▁e.▁5,▁1976,▁x')


@pytest.mark.real_data
def test_the_real_albert_tokenizer_as_transformers_converts_it(tmp_path: Path, real_spiece: Path) -> None:
    _saved_by_transformers(real_spiece, tmp_path)
    assert refusal(tmp_path) == _moved_spaces(tmp_path, '▁a(▁b)▁c"▁d"-▁e.▁5,▁1976,▁x')


@pytest.mark.real_data
def test_alberts_tokenizer_without_the_digit_comma_rule(tmp_path: Path, without_digit_comma_rule: Tokenizer) -> None:
    folder = save_in(tmp_path, without_digit_comma_rule)
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "AlbertTokenizer"}')
    message = refusal(folder)
    assert message.startswith(f"{folder}: not ALBERT's tokenization: ")
    assert "1976," in message
    assert message.endswith(REMEDY)


def _saved_by_transformers(spiece: Path, folder: Path) -> None:
    """Do what a user does who fine-tunes from ``spiece.model`` with Transformers."""
    from transformers import AlbertTokenizer

    source = folder / "source"
    source.mkdir()
    (source / "spiece.model").write_bytes(spiece.read_bytes())
    AlbertTokenizer.from_pretrained(str(source)).save_pretrained(str(folder))


def _moved_spaces(folder: Path, found: str) -> str:
    return (
        f"{folder}: loses or moves spaces: '{PROBE}' becomes '{found}', "
        f"expected '{PROBE_PIECES}' (punctuation was turned into added tokens). {REMEDY}"
    )
