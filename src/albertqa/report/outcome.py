"""What a run answered to each validation question, scored and classified by kind of error."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from albertqa import files
from albertqa.data.example import Example, content_sha256
from albertqa.data.reading import load_several
from albertqa.decode.confidence import Confidence, with_probability
from albertqa.decode.spans import Candidate, Prediction
from albertqa.errors import AlbertQAError
from albertqa.rundir.directory import Run
from albertqa.scoring.metric import QuestionScore, normalize_answer
from albertqa.scoring.official import score_each
from albertqa.windows.build import build_windows
from albertqa.windows.store import WindowStore
from albertqa.windows.tokenizer import load_tokenizer

Ranges = tuple[tuple[int, int], ...]
"""First character of each window's part of the context, and the character after its last."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of answer: its names in the page's data and on the page, its definition, and what may help."""

    key: str
    label: str
    meaning: str
    advice: str = ""


KINDS = (
    Kind("right", "Right", "Equal to a gold answer after the official normalisation."),
    Kind(
        "boundary",
        "Wrong boundary",
        "Overlaps a gold answer, but is too long or too short.",
        "Check where your gold answers begin and end; consistent annotation and several golds per question help.",
    ),
    Kind(
        "place",
        "Wrong place",
        "Elsewhere in the context, although a gold answer was in the same window.",
        "More training data of this kind helps.",
    ),
    Kind(
        "window",
        "Wrong window",
        "From a window of the context without a gold answer; windows are compared by their raw scores.",
        "Longer windows (--max-seq-length) or more overlap (--doc-stride) help with long contexts.",
    ),
    Kind(
        "missed",
        "No answer, but there is one",
        "Predicted empty, although the context has an answer.",
        "On v2.0 data, raise --null-score-diff-threshold; see the threshold charts.",
    ),
    Kind(
        "unanswerable",
        "Answer, but there is none",
        "Predicted an answer, although the context has none (v2.0).",
        "Lower --null-score-diff-threshold; see the threshold charts.",
    ),
)
_KIND_INDEX = {kind.key: index for index, kind in enumerate(KINDS)}

RANKS = ("1st", "2nd to 5th", "6th to 20th", "not in the n-best")


@dataclass(frozen=True, slots=True)
class Outcome:
    """One question with a run's answer.

    Attributes:
        example: The question.
        text: The answer; "" for "no answer".
        span: Its first character in the context and the character after its last; None if unknown or empty.
        probability: Its probability, calibrated where the run's model is; None if the run kept no candidates.
        softmax: The softmax of its score over the n-best; likewise.
        exact: Exact match, 0 or 1.
        f1: F1, 0 to 1.
        n_best: All candidates kept, best first.
        kind: Index into `KINDS`.
        rank: Index into `RANKS`: the rank of the first right candidate; None if the run kept no candidates.
    """

    example: Example
    text: str
    span: tuple[int, int] | None
    probability: float | None
    softmax: float | None
    exact: float
    f1: float
    n_best: tuple[Candidate, ...]
    kind: int
    rank: int | None


def reload_validation(run: Run) -> tuple[list[Example], str]:
    """Read a run's validation data again.

    Returns:
        The examples and "", or an empty list and the reason why they cannot be used.
    """
    facts = run.facts.data.validation
    names = ", ".join(facts.sources)
    if not facts.sources:
        return [], f"The validation data is unknown: {files.RUN_JSON} does not name it."
    try:
        examples = load_several(facts.sources, limit=facts.questions)
    except AlbertQAError as error:
        return [], f"The validation data ({names}) can no longer be read: {error}"
    if content_sha256(examples) != facts.content_sha256:
        return [], (
            f"The validation data ({names}) has changed since the run: its content hash differs from the one in "
            f"{files.RUN_JSON}. Single questions are left out."
        )
    return examples, ""


def window_ranges(run: Run, examples: Sequence[Example]) -> tuple[list[Ranges] | None, str]:
    """Find which part of its context each window of each question holds, as the run's tokenizer builds them.

    Returns:
        The ranges of each question and "", or None and the reason why they are unknown.
    """
    folder = next((run.path / name for name in (files.BEST, files.FINAL) if (run.path / name).is_dir()), None)
    if folder is None:
        return None, "The windows are unknown: the run has no model, and so no tokenizer to build them with."
    settings = run.settings
    try:
        tokenizer = load_tokenizer(folder)
        store = build_windows(
            examples, tokenizer, max_seq_length=settings.max_seq_length, doc_stride=settings.doc_stride
        )
    except AlbertQAError as error:
        return None, f"The windows are unknown: {error}"
    expected = run.facts.data.validation.windows
    if len(store) != expected:
        return None, f"The windows are unknown: this tokenizer builds {len(store):,}, the run had {expected:,}."
    return [_ranges_of(store, index) for index in range(len(examples))], ""


def _ranges_of(store: WindowStore, index: int) -> Ranges:
    windows = (store[at] for at in range(int(store.first_window[index]), int(store.first_window[index + 1])))
    return tuple((int(one.start_char[0]), int(one.end_char[-1])) for one in windows if len(one.start_char))


def outcomes_of(
    run: Run,
    examples: Sequence[Example],
    windows: Sequence[Ranges] | None,
    confidence: Confidence | None = None,
) -> list[Outcome]:
    """Score and classify a run's answers.

    Args:
        run: The run.
        examples: Its validation data; questions without a prediction are left out.
        windows: Ranges of each question's windows; None if unknown.
        confidence: What calibrates its probabilities; None: they are the softmax.

    Raises:
        DataError: A v1.1 run has a question without an answer.
    """
    scores = score_each(examples, run.predictions, version_2=run.facts.version_2)
    found = []
    for index, example in enumerate(examples):
        if example.id not in scores:
            continue
        text = run.predictions.get(example.id, "")
        n_best = run.n_best.get(example.id, ())
        chosen = next((at for at, one in enumerate(n_best) if one.text == text), None)
        softmax = None if chosen is None else n_best[chosen].probability
        if confidence is not None and chosen is not None:
            null = next((one.score for one in n_best if not one.text), None)
            prediction = Prediction(example.id, text, n_best, null_score=null, cls_score=null)
            probability = confidence.probability(prediction, run.settings.n_best_size)
            if probability is not None:
                n_best = with_probability(n_best, chosen, probability)
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
                softmax=softmax,
                exact=score.exact,
                f1=score.f1,
                n_best=n_best,
                kind=_KIND_INDEX[_kind(example, text, span, score, windows[index] if windows else ())],
                rank=_rank(example, n_best),
            )
        )
    return found


def percents(outcomes: Sequence[Outcome]) -> NDArray[np.float64]:
    """Return exact match and F1 of each answer in percent: (Q, 2)."""
    return 100 * np.asarray([[one.exact, one.f1] for one in outcomes])


def _kind(example: Example, text: str, span: tuple[int, int] | None, score: QuestionScore, windows: Ranges) -> str:
    if score.exact == 1.0:
        return "right"
    if not example.has_answer:
        return "unanswerable"
    if not text:
        return "missed"
    golds = [(gold.answer_start, gold.answer_end) for gold in example.golds]
    if span is None:  # the run kept no candidates: only shared words suggest the place
        return "boundary" if score.f1 > 0 else "place"
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
