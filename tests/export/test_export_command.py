"""The command: what it writes, what it measures, what it refuses, and that it leaves nothing half-written."""

import json
import os
import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from albertqa import cli
from albertqa.decode.reader_settings import ReaderSettings
from albertqa.errors import AlbertQAError
from albertqa.export.exporting import export
from albertqa.export.gate import LIMITS, Measured
from albertqa.scoring.interval import Interval
from model.families import judge

from .conftest import DATA

pytestmark = pytest.mark.usefixtures("one_thread")

FILES = {"README.md", "config.json", "onnx", "reader.json", "tokenizer.json", "tokenizer_config.json"}


def names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def test_the_folder_is_complete(exported: dict[str, Path], reader_folder: Path) -> None:
    assert names(exported["fp32"]) == {*FILES, "onnx/model.onnx"}
    assert names(exported["fast"]) == {*FILES, "onnx/model.onnx", "onnx/model_quantized.onnx"}
    config = json.loads((exported["fp32"] / "config.json").read_text())
    assert config == json.loads((reader_folder / "config.json").read_text())
    assert ReaderSettings.load(exported["fp32"]) == ReaderSettings()
    card = (exported["faithful"] / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: onnx\n")
    assert re.search(r"On 20 questions in \d+ windows of `starter:validation`", card)
    rows = [line.split(" | ")[0] for line in card.splitlines() if line.startswith("| ")]
    assert rows == ["| form", "| ---", "| as trained", "| int8, small: weights in int8, computed in fp32"]


def test_the_command_measures_and_prints(run_export: "Run", reader_folder: Path, tmp_path: Path) -> None:
    options = ["--format", "onnx-int8", "--data", DATA, "--max-eval-examples", "20", "--max-f1-loss", "100", "--json"]
    code, out, err = run_export(reader_folder, "--output", tmp_path / "out", *options)
    assert code == 0, err
    found = json.loads(out)
    assert found["folder"] == str(tmp_path / "out")
    assert found["difference"] < 1e-4
    whole, rounded = found["files"]
    assert (whole["kind"], rounded["kind"]) == ("fp32", "faithful")
    assert rounded["same_percent"] >= 95
    assert rounded["megabytes"] < whole["megabytes"]
    assert "fp32 " in err
    assert "faithful" in err


def test_where_too_much_is_lost_the_most_sensitive_matrices_stay_fp32_or_nothing_is_exported(
    reader_folder: Path, tmp_path: Path
) -> None:
    said: list[str] = []
    options = {"form": "onnx-int8", "int8": "fast", "data": [DATA], "limit": 20, "say": said.append}
    # No int8 has more than all spans in common with fp32.
    with pytest.raises(
        AlbertQAError, match=r"int8 \(fast\) loses too much on starter:validation, even with 4 of 8 "
    ) as caught:
        export(reader_folder, tmp_path / "out", least_same_percent=100.1, **options)
    assert "Nothing was exported." in str(caught.value)
    assert names(tmp_path) == set()
    tried = [line.partition("fp32: ")[2] for line in said if line.startswith("fast")]
    assert [len(one.split(", ")) if one else 0 for one in tried] == [0, 1, 2, 4]
    assert tried[2].startswith(tried[1])


def test_limits() -> None:
    def measured(change: float, same: float) -> Measured:
        return Measured("faithful", (), 12.0, 50.0, 60.0, Interval(change, change - 1, change + 1), same)

    limits = LIMITS["faithful"]
    assert measured(-0.5, 95.0).is_within(limits)
    assert not measured(-0.51, 99.0).is_within(limits)
    assert not measured(0.3, 94.9).is_within(limits)
    assert measured(2.0, 95.0).is_within(limits)
    assert (limits.f1_loss, limits.same_percent, LIMITS["fast"].f1_loss, LIMITS["fast"].same_percent) == (
        0.5,
        95,
        1,
        80,
    )


def test_bad_input_gets_one_line_and_leaves_nothing(
    run_export: "Run", reader_folder: Path, exported: dict[str, Path], tmp_path: Path
) -> None:
    def refusal(*arguments: object) -> str:
        code, out, err = run_export(*arguments)
        assert (code, out) == (2, "")
        assert err.count("\n") == 1
        return err

    out = ["--output", tmp_path / "out"]
    (tmp_path / "empty").mkdir()
    assert "no config.json there" in refusal(tmp_path / "empty", *out)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.json").write_text('{"model_type": "gpt2"}')
    assert 'model_type is "gpt2", expected one of albert' in refusal(tmp_path / "other", *out)
    headless = tmp_path / "headless"
    judge("bert").bert.save_pretrained(headless)
    (headless / "tokenizer.json").write_bytes((reader_folder / "tokenizer.json").read_bytes())
    assert "albertqa" in refusal(headless, *out)
    assert "has no validation data that int8 could be measured on. Give some with --data" in refusal(
        reader_folder, *out, "--format", "onnx-int8"
    )
    assert "is there already, and is no exported model" in refusal(reader_folder, "--output", reader_folder)
    assert "--max-f1-loss: expected from 0 to 100, found -1" in refusal(reader_folder, *out, "--max-f1-loss", "-1")
    assert "no onnx" not in refusal(exported["fp32"], *out)
    assert not (tmp_path / "out").exists()


def test_a_full_disk_leaves_nothing_behind_and_an_earlier_export_as_it_was(reader_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "-m", "albertqa", "export", str(reader_folder), "--output", str(out)]

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))

    done = subprocess.run(command, capture_output=True, text=True, check=False, preexec_fn=limited, env={**os.environ})
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
    export(reader_folder, out)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    done = subprocess.run(command, capture_output=True, text=True, check=False, preexec_fn=limited)
    assert done.returncode == 2
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    assert list(tmp_path.iterdir()) == [out]


class Run:
    """Runs the command in this process; returns exit code, stdout, stderr."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *arguments: object) -> tuple[int, str, str]:
        code = cli.main(["export", *(str(argument) for argument in arguments)])
        captured = self._capsys.readouterr()
        return code, captured.out, captured.err


@pytest.fixture
def run_export(capsys: pytest.CaptureFixture[str]) -> Run:
    return Run(capsys)
