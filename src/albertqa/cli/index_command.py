"""``albertqa index``: a folder of documents as a collection to search."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional

from albertqa.cli.output import print_json, warn
from albertqa.config import Switch, flag
from albertqa.files import plural


@dataclass(frozen=True)
class Index:
    """Index a folder of documents, or bring its index up to date; `serve --documents` searches it."""

    folder: Positional[Annotated[Path, flag(metavar="FOLDER")]]
    """Folder of text, Markdown, HTML or PDF files, with its subfolders."""
    output: Annotated[Path, flag(metavar="FILE")] = Path("documents.sqlite")
    """The collection: a new file, or one that was written for the same folder."""
    json: Switch = False
    """Print what changed as JSON."""

    def run(self) -> int:
        """Index the folder, and print what changed."""
        from albertqa.answer.collection import index_folder
        from albertqa.cli.terminal import Terminal

        summary = index_folder(self.folder, self.output)
        for problem in summary.problems:
            warn(problem)
        if self.json:
            print_json({"collection": str(self.output), **asdict(summary)})
        else:
            Terminal().say(
                f"{self.output}: {plural(summary.num_passages, 'passage')}; documents: {summary.added:,} added, "
                f"{summary.changed:,} changed, {summary.removed:,} removed, {summary.unchanged:,} unchanged"
            )
        return 0
