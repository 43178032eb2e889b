"""``albertqa split``: one data set into a training and a validation part that share no context."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional

from albertqa.cli.output import print_json
from albertqa.config import OptimizerConfig, Switch, flag
from albertqa.data.raw_rows import ReadOptions
from albertqa.errors import DataError
from albertqa.files import plural


@dataclass(frozen=True)
class Split:
    """Split data into a training and a validation part; questions on the same context stay together."""

    files: Positional[Annotated[tuple[str, ...], flag(metavar="FILE ...")]]
    """Data files or Hub names; several are split as one."""
    output_dir: Annotated[Path, flag(metavar="DIR")] = Path()
    """Folder for train.json and validation.json, in SQuAD's form; files that are there are not overwritten."""
    fraction: float = 0.1
    """Share of the questions in the validation part, about; whole contexts are taken."""
    seed: int = OptimizerConfig.seed
    """Which contexts are taken depends on it."""
    json: Switch = False
    """Print what was written as JSON."""
    table: ReadOptions = field(default_factory=ReadOptions)
    """How to read a table of your own. Example: --question-column frage --answer-column antwort --delimiter tab"""

    def run(self) -> int:
        """Split the data, and write both parts."""
        from albertqa.cli.terminal import Terminal
        from albertqa.data.reading import load_several
        from albertqa.data.splits import split_by_context
        from albertqa.run.own_data import PARTS, write_parts

        if not self.files:
            raise DataError("split: expected at least one file, found none")
        for name in PARTS:
            if (self.output_dir / name).exists():
                raise DataError(f"{self.output_dir / name}: is there already. Choose another --output-dir")
        examples = load_several(self.files, options=self.table)
        train, validation = split_by_context(examples, self.fraction, self.seed)
        write_parts(train, validation, self.output_dir)
        files = [str(self.output_dir / name) for name in PARTS]
        if self.json:
            names = ("train", "validation", "train_questions", "validation_questions", "seed")
            print_json(dict(zip(names, (*files, len(train), len(validation), self.seed), strict=True)))
        else:
            for file, part in zip(files, (train, validation), strict=True):
                Terminal().say(f"{file}: {plural(len(part), 'question')}")
        return 0
