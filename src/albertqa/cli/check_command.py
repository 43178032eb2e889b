"""``albertqa check``: data files, alone and against each other."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import Positional

from albertqa.cli.output import print_json
from albertqa.config import DecodeConfig, Switch, WindowConfig, flag
from albertqa.data.rows import ReadOptions
from albertqa.errors import DataError

if TYPE_CHECKING:
    from albertqa.data.problems import Problem


@dataclass(frozen=True)
class Check:
    """Report what is wrong with data files, alone and against each other, and what can be repaired."""

    files: Positional[Annotated[tuple[str, ...], flag(metavar="FILE ...")]]
    """Data files or Hub names, the training data first."""
    tokenizer: Annotated[str | None, flag(metavar="MODEL")] = None
    """Also count windows with this tokenizer: a spiece.model, a model folder, a Hub name, or `starter`."""
    write_repaired: Annotated[Path | None, flag(metavar="OUT")] = None
    """Write a repaired copy to this file, or for several files into this folder; OUT.dropped.json lists the rest."""
    max_cases: int = 5
    """Cases shown of each problem."""
    json: Switch = False
    """Print the report as JSON."""
    windows: WindowConfig = field(default_factory=WindowConfig)
    """How contexts are split into windows, with --tokenizer. Example: --tokenizer starter --max-seq-length 256"""
    max_answer_length: int = DecodeConfig.max_answer_length
    """Longest answer, in tokens; with --tokenizer, longer ones are counted."""
    table: ReadOptions = field(default_factory=ReadOptions)
    """How to read a table of your own. Example: --question-column frage --answer-column antwort --delimiter tab"""

    def run(self) -> int:
        """Check the files, and print the report."""
        from albertqa.cli.terminal import Terminal
        from albertqa.data.check_display import render_check
        from albertqa.data.checking import check_files

        if not self.files:
            raise DataError("check: expected at least one file, found none")
        self.windows.check()
        DecodeConfig(max_answer_length=self.max_answer_length).check()
        report = check_files(
            self.files, write_repaired=self.write_repaired, max_cases=self.max_cases, options=self.table
        )
        if self.tokenizer is not None:
            for facts in report.files:
                figures, problems = self._check_tokenization(facts.name)
                facts.extra.update(figures)
                report = report.with_problems(problems, self.max_cases)
        if self.json:
            total = {"windows": sum(facts.extra["windows"] for facts in report.files)} if self.tokenizer else {}
            print_json({**report.to_json(), **total})
        else:
            render_check(report, Terminal())
        return 0 if report.ok else 1

    def _check_tokenization(self, name: str) -> tuple[dict[str, Any], list["Problem"]]:
        from albertqa.data.reading import read
        from albertqa.model.load import resolve_model
        from albertqa.model.starter import STARTER
        from albertqa.windows.statistics import check_tokenization
        from albertqa.windows.tokenizer import load_tokenizer

        return check_tokenization(
            name,
            read(name, options=self.table).examples,
            load_tokenizer(resolve_model(STARTER) if self.tokenizer == STARTER else str(self.tokenizer)),
            **vars(self.windows),
            max_answer_length=self.max_answer_length,
        )
