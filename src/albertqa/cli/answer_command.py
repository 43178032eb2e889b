"""``albertqa answer``: answers to one question, to all of a file, or to more than fit the memory."""

import re
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional

from albertqa.cli.output import json_text, print_json
from albertqa.cli.reader_flags import AnswerFlags, EvaluationDevice
from albertqa.config import Switch, flag
from albertqa.data.raw_rows import ReadOptions
from albertqa.errors import DataError, SettingsError
from albertqa.files import plural, write_json, write_text
from albertqa.schema import read_text

if TYPE_CHECKING:
    from albertqa.answer.answers import Answer as FoundAnswer
    from albertqa.answer.answers import DocumentCandidate
    from albertqa.bulk.job import BulkProgress, Engine
    from albertqa.cli.terminal import Terminal
    from albertqa.decode.spans import Candidate

_FILES = {".json", ".jsonl"}
_SECONDS_BETWEEN_LINES = 10.0


@dataclass(frozen=True)
class BulkFlags:
    """Answers into a folder, in parts: for more questions than fit the memory."""

    format: Literal["parquet", "jsonl"] = "parquet"
    """Format of the parts."""
    part_questions: int = 10_000
    """Most questions of a part, which is answered and written as one."""
    shard: Annotated[str, flag(metavar="I/N")] = "1/1"
    """Answer only every N-th part, beginning with the I-th: one of N machines, without an engine."""
    engine: Literal["plain", "ray"] = "plain"
    """What answers: this process, or actors of Ray (extra `ray`)."""
    actors: int = 2
    """Actors of Ray, with a model each."""
    gpus_per_actor: float = 0.0
    """GPUs of each actor."""
    ray_address: Annotated[str | None, flag(metavar="ADDRESS")] = None
    """Address of a Ray cluster; unset: this machine."""

    @property
    def shard_numbers(self) -> tuple[int, int]:
        """The machine's number, from 1, and how many there are.

        Raises:
            SettingsError: The flag is not of that form.
        """
        found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", self.shard)
        if found is None:
            raise SettingsError(f"--shard: expected I/N such as 2/8, found '{self.shard}'")
        return int(found[1]), int(found[2])


