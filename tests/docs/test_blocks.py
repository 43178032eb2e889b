"""Every code block of the documents runs, on tiny models; one that does not says why."""

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from albertqa import cli
from albertqa.cli.command_line import command_name
from albertqa.config import load_settings
from serve.conftest import Server

from .blocks import PAGES, ROOT, Block, Command, blocks, commands, missing_line

EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
ADDRESS = "http://127.0.0.1:8000"
WITH_BLOCKS = [page for page in PAGES if blocks(page)]
NOT_CODE = {"", "text"}


class Runner:
    """Runs the blocks of a page in order, as a reader does.

    Args:
        page: The page.
        capture: What is printed in this process.
    """

    def __init__(self, page: str, capture: pytest.CaptureFixture[str]) -> None:
        self.page, self.server = page, None
        self._capture = capture
        self._names: dict[str, object] = {}

    def run(self, block: Block) -> None:
        """Run a block, or write the file that it is."""
        if block.file:
            Path(block.file).write_text(block.text, encoding="utf-8")
            if block.file.endswith(".toml") and "study" not in block.file:
                load_settings(Path(block.file))
        elif block.language == "python":
            text = block.text.replace(ADDRESS, self.server.url if self.server else ADDRESS)
            with pytest.MonkeyPatch.context() as patch:
                if self.server is not None:
                    # Clients of the Hub ask nothing, not even this server, where the Hub is offline.
                    patch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
                # Its lines in a traceback are the page's.
                exec(compile("\n" * block.line + text, block.page, "exec"), self._names)
        elif block.language == "console":
            for command in commands(block):
                self._run_command(command)
        else:
            pytest.fail(f"{block.page}:{block.line}: nobody runs {block.language!r}; is it the content of a file?")

    def stop(self) -> None:
        """Stop the page's server."""
        if self.server is not None:
            self.server.stop()

    def _run_command(self, command: Command) -> None:
        words = command.words
        if words[0] == "albertqa" and words[1] == "serve":
            self.server = Server(Path(words[2]), *words[3:])
        elif words[0] == "albertqa":
            self._capture.readouterr()
            code = cli.main(words[1:])
            shown = self._capture.readouterr()
            assert code in {0, 1}, f"{self.page}: {command.text}\n{shown.err}"
            lost = missing_line(command.output, shown.out + shown.err)
            assert not lost, f"{self.page}: {command.text}\nno line {lost!r} in\n{shown.out}{shown.err}"
        elif words[0] == "make":
            assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(), re.MULTILINE), command.text
        elif words[:2] == ["pip", "install"]:
            named = re.findall(r"\[([\w,]+)\]", command.text)
            assert {extra for names in named for extra in names.split(",")} <= set(EXTRAS), command.text
        elif words[0] == "torchrun":
            after = words[words.index("albertqa") + 1 :]
            assert command_name(type(cli.parse(after))) == after[0]
        elif words[0] in {"curl", "ls", "cat", "head"}:
            text = command.text.replace(ADDRESS, self.server.url if self.server else ADDRESS)
            done = subprocess.run(["bash", "-c", text], capture_output=True, text=True, check=True)
            assert not missing_line(command.output, done.stdout), f"{self.page}: {text}\n{done.stdout}"
        elif words[0] == "bash":
            assert (ROOT / words[1]).is_file(), command.text
        else:
            pytest.fail(f"{self.page}: nobody runs {command.text!r}")


@pytest.mark.allow_hosts(["127.0.0.1", "localhost"])
@pytest.mark.parametrize("page", WITH_BLOCKS)
def test_the_blocks_of_a_page_run(page: str, staged: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if page == "README.md":
        # It trains this one.
        shutil.rmtree(staged / "runs" / "mine")
    runner = Runner(page, capsys)
    try:
        for block in blocks(page):
            if not (block.not_run or block.language in NOT_CODE or block.language.startswith("{")):
                runner.run(block)
    finally:
        runner.stop()


@pytest.mark.parametrize("page", WITH_BLOCKS)
def test_commands_that_are_not_run_parse(page: str) -> None:
    for block in blocks(page):
        if not block.not_run or block.language != "console":
            continue
        for command in commands(block):
            if command.words[0] == "albertqa" and not command.words[1].startswith("-"):
                assert command_name(type(cli.parse(command.words[1:]))) == command.words[1]
