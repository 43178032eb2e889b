"""The code blocks of the documents, and the commands and files in them."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    str(path.relative_to(ROOT))
    for path in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md"))
    if "_build" not in path.parts
)
_NOT_RUN = re.compile(r"<!-- not run: (.+?) -->", re.DOTALL)
_CAPTION = re.compile(r"^:caption: (\S+)\n+")


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        page: The document, from the project's root.
        line: Its first line there.
        language: `console`, `python`, `toml` and so on.
        text: Its content.
        file: The file that it is the content of; "" for a block that is run.
        not_run: Why it is not run; "" where it is.
    """

    page: str
    line: int
    language: str
    text: str
    file: str = ""
    not_run: str = ""


def blocks(page: str) -> list[Block]:
    """Return the blocks of a page, in order."""
    found, reason = [], ""
    for token in MarkdownIt().parse((ROOT / page).read_text(encoding="utf-8")):
        if token.type == "html_block" and (marked := _NOT_RUN.search(token.content)):
            reason = marked[1]
        elif token.type == "fence":
            language, text, file = token.info.replace("{code-block}", "").strip(), token.content, ""
            if "{code-block}" in token.info and (caption := _CAPTION.match(text)):
                file, text = caption[1], text[caption.end() :]
            assert token.map is not None
            found.append(Block(page, token.map[0] + 1, language, text, file, reason))
            reason = ""
    return found


@dataclass(frozen=True)
class Command:
    """A command of a console block.

    Attributes:
        text: The command line.
        output: The lines that are shown below it.
    """

    text: str
    output: tuple[str, ...] = ()

    @property
    def words(self) -> list[str]:
        """The command line's words, without comments."""
        return shlex.split(self.text, comments=True)


def commands(block: Block) -> Iterator[Command]:
    """Yield the commands of a console block, with what they print."""
    for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
        lines = part.rstrip("\n").split("\n")
        text = lines.pop(0)
        while text.endswith("\\"):
            text = f"{text[:-1]}{lines.pop(0).strip()}"
        yield Command(text, tuple(line for line in lines if line.strip()))


def missing_line(expected: tuple[str, ...], printed: str) -> str:
    """Return the first line of a documented output that was not printed, in order; "" where all were.

    Numbers may differ, as documents show those of larger models; `…` stands for anything.
    """
    lines = iter(_masked(line) for line in printed.splitlines())
    for line in expected:
        pattern = ".*".join(re.escape(part) for part in _masked(line).split("…"))
        if not any(re.fullmatch(pattern, one) for one in lines):
            return line
    return ""


def _masked(line: str) -> str:
    return re.sub(r"\d[\d,.]*(e-?\d+)?", "#", re.sub(r"[\s│┃━─┏┓┗┛┡┩├┤┌┐└┘┼┬┴╇]+", " ", line)).strip()
