"""A run directory is read as a whole, and trained in by one process."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from albertqa import files
from albertqa.errors import RunError
from albertqa.rundir import directory
from albertqa.rundir.directory import is_locked, load_run, locked

RECORDED = Path(__file__).parents[1] / "health" / "recorded"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A copy of a recorded run that a test may damage."""
    return Path(shutil.copytree(RECORDED / "starter-healthy", tmp_path / "run"))


def change(path: Path, *names_and_value: Any) -> None:
    *names, value = names_and_value
    content = inner = json.loads(path.read_text())
    for name in names[:-1]:
        inner = inner[name]
    inner[names[-1]] = value
    path.write_text(json.dumps(content))


@pytest.mark.parametrize("name", sorted(path.name for path in RECORDED.iterdir()))
def test_recorded_runs_of_every_version_are_read(name: str) -> None:
    run = load_run(RECORDED / name)
    assert [row.step for row in run.steps] == list(range(1, run.step + 1))
    assert run.step <= run.facts.plan.total_steps
    assert run.facts.data.train.questions > 0


@pytest.mark.parametrize(
    ("names", "value", "message"),
    [
        (
            ("plan", "total_steps"),
            0,
            "expected a number of 1 or more as 'plan.total_steps', found 0. Put the file",
        ),
        (("plan", "total_steps"), "ten", "expected a number as 'plan.total_steps', found \"ten\". Put the file back"),
        (("data", "train"), 5, "expected an object as 'data.train', found 5. Put the file back"),
        (("data", "train", "windows"), None, "expected a number as 'data.train.windows', found null. Put the file"),
        (("status",), "lost", "expected status to be one of running, finished, stopped early, interrupted, failed"),
        (("model",), [], "expected an object as 'model', found []. Put the file back"),
    ],
    ids=str,
)
def test_a_damaged_run_json_is_one_line(run: Path, names: tuple[str, ...], value: Any, message: str) -> None:
    change(run / files.RUN_JSON, *names, value)
    with pytest.raises(RunError) as caught:
        load_run(run)
    assert str(caught.value).startswith(f"{run / files.RUN_JSON}: {message}")
    assert "\n" not in str(caught.value)


def test_a_missing_fact_is_named(run: Path) -> None:
    content = json.loads((run / files.RUN_JSON).read_text())
    del content["data"]["validation"]["questions"]
    (run / files.RUN_JSON).write_text(json.dumps(content))
    with pytest.raises(RunError, match=r"run\.json: expected 'data\.validation\.questions', found none\."):
        load_run(run)


def test_missing_lines_are_seen(run: Path) -> None:
    lines = (run / files.METRICS_JSONL).read_bytes().splitlines(keepends=True)
    (run / files.METRICS_JSONL).write_bytes(b"".join(lines[:100]))
    with pytest.raises(RunError, match=r"metrics\.jsonl: expected the 250 steps of run\.json \(finished\), found 100;"):
        load_run(run)


def test_scores_are_numbers(run: Path) -> None:
    (run / files.EVAL_JSON).write_text('{"exact": 1.0, "f1": "high", "loss": 1, "questions": 2, "windows": 3}')
    with pytest.raises(RunError, match=r"eval\.json: expected a number as .*, found \"high\". Put the file back as it"):
        load_run(run)


def test_a_folder_without_a_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunError) as caught:
        load_run(tmp_path)
    assert str(caught.value) == f"{tmp_path}: no run.json there, expected a run directory of 'albertqa train'"


def test_settings_that_were_removed_since_are_ignored(run: Path) -> None:
    (run / files.CONFIG_TOML).write_text("cuda_graphs = true\nema_decay = 0.5\nseed = 7\n")
    assert load_run(run).settings.seed == 7


def test_a_run_is_locked_by_one_process_and_let_go_with_it(tmp_path: Path) -> None:
    assert is_locked(tmp_path) is None
    script = (
        "import pathlib, sys, time; from albertqa.rundir.directory import locked\n"
        "with locked(pathlib.Path(sys.argv[1])): print(flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert is_locked(tmp_path) is True
        with pytest.raises(RunError, match="another process is training there"), locked(tmp_path):
            pass
        process.kill()
    assert is_locked(tmp_path) is False
    with locked(tmp_path):
        assert is_locked(tmp_path) is True


def test_where_there_are_no_locks_a_run_is_not_locked_but_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(_: object) -> None:
        raise NotImplementedError("FileSystem does not appear to support flock; use SoftFileLock instead")

    monkeypatch.setattr(directory.FileLock, "_acquire", no_locks)
    with locked(tmp_path):
        (tmp_path / files.LOCK).touch()
        assert is_locked(tmp_path) is None
