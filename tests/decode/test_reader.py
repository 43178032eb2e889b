"""A trained model is found by its run or folder, reads as it was trained to, or is refused in one line."""

import shutil
from pathlib import Path

import pytest
import torch

from albertqa import files
from albertqa.cli import main
from albertqa.config import DeviceConfig
from albertqa.decode.reader import load_reader
from albertqa.decode.reader_settings import ReaderSettings
from albertqa.errors import AlbertQAError, ModelError, RunError, SettingsError, TokenizerError

from .cases import save_reader

CPU = DeviceConfig(device="cpu", mixed_precision="no")


def refusal(source: Path, kind: type[AlbertQAError], **settings: float) -> str:
    with pytest.raises(kind) as error:
        load_reader(source, CPU, **settings)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_folder_gives_model_and_tokenizer(reader_folder: Path) -> None:
    reader = load_reader(reader_folder, CPU)
    assert not reader.model.model.training
    assert (reader.model.device, reader.model.autocast_dtype) == (torch.device("cpu"), None)
    assert reader.tokenizer.vocab_size == reader.model.model.config.vocab_size


def test_a_run_is_its_best_model_then_its_final_one(reader_folder: Path, tmp_path: Path) -> None:
    (tmp_path / files.RUN_JSON).write_text("{}")
    message = f"{tmp_path}: this run has neither best/ nor final/ yet. Finish it: albertqa train --resume"
    assert refusal(tmp_path, RunError) == message
    for name, weight in ((files.FINAL, 1.0), (files.BEST, 2.0)):
        shutil.copytree(reader_folder, tmp_path / name)
        model = load_reader(tmp_path / name, CPU).model
        with torch.no_grad():
            model.model.get_parameter("qa_outputs.bias").fill_(weight)
        model.save(tmp_path / name)
        found = load_reader(tmp_path, CPU).model
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


def test_reader_settings_come_back_as_they_were_saved(tmp_path: Path) -> None:
    settings = ReaderSettings(
        max_seq_length=256, doc_stride=64, max_answer_length=12, version_2_with_negative=True,
        null_score_diff_threshold=-1.25,
    )  # fmt: skip
    settings.save(tmp_path)
    assert ReaderSettings.load(tmp_path) == settings


def test_a_model_of_another_tool_reads_as_the_recipe_says(reader_folder: Path) -> None:
    assert load_reader(reader_folder, CPU).settings == ReaderSettings() == ReaderSettings.load(reader_folder)
    assert ReaderSettings().version_2_with_negative is None


def test_settings_given_win_over_the_models_own(reader_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(reader_folder, tmp_path, dirs_exist_ok=True)
    ReaderSettings(max_seq_length=256, doc_stride=64, version_2_with_negative=True).save(tmp_path)
    found = load_reader(tmp_path, CPU, max_seq_length=200, version_2_with_negative=False, doc_stride=None).settings
    assert found == ReaderSettings(max_seq_length=200, doc_stride=64, version_2_with_negative=False)


REMEDY = "Put the file back as it was, or remove it"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (
            "{",
            "broken JSON at line 1 column 2: expecting property name enclosed in double quotes.",
        ),
        ("[1]", "expected an object, found list"),
        ('{"doc_stride": "64"}', f"expected a number as 'doc_stride', found \"64\". {REMEDY}"),
        ('{"max_seq_length": 90}', f"max_seq_length is 90, expected above doc_stride (128). {REMEDY}"),
        ('{"max_answer_length": 0}', f"max_answer_length is 0, expected at least 1. {REMEDY}"),
        (
            '{"null_score_diff_threshold": NaN}',
            f"NaN is no JSON value. {REMEDY}",
        ),
        (
            '{"version_2_with_negative": 1}',
            f"expected true or false or null as 'version_2_with_negative', found 1. {REMEDY}",
        ),
    ],
)
def test_damaged_reader_settings_are_one_line(reader_folder: Path, tmp_path: Path, content: str, expected: str) -> None:
    shutil.copytree(reader_folder, tmp_path, dirs_exist_ok=True)
    (tmp_path / files.READER_JSON).write_text(content)
    message = refusal(tmp_path, AlbertQAError)
    assert message.startswith(f"{tmp_path / files.READER_JSON}: {expected}")


def test_the_command_line_exits_with_2_on_damaged_reader_settings(
    reader_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(reader_folder, tmp_path, dirs_exist_ok=True)
    (tmp_path / files.READER_JSON).write_text("{}}")
    assert main(["answer", str(tmp_path), "--question", "Who?", "--context", "Rollo swam."]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert str(tmp_path / files.READER_JSON) in printed.err
