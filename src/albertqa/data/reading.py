"""Read question-answering data from anywhere: `read` reports every problem, `load_examples` refuses the first error.

Sources: SQuAD v1.1 and v2.0 JSON; flat rows (`id`, `question`, `context`, and `answers`, or `answer_text` with or
without `answer_start`; `title` and `is_impossible` where known) as JSON lines, a JSON list, `{"data": [rows]}`, CSV,
TSV or Parquet; all text forms also as `.gz`; a pandas data frame; a `datasets.Dataset`, or a `DatasetDict` with a
split; a folder saved by `save_to_disk`; a Hub name such as `rajpurkar/squad:train`; a list of rows in memory.

What is decided for you, and reported:

- A row without an id gets `row-<n>`, counted from 1 (a note).
- An answer without `answer_start` is placed where it occurs: a note where it occurs once, a warning where the first of
  several places is taken, an error where it does not occur.
- Null, NaN or absent answers, and an empty `answer_text`, mean that the question has no answer (SQuAD v2.0).
- Answers that all stand the same number of characters beside words are warned of, and can be moved back.
- `plausible_answers` and unknown keys are ignored. Where a row has `answers`, `answer_text` is not looked at.
"""

import logging
import os
import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from albertqa.data.answer_units import answers_shift, moved_back, spell_shift
from albertqa.data.example import Example
from albertqa.data.problems import Problem, SourceError, listed, quoted
from albertqa.data.questions import Entry, read_entry
from albertqa.data.rows import FIELDS, Broken, Record, is_absent
from albertqa.data.sources import open_source, source_name
from albertqa.errors import DataError

