"""The run directory: one table of its files, and how they are written.

Everything downstream of training (report, doctor, answer) reads a run through these names.
"""

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from albertqa.errors import RunError

CONFIG_TOML = "config.toml"
RUN_JSON = "run.json"
METRICS_JSONL = "metrics.jsonl"
CHECKPOINTS = "checkpoints"
BEST = "best"
FINAL = "final"
PREDICTIONS_JSON = "predictions.json"
NBEST_JSON = "nbest_predictions.json"
NULL_ODDS_JSON = "null_odds.json"
EVAL_JSON = "eval.json"
HEALTH_JSON = "health.json"
LOCK = ".lock"
# So long may somebody who only looks (`is_held`) keep a run from beginning.
_LOOK_SECONDS = 1.0

PUT_BACK = "Put the file back as it was, or train anew in another --output-dir"
"""What to do about a damaged file of a run."""


def free_beside(run: Path, suffix: str) -> Path:
    """Give the first name beside a run that is not taken: RUN-SUFFIX, else RUN-SUFFIX-2 and so on.

    Args:
        run: The run directory, as the user names it; it need not be there.
        suffix: What to add to its name.
    """
    run = run if run.name not in {"", ".."} else run.resolve()
    beside, number = run.with_name(f"{run.name}-{suffix}"), 2
    while beside.exists():
        beside, number = run.with_name(f"{run.name}-{suffix}-{number}"), number + 1
    return beside


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all (UTF-8)."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file whole or not at all.

    Args:
        path: Its place; the folder exists.
        content: Its content.
    """
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        make_readable(Path(temporary))
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def make_readable(path: Path) -> None:
    """Give a file that a library made private the rights of any other file the user makes."""
    mask = os.umask(0)
    os.umask(mask)
    path.chmod(0o666 & ~mask)


def write_json(path: Path, value: Any) -> None:
    """Write JSON whole or not at all (UTF-8, indented, NaN refused)."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def sync_folder(folder: Path) -> None:
    """Make a folder's files, and renames and new names in it, survive a power cut."""
    for path in (*(one for one in folder.iterdir() if one.is_file()), folder):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextmanager
def held(run: Path) -> Iterator[None]:
    """Hold a run directory while this process trains in it; it is let go with the process, however that ends.

    Args:
        run: The run directory.

    Raises:
        RunError: Another process holds it.
    """
    lock = FileLock(run / LOCK, timeout=_LOOK_SECONDS)
    try:
        lock.acquire()
    except Timeout as error:
        raise RunError(
            f"{run}: another process is training there. Wait for it, stop it, or choose another --output-dir"
        ) from error
    except (OSError, NotImplementedError):
        # Some network drives know no locks; that is no reason not to train there.
        pass
    try:
        yield
    finally:
        lock.release()


def is_held(run: Path) -> bool | None:
    """Tell whether a process trains in a run directory now; None where that cannot be told."""
    path = run / LOCK
    if not path.is_file():
        return None
    try:
        with FileLock(path, timeout=0):
            return False
    except Timeout:
        return True
    except (OSError, NotImplementedError):
        return None


def read_metrics(run: Path) -> Iterator[dict[str, Any]]:
    """Read a run's record, line by line.

    Args:
        run: The run directory.

    Yields:
        One dictionary a line; every one has ``step``. Lines of training have ``train_loss`` (None in a step that was
        left out because it is no number), lines of evaluation ``validation_loss``, ``exact`` and ``f1``. A last line
        cut short by a crash is left out.

    Raises:
        RunError: There is no record, a line other than the last is damaged, or a line is no object.
    """
    path = run / METRICS_JSONL
    if not path.is_file():
        raise RunError(f"{run}: no {METRICS_JSONL} there, expected a run directory of 'albertqa train'")
    lines = path.read_bytes().splitlines()
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line.decode())
        except ValueError as error:
            if number == len(lines):
                return
            raise RunError(f"{path}: line {number} is damaged ({error}). {PUT_BACK}") from error
        if not isinstance(row, dict):
            raise RunError(f"{path}: line {number}: expected an object, found {line.decode()[:40]}. {PUT_BACK}")
        yield row


def model_folder(source: str | Path) -> str:
    """Resolve what a user calls a model: a run directory stands for its best model.

    Args:
        source: Run directory, model folder, or Hub name.

    Returns:
        Folder or Hub name to load.
    """
    path = Path(source)
    if (path / RUN_JSON).is_file():
        for name in (BEST, FINAL):
            if (path / name / "config.json").is_file():
                return str(path / name)
        raise RunError(f"{path}: this run has neither {BEST}/ nor {FINAL}/ yet. Finish it: albertqa train --resume")
    return str(source)
