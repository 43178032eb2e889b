"""The rows of the data that a finding is about: to read before anything is changed, or to write to a file."""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from albertqa.data.answer_fit import UNSPACED, WORD, FitMeasure, overlap, words_of
from albertqa.data.example import Example, letters_and_digits
from albertqa.data.label_checks import (
    TrainedContexts,
    TrainedQuestions,
    function_words,
    is_whole_words,
    language_words,
    last_word,
    rare_question_words,
)
from albertqa.data.problems import quoted
from albertqa.data.text_damage import (
    LONG_WORD,
    MARKUP,
    is_answered_in_question,
    is_asked_in_context,
    is_doubled,
    is_long_question,
    is_mojibake,
)
from albertqa.data.trained_on import TrainedOn
from albertqa.errors import SettingsError
from albertqa.files import SUSPECTS_JSON, write_text
from albertqa.rundir.run_json import Part
from albertqa.schema import convert, read_object


@dataclass(frozen=True)
class OffendingRow:
    """A question that a finding is about.

    Attributes:
        part: The data set it is in.
        example: The question.
        why: What is wrong with it.
    """

    part: Part
    example: Example
    why: str

    def to_json(self) -> dict[str, object]:
        """Return the row with the keys of data, and ``part`` and ``why`` beside them."""
        return {
            "id": self.example.id,
            "part": self.part,
            "why": self.why,
            "question": self.example.question,
            "context": self.example.context,
            "answers": {
                "text": [gold.text for gold in self.example.golds],
                "answer_start": [gold.answer_start for gold in self.example.golds],
            },
        }


@dataclass(frozen=True)
class Rows:
    """The data that rows are selected from.

    Attributes:
        train: The training questions.
        validation: The validation questions.
        trained_on: What the model was trained on before.
    """

    train: Sequence[Example]
    validation: Sequence[Example] = ()
    trained_on: TrainedOn = field(default_factory=TrainedOn)

    def parts(self) -> Iterator[tuple[Part, Sequence[Example]]]:
        """Yield the data sets that there are."""
        yield "train", self.train
        if self.validation:
            yield "validation", self.validation

    def questions(self) -> Iterator[tuple[Part, Example]]:
        """Yield all questions, each with its data set."""
        return ((part, one) for part, examples in self.parts() for one in examples)


def offending_rows(name: str, rows: Rows) -> list[OffendingRow]:
    """Return the rows that a finding of this name is about, the clearest cases first where there are clearer ones.

    Raises:
        SettingsError: No rows belong to a finding of that name.
    """
    if name not in SELECTIONS:
        raise SettingsError(f"--show-rows is '{name}', expected one of {', '.join(SELECTIONS)}")
    return list(SELECTIONS[name](rows))


def write_rows(path: Path, rows: Sequence[OffendingRow]) -> None:
    """Write rows as JSON lines that can be read as data again, with ``part`` and ``why`` beside the usual fields."""
    write_text(path, "".join(f"{json.dumps(one.to_json(), ensure_ascii=False)}\n" for one in rows))


class _Suspect(msgspec.Struct, frozen=True):
    id: str
    start_char: int
    end_char: int
    times: float


def suspect_rows(run: Path, train: Sequence[Example]) -> list[OffendingRow]:
    """Return the training questions of a run whose labels the trained model contradicts, the clearest first.

    Raises:
        RunError: The run has no such list, or it is damaged.
    """
    path = run / SUSPECTS_JSON
    suspects = convert(read_object(path).get("suspects", []), list[_Suspect], str(path))
    by_id = {one.id: one for one in train}
    return [
        OffendingRow(
            "train",
            by_id[one.id],
            f"the model answers {quoted(by_id[one.id].context[one.start_char : one.end_char])} "
            f"({one.times:,.0f} times as probable)",
        )
        for one in suspects
        if one.id in by_id
    ]


def _swapped_fields(rows: Rows) -> Iterator[OffendingRow]:
    for part, one in rows.questions():
        if is_long_question(one):
            short = len(one.question) < 4
            why = "the question has next to no text" if short else "the question is longer than the context"
            yield OffendingRow(part, one, why)