@dataclass(frozen=True)
class Answer:
    """Answer one question, or all questions of files."""

    model: Positional[Annotated[str, flag(metavar="MODEL")]]
    """Run directory (its best/), model folder, or Hub name."""
    question: Annotated[str | None, flag(metavar="TEXT")] = None
    """The question."""
    context: Annotated[str | None, flag(metavar="TEXT")] = None
    """The text that should hold the answer."""
    context_file: Annotated[Path | None, flag(metavar="FILE")] = None
    """A text file to take the context from."""
    documents: Annotated[Path | None, flag(metavar="FILE")] = None
    """A collection of documents to look in (`albertqa index`), in place of a context."""
    passages: int = 10
    """Passages of the collection that are read for the question."""
    input: Annotated[tuple[str, ...], flag(metavar="FILE ...")] = ()
    """Questions with their contexts: SQuAD JSON, JSONL, CSV or Parquet, or a Hub name; answers in it are not looked
    at. `-`: JSONL rows with `question` and `context` from standard input."""
    output: Annotated[Path | None, flag(metavar="FILE|FOLDER")] = None
    """Where the answers go: a .json file of id to text, as the official metric takes it; a .jsonl file with
    everything; or a folder, in parts, where a job that was stopped goes on. Unset: JSONL on standard output."""
    n_best: int = 1
    """Candidates given for a question."""
    json: Switch = False
    """Print the answer as JSON."""
    reader: AnswerFlags = field(default_factory=AnswerFlags)
    """How the model reads; what is not given is as the model was trained. Example: --max-answer-length 15"""
    device: EvaluationDevice = field(default_factory=EvaluationDevice)
    """Where and in which precision it computes. Example: --device cpu --num-threads 4"""
    bulk: BulkFlags = field(default_factory=BulkFlags)
    """Answers into a folder. Example: --output answers --format jsonl --shard 2/8"""
    table: ReadOptions = field(default_factory=ReadOptions)
    """How to read a table of your own. Example: --question-column frage --answer-column antwort --delimiter tab"""

    def run(self) -> int:
        """Answer, and print or write."""
        from albertqa.answer.answerer import Answerer
        from albertqa.answer.collection import Collection
        from albertqa.cli.terminal import Terminal

        self._check()
        if self.output is not None and self.output.suffix not in _FILES:
            return self._run_in_bulk(self.output)
        collection = None if self.documents is None else Collection(self.documents)
        rows = [] if collection else self._all() if self.input else [(None, *self._one())]
        self.device.check()
        options = {**self.device.options(), **vars(self.reader)}
        answerer = Answerer(self.model, **options)
        if collection is not None:
            with collection:
                found = answerer.answer_collection(
                    self.question or "", collection, passages=self.passages, n_best=self.n_best
                )
            if self.json:
                print_json(found.to_json())
            else:
                _show(found.n_best, Terminal(), is_calibrated=answerer.is_calibrated)
            return 0
        answers = answerer.answer_batch(
            [(question, context) for _, question, context in rows],
            n_best=self.n_best,
            batch_size=self.device.eval_batch_size,
        )
        if self.input:
            self._write([(name, question) for name, question, _ in rows], answers, Terminal(stderr=self.json))
        elif self.json:
            print_json(answers[0].to_json())
        else:
            _show(answers[0].n_best, Terminal(), is_calibrated=answerer.is_calibrated)
        return 0

    def _check(self) -> None:
        """Check that the flags go together."""
        if (self.question is not None) == bool(self.input):
            raise SettingsError("answer: give either --question with --context (or --context-file), or --input FILE")
        if not self.input and [self.context, self.context_file, self.documents].count(None) != 2:
            raise SettingsError("answer: give the text with --context, --context-file or --documents, one of them")
        if self.input and self.documents is not None:
            raise SettingsError("--documents: is for one --question; the questions of --input have their own contexts")
        if self.output is not None and not self.input:
            raise SettingsError("--output: is for the answers to --input FILE; one answer is printed")
        is_folder = self.output is not None and self.output.suffix not in _FILES
        if is_folder and self.output is not None and (self.output.suffix or self.output.is_file()):
            raise SettingsError(f"--output: expected a .json or .jsonl file or a folder, found {self.output}")
        if self.output is not None and not is_folder:
            # Before hours of answers, which could not be written then.
            if self.output.is_dir():
                raise SettingsError(f"--output: {self.output} is a folder, expected a file with that name or none")
            if not self.output.parent.is_dir():
                raise SettingsError(f"--output: there is no folder {self.output.parent}; make it first")
        if self.bulk != BulkFlags() and not is_folder:
            raise SettingsError("answer: --format, --shard, --engine and the like need a folder as --output")
        if "-" in self.input and (is_folder or len(self.input) > 1):
            raise SettingsError("--input: standard input cannot be read again; name files, or write a file")

    def _run_in_bulk(self, folder: Path) -> int:
        """Answer in parts, and report the progress."""
        from albertqa.bulk.job import BulkJob, PlainEngine, reader_settings
        from albertqa.bulk.ray_engine import RayEngine
        from albertqa.cli.terminal import Terminal

        self.device.check()
        job = BulkJob(
            self.input,
            folder,
            self.model,
            reader_settings(self.model, **vars(self.reader)),
            n_best=self.n_best,
            form=self.bulk.format,
            part_questions=self.bulk.part_questions,
            shard=self.bulk.shard_numbers,
            table=self.table,
        )
        job.check()
        terminal = Terminal(stderr=self.json, survives=True)
        options = {**self.device.options(), **vars(self.reader)}
        asked = {"n_best": self.n_best, "batch_size": self.device.eval_batch_size}
        engine: Engine
        if self.bulk.engine == "ray":
            engine = RayEngine(
                self.model,
                options,
                **asked,
                actors=self.bulk.actors,
                gpus=self.bulk.gpus_per_actor,
                address=self.bulk.ray_address,
            )
        else:
            engine = PlainEngine(self.model, options, **asked)
        finished = job.run(engine, _Progress(terminal))
        if self.json:
            print_json({name: finished[name] for name in ("status", "questions")} | {"output": str(folder)})
        parts = plural(len(finished["parts"]), "part")
        terminal.say(f"{plural(finished['questions'], 'answer')} in {parts}: {folder}")
        return 0

    def _one(self) -> tuple[str, str]:
        """Return the question and its context."""
        context = self.context
        if self.context_file is not None:
            context = read_text(self.context_file, DataError, "Save it as UTF-8 text")
        return self.question or "", context or ""

    def _all(self) -> list[tuple[str | None, str, str]]:
        """Return the id, question and context of every row; rows from standard input may have no id."""
        from albertqa.answer.question_files import read_pairs
        from albertqa.data.reading import load_questions

        rows: list[tuple[str | None, str, str]] = []
        for source in self.input:
            if source == "-":
                rows += [(row.get("id"), row["question"], row["context"]) for row in read_pairs()]
            else:
                rows += [(one.id, one.question, one.context) for one in load_questions(source, options=self.table)]
        if self.output is not None and self.output.suffix == ".json":
            _require_own_ids([name for name, _, _ in rows], ", ".join(self.input))
        return rows

    def _write(
        self, asked: Sequence[tuple[str | None, str]], answers: Sequence["FoundAnswer"], terminal: "Terminal"
    ) -> None:
        """Write the answers to a file, or print them."""
        if self.output is not None and self.output.suffix == ".json":
            write_json(self.output, {str(name): one.text for (name, _), one in zip(asked, answers, strict=True)})
        else:
            rows = []
            for (name, question), answer in zip(asked, answers, strict=True):
                row = {"question": question, **answer.to_json()}
                rows.append(json_text(row if name is None else {"id": name, **row}))
            if self.output is None:
                print("\n".join(rows))
                return
            write_text(self.output, "".join(f"{row}\n" for row in rows))
        terminal.say(f"{plural(len(answers), 'answer')}: {self.output}")


