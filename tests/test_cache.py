"""What is cached is built once, whole or absent."""

import threading
from collections.abc import Callable
from pathlib import Path

import platformdirs
import pytest

from albertqa.files import build_once, cache_folder

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
    debris = tmp_path / "store.killed"
    debris.mkdir()
    (debris / "half").write_text("built")

    def write(folder: Path) -> None:
        (folder / "whole").touch()

    build_once(tmp_path / "store", is_complete=lambda folder: (folder / "whole").exists(), write=write)
    assert not debris.exists()
    assert (tmp_path / "store" / "whole").exists()
