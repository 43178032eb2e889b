"""What a run said to each validation question: data reloaded, answers placed, scored, and put into kinds of error."""

from collections.abc import Sequence
from dataclasses import dataclass

from albertqa import files
from albertqa.data.example import Example, content_sha256
from albertqa.data.reading import load_several
from albertqa.decode.spans import Candidate
from albertqa.errors import AlbertQAError
from albertqa.report.run import Run
from albertqa.scoring.metric import normalize_answer
from albertqa.scoring.official import score_each
from albertqa.windows.build import build_windows
from albertqa.windows.store import WindowStore
from albertqa.windows.tokenizer import load_tokenizer

Ranges = tuple[tuple[int, int], ...]
"""First character and the one after the last, of each window's part of the context."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of answer.

    Attributes:
        key: Its name in the page's data.
        label: Its name for a person.
        meaning: What it says, in one sentence.
        advice: What may help; empty for right answers.
    """

    key: str
    label: str
    meaning: str
    advice: str = ""


KINDS = (
    Kind("right", "Right", "Equal to a gold answer after the official normalisation."),
    Kind(
        "boundary",
        "Boundary off",
        "The right place, but too long or too short: the answer overlaps a gold.",
        "Look at how your golds are cut; consistent annotation and more golds per question move these.",
    ),
    Kind(
        "place",
        "Wrong place",
        "Elsewhere in the context, although a gold stood in the same window.",
        "The model had seen the right words and preferred others: more training data of this sort helps.",
    ),
    Kind(
        "window",
        "Wrong window",
        "From a window of the context that holds no gold: windows are compared by raw scores.",
        "Longer windows (--max-seq-length) or more overlap (--doc-stride) help with long contexts.",
    ),
    Kind(
        "empty",
        "Empty",
        "No answer given, although there is one.",
        "On v2.0, raise --null-score-diff-threshold; see the threshold sweep.",
    ),
    Kind(
        "invented",
        "Answered, but there is none",
        "An answer to a question whose context has none (v2.0).",
        "Lower --null-score-diff-threshold; see the threshold sweep.",
    ),
)
KIND_INDEX = {kind.key: index for index, kind in enumerate(KINDS)}

RANKS = ("1st", "2nd to 5th", "6th to 20th", "not among them")


@dataclass(frozen=True, slots=True)
class Outcome:
    """One question with what a run said to it.

    Attributes:
        example: The question.
        text: The answer; "" for "no answer".
        span: Its first character in the context and the one after its last; None where unknown or empty.
        probability: The run's own probability of it; None where the run kept no candidates.
        exact: Exact match, 0 or 1.
        f1: F1, 0 to 1.
        n_best: All candidates kept, best first.
        chosen: Position of the answer among them; None where it is not there.
        kind: Index into `KINDS`.
        rank: Index into `RANKS`: where the first right candidate stands; None where the run kept no candidates.
    """

    example: Example
    text: str
    span: tuple[int, int] | None
    probability: float | None
    exact: float
    f1: float
    n_best: tuple[Candidate, ...]
    chosen: int | None
    kind: int
    rank: int | None


def reload_validation(run: Run) -> tuple[list[Example], str]:
    """Read a run's validation data again.

    Args:
        run: The run.

    Returns:
        The examples and "", or none and the reason why they are not to be had.
    """
    facts = run.validation
    names = ", ".join(facts["sources"])
    try:
        examples = load_several(facts["sources"], limit=facts["questions"])
    except AlbertQAError as error:
        return [], f"The validation data ({names}) cannot be read any more: {error}"
    if content_sha256(examples) != facts["content_sha256"]:
        return [], (
            f"The validation data ({names}) has changed since the run: its content hash is not the one in "
            f"{files.RUN_JSON}, so nothing is said here about single questions."
        )
    return examples, ""


