"""``albertqa check``: data files, alone and against each other."""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Positional

from albertqa.cli.output import print_json
from albertqa.config import DecodeConfig, Switch, WindowConfig, flag
from albertqa.errors import DataError


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

    def run(self) -> int:
        """Check the files, and print the report."""
        from albertqa.cli.terminal import Terminal
        from albertqa.data.check import check_files
        from albertqa.data.check_text import render_check

        if not self.files:
            raise DataError("check: expected at least one file, found none")
        self.windows.check()
        DecodeConfig(max_answer_length=self.max_answer_length).check()
        report = check_files(self.files, write_repaired=self.write_repaired, max_cases=self.max_cases)
        if self.tokenizer is not None:
            for facts in report.files:
                facts.extra.update(self._window_facts(facts.name))
        if self.json:
            total = {"windows": sum(facts.extra["windows"] for facts in report.files)} if self.tokenizer else {}
            print_json({**report.to_json(), **total})
        else:
            render_check(report, Terminal())
        return 0 if report.ok else 1

    def _window_facts(self, name: str) -> dict[str, Any]:
        from albertqa.data.read import read
        from albertqa.model.load import resolve_model
        from albertqa.model.starter import STARTER
        from albertqa.windows.build import build_windows
        from albertqa.windows.facts import window_facts
        from albertqa.windows.tokenizer import load_tokenizer

        tokenizer = load_tokenizer(resolve_model(STARTER) if self.tokenizer == STARTER else str(self.tokenizer))
        examples = read(name).examples
        if not examples:
            return {"windows": 0}
        store = build_windows(examples, tokenizer, **vars(self.windows))
        return dataclasses.asdict(window_facts(store, examples, max_answer_length=self.max_answer_length))