def _require_own_ids(names: Sequence[str | None], source: str) -> None:
    if None in names:
        raise DataError(f"{source}: row {names.index(None) + 1} has no id. Give it one, or write a .jsonl file")
    name, count = Counter(map(str, names)).most_common(1)[0]
    if count > 1:
        raise DataError(f"{source}: {count:,} questions have the id {name}. Give each its own, or write a .jsonl file")


class _Progress:
    """Prints how far a bulk job is, now and then."""

    def __init__(self, terminal: "Terminal") -> None:
        self._terminal, self._printed = terminal, 0.0

    def __call__(self, progress: "BulkProgress") -> None:
        now = time.monotonic()
        if now - self._printed < _SECONDS_BETWEEN_LINES:
            return
        self._printed = now
        of_all = "" if progress.total is None else f" of about {progress.total:,}"
        left = ""
        if progress.seconds_left is not None:
            left = f", about {timedelta(seconds=round(progress.seconds_left))} left"
        self._terminal.say(f"{progress.questions:,}{of_all} questions, {progress.per_second:,.1f} a second{left}")


def _show(n_best: "Sequence[Candidate | DocumentCandidate]", terminal: "Terminal", *, is_calibrated: bool) -> None:
    """Print the candidates for one question."""
    for candidate in n_best:
        place = f"characters {candidate.start_char} to {candidate.end_char}" if candidate.text else "no answer"
        if document := getattr(candidate, "document", None):
            place = f"{document}, {place}"
        terminal.say(f"{candidate.text or '(no answer)'}  {candidate.probability:.1%}  {place}")
    if not n_best:
        terminal.say("(no answer)")
    elif not is_calibrated:
        terminal.say("the probability is not calibrated: albertqa evaluate MODEL DATA --calibrate")