def _missing_whitespace(rows: Rows) -> Iterator[OffendingRow]:
    for part, one in rows.questions():
        longest = max(WORD.findall(one.context), key=len, default="")
        if len(longest) >= LONG_WORD and not UNSPACED.search(longest):
            yield OffendingRow(part, one, f"a word of {len(longest)} letters: {quoted(longest)}")


def _contradicting_answers(rows: Rows) -> Iterator[OffendingRow]:
    for part, examples in rows.parts():
        for first, one in _repeated(examples):
            if one.golds != first.golds and not any(overlap(a, b) for a in one.golds for b in first.golds):
                answer = quoted(first.golds[0].text) if first.golds else "no answer"
                yield OffendingRow(part, one, f"asked before (question {first.id}) with the answer {answer}")


def _repeated_questions(rows: Rows) -> Iterator[OffendingRow]:
    for first, one in _repeated(rows.train):
        yield OffendingRow("train", one, f"a copy of question {first.id}")


def _damaged_texts(rows: Rows) -> Iterator[OffendingRow]:
    for part, one in rows.questions():
        if (match := MARKUP.search(one.context)) is not None:
            yield OffendingRow(part, one, f"the context has {quoted(match[0])}")
        elif is_mojibake(one.context):
            yield OffendingRow(part, one, "the context was read in a wrong encoding")
        elif is_doubled(letters_and_digits(one.context)):
            yield OffendingRow(part, one, "the context says everything twice")


def _questions_in_contexts(rows: Rows) -> Iterator[OffendingRow]:
    for part, one in rows.questions():
        if is_asked_in_context(letters_and_digits(one.question), letters_and_digits(one.context)):
            yield OffendingRow(part, one, "the context has the question in it")


def _answers_in_questions(rows: Rows) -> Iterator[OffendingRow]:
    for part, one in rows.questions():
        gold = one.golds[0].text if one.golds else ""
        if is_answered_in_question(letters_and_digits(gold), letters_and_digits(one.question)):
            yield OffendingRow(part, one, f"the question has the answer in it: {quoted(gold)}")


def _answers_in_one_place(rows: Rows) -> Iterator[OffendingRow]:
    for part, examples in rows.parts():
        answered = [one for one in examples if one.golds]
        starts = Counter(one.golds[0].answer_start for one in answered)
        texts = Counter(letters_and_digits(one.golds[0].text) for one in answered)
        usual, common = (max(counts, key=lambda one: counts[one], default=None) for counts in (starts, texts))
        for one in answered:
            gold = one.golds[0]
            if gold.answer_start == usual:
                yield OffendingRow(part, one, f"the answer begins at character {usual}")
            elif not WORD.search(one.context, gold.answer_end):
                yield OffendingRow(part, one, "the context ends with the answer")
            elif letters_and_digits(gold.text) == common and texts[common] > 1:
                yield OffendingRow(part, one, f"{texts[common]:,} questions have this answer")


def _misaligned_answers(rows: Rows) -> Iterator[OffendingRow]:
    for part, examples in rows.parts():
        common = function_words(examples)
        for one in examples:
            if one.golds and not is_whole_words(one.context, one.golds[0]):
                start, end = one.golds[0].answer_start, one.golds[0].answer_end
                around = one.context[max(0, start - 8) : start], one.golds[0].text, one.context[end : end + 8]
                yield OffendingRow(part, one, f"the answer is cut out of words: …{around[0]}[{around[1]}]{around[2]}…")
            elif one.golds and (word := last_word(one.golds[0])) in common:
                yield OffendingRow(part, one, f"the answer ends with '{word}'")


def _unrelated_answers(rows: Rows) -> Iterator[OffendingRow]:
    for part, examples in rows.parts():
        measure = FitMeasure(examples)
        for at, one in enumerate(measure.sample):
            better = measure.others_fit_better(at)
            if measure.is_strange(at):
                yield OffendingRow(part, one, "the context has none of the question's rare words")
            elif better is not None and better > 0.5:
                yield OffendingRow(part, one, "other answers on the context are nearer to the question's words")


