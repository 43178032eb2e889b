"""A bulk job: questions in, a folder of parts with a manifest out; killed and started again, it goes on.

A part's file appears under its name when it is complete, and not before, so what is there is done. The questions are
read again from the start and cut as before; a part that is there is passed over. Which answers a part has depends on
its questions alone, so the files do not depend on how often a job was killed.

With ``--shard i/n`` a machine does every n-th part; the folders may be one or several, as parts keep their numbers.
"""

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, Unpack

import msgspec
from filelock import FileLock, Timeout

from albertqa.answer.answerer import Answerer
from albertqa.bulk.parts import (
    PART_QUESTIONS,
    Part,
    PartFormat,
    answer_rows,
    cut_into_parts,
    encode_rows,
    part_name,
)
from albertqa.data.raw_rows import ReadOptions
from albertqa.data.reading import stream_questions
from albertqa.decode.reader_settings import ReaderChanges, ReaderSettings
from albertqa.errors import RunError, SettingsError
from albertqa.files import file_sha256, model_folder, write_bytes, write_json
from albertqa.model.load import resolve_model
from albertqa.schema import read_object

Engine = Callable[[Iterable[Part]], Iterator[tuple[Part, list[dict[str, Any]]]]]
"""Answers parts, in any order: takes them as it needs them, and yields each with the rows of its answers."""


class PlainEngine:
    """Answers the parts of a `BulkJob` in this process, one after the other.

    Args:
        model: Run directory, model folder, or Hub name.
        options: As in `Answerer`.
        n_best: Candidates for a question.
        batch_size: Maximum-length windows of one forward pass.
    """

    def __init__(self, model: str, options: dict[str, Any], *, n_best: int, batch_size: int) -> None:
        self._answerer = Answerer(model, **options)
        self._n_best, self._batch_size = n_best, batch_size

    def __call__(self, parts: Iterable[Part]) -> Iterator[tuple[Part, list[dict[str, Any]]]]:
        """Yield each part with its answers' rows."""
        for part in parts:
            pairs = [(one.question, one.context) for one in part.questions]
            answers = self._answerer.answer_batch(pairs, n_best=self._n_best, batch_size=self._batch_size)
            yield part, answer_rows(part.questions, answers)


def reader_settings(model: str, **changes: Unpack[ReaderChanges]) -> ReaderSettings:
    """Return how a model reads, without loading it."""
    return ReaderSettings.load(Path(resolve_model(model_folder(model)))).changed(**changes)


@dataclass(frozen=True)
class BulkProgress:
    """How far a job is.

    Attributes:
        questions: Questions answered, those of earlier starts included.
        total: Questions of this shard, as far as known without reading them; None: not known.
        per_second: Questions a second since this start.
        seconds_left: About; None where the total is not known.
    """

    questions: int
    total: int | None
    per_second: float
    seconds_left: float | None


