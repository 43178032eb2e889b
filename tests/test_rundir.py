"""Files of a run are whole or absent, and say what is wrong with them."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from albertqa import files
from albertqa.errors import RunError
from albertqa.rundir import held, is_held, model_folder, read_metrics, sync_folder, write_json, write_text


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


def metrics(run: Path, text: str) -> Path:
    (run / files.METRICS_JSONL).write_text(text)
    return run


def test_the_record_is_read_line_by_line(tmp_path: Path) -> None:
    assert list(read_metrics(metrics(tmp_path, '{"step": 1}\n{"step": 2}\n'))) == [{"step": 1}, {"step": 2}]
    assert list(read_metrics(metrics(tmp_path, ""))) == []


def test_a_last_line_cut_short_is_left_out(tmp_path: Path) -> None:
    assert list(read_metrics(metrics(tmp_path, '{"step": 1}\n{"step": 2, "train_lo'))) == [{"step": 1}]


def test_a_damaged_line_before_the_last_is_named(tmp_path: Path) -> None:
    run = metrics(tmp_path, '{"step": 1}\n{"st\n{"step": 3}\n')
    with pytest.raises(RunError, match=r"metrics\.jsonl: line 2 is damaged \("):
        list(read_metrics(run))


@pytest.mark.parametrize("line", ["5", "null", "[]", '"step"'])
def test_a_line_that_is_no_object_is_named(tmp_path: Path, line: str) -> None:
    run = metrics(tmp_path, f'{{"step": 1}}\n{line}\n')
    with pytest.raises(RunError, match=r"metrics\.jsonl: line 2: expected an object, found "):
        list(read_metrics(run))


def test_bytes_that_are_no_text_are_a_damaged_line(tmp_path: Path) -> None:
    (tmp_path / files.METRICS_JSONL).write_bytes(b'{"step": 1}\n{"step\xff": 2}\n{"step": 3}\n')
    with pytest.raises(RunError, match=r"metrics\.jsonl: line 2 is damaged \('utf-8' codec"):
        list(read_metrics(tmp_path))


def test_a_folder_without_a_record_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(RunError) as caught:
        list(read_metrics(tmp_path))
    assert str(caught.value) == f"{tmp_path}: no metrics.jsonl there, expected a run directory of 'albertqa train'"


def add_model(run: Path, name: str) -> None:
    (run / name).mkdir()
    (run / name / "config.json").write_text("{}")


def test_a_run_stands_for_its_best_model_then_its_final_one(tmp_path: Path) -> None:
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
def test_what_is_no_run_is_left_as_it_is(source: str) -> None:
    assert model_folder(source) == source


def test_a_run_is_held_by_one_process_and_let_go_with_it(tmp_path: Path) -> None:
    assert is_held(tmp_path) is None
    script = (
        "import pathlib, sys, time; from albertqa import files\n"
        "with locked(pathlib.Path(sys.argv[1])): print(flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        assert is_held(tmp_path) is True
        with pytest.raises(RunError, match="another process is training there"), held(tmp_path):
            pass
        holder.kill()
    assert is_held(tmp_path) is False
    with held(tmp_path):
        assert is_held(tmp_path) is True


def test_where_there_are_no_locks_a_run_is_not_held_but_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(_: object) -> None:
        raise NotImplementedError("FileSystem does not appear to support flock; use SoftFileLock instead")

    monkeypatch.setattr(rundir.FileLock, "_acquire", no_locks)
    with held(tmp_path):
        (tmp_path / files.LOCK).touch()
        assert is_held(tmp_path) is None
