"""Files: the names in a run directory, writing them atomically, folders that are built once, and files of the Hub."""

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from albertqa.errors import AlbertQAError, RunError

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
SUSPECTS_JSON = "suspect_answers.json"
READER_JSON = "reader.json"
TRAINED_ON_JSON = "trained_on.json"
LOCK = ".lock"

# Names of what `write_bytes` and `write_folder` have not finished.
_HALF_FILE = re.compile(r"\.[\w-]+\.(json|jsonl|toml|html|md)\.[a-z0-9_]{8}")
_HALF_FOLDER = re.compile(r"\.[\w-]+\.building")
SITE = "docs/_build/html"
"""Where `make docs` builds the documentation in a clone of the repository; it is published nowhere."""
FINDINGS_PAGE = f"{SITE}/reference/findings.html"
"""The page with a place for every finding, under its name."""


def free_beside(run: Path, suffix: str) -> Path:
    """Return the first free name beside a run, which need not exist: RUN-SUFFIX, else RUN-SUFFIX-2 and so on."""
    run = run if run.name not in {"", ".."} else run.resolve()
    beside, number = run.with_name(f"{run.name}-{suffix}"), 2
    while beside.exists():
        beside, number = run.with_name(f"{run.name}-{suffix}-{number}"), number + 1
    return beside


def model_folder(source: str | Path) -> str:
    """Return the model that a user means: for a run directory its best model, else the source itself.

    Raises:
        RunError: A run directory without a model yet.
    """
    path = Path(source)
    if (path / RUN_JSON).is_file():
        for name in (BEST, FINAL):
            if (path / name / "config.json").is_file():
                return str(path / name)
        raise RunError(f"{path}: this run has neither {BEST}/ nor {FINAL}/ yet. Finish it: albertqa train --resume")
    return str(source)


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file into an existing folder atomically: whole, or not at all."""
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


def remove_leftovers(folder: Path) -> None:
    """Remove what killed processes left half-written in a folder, if there is one, while nobody else writes there."""
    for path in folder.glob(".*"):
        if _HALF_FOLDER.fullmatch(path.name):
            shutil.rmtree(path, ignore_errors=True)
        elif _HALF_FILE.fullmatch(path.name):
            path.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically (UTF-8)."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically (UTF-8, indented; NaN is refused)."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def make_readable(path: Path) -> None:
    """Set the permissions of a file that a library made private to those of any other new file."""
    mask = os.umask(0)
    os.umask(mask)
    path.chmod(0o666 & ~mask)


def sync_folder(folder: Path) -> None:
    """Bring a folder's files, renames and new names to the disk, so that they survive a power cut."""
    for path in (*(one for one in folder.iterdir() if one.is_file()), folder):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def write_folder(folder: Path, write: Callable[[Path], None]) -> None:
    """Write a folder into an existing one atomically, in place of the one of the same name.

    Args:
        folder: Its place.
        write: Fills an empty folder, which is synced and renamed into its place afterwards.
    """
    building = folder.with_name(f".{folder.name}.building")
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir()
    try:
        write(building)
        sync_folder(building)
        shutil.rmtree(folder, ignore_errors=True)
        building.rename(folder)
        sync_folder(folder.parent)
    finally:
        shutil.rmtree(building, ignore_errors=True)


def cache_folder() -> Path:
    """Return the folder of everything that can be rebuilt (``ALBERTQA_CACHE``, else the user's cache folder)."""
    import platformdirs

    return Path(os.environ.get("ALBERTQA_CACHE") or platformdirs.user_cache_dir("albertqa"))


def build_once(folder: Path, *, is_complete: Callable[[Path], bool], write: Callable[[Path], None]) -> Path:
    """Return a cached folder, complete; build it first where it is missing (see `write_folder`).

    A second process waits for the first and then finds the folder; the lock is released with its process, however that
    ends.
    """
    from filelock import FileLock

    if is_complete(folder):
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not is_complete(folder):
            write_folder(folder, write)
    return folder


def fetch_folder(
    name: str, file_patterns: Sequence[str], *, error_type: type[AlbertQAError], expected: str, remedy: str
) -> Path:
    """Download files of a Hub name, or take them from the Hub's local cache.

    Args:
        name: The Hub name; anything else was meant to be a path.
        file_patterns: Names or patterns of the files.
        error_type: The error to raise where they cannot be fetched.
        expected: What the path would have been.
        remedy: What the user can do then, a sentence without its full stop.

    Raises:
        AlbertQAError: An `error_type`: there is no such name, or no network.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, allow_patterns=list(file_patterns)))
    except (HFValidationError, HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise error_type(
            f"{name}: no such {expected}, and it cannot be fetched from the Hub ({type(error).__name__}). {remedy}"
        ) from error


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text, 300 characters at most, or its type where it has none."""
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__


def plural(count: int, noun: str) -> str:
    """Return a count with its noun: ``1 step``, ``2,000 steps``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
