"""The check of data files: what one or several hold, what is wrong with them, and the repaired copies."""

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from albertqa.data.example import content_sha256
from albertqa.data.problems import KINDS, SEVERITIES, Problem, Severity, quoted
from albertqa.data.raw_rows import ReadOptions
from albertqa.data.reading import ReadResult, read
from albertqa.data.repair import RepairedCopy, copy_paths, write_repaired_copy
from albertqa.errors import DataError

_DEFAULTS = ReadOptions()


@dataclass(frozen=True, slots=True)
class FileFacts:
    """What one file holds, and how it was read (see `ReadResult`).

    Attributes:
        num_questions: All questions, readable or not.
        num_usable: Those without an error.
        num_unanswerable: Readable questions without an answer.
        num_contexts: Different contexts of readable questions.
        num_golds: Answers of readable questions, alternatives included.
        content_sha256: The hash of the usable questions, whatever the format.
        extra: More facts, merged into the JSON form; for whoever measures what this room cannot, such as tokens.
    """

    name: str
    format: str
    version: str | None
    num_questions: int
    num_usable: int
    num_unanswerable: int
    num_contexts: int
    num_golds: int
    size_bytes: int | None
    sha256: str | None
    content_sha256: str
    extra: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the facts as a plain dictionary."""
        facts = {name.removeprefix("num_"): value for name, value in asdict(self).items() if name != "extra"}
        return facts | self.extra


@dataclass(frozen=True, slots=True)
class ProblemGroup:
    """All findings of one kind.

    Attributes:
        kind: A key of `problems.KINDS`.
        count: How many there are.
        repairable: How many of them a repaired copy repairs.
        by_file: How many there are in each file.
        cases: The first few.
    """

    kind: str
    count: int
    repairable: int
    by_file: dict[str, int]
    cases: tuple[Problem, ...]

    @property
    def severity(self) -> Severity:
        """How bad this kind is."""
        return KINDS[self.kind].severity

    def to_json(self) -> dict[str, Any]:
        """Return the group as a plain dictionary."""
        return {
            "kind": self.kind,
            "severity": self.severity,
            "meaning": KINDS[self.kind].meaning,
            "count": self.count,
            "repairable": self.repairable,
            "by_file": self.by_file,
            "cases": [case.to_json() for case in self.cases],
        }


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What a check found.

    Attributes:
        files: The facts of each file, in the order given.
        groups: The findings by kind, most severe first; of these, first what is wrong with whole files, as that is
            often why rows are wrong, then the most frequent.
        copies: What became of the repaired copies; empty where none were asked for.
    """

    files: tuple[FileFacts, ...]
    groups: tuple[ProblemGroup, ...]
    copies: tuple[RepairedCopy, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether every file can be trained on or evaluated as it is."""
        return not self.count("error")

    def count(self, severity: Severity) -> int:
        """Count the findings of one severity."""
        return sum(group.count for group in self.groups if group.severity == severity)

    def with_problems(self, problems: Sequence[Problem], max_cases: int) -> "CheckReport":
        """Return the report with problems of further kinds, that a room above this one found."""
        return replace(self, groups=_worst_first([*self.groups, *_grouped(problems, max_cases)]))

    def to_json(self) -> dict[str, Any]:
        """Return the report as a plain dictionary."""
        return {
            "ok": self.ok,
            "questions": sum(facts.num_questions for facts in self.files),
            "errors": self.count("error"),
            "warnings": self.count("warning"),
            "notes": self.count("note"),
            "files": [facts.to_json() for facts in self.files],
            "problems": [group.to_json() for group in self.groups],
            "repaired": [
                {
                    "source": copy.source,
                    "path": copy.path,
                    "dropped_path": copy.dropped_path,
                    "questions": copy.num_questions,
                    "repaired": copy.num_repaired,
                    "dropped": copy.num_dropped,
                    "ready": copy.path is not None and not copy.num_errors,
                    "reason": copy.reason,
                }
                for copy in self.copies
            ],
        }


def check_files(
    paths: Sequence[str | os.PathLike[str]],
    *,
    write_repaired: Path | None = None,
    max_cases: int = 5,
    options: ReadOptions = _DEFAULTS,
) -> CheckReport:
    """Check one or several data files, alone and against each other.

    Args:
        paths: Files, saved folders or Hub names; by custom the training data first.
        write_repaired: Where repaired copies go: a file for one input, a folder for several. None writes nothing.
        max_cases: How many cases of each kind to keep.
        options: Names of columns, and what else cannot be known from a file alone.

    Returns:
        The report; a file that cannot be read is a problem in it.

    Raises:
        DataError: No paths, or the copies cannot be written where they should go.
    """
    if not paths:
        raise DataError("check: expected at least one file, found none")
    outputs = copy_paths(paths, write_repaired) if write_repaired is not None else []
    problems: list[Problem] = []
    facts, copies = [], []
    file_by_context: dict[str, str] = {}
    file_by_id: dict[str, str] = {}
    for number, path in enumerate(paths):
        result = read(path, options=options)
        facts.append(_facts(result))
        problems += result.problems
        problems += _shared_with_earlier(result, file_by_context, file_by_id)
        if outputs:
            copies.append(write_repaired_copy(result, outputs[number]))
    problems += _mixed_files(facts)
    return CheckReport(tuple(facts), _worst_first(_grouped(problems, max_cases)), tuple(copies))


def _facts(result: ReadResult) -> FileFacts:
    readable = [example for question in result.questions if (example := question.readable) is not None]
    usable = result.examples
    return FileFacts(
        name=result.name,
        format=result.format,
        version=result.version,
        num_questions=len(result.questions),
        num_usable=len(usable),
        num_unanswerable=sum(not example.has_answer for example in readable),
        num_contexts=len({example.context for example in readable}),
        num_golds=sum(len(example.golds) for example in readable),
        size_bytes=result.size_bytes,
        sha256=result.sha256,
        content_sha256=content_sha256(usable),
    )


def _grouped(problems: Iterable[Problem], max_cases: int) -> list[ProblemGroup]:
    by_kind: defaultdict[str, list[Problem]] = defaultdict(list)
    for problem in problems:
        by_kind[problem.kind].append(problem)
    return [
        ProblemGroup(
            kind,
            count=len(found),
            repairable=sum(problem.repairable for problem in found),
            by_file=dict(Counter(problem.file for problem in found)),
            cases=tuple(found[: max(0, max_cases)]),
        )
        for kind, found in by_kind.items()
    ]


def _worst_first(groups: Sequence[ProblemGroup]) -> tuple[ProblemGroup, ...]:
    def rank(group: ProblemGroup) -> tuple[int, bool, int]:
        of_rows = any(case.place or case.question_id for case in group.cases)
        return SEVERITIES.index(group.severity), of_rows, -group.count

    return tuple(sorted(groups, key=rank))


def _shared_with_earlier(
    result: ReadResult, file_by_context: dict[str, str], file_by_id: dict[str, str]
) -> Iterator[Problem]:
    """Yield the contexts and ids that an earlier file has too, each once; add the others, with this file."""
    for context in dict.fromkeys(one.readable.context for one in result.questions if one.readable is not None):
        if context in file_by_context:
            message = (
                f"the context {quoted(context)} is also in {file_by_context[context]}; "
                "what is trained on one is not measured fairly on the other"
            )
            yield Problem("shared-context", message, result.name)
        else:
            file_by_context[context] = result.name
    for question_id in dict.fromkeys(one.question_id for one in result.questions if one.question_id):
        if question_id in file_by_id:
            message = f"the id is also in {file_by_id[question_id]}"
            yield Problem("shared-id", message, result.name, question_id=question_id)
        else:
            file_by_id[question_id] = result.name


def _mixed_files(facts: Sequence[FileFacts]) -> list[Problem]:
    """Report files with unanswerable questions beside files without."""
    read_files = [file for file in facts if file.num_usable]
    with_none = [file for file in read_files if not file.num_unanswerable]
    if not with_none or len(with_none) == len(read_files):
        return []
    return [
        Problem(
            "mixed-versions",
            f"{file.num_unanswerable:,} of {file.num_questions:,} questions have no answer, while every question of "
            f"{with_none[0].name} has one; what is trained on one kind cannot be measured on the other",
            file.name,
        )
        for file in read_files
        if file.num_unanswerable
    ]
