"""The documents say what is so: their commands parse, their Python runs, their files exist."""

import re
import shlex
from pathlib import Path

import pytest

from albertqa import cli
from albertqa.cli.command_line import command_name
from albertqa.data.starter import starter_file

ROOT = Path(__file__).parents[1]
DOCUMENTS = ["README.md", "CONTRIBUTING.md", "docs/export.md"]


def _blocks(document: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / document).read_text(encoding="utf-8"), re.DOTALL)


def _commands(document: str) -> list[list[str]]:
    lines = [line for block in _blocks(document, "console") for line in block.splitlines() if line.startswith("$ ")]
    return [shlex.split(line[2:], comments=True) for line in lines]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_command_in_the_documents_parses(document: str) -> None:
    for words in _commands(document):
        if words[0] == "albertqa":
            assert command_name(type(cli.parse(words[1:]))) == words[1]
        elif words[0] == "make":
            assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
        else:
            assert words[0] in {"pip", "bash"}


def test_every_file_the_documents_link_to_exists() -> None:
    for document in DOCUMENTS:
        text = (ROOT / document).read_text(encoding="utf-8")
        for target in re.findall(r"\]\((?!http)([^)#]+)\)", text):
            assert (ROOT / target).exists(), f"{document} links to {target}"


def test_the_readmes_python_runs(tmp_path: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    command = ["train", "--model", str(tiny_folder), "--from-scratch", "--max-train-examples", "8", "--epochs", "1"]
    command += ["--train-file", "starter:train", "--validation-file", "starter:validation"]
    assert cli.main([*command, "--max-eval-examples", "4", "--output-dir", "runs/mine"]) == 0
    (tmp_path / "dev.json").write_bytes(starter_file("dev").read_bytes())
    for block in _blocks("README.md", "python"):
        exec(compile(block, "README.md", "exec"), {})
