"""Files are whole or absent, and what is cached is built once."""

import json
import math
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import platformdirs
import pytest

from albertqa import files
from albertqa.errors import RunError
from albertqa.files import (
    build_once,
    cache_folder,
    free_beside,
    model_folder,
    sync_folder,
    write_folder,
    write_json,
    write_text,
)

DONE = "done"


def is_complete(folder: Path) -> bool:
    return (folder / DONE).is_file()


def writer(text: str, calls: list[str]) -> Callable[[Path], None]:
    def write(building: Path) -> None:
        calls.append(text)
        assert not any(building.iterdir())
        (building / DONE).write_text(text)

    return write


def test_the_cache_is_where_the_environment_or_the_system_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ALBERTQA_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    for value in (None, ""):
        if value is None:
            monkeypatch.delenv("ALBERTQA_CACHE")
        else:
            monkeypatch.setenv("ALBERTQA_CACHE", value)
        assert cache_folder() == Path(platformdirs.user_cache_dir("albertqa"))


def test_a_folder_is_built_once(tmp_path: Path) -> None:
    calls: list[str] = []
    folder = tmp_path / "deep" / "down" / "folder"
    for text in ("first", "second"):
        assert build_once(folder, is_complete=is_complete, write=writer(text, calls)) == folder
    assert (calls, (folder / DONE).read_text()) == (["first"], "first")


def test_an_incomplete_folder_is_replaced_as_a_whole(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "left over").write_text("x")
    build_once(folder, is_complete=is_complete, write=writer("new", []))
    assert sorted(path.name for path in folder.iterdir()) == [DONE]


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
def test_a_failed_build_leaves_neither_folder_nor_pieces_nor_lock(tmp_path: Path, error: BaseException) -> None:
    folder = tmp_path / "folder"

    def fail(building: Path) -> None:
        (building / "half").write_text("x")
        raise error

    with pytest.raises(type(error)):
        build_once(folder, is_complete=is_complete, write=fail)
    assert [path for path in tmp_path.iterdir() if path.is_dir()] == []
    build_once(folder, is_complete=is_complete, write=writer("later", []))
    assert (folder / DONE).read_text() == "later"


def test_nobody_sees_a_folder_before_it_is_whole(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    seen = []

    def write(building: Path) -> None:
        seen.append(folder.exists())
        (building / DONE).write_text("x")
        seen.append(folder.exists())

    build_once(folder, is_complete=is_complete, write=write)
    assert seen == [False, False]
    assert folder.is_dir()


def test_many_at_once_build_one(tmp_path: Path) -> None:
    calls: list[str] = []
    folder = tmp_path / "folder"
    begin = threading.Barrier(6)

    def run(number: int) -> None:
        begin.wait()
        build_once(folder, is_complete=is_complete, write=writer(str(number), calls))

    threads = [threading.Thread(target=run, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calls) == 1
    assert (folder / DONE).read_text() == calls[0]


def test_what_a_killed_process_left_half_built_is_cleared_away(tmp_path: Path) -> None:
    debris = tmp_path / ".store.building"
    debris.mkdir()
    (debris / "half").write_text("built")

    def write(folder: Path) -> None:
        (folder / "whole").touch()

    build_once(tmp_path / "store", is_complete=lambda folder: (folder / "whole").exists(), write=write)
    assert not debris.exists()
    assert (tmp_path / "store" / "whole").exists()


def test_a_file_is_written_as_utf_8(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "Zürich\n東京\n")
    assert path.read_bytes() == "Zürich\n東京\n".encode()


def test_a_file_written_again_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    for text in ("first, and longer", "second"):
        write_text(path, text)
    assert path.read_text() == "second"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["fsync", "umask"])
def test_a_failed_write_leaves_the_file_before_and_nothing_else(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "before")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, name, fail)
        with pytest.raises(OSError, match="No space left"):
            write_text(path, "after")
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_a_file_is_as_readable_as_any_other(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        write_text(tmp_path / "ours", "")
        (tmp_path / "plain").write_text("")
        assert os.umask(mask) == mask
    finally:
        os.umask(before)
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_json_is_indented_and_keeps_its_letters(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"é": [1, 2.5, None]})
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert json.loads(text) == {"é": [1, 2.5, None]}
    assert '  "é": [' in text
    assert text.endswith("}\n")


def test_json_takes_no_number_that_is_none(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, 1)
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, {"f1": math.nan})
    assert json.loads(path.read_text()) == 1


def test_a_folder_is_brought_to_the_disk_with_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_text(name)
    (tmp_path / "folder").mkdir()
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda handle: synced.append(os.fstat(handle).st_ino))
    sync_folder(tmp_path)
    assert sorted(synced[:-1]) == sorted((tmp_path / name).stat().st_ino for name in ("a", "b"))
    assert synced[-1] == tmp_path.stat().st_ino
    with pytest.raises(FileNotFoundError):
        sync_folder(tmp_path / "missing")


def test_a_folder_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    def write(text: str) -> Callable[[Path], None]:
        return lambda building: write_text(building / "a", text)

    def fail(building: Path) -> None:
        write_text(building / "a", "half")
        raise OSError(28, "No space left on device")

    folder = tmp_path / "best"
    for text in ("first", "second"):
        write_folder(folder, write(text))
    with pytest.raises(OSError, match="No space left"):
        write_folder(folder, fail)
    assert (folder / "a").read_text() == "second"
    assert list(tmp_path.iterdir()) == [folder]


def test_a_free_name_is_beside_the_run(tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert free_beside(run, "copy") == tmp_path / "run-copy"
    (tmp_path / "run-copy").mkdir()
    assert free_beside(run, "copy") == tmp_path / "run-copy-2"


def add_model(run: Path, name: str) -> None:
    (run / name).mkdir()
    (run / name / "config.json").write_text("{}")


def test_a_run_means_its_best_model_then_its_final_one(tmp_path: Path) -> None:
    (tmp_path / files.RUN_JSON).write_text("{}")
    with pytest.raises(RunError) as caught:
        model_folder(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path}: this run has neither best/ nor final/ yet. Finish it: albertqa train --resume"
    )
    add_model(tmp_path, files.FINAL)
    assert model_folder(tmp_path) == str(tmp_path / "final")
    add_model(tmp_path, files.BEST)
    assert model_folder(str(tmp_path)) == str(tmp_path / "best")


@pytest.mark.parametrize("source", ["starter", "albert/albert-base-v2", "some/folder"])
def test_any_other_source_is_left_as_it_is(source: str) -> None:
    assert model_folder(source) == source


def test_what_killed_processes_left_half_written_is_removed_and_nothing_else(tmp_path: Path) -> None:
    kept = [".lock", ".quickstart", ".gitignore", ".notes.json", "run.json", ".building", "a.building"]
    for name in kept:
        (tmp_path / name).touch()
    (tmp_path / "best").mkdir()
    killed = "import os, pathlib, sys; from albertqa import files\nos.fsync = lambda _: os._exit(9)\n"
    for call in ("write_json(path / 'run.json', {})", "write_folder(path / 'best', lambda f: (f / 'x').touch())"):
        code = f"{killed}path = pathlib.Path(sys.argv[1]); files.{call}"
        assert subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False).returncode == 9
    assert len(list(tmp_path.iterdir())) == len(kept) + 3
    files.remove_leftovers(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {*kept, "best"}
    files.remove_leftovers(tmp_path / "none")
