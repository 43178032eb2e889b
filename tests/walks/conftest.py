"""A user's shell: a folder of their own, commands in processes of their own, and stand-ins for the Hub."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from docs.conftest import Stage, stage  # noqa: F401 -- a fixture

ROOT = Path(__file__).parents[2]


class Shell:
    """Runs commands as a user does.

    Args:
        folder: The working folder.
        hub: The Hub's cache.
    """

    def __init__(self, folder: Path, hub: Path) -> None:
        self.folder = folder
        self._environment = {
            **{name: value for name, value in os.environ.items() if name not in {"MAKEFLAGS", "COLUMNS"}},
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT / "src"),
            "HF_HUB_CACHE": str(hub),
            "HF_HUB_OFFLINE": "1",
        }

    def __call__(self, *words: object, codes: Sequence[int] = (0,)) -> str:
        """Run a command, expect one of some exit codes, and return what it printed."""
        done = subprocess.run(
            [str(word) for word in words],
            cwd=self.folder,
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode in codes, f"{words}\n{done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def json(self, *words: object, codes: Sequence[int] = (0,)) -> Any:
        """Run a command with `--json` and return its result."""
        printed = self(*words, "--json", codes=codes)
        return json.loads(printed[printed.index("{") : printed.rindex("}") + 1])

    def start(self, *words: object) -> subprocess.Popen[str]:
        """Start a command that runs until it is stopped."""
        return subprocess.Popen(
            [str(word) for word in words], cwd=self.folder, env=self._environment, stderr=subprocess.PIPE, text=True
        )


@pytest.fixture
def shell(stage: Stage, tmp_path: Path) -> Shell:  # noqa: F811
    """A shell in a folder with the files that the documents name."""
    folder = tmp_path / "work"
    shutil.copytree(stage.files, folder)
    return Shell(folder, stage.hub)