MAX_UNPACKED_BYTES = 2 * 2**30
"""The largest file to read, unpacked, unless told otherwise: 2 GiB."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ReadResult:
    """All that was found in a source.

    Attributes:
        name: The source as the user named it.
        format: The form it turned out to have, such as `squad-json` or `csv`; empty where it could not be opened.
        version: What the file says of itself, if anything.
        size_bytes: The size as stored, of files.
        sha256: The hash of the stored bytes, of files.
        entries: Every question, usable or not, in order.
        problems: Every finding, in order; those of the questions included.
        complete: Whether it was read to its end and is labelled data. A repaired copy is written of nothing less.
    """

    name: str
    format: str
    version: str | None
    size_bytes: int | None
    sha256: str | None
    entries: tuple[Entry, ...]
    problems: tuple[Problem, ...]
    complete: bool

    @property
    def examples(self) -> list[Example]:
        """The questions without an error, as they stand."""
        return [entry.example for entry in self.entries if entry.example is not None]

    @property
    def errors(self) -> list[Problem]:
        """The findings that make a question, or the source, unusable as it stands."""
        return [problem for problem in self.problems if problem.is_error]


def load_examples(
    source: object,
    *,
    split: str | None = None,
    limit: int | None = None,
    name: str | None = None,
    max_unpacked_bytes: int = MAX_UNPACKED_BYTES,
) -> list[Example]:
    """Read a data set that must be right, as training and evaluation need it.

    Warnings are summed up in one line of the log; `read` and `albertqa check` list them.

    Args:
        source: Anything the module's text names.
        split: The split of a Hub name, a saved folder or a `DatasetDict`.
        limit: Read and check only this many questions from the start.
        name: What to call the source in messages; its path or type unless given.
        max_unpacked_bytes: The largest file to read, unpacked.

    Returns:
        The examples, in the source's order. Questions on the same context share one string object.

    Raises:
        DataError: Any problem of severity error: the first, with the count of further ones.
    """
    result = read(source, split=split, limit=limit, name=name, max_unpacked_bytes=max_unpacked_bytes)
    advice = _advice(source, split)
    if errors := result.errors:
        further = len(errors) - 1
        more = f" (and {further:,} more {'error' if further == 1 else 'errors'})" if further else ""
        if not further and not result.complete:
            raise DataError(str(errors[0]))  # a source that cannot be read; a check could say no more
        raise DataError(f"{errors[0]}{more}. {advice}")
    warnings = [problem for problem in result.problems if problem.severity == "warning"]
    if warnings:
        counts = ", ".join(f"{kind} {count:,}" for kind, count in Counter(item.kind for item in warnings).items())
        _log.warning("%s: accepted with warnings (%s). %s", result.name, counts, advice)
    return result.examples


def load_several(sources: Sequence[str | os.PathLike[str]], *, limit: int | None = None) -> list[Example]:
    """Read several data sets as one (see `load_examples`).

    Args:
        sources: Paths or names, in the order in which their questions shall stand; at least one.
        limit: Read only this many questions in all.

    Returns:
        The examples.

    Raises:
        DataError: A problem in one of them, or an id that two of them share.
    """
    examples: list[Example] = []
    owners: dict[str, str] = {}
    for source in sources:
        left = None if limit is None else limit - len(examples)
        if left == 0:
            break
        for example in load_examples(source, limit=left):
            owner = owners.setdefault(example.id, os.fspath(source))
            if owner != os.fspath(source):
                raise DataError(f"{source}: question {example.id} is also in {owner}; ids must be unique. Rename one")
            examples.append(example)
    return examples


def read(
    source: object,
    *,
    split: str | None = None,
    limit: int | None = None,
    name: str | None = None,
    max_unpacked_bytes: int = MAX_UNPACKED_BYTES,
) -> ReadResult:
    """Read a data set that may be wrong, and report everything that is.

    Args:
        source: Anything the module's text names.
        split: The split of a Hub name, a saved folder or a `DatasetDict`.
        limit: Read and check only this many questions from the start.
        name: What to call the source in messages; its path or type unless given.
        max_unpacked_bytes: The largest file to read, unpacked.

    Returns:
        The questions and the problems; a source that cannot be read is a problem too.

    Raises:
        DataError: The call itself is wrong: a limit below 1, a source of an unknown type, a split of what has none.
    """
    if limit is not None and limit < 1:
        raise DataError(f"limit: expected at least 1 question, found {limit}")
    reading = _Reading(name or source_name(source))
    try:
        opened = open_source(source, split, max_unpacked_bytes)
    except SourceError as error:
        reading.stop(error)
        return reading.result("", None, None, None)
    try:
        for item in opened.records:
            if limit is not None and len(reading.entries) >= limit:
                break
            reading.take(item)
        reading.judge_whole(opened.version)
    except SourceError as error:
        reading.stop(error)
    return reading.result(opened.format, opened.version, opened.size_bytes, opened.sha256)


def _advice(source: object, split: str | None) -> str:
    """Say how to see every problem, with a command where the source can be named on a command line."""
    if not isinstance(source, str | os.PathLike):
        return "albertqa.data.read lists every problem."
    named = source_name(source)
    if split is not None and ":" not in named:
        named = f"{named}:{split}"
    return f"Run 'albertqa check {shlex.quote(named)}'."


@dataclass(slots=True)
class _Reading:
    """A source being read: what has been seen so far."""

    name: str
    entries: list[Entry] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    complete: bool = True
    contexts: dict[str, str] = field(default_factory=dict)
    places_by_id: dict[str, str] = field(default_factory=dict)
    ids_by_question: dict[tuple[str, str], str] = field(default_factory=dict)
    columns: dict[object, None] = field(default_factory=dict)
    num_records: int = 0
    num_with_answer_keys: int = 0
    num_stating_impossible: int = 0

    def take(self, item: Record | Broken) -> None:
        """Judge the next record, alone and against those before it."""
        if isinstance(item, Broken):
            problem = Problem(item.kind, item.message, self.name, item.place)
            self.problems.append(problem)
            if item.is_question:
                self.entries.append(Entry(item.place, "", None, None, (problem,)))
            return
        self._note_columns(item)
        entry = read_entry(item, file=self.name, number=len(self.entries) + 1, contexts=self.contexts)
        entry = self._against_earlier(entry)
        self.entries.append(entry)
        self.problems.extend(entry.problems)

    def stop(self, error: SourceError) -> None:
        """Note why nothing more can be read."""
        self.complete = False
        self.problems.append(Problem(error.kind, error.message, self.name, error.place))

    def judge_whole(self, version: str | None) -> None:
        """Judge what only shows at the end: no questions, no labels, mixed versions."""
        if not self.entries and not self.problems:
            raise SourceError("no-questions", "expected at least one question, found none")
        if self.columns and not self.num_with_answer_keys:
            message = f"expected answers or answer_text in the rows, found {listed(self.columns)}"
            raise SourceError("no-answers-column", message)
        self._judge_versions(version)
        self._judge_places()

    def result(self, form: str, version: str | None, size_bytes: int | None, sha256: str | None) -> ReadResult:
        """Give all that was found."""
        entries, problems = tuple(self.entries), tuple(self.problems)
        return ReadResult(self.name, form, version, size_bytes, sha256, entries, problems, self.complete)

    def _note_columns(self, record: Record) -> None:
        fields = record.fields
        self.num_records += 1
        if "answers" in fields or "answer_text" in fields or "is_impossible" in fields or record.nested:
            self.num_with_answer_keys += 1
        if not is_absent(fields.get("is_impossible")):
            self.num_stating_impossible += 1
        if not self.num_with_answer_keys and len(self.columns) < len(FIELDS):
            self.columns.update(dict.fromkeys(fields))

    def _against_earlier(self, entry: Entry) -> Entry:
        """Compare with the questions before: an id is used once, and a question asked twice is worth a note."""
        example = entry.readable
        question_id = entry.question_id or (example.id if example else "")
        earlier = self.places_by_id.setdefault(question_id, entry.place) if question_id else entry.place
        if earlier != entry.place:
            message = f"id {quoted(question_id)} at {entry.place} belongs to the question at {earlier}"
            problem = Problem("duplicate-id", message, self.name, entry.place, entry.question_id)
            return Entry(entry.place, entry.question_id, None, None, (*entry.problems, problem))
        if example is None:
            return entry
        first = self.ids_by_question.setdefault((example.question.strip(), example.context), question_id)
        if first == question_id:
            return entry
        message = f"the same question on the same context as question {quoted(first)}"
        problem = Problem("duplicate-question", message, self.name, entry.place, entry.question_id)
        return Entry(entry.place, entry.question_id, entry.example, entry.repaired, (*entry.problems, problem))

    def _judge_places(self) -> None:
        """Report answers that agree with their places, where these are all off by the same number of characters."""
        shift = answers_shift([entry.example for entry in self.entries if entry.example is not None])
        if shift is None:
            return
        where = spell_shift(shift)
        for at, entry in enumerate(self.entries):
            if entry.example is None or not entry.example.has_answer:
                continue
            moved, gold = moved_back(entry.example, shift), entry.example.golds[0]
            repair = f"move it to {quoted(moved.golds[0].text)} at {moved.golds[0].answer_start}" if moved else ""
            message = f"answer {quoted(gold.text)} at {gold.answer_start} is cut out of words; all answers are {where}"
            problem = Problem("shifted-answer", message, self.name, entry.place, entry.question_id, repair)
            self.entries[at] = replace(entry, repaired=moved, problems=(*entry.problems, problem))
            self.problems.append(problem)

    def _judge_versions(self, version: str | None) -> None:
        readable = [entry.readable for entry in self.entries]
        num_unanswerable = sum(example is not None and not example.has_answer for example in readable)
        of_all = f"of {self.num_records:,} questions"
        if num_unanswerable and version is not None and version.lower().removeprefix("v").startswith("1"):
            message = f"the version says {quoted(version)}, but {num_unanswerable:,} {of_all} have no answer"
            self.problems.append(Problem("mixed-versions", message, self.name))
        elif 0 < self.num_stating_impossible < self.num_records:
            message = f"{self.num_stating_impossible:,} {of_all} state is_impossible, the others do not"
            self.problems.append(Problem("mixed-versions", message, self.name))
