"""The README word by word, with its real quickstart."""

import re
import shlex
import shutil
import sys
from pathlib import Path

import pytest

import albertqa
from docs.blocks import blocks, commands

from .conftest import ROOT, Shell

STUDY = """
output = "runs/study"
seeds = [1, 2]
[base]
model = "albert/albert-base-v2"
train_file = ["train.json"]
validation_file = ["dev.json"]
epochs = 1.0
[space]
learning_rate = [1e-4, 1e-3]
"""
# What is left out, and why.
NOT_RUN = {
    "make test": "runs this test",
    "torchrun": "is shown with an ellipsis for the settings",
    "albertqa export": "tests/export exports; a tiny model is refused in int8 for what it loses",
}


@pytest.mark.slow
def test_the_readme_word_by_word(shell: Shell) -> None:
    clone = shell.folder / "clone"
    clone.mkdir()
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        (clone / name).write_bytes((ROOT / name).read_bytes())
    # The installation is not repeated: pip would need a network.
    (clone / ".venv").symlink_to(Path(sys.prefix))
    # The README trains it.
    shutil.rmtree(shell.folder / "runs" / "mine")
    ran = []

    for block in blocks("README.md"):
        if block.language == "console":
            for command in commands(block):
                ran += run(shell, clone, command.text)
    for line in re.findall(r"^\| .* \| `(albertqa [^`]+|torchrun [^`]+)` \|$", (ROOT / "README.md").read_text(), re.M):
        ran += run(shell, clone, line)
    assert len(ran) > 10

    quickstart = clone / "runs" / "quickstart"
    assert (quickstart / "report.html").is_file()
    scores = shell.json("albertqa", "evaluate", quickstart, "starter:validation")
    # The README's figure is a mean over seeds; on 555 questions f1 is known to ±4.
    assert scores["f1"] > 50
    answer = albertqa.Answerer(shell.folder / "runs/mine").answer(
        "Who came first?", "Rollo came before his son William."
    )
    assert answer.text in "Rollo came before his son William."


def run(shell: Shell, clone: Path, line: str) -> list[str]:
    """Run one of the README's commands; return it, or nothing where it is left out."""
    if any(line.startswith(start) for start in NOT_RUN):
        return []
    words = shlex.split(line)
    if words[0] == "make":
        shell("make", "-C", clone, "--old-file", ".venv/.installed", *words[1:])
    elif words[:2] == ["albertqa", "serve"]:
        server = shell.start(*words, "--port", 0)
        assert server.stderr is not None
        assert any("answers at" in text for text in server.stderr)
        server.terminate()
        assert server.wait(timeout=120) == 0
        server.stderr.close()
    elif "--resume" in words:
        # The run is finished: there may be nothing to resume.
        shell(*words, codes=[0, 2])
    elif words[1] == "find-lr":
        # Few questions: the error says how to have more steps of them.
        shell(*words, codes=[0, 2])
    elif words[1] == "study":
        (shell.folder / words[2]).write_text(STUDY)
        shell(*words)
    elif words[1] == "doctor":
        # A tiny run is hardly healthy.
        shell(*words, codes=[0, 1])
    else:
        shell(*words)
    return [line]