def window_ranges(run: Run, examples: Sequence[Example]) -> tuple[list[Ranges] | None, str]:
    """Find which part of its context each window of each question holds, as the run cut them.

    Args:
        run: The run; its models' tokenizer cuts the windows.
        examples: Its validation data.

    Returns:
        The ranges of each question and "", or None and the reason why they are not to be had.
    """
    folder = next((run.path / name for name in (files.BEST, files.FINAL) if (run.path / name).is_dir()), None)
    if folder is None:
        return None, "The run keeps no model, so its tokenizer is not there to cut the windows again."
    settings = run.settings
    try:
        tokenizer = load_tokenizer(folder)
        store = build_windows(
            examples, tokenizer, max_seq_length=settings.max_seq_length, doc_stride=settings.doc_stride
        )
    except AlbertQAError as error:
        return None, f"The windows cannot be cut again: {error}"
    if len(store) != run.validation["windows"]:
        return None, (
            f"The windows cannot be cut again: this tokenizer gives {len(store):,}, the run had "
            f"{run.validation['windows']:,}."
        )
    return [_ranges_of(store, index) for index in range(len(examples))], ""


def _ranges_of(store: WindowStore, index: int) -> Ranges:
    windows = (store[at] for at in range(int(store.first_window[index]), int(store.first_window[index + 1])))
    return tuple((int(one.start_char[0]), int(one.end_char[-1])) for one in windows if len(one.start_char))


def outcomes_of(run: Run, examples: Sequence[Example], windows: Sequence[Ranges] | None) -> list[Outcome]:
    """Put together what a run said to each question.

    Args:
        run: The run.
        examples: Its validation data.
        windows: Ranges of each question's windows; None where they are not known.

    Returns:
        One outcome a question with a prediction, in the order of the data.

    Raises:
        DataError: Version 1.1 is asked for and a question has no answer.
    """
    scores = score_each(examples, run.predictions, version_2=run.version_2)
    found = []
    for index, example in enumerate(examples):
        if example.id not in scores:
            continue
        text = run.predictions.get(example.id, "")
        n_best = run.n_best.get(example.id, ())
        chosen = next((at for at, one in enumerate(n_best) if one.text == text), None)
        candidate = None if chosen is None else n_best[chosen]
        is_span = candidate is not None and candidate.end_char > candidate.start_char
        span = (candidate.start_char, candidate.end_char) if candidate is not None and is_span else None
        score = scores[example.id]
        found.append(
            Outcome(
                example=example,
                text=text,
                span=span,
                probability=None if candidate is None else candidate.probability,
                exact=score.exact,
                f1=score.f1,
                n_best=n_best,
                chosen=chosen,
                kind=KIND_INDEX[_kind(example, text, span, score.exact, score.f1, windows[index] if windows else ())],
                rank=_rank(example, n_best),
            )
        )
    return found


def _kind(example: Example, text: str, span: tuple[int, int] | None, exact: float, f1: float, windows: Ranges) -> str:
    if exact == 1.0:
        return "right"
    if not example.has_answer:
        return "invented"
    if not text:
        return "empty"
    golds = [(gold.answer_start, gold.answer_end) for gold in example.golds]
    if span is None:  # the run kept no candidates: shared words are the only sign of the place
        return "boundary" if f1 > 0 else "place"
    if any(span[0] < end and start < span[1] for start, end in golds):
        return "boundary"
    seen = [window for window in windows if window[0] <= span[0] and span[1] <= window[1]]
    has_gold = any(first <= start and end <= last for first, last in seen for start, end in golds)
    return "place" if has_gold or not seen else "window"


def _rank(example: Example, n_best: tuple[Candidate, ...]) -> int | None:
    if not n_best:
        return None
    golds = {normalize_answer(gold.text) for gold in example.golds} or {""}
    place = next((at for at, one in enumerate(n_best) if normalize_answer(one.text) in golds), None)
    if place is None:
        return 3
    return 0 if place == 0 else 1 if place < 5 else 2
