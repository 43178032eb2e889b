"""The cache folder, and how anything gets into it: built once, whole or absent."""

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import platformdirs
from filelock import FileLock


def cache_folder() -> Path:
    """Folder of everything that can be made again (``ALBERTQA_CACHE``, else the user's cache folder)."""
    return Path(os.environ.get("ALBERTQA_CACHE") or platformdirs.user_cache_dir("albertqa"))


def build_once(folder: Path, *, is_complete: Callable[[Path], bool], write: Callable[[Path], None]) -> Path:
    """Give a cached folder, building it first where it is not there.

    It is built beside its final place and renamed, so it is whole or absent. A second process waits for the first and
    then finds the folder; the lock goes with its process, however that ends.

    Args:
        folder: The final place.
        is_complete: Tells whether a folder is whole.
        write: Fills an empty folder.

    Returns:
        `folder`, complete.
    """
    if is_complete(folder):
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not is_complete(folder):
            # What a killed process left half-built; nobody else builds while we hold the lock.
            for debris in folder.parent.glob(f"{folder.name}.*/"):
                shutil.rmtree(debris, ignore_errors=True)
            building = Path(tempfile.mkdtemp(prefix=f"{folder.name}.", dir=folder.parent))
            try:
                write(building)
                shutil.rmtree(folder, ignore_errors=True)
                building.rename(folder)
            finally:
                shutil.rmtree(building, ignore_errors=True)
    return folder