@dataclass(frozen=True)
class BulkJob:
    """What is answered, and where the answers go.

    Attributes:
        inputs: Data files or Hub names.
        output: Folder of the answers; created where it is missing.
        model: Run directory, model folder, or Hub name.
        reader: How the model reads.
        n_best: Candidates for a question.
        form: Format of the parts.
        part_questions: Most questions of a part.
        shard: This machine's number, from 1, and how many there are.
        table: How to read a table.
    """

    inputs: tuple[str, ...]
    output: Path
    model: str
    reader: ReaderSettings
    n_best: int = 1
    form: PartFormat = "parquet"
    part_questions: int = PART_QUESTIONS
    shard: tuple[int, int] = (1, 1)
    table: ReadOptions = field(default_factory=ReadOptions)

    def check(self) -> None:
        """Refuse numbers out of range.

        Raises:
            SettingsError: Naming the flag.
        """
        index, count = self.shard
        if not 1 <= index <= count:
            raise SettingsError(f"--shard: expected i/n with i from 1 to n, found {index}/{count}")
        if self.part_questions < 1:
            raise SettingsError(f"--part-questions: expected at least 1, found {self.part_questions}")

    @property
    def manifest(self) -> Path:
        """The file that says what the answers are of, and which parts there are."""
        index, count = self.shard
        return self.output / ("manifest.json" if count == 1 else f"manifest-{index}-of-{count}.json")

    def run(self, engine: Engine, progress: Callable[[BulkProgress], None] = lambda _: None) -> dict[str, Any]:
        """Answer what is not answered yet.

        Args:
            engine: Answers parts.
            progress: Called after every part that was written.

        Returns:
            The finished manifest.

        Raises:
            DataError: A question cannot be read; parts that are written stay.
            RunError: The folder holds another job's answers, or another process is at work on them.
        """
        self.check()
        self.output.mkdir(parents=True, exist_ok=True)
        with self._locked():
            identity = self._identity()
            self._claim(identity)
            total = self._total()
            parts: dict[int, int] = {}
            missing = self._missing(parts)
            begun, answered = time.perf_counter(), 0
            for part, rows in engine(missing):
                write_bytes(self.output / part_name(part.number, self.form), encode_rows(rows, self.form))
                answered += len(rows)
                parts[part.number] = len(rows)
                rate = answered / (time.perf_counter() - begun)
                done = sum(parts.values())
                left = None if total is None else max(0, total - done) / rate
                progress(BulkProgress(done, total, rate, left))
            # The engine read all parts, those that were there included.
            listed = [{"file": part_name(number, self.form), "questions": parts[number]} for number in sorted(parts)]
            finished = {**identity, "status": "finished", "questions": sum(parts.values()), "parts": listed}
            write_json(self.manifest, finished)
            return finished

    def _missing(self, parts: dict[int, int]) -> Iterator[Part]:
        """Yield the parts of this shard that are not there; note how many questions the others have."""
        index, count = self.shard
        questions = stream_questions(self.inputs, options=self.table)
        for part in cut_into_parts(questions, most=self.part_questions):
            if part.number % count != index - 1:
                continue
            if (self.output / part_name(part.number, self.form)).is_file():
                parts[part.number] = len(part.questions)
            else:
                yield part

    def _identity(self) -> dict[str, Any]:
        """Return what decides the answers."""
        return {
            "inputs": [
                {"name": name, "sha256": file_sha256(Path(name)) if Path(name).is_file() else None}
                for name in self.inputs
            ],
            "model": {"name": self.model, "sha256": model_sha256(self.model)},
            "reader": msgspec.to_builtins(self.reader),
            "table": asdict(self.table),
            "n_best": self.n_best,
            "format": self.form,
            "part_questions": self.part_questions,
            "shard": "{}/{}".format(*self.shard),
            "albertqa": metadata.version("albertqa"),
        }

    def _claim(self, identity: dict[str, Any]) -> None:
        """Write the manifest of a job that begins; refuse another one's folder, and clear what a kill left."""
        if self.manifest.is_file():
            before = read_object(self.manifest)
            # The same files and model elsewhere give the same answers.
            for name in (one for one in identity if one != "albertqa"):
                if _content(before.get(name)) != _content(identity[name]):
                    raise RunError(
                        f"{self.output}: holds answers of another job: {name} is {_shown(before.get(name))} there and "
                        f"{_shown(identity[name])} here. Choose another --output, or give the same as before"
                    )
        elif others := next(self.output.glob("manifest*.json"), None):
            count = self.shard[1]
            if others.name == "manifest.json" or not others.name.endswith(f"-of-{count}.json"):
                raise RunError(f"{self.output}: was begun with another --shard ({others.name}). Give the same n")
        elif next(self.output.glob("part-*"), None):
            raise RunError(f"{self.output}: has parts but no manifest.json. Choose another --output")
        index, count = self.shard
        for leftover in self.output.glob(".part-*"):
            number = leftover.name.split("-")[1].partition(".")[0]
            if number.isdigit() and int(number) % count == index - 1:
                leftover.unlink(missing_ok=True)
        for leftover in self.output.glob(f".{self.manifest.name}.*"):
            leftover.unlink(missing_ok=True)
        write_json(self.manifest, {**identity, "status": "running"})

    def _total(self) -> int | None:
        counts = [count_questions(Path(name)) for name in self.inputs]
        return None if None in counts else sum(count or 0 for count in counts) // self.shard[1]

    @contextmanager
    def _locked(self) -> Iterator[None]:
        lock = FileLock(self.output / ".lock-{}-of-{}".format(*self.shard), timeout=1)
        try:
            lock.acquire()
        except Timeout as error:
            raise RunError(f"{self.output}: another process is answering there. Wait for it, or stop it") from error
        try:
            yield
        finally:
            lock.release()


def count_questions(path: Path) -> int | None:
    """Return how many questions a file has, as far as that shows without reading them; None: not known.

    Args:
        path: The file; of Parquet its footer is read, of JSON lines the line ends are counted.
    """
    import pyarrow.parquet as pq

    if not path.is_file():
        return None
    if path.suffix == ".parquet":
        return int(pq.read_metadata(path).num_rows)
    if path.suffix in {".jsonl", ".ndjson"}:
        with path.open("rb") as file:
            return sum(block.count(b"\n") for block in iter(lambda: file.read(2**20), b""))
    return None


def model_sha256(source: str) -> str:
    """Return a hash of a model's files; those that say nothing of its answers are left out."""
    digest = hashlib.sha256()
    folder = Path(resolve_model(model_folder(source)))
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.suffix != ".md" and path.name != "trained_on.json":
            digest.update(f"{path.name} {file_sha256(path)}\n".encode())
    return digest.hexdigest()


def _content(value: Any) -> Any:
    """Return what counts of a part of a manifest: of files their content, not their place."""
    if isinstance(value, list):
        return [_content(one) for one in value]
    if isinstance(value, dict) and value.get("sha256"):
        return value["sha256"]
    return value


def _shown(value: Any) -> str:
    found = ", ".join(map(_shown, value)) if isinstance(value, list) else str(value)
    if isinstance(value, dict) and "sha256" in value:
        found = f"{value['name']} ({str(value['sha256'])[:8]})"
    return found
