"""Read question-answering data from anywhere: `read` reports every problem, `load_examples` refuses the first error.

Sources: SQuAD v1.1 and v2.0 JSON; MRQA's JSON lines; flat rows (`id`, `question`, `context`, and `answers`, or
`answer_text` with or without `answer_start`; `title` and `is_impossible` where known) as JSON lines, a JSON list,
`{"data": [rows]}`, CSV, TSV, Excel or Parquet, also with the flattened columns of `datasets` (`answers.text`); all text
forms also as `.gz`; a pandas data frame; a `datasets.Dataset`, or a `DatasetDict` with a split; a folder saved by
`save_to_disk`; a Hub name such as `rajpurkar/squad:train`; a list of rows in memory. `ReadOptions` names columns,
encoding, delimiter and sheet where they are other ones.

What is decided without asking, and reported:

- `answer_start` counted in another unit (UTF-16, UTF-8, other line ends, from another place) is converted where one
  unit fits every answer of the file (a warning).
- A row without an id gets `row-<n>`, counted from 1 (a note).
- An answer without `answer_start`, or with a negative one, is placed where it occurs once (a note). Where it occurs
  several times, or only inside a word, nothing is guessed: an error, unless `ReadOptions.ambiguous_answers` says
  what to do.
- A question has no answer where `answers` is null or empty, or where its texts are empty and `is_impossible` is true or
  `answer_start` is negative (SQuAD v2.0). Any other empty answer is an error, unless `ReadOptions.empty_answers` says
  what it means.
- Answers that are all the same number of characters beside words are warned of, and can be moved back.
- `plausible_answers` and unknown keys are ignored. Where a row has `answers`, `answer_text` is not looked at.
"""

import logging
import os
import shlex
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from albertqa.data.answer_units import CHARACTERS, AnswerUnit, answers_shift, find_unit, moved_back, spell_shift
from albertqa.data.example import Example
from albertqa.data.problems import Problem, SourceError, listed, quoted
from albertqa.data.questions import ParsedRow, Question, parse_row, place_answers
from albertqa.data.raw_rows import ANSWER_FIELDS, BrokenRow, ReadOptions, Row, columns_message, is_absent
from albertqa.data.sources import Source, open_source, source_name
from albertqa.data.unpacking import too_large
from albertqa.errors import DataError

_DEFAULTS = ReadOptions()
# How many answers that occur nowhere are shown with their closest match; finding it takes time.
_CLOSEST_SHOWN = 200
_KEYS_SHOWN = 20
# Neighbouring questions are often on one context; so many are looked through for it.
_CONTEXTS_KEPT = 1000
# Which share of the limit on unpacked data the texts may take in memory, and what they may take whatever the limit.
_TEXTS_SHARE, _FEW_BYTES = 2, 2**20
# So large a share of the answers must be in another column before two columns are called swapped.
_SWAPPED_SHARE = 0.5

