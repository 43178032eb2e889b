"""A trained model is found by its run or folder, and one that cannot answer is refused in one line."""

import shutil
from pathlib import Path

import pytest
import torch

from albertqa import files
from albertqa.decode.reader import load_reader
from albertqa.errors import AlbertQAError, ModelError, RunError, SettingsError, TokenizerError

from .cases import save_reader


def refusal(source: Path, kind: type[AlbertQAError], *, max_seq_length: int = 96) -> str:
    with pytest.raises(kind) as error:
        load_reader(source, max_seq_length=max_seq_length, device="cpu")
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_folder_gives_model_and_tokenizer(reader_folder: Path) -> None:
    reader = load_reader(reader_folder, max_seq_length=512, device="cpu", mixed_precision="no")
    assert reader.source == str(reader_folder)
    assert not reader.model.model.training
    assert (reader.model.device, reader.model.autocast_dtype) == (torch.device("cpu"), None)
    assert reader.tokenizer.vocab_size == reader.model.model.config.vocab_size


def test_a_run_stands_for_its_best_model_then_its_final_one(reader_folder: Path, tmp_path: Path) -> None:
    (tmp_path / files.RUN_JSON).write_text("{}")
    message = f"{tmp_path}: this run has neither best/ nor final/ yet. Finish it: albertqa train --resume"
    assert refusal(tmp_path, RunError) == message
    for name, weight in ((files.FINAL, 1.0), (files.BEST, 2.0)):
        shutil.copytree(reader_folder, tmp_path / name)
        model = load_reader(tmp_path / name, max_seq_length=96, device="cpu", mixed_precision="no").model
        with torch.no_grad():
            model.model.get_parameter("qa_outputs.bias").fill_(weight)
        model.save(tmp_path / name)
        found = load_reader(tmp_path, max_seq_length=96, device="cpu", mixed_precision="no").model
        assert found.model.get_parameter("qa_outputs.bias").tolist() == [weight, weight]


def test_a_model_without_a_trained_head_is_refused(tiny_folder: Path, tmp_path: Path) -> None:
    folder = save_reader(tmp_path, tiny_folder, with_head=False)
    assert refusal(folder, ModelError) == (
        f"{folder}: has no trained span head (qa_outputs). Train it first: albertqa train --model {folder}"
    )


def test_a_model_without_a_tokenizer_is_refused(reader_folder: Path, tmp_path: Path) -> None:
    for name in ("config.json", "model.safetensors"):
        shutil.copy(reader_folder / name, tmp_path)
    assert refusal(tmp_path, TokenizerError) == (
        f"{tmp_path}: no tokenizer there, expected tokenizer.json or spiece.model in {tmp_path}"
    )


def test_a_window_longer_than_the_models_positions_is_refused(reader_folder: Path) -> None:
    assert refusal(reader_folder, SettingsError, max_seq_length=513) == (
        f"max_seq_length is 513, but {reader_folder} has positions for only 512 tokens. Use --max-seq-length 512"
    )
