"""``albertqa check``: data files, alone and against each other."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from msgspec import to_builtins
from tyro.conf import Positional

from albertqa.cli.doctor_command import show_rows
from albertqa.cli.output import print_json
from albertqa.config import DecodeConfig, Settings, Switch, WindowConfig, flag
from albertqa.data.raw_rows import ReadOptions
from albertqa.errors import DataError

if TYPE_CHECKING:
    from albertqa.data.example import Example
    from albertqa.data.problems import Problem
    from albertqa.data.trained_on import TrainedOn
    from albertqa.rundir.findings import Finding
    from albertqa.windows.tokenizer import QATokenizer


@dataclass(frozen=True)
class Check:
    """Report what is wrong with data files, alone and against each other, and what can be repaired."""

    files: Positional[Annotated[tuple[str, ...], flag(metavar="FILE ...")]]
    """Data files or Hub names, the training data first; the last of several is validation data."""
    validation_file: Annotated[tuple[str, ...], flag(metavar="FILE ...")] = ()
    """Validation data; then all files before it are training data."""
    tokenizer: Annotated[str | None, flag(metavar="MODEL")] = None
    """Also count windows with this tokenizer: a spiece.model, a model folder, a Hub name, or `starter`; of a folder,
    also compare the validation data with what its model was trained on."""
    write_repaired: Annotated[Path | None, flag(metavar="OUT")] = None
    """Write a repaired copy to this file, or for several files into this folder; OUT.dropped.json lists the rest."""
    show_rows: Annotated[str | None, flag(metavar="FINDING")] = None
    """Show the rows that a finding is about, and nothing else. Example: --show-rows misaligned-answers"""
    write_rows: Annotated[Path | None, flag(metavar="OUT")] = None
    """Write all of these rows to a JSON lines file. Example: --show-rows data-leakage --write-rows rows.jsonl"""
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
        from albertqa.health.console import count_findings, render_findings
        from albertqa.rundir.findings import is_healthy

        if not self.files:
            raise DataError("check: expected at least one file, found none")
        self.windows.check()
        DecodeConfig(max_answer_length=self.max_answer_length).check()
        if self.show_rows is not None:
            from albertqa.health.offending_rows import Rows, offending_rows

            rows = offending_rows(self.show_rows, Rows(*self._examples(), self._trained_on()))
            return show_rows(rows, self.max_cases, self.write_rows, as_json=self.json)
        report = check_files(
            [*self.files, *self.validation_file],
            write_repaired=self.write_repaired,
            max_cases=self.max_cases,
            options=self.table,
        )
        if self.tokenizer is not None:
            for facts in report.files:
                figures, problems = self._check_tokenization(facts.name)
                facts.extra.update(figures)
                report = report.with_problems(problems, self.max_cases)
        # Of a file whose rows are mostly unusable, those that are left tell nothing.
        usable, questions = (
            sum(getattr(one, name) for one in report.files) for name in ("num_usable", "num_questions")
        )
        findings = self._diagnose() if usable >= questions / 2 else []
        if self.json:
            total = {"windows": sum(facts.extra["windows"] for facts in report.files)} if self.tokenizer else {}
            print_json({**report.to_json(), "findings": [to_builtins(finding) for finding in findings], **total})
        else:
            found = "" if is_healthy(findings) else count_findings(findings)
            render_check(report, Terminal(), also_found=found)
            render_findings(findings, Terminal())
        return 0 if report.ok and not any(finding.severity == "error" for finding in findings) else 1

    def _diagnose(self) -> list["Finding"]:
        """Judge the data as a whole, as the doctor does before a training on it."""
        from albertqa.health.data_rules import diagnose_examples
        from albertqa.windows.build import LongQuestionsError

        train, validation = self._examples()
        if not train:
            return []
        files = self._parts()
        settings = replace(
            Settings(train_file=files[0], validation_file=files[1], max_answer_length=self.max_answer_length),
            model=Settings.model if self.tokenizer is None or Path(self.tokenizer).is_file() else self.tokenizer,
            max_seq_length=self.windows.max_seq_length,
            doc_stride=self.windows.doc_stride,
        )
        try:
            return diagnose_examples(settings, train, validation, self._tokenizer(), self._trained_on())
        except LongQuestionsError:
            # The report lists them already; what needs windows cannot be judged.
            return diagnose_examples(settings, train, validation, None, self._trained_on())

    def _parts(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return the training and the validation files."""
        if self.validation_file or len(self.files) == 1:
            return self.files, self.validation_file
        return self.files[:-1], self.files[-1:]

    def _examples(self) -> tuple[list["Example"], list["Example"]]:
        """Return the usable questions of both."""
        from albertqa.data.reading import read

        train, validation = (
            [one for name in names for one in read(name, options=self.table).examples] for names in self._parts()
        )
        return train, validation

    def _trained_on(self) -> "TrainedOn":
        """Return what the model was trained on before, where --tokenizer is a folder that says so."""
        from albertqa.data.trained_on import TrainedOn

        return TrainedOn.load(Path(self.tokenizer)) if self.tokenizer is not None else TrainedOn()

    def _tokenizer(self) -> "QATokenizer | None":
        from albertqa.model.load import resolve_model
        from albertqa.model.starter_model import STARTER
        from albertqa.windows.tokenizer import load_tokenizer

        if self.tokenizer is None:
            return None
        return load_tokenizer(resolve_model(STARTER) if self.tokenizer == STARTER else self.tokenizer)

    def _check_tokenization(self, name: str) -> tuple[dict[str, Any], list["Problem"]]:
        from albertqa.data.reading import read
        from albertqa.windows.statistics import check_tokenization

        tokenizer = self._tokenizer()
        assert tokenizer is not None
        return check_tokenization(
            name,
            read(name, options=self.table).examples,
            tokenizer,
            **vars(self.windows),
            max_answer_length=self.max_answer_length,
        )
