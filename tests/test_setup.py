"""`make setup` takes any Python that is new enough, and says what is missing."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

PYTHON = """#!/bin/sh
# A Python of version {version}{note}.
case "$*" in
*version_info*) exit {is_old} ;;
*ensurepip*) exit {lacks_venv} ;;
-V) echo "Python {version}" ;;
"-m venv .venv") mkdir -p .venv/bin && cp "$0" .venv/bin/python ;;
*" pip "*) echo "$*" >> calls; exit {pip} ;;
esac
"""


def place(folder: Path, name: str, version: str, *, lacks_venv: bool = False, pip: int = 0) -> None:
    """Put a stand-in for a Python into a folder: the real ones cannot be had in every version here."""
    is_old = tuple(map(int, version.split("."))) < (3, 11)
    python = folder / name
    note = " without venv" if lacks_venv else ""
    python.write_text(
        PYTHON.format(version=version, note=note, is_old=int(is_old), lacks_venv=int(lacks_venv), pip=pip)
    )
    python.chmod(0o755)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout's set-up, and a folder `bin` that is all of the path but the system's tools."""
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    tools = tmp_path / "bin"
    tools.mkdir()
    for tool in ("mkdir", "cp", "touch", "basename", "ls", "rm"):
        (tools / tool).symlink_to(f"/bin/{tool}")
    return tmp_path


def make(checkout: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name not in {"PYTHON", "MAKEFLAGS"}}
    return subprocess.run(
        ["/usr/bin/make", *words],
        cwd=checkout,
        env={**environment, "PATH": str(checkout / "bin")},
        capture_output=True,
        text=True,
        check=False,
    )


pytestmark = pytest.mark.skipif(not Path("/usr/bin/make").exists(), reason="needs /usr/bin/make")


@pytest.mark.parametrize(
    ("name", "version"),
    [("python3.11", "3.11.2"), ("python3.13", "3.13.0"), ("python3", "3.12.1"), ("python", "3.14.0")],
)
def test_any_python_that_is_new_enough_is_taken(checkout: Path, name: str, version: str) -> None:
    place(checkout / "bin", "python3.10", "3.10.9")
    place(checkout / "bin", name, version)
    done = make(checkout, "setup")
    assert done.returncode == 0, done.stdout + done.stderr
    calls = (checkout / "calls").read_text().splitlines()
    assert [call.partition("-c constraints.txt ")[2] for call in calls] == ["torch", "-e .[starter,dev]"]
    assert make(checkout, "setup").returncode == 0
    assert (checkout / "calls").read_text().splitlines() == calls


def test_without_python_it_says_so(checkout: Path) -> None:
    place(checkout / "bin", "python3", "3.10.9")
    done = make(checkout, "setup")
    assert done.returncode != 0
    assert "No Python 3.11 or later here (looked for: python3.11 " in done.stdout
    assert "make PYTHON=/path/to/python" in done.stdout
    assert not (checkout / ".venv").exists()


def test_a_python_that_is_named_and_too_old_is_refused(checkout: Path) -> None:
    place(checkout / "bin", "python3", "3.8.18")
    done = make(checkout, "setup", "PYTHON=python3")
    assert done.returncode != 0
    assert "python3 is Python 3.8.18, expected Python 3.11 or later." in done.stdout


def test_a_missing_venv_is_named_with_its_package(checkout: Path) -> None:
    place(checkout / "bin", "python3.12", "3.12.1", lacks_venv=True)
    done = make(checkout, "setup")
    assert done.returncode != 0
    assert "python3.12 has no venv. On Debian and Ubuntu: apt-get install python3.12-venv" in done.stdout
    assert not (checkout / ".venv").exists()


def test_pins_that_a_python_does_not_have_are_named(checkout: Path) -> None:
    place(checkout / "bin", "python3", "3.17.0", pip=1)
    done = make(checkout, "setup")
    assert done.returncode != 0
    assert "The versions in constraints.txt were not installed on Python 3.17.0." in done.stdout
    assert "make PYTHON=python3.11" in done.stdout
    assert not (checkout / ".venv" / ".installed").exists()