def _data_leakage(rows: Rows) -> Iterator[OffendingRow]:
    trained, contexts = TrainedQuestions(rows.train), TrainedContexts(rows.train)
    for one in rows.validation:
        if (same := trained.same(one)) is not None:
            yield OffendingRow("validation", one, f"training question {same.id} is the same")
        elif contexts.has(one.context):
            yield OffendingRow("validation", one, "its context, or most of it, is a training question's, too")
        elif rows.trained_on.percent_of([one]):
            yield OffendingRow("validation", one, "the model was trained on it before")


def _missing_answers(rows: Rows) -> Iterator[OffendingRow]:
    for part, one in rows.questions():
        if not one.golds:
            yield OffendingRow(part, one, "no answer")


def _language_mismatch(rows: Rows) -> Iterator[OffendingRow]:
    frequent = language_words(rows.train)
    shares = []
    for at, one in enumerate(rows.validation):
        words = words_of(one.context)[1]
        shares.append((sum(word in frequent for word in words) / max(1, len(words)), at))
    for share, at in sorted(shares):
        text = f"{100 * share:.0f} % of its words are among those that most training texts have"
        yield OffendingRow("validation", rows.validation[at], text)


def _answer_length_mismatch(rows: Rows) -> Iterator[OffendingRow]:
    def mean(examples: Sequence[Example]) -> float:
        lengths = [len(one.golds[0].text.split()) for one in examples if one.golds]
        return sum(lengths) / max(1, len(lengths))

    answered = [one for one in rows.train if one.golds]
    is_long = not rows.validation or mean(rows.train) > mean(rows.validation)
    for one in sorted(answered, key=lambda one: len(one.golds[0].text.split()), reverse=is_long):
        yield OffendingRow("train", one, f"an answer of {len(one.golds[0].text.split())} words")


def _question_mismatch(rows: Rows) -> Iterator[OffendingRow]:
    rare = rare_question_words(rows.train, rows.validation) or set()
    for one in rows.validation:
        if found := sorted(rare.intersection(WORD.findall(one.question.casefold()))):
            yield OffendingRow("validation", one, f"asks with '{found[0]}', as hardly any training question does")


def _few_contexts(rows: Rows) -> Iterator[OffendingRow]:
    counts = Counter(one.context for one in rows.train)
    first = {one.context: one for one in reversed(rows.train)}
    for context, count in counts.most_common():
        yield OffendingRow("train", first[context], f"{count:,} questions have this context")


SELECTIONS: dict[str, Callable[[Rows], Iterator[OffendingRow]]] = {
    "swapped-fields": _swapped_fields,
    "missing-whitespace": _missing_whitespace,
    "damaged-texts": _damaged_texts,
    "contradicting-answers": _contradicting_answers,
    "questions-in-contexts": _questions_in_contexts,
    "answers-in-questions": _answers_in_questions,
    "answers-in-one-place": _answers_in_one_place,
    "misaligned-answers": _misaligned_answers,
    "unrelated-answers": _unrelated_answers,
    "data-leakage": _data_leakage,
    "missing-answers": _missing_answers,
    "language-mismatch": _language_mismatch,
    "answer-length-mismatch": _answer_length_mismatch,
    "question-mismatch": _question_mismatch,
    "repeated-questions": _repeated_questions,
    "few-contexts": _few_contexts,
    "truncated-answers": _answer_length_mismatch,
}
"""How the rows of each finding about data are selected."""


def _repeated(examples: Sequence[Example]) -> Iterator[tuple[Example, Example]]:
    """Yield each question that is asked before on the same context, with the first such question."""
    first: dict[tuple[str, str], Example] = {}
    for one in examples:
        known = first.setdefault((" ".join(one.question.split()), one.context), one)
        if known is not one:
            yield known, one