# Two columns that may be swapped, and what is then in what: the first of these fields in the second.
_SWAPS = (
    ("question", "context", "answer", "question"),
    ("context", "answer", "context", "answer"),
    ("question", "answer", "question", "context"),
)

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
        questions: Every question, usable or not, in order.
        problems: Every finding, in order; those of the questions included.
        complete: Whether it was read to its end and is labelled data. A repaired copy is written of nothing less.
    """

    name: str
    format: str
    version: str | None
    size_bytes: int | None
    sha256: str | None
    questions: tuple[Question, ...]
    problems: tuple[Problem, ...]
    complete: bool

    @property
    def examples(self) -> list[Example]:
        """The questions without an error, as they are."""
        return [question.example for question in self.questions if question.example is not None]

    @property
    def errors(self) -> list[Problem]:
        """The findings that make a question, or the source, unusable as it is."""
        return [problem for problem in self.problems if problem.is_error]


def load_examples(
    source: object,
    *,
    split: str | None = None,
    limit: int | None = None,
    name: str | None = None,
    options: ReadOptions = _DEFAULTS,
) -> list[Example]:
    """Read a data set that must be right, as training and evaluation need it.

    Warnings are summed up in one line of the log; `read` and `albertqa check` list them.

    Args:
        source: Anything the module's text names.
        split: The split of a Hub name, a saved folder or a `DatasetDict`.
        limit: Read and check only this many questions from the start.
        name: What to call the source in messages; its path or type unless given.
        options: Names of columns, and what else cannot be known from a file alone.

    Returns:
        The examples, in the source's order. Questions on the same context share one string object.

    Raises:
        DataError: Any problem of severity error: the first, with the count of further ones.
    """
    result = read(source, split=split, limit=limit, name=name, options=options)
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


def load_several(
    sources: Sequence[str | os.PathLike[str]], *, limit: int | None = None, options: ReadOptions = _DEFAULTS
) -> list[Example]:
    """Read several data sets as one (see `load_examples`), at most `limit` questions in all.

    Ids may repeat between the files, as in translations of one set: every further question of an id gets one of its
    own, "56be#2", and the log says so.

    Raises:
        DataError: A problem in one of them.
    """
    return [example for part in load_parts(sources, limit=limit, options=options) for example in part]


def load_parts(
    sources: Sequence[str | os.PathLike[str]], *, limit: int | None = None, options: ReadOptions = _DEFAULTS
) -> list[list[Example]]:
    """Read several data sets as `load_several` does; return the examples of each, empty beyond the limit."""
    parts: list[list[Example]] = []
    uses: Counter[str] = Counter()
    for source in sources:
        left = None if limit is None else limit - sum(map(len, parts))
        if left == 0:
            parts.append([])
            continue
        loaded = load_examples(source, limit=left, options=options)
        repeated = [example.id for example in loaded if example.id in uses]
        parts.append([_with_own_id(example, uses) for example in loaded])
        if repeated:
            own = "1 question has an id" if len(repeated) == 1 else f"{len(repeated):,} questions have ids"
            _log.warning("%s: %s of an earlier file; they are numbered, as in %s#2", source, own, repeated[0])
    return parts


def _with_own_id(example: Example, uses: Counter[str]) -> Example:
    uses[example.id] += 1
    if uses[example.id] == 1:
        return example
    own = f"{example.id}#{uses[example.id]}"
    while own in uses:
        own += "#"
    uses[own] += 1
    return replace(example, id=own)


def read(
    source: object,
    *,
    split: str | None = None,
    limit: int | None = None,
    name: str | None = None,
    options: ReadOptions = _DEFAULTS,
    labelled: bool = True,
) -> ReadResult:
    """Read a data set that may be wrong, and report everything that is.

    The arguments are those of `load_examples`; answers are not looked at unless the data is `labelled`.

    Returns:
        The questions and the problems; a source that cannot be read is a problem too.

    Raises:
        DataError: The call itself is wrong: a limit below 1, a source of an unknown type, a split of what has none.
    """
    if limit is not None and limit < 1:
        raise DataError(f"limit: expected at least 1 question, found {limit}")
    reader = _Reader(name or source_name(source), options, labelled)
    opened = Source("", iter(()))
    stop: SourceError | None = None
    try:
        opened = open_source(source, split, options)
        for row in opened.rows:
            if limit is not None and reader.num_questions >= limit:
                break
            reader.take(row)
    except SourceError as error:
        stop = error
    except MemoryError:
        stop = SourceError("too-large", "takes more memory than there is")
    questions, problems, complete = reader.finish(opened.version, stop)
    return ReadResult(
        reader.name, opened.format, opened.version, opened.size_bytes, opened.sha256, questions, problems, complete
    )


def load_questions(source: object, *, split: str | None = None, options: ReadOptions = _DEFAULTS) -> list[Example]:
    """Read questions to be answered, with or without golds; golds are not looked at.

    Returns:
        The questions without golds, in the source's order.

    Raises:
        DataError: A question without a text, context or usable id, or a source that cannot be read.
    """
    options = replace(options, answer_column=None, answer_start_column=None)
    result = read(source, split=split, options=options, labelled=False)
    if errors := result.errors:
        more = f" (and {len(errors) - 1:,} more)" if len(errors) > 1 else ""
        raise DataError(f"{errors[0]}{more}")
    return result.examples


def stream_questions(sources: Sequence[str], *, options: ReadOptions = _DEFAULTS) -> Iterator[Example]:
    """Read questions to be answered one by one, so that memory does not grow with their number.

    JSON lines, tables and Parquet are read as they are needed, and may have any size; other JSON is parsed as a whole.
    Golds are not looked at, and ids are not compared.

    Yields:
        The questions without golds; one without an id is called ``row-<n>``, counted over all sources.

    Raises:
        DataError: A question without a text, context or usable id, or a source that cannot be read; when it is reached.
    """
    options = replace(options, answer_column=None, answer_start_column=None, max_unpacked_bytes=sys.maxsize)
    number, contexts = 0, dict[str, str]()
    for source in sources:
        name, before = source_name(source), number
        try:
            for row in open_source(source, None, options).rows:
                number += 1
                if isinstance(row, BrokenRow):
                    raise DataError(str(_problem(row, name)))
                if len(contexts) > _CONTEXTS_KEPT:
                    contexts.clear()
                parsed = parse_row(row, file=name, number=number, contexts=contexts, empty_answers=None)
                question = place_answers(parsed, CHARACTERS, options, show_closest=False)
                if question.example is None:
                    raise DataError(str(next(one for one in question.problems if one.is_error)))
                yield question.example
        except SourceError as error:
            raise DataError(str(_problem(error, name))) from error
        if number == before:
            raise DataError(f"{name}: expected at least one question, found none")


def _advice(source: object, split: str | None) -> str:
    """Return how to see every problem, with a command where the source can be named on a command line."""
    if not isinstance(source, str | os.PathLike):
        return "albertqa.data.read lists every problem."
    named = source_name(source)
    if split is not None and ":" not in named:
        named = f"{named}:{split}"
    return f"Run 'albertqa check {shlex.quote(named)}'."


class _Reader:
    """A source being read: its rows so far, and what is wrong with them."""

    def __init__(self, name: str, options: ReadOptions, labelled: bool) -> None:
        self.name = name
        self.options = options
        self.labelled = labelled
        self.num_questions = 0
        self._parsed: list[ParsedRow | BrokenRow] = []
        self._contexts: dict[str, str] = {}
        self._keys: dict[object, None] = {}
        self._text_bytes = 0
        self._num_rows = 0
        self._num_stating_answers = 0
        self._num_stating_impossible = 0

    def take(self, row: Row | BrokenRow) -> None:
        """Read the next row's fields."""
        if isinstance(row, BrokenRow):
            self.num_questions += row.is_question
            self._parsed.append(row)
            return
        self.num_questions += 1
        self._num_rows += 1
        self._num_stating_answers += row.nested or not row.fields.keys().isdisjoint(ANSWER_FIELDS)
        self._num_stating_impossible += not is_absent(row.fields.get("is_impossible"))
        if len(self._keys) < _KEYS_SHOWN:
            self._keys.update(dict.fromkeys(row.keys))
        num_contexts = len(self._contexts)
        parsed = parse_row(
            row,
            file=self.name,
            number=self.num_questions,
            contexts=self._contexts,
            empty_answers=self.options.empty_answers if self.labelled else None,
        )
        self._parsed.append(parsed)
        self._text_bytes += sys.getsizeof(parsed.question)
        if len(self._contexts) > num_contexts:
            self._text_bytes += sys.getsizeof(parsed.context)
        most_bytes = max(_FEW_BYTES, self.options.max_unpacked_bytes // _TEXTS_SHARE)
        if self._text_bytes > most_bytes:
            raise too_large("the texts in memory", most_bytes)

    def finish(
        self, version: str | None, stop: SourceError | None
    ) -> tuple[tuple[Question, ...], tuple[Problem, ...], bool]:
        """Place the answers, and judge the rows against each other and as a whole, if the source was read to its end.

        Returns:
            The questions, all problems, and whether the source can be used as a whole.
        """
        fault = self._fault_of_all() if stop is None else stop
        # What was read before a fault counts; but of a file that is too large, it says nothing.
        if fault is not None and (stop is None or stop.kind == "too-large"):
            lost = (Question(row.faults.place, "", None, None) for row in self._parsed if isinstance(row, ParsedRow))
            return tuple(lost), (_problem(fault, self.name),), False
        unit = find_unit(_stated(self._parsed))
        questions: list[Question] = []
        problems: list[Problem] = []
        earlier = _EarlierQuestions(self.name)
        closest_left = _CLOSEST_SHOWN
        for row in self._parsed:
            if isinstance(row, BrokenRow):
                problem = _problem(row, self.name)
                problems.append(problem)
                if row.is_question:
                    questions.append(Question(row.place, "", None, None, (problem,)))
                continue
            question = place_answers(row, unit or CHARACTERS, self.options, show_closest=closest_left > 0)
            question = earlier.compare(question)
            questions.append(question)
            problems += question.problems
            closest_left -= any(problem.kind == "answer-not-in-context" for problem in question.problems)
        if stop is not None:
            return tuple(questions), (*problems, _problem(stop, self.name)), False
        of_all = [*self._unit_problem(unit, questions), *self._swapped_columns()]
        if not any(problem.is_error for problem in problems) and all(one.example is None for one in questions):
            message = f"expected at least one question, but all {len(questions):,} were left out as asked"
            of_all.append(Problem("no-questions", message, self.name))
        problems += self._mixed_versions(questions, version)
        problems += self._shifted_answers(questions)
        return tuple(questions), (*of_all, *problems), True

    def _fault_of_all(self) -> SourceError | None:
        """Return what is wrong with every row, in one line."""
        if not self._parsed:
            return SourceError("no-questions", "expected at least one question, found none")
        rows = [row for row in self._parsed if isinstance(row, ParsedRow)]
        missing = [name for field, name in self.options.names.items() if name != field and name not in self._keys]
        unreadable = len(rows) > 1 and all(row.question is None or row.context is None for row in rows)
        if rows and (missing or unreadable):
            return SourceError("unknown-structure", columns_message(missing, self._keys))
        if self.labelled and rows and not self._num_stating_answers:
            message = f"expected answers or answer_text in the rows, found {listed(self._keys)}; name yours with "
            return SourceError("no-answers-column", f"{message}--answer-column")
        return None

    def _unit_problem(self, unit: AnswerUnit | None, questions: Sequence[Question]) -> Iterator[Problem]:
        if unit is None or unit == CHARACTERS:
            return
        num_converted = sum(question.converted for question in questions)
        message = (
            f"answer_start is counted {unit}, which fits every answer of the file; {num_converted:,} "
            f"{'question is' if num_converted == 1 else 'questions are'} converted to characters"
        )
        yield Problem("answer-start-unit", message, self.name, repair="count it in characters")

    def _swapped_columns(self) -> Iterator[Problem]:
        """Report two columns that seem to be swapped: what should be in one is in the other, for most rows."""
        rows = [
            {"question": row.question, "context": row.context, "answer": row.answers[0][0]}
            for row in self._parsed
            if isinstance(row, ParsedRow) and row.answers and row.context and row.question
        ]
        lost = [row for row in rows if row["answer"] not in row["context"]]
        for first, second, part, whole in _SWAPS if lost else ():
            if sum(row[part] in row[whole] for row in lost) >= _SWAPPED_SHARE * len(rows):
                message = (
                    f"{len(lost):,} of {len(rows):,} answers are not in the context, but {first} and {second} would "
                    f"fit the other way round; if so, name them with --{first}-column and --{second}-column"
                )
                yield Problem("swapped-columns", message, self.name)
                return

    def _mixed_versions(self, questions: Sequence[Question], version: str | None) -> Iterator[Problem]:
        if not self.labelled:
            return
        readable = [question.readable for question in questions]
        num_unanswerable = sum(example is not None and not example.has_answer for example in readable)
        of_all = f"of {self._num_rows:,} questions"
        if num_unanswerable and version is not None and version.lower().removeprefix("v").startswith("1"):
            message = f"the version says {quoted(version)}, but {num_unanswerable:,} {of_all} have no answer"
            yield Problem("mixed-versions", message, self.name)
        elif 0 < self._num_stating_impossible < self._num_rows:
            message = f"{self._num_stating_impossible:,} {of_all} state is_impossible, the others do not"
            yield Problem("mixed-versions", message, self.name)

    def _shifted_answers(self, questions: list[Question]) -> Iterator[Problem]:
        """Report answers that agree with their places, where these are all off by the same number of characters."""
        shift = answers_shift([question.example for question in questions if question.example is not None])
        if shift is None:
            return
        where = spell_shift(shift)
        for at, question in enumerate(questions):
            if question.example is None or not question.example.has_answer:
                continue
            moved, gold = moved_back(question.example, shift), question.example.golds[0]
            if moved == question.example:
                continue
            repair = f"move it to {quoted(moved.golds[0].text)} at {moved.golds[0].answer_start}" if moved else ""
            message = f"answer {quoted(gold.text)} at {gold.answer_start} is cut out of words; answers are {where}"
            problem = Problem("shifted-answer", message, self.name, question.place, question.question_id, repair)
            questions[at] = replace(question, repaired=moved, problems=(*question.problems, problem))
            yield problem


def _problem(fault: BrokenRow | SourceError, name: str) -> Problem:
    """Return why a row, or nothing more of a source, can be read."""
    return Problem(fault.kind, fault.message, name, fault.place)


def _stated(rows: Iterable[ParsedRow | BrokenRow]) -> Iterator[tuple[str, str, int]]:
    """Yield the answers with a stated start, for their unit."""
    for row in rows:
        if isinstance(row, ParsedRow) and row.context is not None:
            for text, start in row.answers or ():
                if start is not None:
                    yield row.context, text, start


class _EarlierQuestions:
    """The questions of a source so far: an id is used once, and a question asked twice is worth a note."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._places: dict[str, str] = {}
        self._ids: dict[tuple[str, str], str] = {}

    def compare(self, question: Question) -> Question:
        """Return a question with what the questions before it show."""
        example = question.readable
        question_id = question.question_id or (example.id if example else "")
        place = question.place
        earlier = self._places.setdefault(question_id, place) if question_id else place
        if earlier != place:
            message = f"id {quoted(question_id)} at {place} belongs to the question at {earlier}"
            problem = Problem("duplicate-id", message, self._file, place, question.question_id)
            return replace(question, example=None, repaired=None, problems=(*question.problems, problem))
        if example is None:
            return question
        first = self._ids.setdefault((example.question.strip(), example.context), question_id)
        if first == question_id:
            return question
        message = f"the same question on the same context as question {quoted(first)}"
        problem = Problem("duplicate-question", message, self._file, place, question.question_id)
        return replace(question, problems=(*question.problems, problem))
