"""Hostile model folders cost one line: nothing of them is executed, nobody is asked, and nothing takes long.

Three hundred folders are made by damaging good ones in seeded random ways. The kept cases lie beside the real data.
"""

import random
import shutil
import sys
import time
from pathlib import Path

import pytest

from albertqa import cli
from albertqa.errors import ModelError
from albertqa.model.load import load_model
from benchmarks.processes import peak_bytes, reset_peak

from .families import CPU, JUDGES, judge
from .hostile import DAMAGES, MARKER

NUM_FOLDERS = 300
MOST_SECONDS = 10
MOST_GROWTH_BYTES = 500 * 2**20


@pytest.fixture(scope="module")
def good_folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A good folder of every family, beside them a module that may not be imported."""
    folders = {}
    for family in JUDGES:
        folders[family] = tmp_path_factory.mktemp(family)
        judge(family).save_pretrained(folders[family])
    return folders


def assert_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Open a folder; it must be refused in a line, quickly, and without running or asking anything."""

    def refuse_to_answer(*_: object) -> str:
        raise AssertionError("asked a question")

    monkeypatch.setattr("builtins.input", refuse_to_answer)
    monkeypatch.chdir(folder.parent)
    modules = set(sys.modules)
    reset_peak()
    memory = peak_bytes()
    begun = time.perf_counter()
    with pytest.raises(ModelError) as caught:
        load_model(folder, device=CPU, say=lambda _: None)
    assert time.perf_counter() - begun < MOST_SECONDS
    assert peak_bytes() - memory < MOST_GROWTH_BYTES
    assert not list(folder.parent.rglob(MARKER))
    assert "evil" not in set(sys.modules) - modules
    message = str(caught.value)
    assert message.startswith(f"{folder}: ")
    rest = message.removeprefix(f"{folder}: ")
    # One line: nothing of the folder reaches the terminal as it is.
    assert rest.isprintable()
    assert len(rest) < 1000
    return message


def test_every_good_folder_opens(good_folders: dict[str, Path]) -> None:
    for folder in good_folders.values():
        load_model(folder, device=CPU, needs_head=True)


@pytest.mark.parametrize("seed", range(NUM_FOLDERS))
def test_a_hostile_folder_is_refused_in_a_line(
    seed: int, good_folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = random.Random(seed)
    family = rng.choice(sorted(good_folders))
    folder = Path(shutil.copytree(good_folders[family], tmp_path / "folder"))
    # In turn, so that every kind comes.
    DAMAGES[seed % len(DAMAGES)](folder, family, rng)
    assert_refused(folder, monkeypatch)


def test_the_kept_folder_with_code_is_refused(
    real_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = real_data.parent / "cases" / "attack" / "automap"
    if not kept.is_dir():
        pytest.skip(f"no kept cases at {kept}")
    folder = tmp_path / "automap"
    folder.mkdir()
    for path in kept.iterdir():
        shutil.copyfile(path, folder / path.name)
    message = assert_refused(folder, monkeypatch)
    assert cli.main(["evaluate", str(folder), "starter:validation"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert not (folder / MARKER).exists()
    assert "it names code of its own (auto_map: " in message
    assert "which is never run" in message
