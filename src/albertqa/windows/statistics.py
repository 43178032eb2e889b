"""What a tokenizer makes of a data set: windows, lengths, text that it does not know, and what the labels lose."""

import functools
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from albertqa.data.example import Example
from albertqa.data.problems import Problem, quoted
from albertqa.windows.build import LongQuestionsError, build_windows
from albertqa.windows.store import Window, WindowStore
from albertqa.windows.tokenizer import QATokenizer

_PERCENTILES = (5, 50, 95, 99, 100)
_CASES = 5
_SAMPLE = 1_000
# In the language of its vocabulary a tokenizer knows 99.9 % of the text, and gives 99 % of SQuAD's golds back.
_MUCH_UNKNOWN_PERCENT, _MANY_CHANGED_PERCENT = 2.0, 1.0


@dataclass(frozen=True)
class WindowStatistics:
    """Figures of one data set under one tokenizer and window length.

    Attributes:
        windows: Number of windows.
        windows_without_answer_percent: Share of windows labelled CLS.
        window_tokens_mean: Mean real tokens of a window.
        window_tokens_percentiles: Real tokens of a window, by percentile.
        gold_tokens_percentiles: Tokens of the first gold, by percentile; empty where there is none.
        golds: Questions with an answer.
        golds_exact_percent: Share of first golds that labels → text give back.
        golds_changed_percent: Share of first golds that come back otherwise: they begin or end inside a token.
        golds_changed: First few of them: id, gold, what comes back.
        golds_in_no_window: First golds that no window holds whole, and so are never trained on.
        golds_too_long: First golds longer than `max_answer_length` tokens, never predicted whole.
        golds_too_long_cases: First few of them: id and tokens.
        contexts: Different contexts.
        contexts_mostly_unknown: Contexts of which unknown tokens are most of the text.
        unknown_tokens_percent: Share of the contexts' tokens that are unknown.
        unknown_text_percent: Share of the contexts' characters that are in unknown tokens.
    """

    windows: int
    windows_without_answer_percent: float
    window_tokens_mean: float
    window_tokens_percentiles: dict[str, int]
    gold_tokens_percentiles: dict[str, int]
    golds: int
    golds_exact_percent: float
    golds_changed_percent: float
    golds_changed: tuple[dict[str, str], ...]
    golds_in_no_window: int
    golds_too_long: int
    golds_too_long_cases: tuple[dict[str, Any], ...]
    contexts: int
    contexts_mostly_unknown: int
    unknown_tokens_percent: float
    unknown_text_percent: float

    def problems(self, name: str) -> list[Problem]:
        """Return a warning or an error each where golds do not survive labels → text and where text is unknown.

        `name` is the data file as the user named it.
        """
        found = []
        if self.golds_changed_percent > _MANY_CHANGED_PERCENT:
            case = self.golds_changed[0]
            message = (
                f"{self.golds_changed_percent:.3g} % of {self.golds:,} answers begin or end inside a token and are "
                f"trained and predicted otherwise: {quoted(case['gold'])} of question {quoted(case['id'])} as "
                f"{quoted(case['labelled'])}"
            )
            kind = "answers-changed" if self.golds_changed_percent <= 50 else "most-answers-changed"
            found.append(Problem(kind, message, name))
        if self.unknown_text_percent > _MUCH_UNKNOWN_PERCENT:
            message = (
                f"{self.unknown_text_percent:.3g} % of the text is unknown to the tokenizer "
                f"({self.unknown_tokens_percent:.3g} % of the tokens; most of the text in "
                f"{self.contexts_mostly_unknown:,} of {self.contexts:,} contexts): it does not fit the language. Use a "
                "model that was pretrained on this language"
            )
            found.append(Problem("unknown-tokens", message, name))
        return found


def window_statistics(
    store: WindowStore, examples: Sequence[Example], *, unknown_id: int | None = None, max_answer_length: int = 30
) -> WindowStatistics:
    """Measure windows and labels.

    Args:
        store: Windows of `examples`.
        examples: The data.
        unknown_id: Id of the token for unknown text; None where nothing is unknown (byte-level).
        max_answer_length: Longest answer predicted, tokens.
    """
    starts = store.columns["start_position"]
    gold_tokens: list[int] = []
    changed: list[dict[str, str]] = []
    too_long: list[dict[str, Any]] = []
    num_lost = 0
    for index, example in enumerate(examples):
        if not example.golds:
            continue
        windows = range(int(store.first_window[index]), int(store.first_window[index + 1]))
        labelled = next((at for at in windows if starts[at] > 0), None)
        if labelled is None:
            num_lost += 1
            continue
        window = store[labelled]
        if not is_exact(window, example):
            gold = example.golds[0].text
            changed.append({"id": example.id, "gold": gold, "labelled": labelled_text(window, example)})
        tokens = window.end_position - window.start_position + 1
        gold_tokens.append(tokens)
        if tokens > max_answer_length:
            too_long.append({"id": example.id, "tokens": tokens})
    num_golds = len(gold_tokens) + num_lost
    return WindowStatistics(
        windows=len(store),
        windows_without_answer_percent=round(100 * float((starts == 0).mean()), 3),
        window_tokens_mean=round(float(store.lengths.mean()), 2),
        window_tokens_percentiles=_percentiles(store.lengths),
        gold_tokens_percentiles=_percentiles(np.asarray(gold_tokens)),
        golds=num_golds,
        golds_exact_percent=round(100 * (len(gold_tokens) - len(changed)) / num_golds, 3) if num_golds else 100.0,
        golds_changed_percent=round(100 * len(changed) / max(1, num_golds), 3),
        golds_changed=tuple(changed[:_CASES]),
        golds_in_no_window=num_lost,
        golds_too_long=len(too_long),
        golds_too_long_cases=tuple(too_long[:_CASES]),
        **_unknown_text(store, unknown_id),
    )


def check_tokenization(
    name: str,
    examples: Sequence[Example],
    tokenizer: QATokenizer,
    *,
    max_seq_length: int = 384,
    doc_stride: int = 128,
    max_answer_length: int = 30,
) -> tuple[dict[str, Any], list[Problem]]:
    """Check a data file's usable questions under a tokenizer (see `build_windows` and `window_statistics`).

    Returns:
        The figures of `WindowStatistics` by name (without questions that are too long; only ``windows``, 0, where no
        others are there), and what is wrong: `WindowStatistics.problems`, and each question that is too long.
    """
    build = functools.partial(build_windows, tokenizer=tokenizer, max_seq_length=max_seq_length, doc_stride=doc_stride)
    problems: list[Problem] = []
    try:
        store = build(examples) if examples else None
    except LongQuestionsError as error:
        too_long = dict(error.questions)
        problems = [
            Problem("question-too-long", f"{message}. {error.remedy}", name, question_id=question_id)
            for question_id, message in too_long.items()
        ]
        examples = [example for example in examples if example.id not in too_long]
        store = build(examples) if examples else None
    if store is None:
        return {"windows": 0}, problems
    figures = window_statistics(
        store, examples, unknown_id=tokenizer.token_id("unk"), max_answer_length=max_answer_length
    )
    return asdict(figures), problems + figures.problems(name)


def token_statistics(
    store: WindowStore, examples: Sequence[Example], *, unknown_id: int | None, max_answer_length: int
) -> dict[str, Any]:
    """Measure what the windows of usable data have in common, on a sample: cheap, for every run.

    Args:
        store: Windows of `examples`.
        examples: The data, at least one question.
        unknown_id: See `window_statistics`.
        max_answer_length: Longest answer predicted, tokens.

    Returns:
        Figures for ``run.json``: ``uniform_loss``, the loss of a model to which all of a window is equally likely;
        means and percentages of a sample of the questions; counts of all golds. ``same_start_percent`` is the share of
        the golds that begin at the one place of their context at which most begin, ``golds_exact_percent`` that of
        those which labels give back: None where no window of the sample holds one.
    """
    windows = _sample(store)
    texts = [examples[window.example_index] for window in windows]
    tokens = np.concatenate([window.input_ids for window in windows])
    starts, ends = store.columns["start_position"], store.columns["end_position"]
    example_index = store.columns["example_index"]
    answered = np.fromiter((one.has_answer for one in examples), dtype=bool, count=len(examples))
    in_some_window, too_long = np.zeros_like(answered), np.zeros_like(answered)
    in_some_window[example_index[starts > 0]] = True
    too_long[example_index[(starts > 0) & (ends - starts >= max_answer_length)]] = True
    labelled = [(window, one) for window, one in zip(windows, texts, strict=True) if window.start_position > 0]
    places = Counter(window.start_position - window.context_start for window, _ in labelled)
    num_special = len(store.layout.prefix) + len(store.layout.middle)
    return {
        "uniform_loss": round(float(np.log(store.lengths).mean()), 4),
        "question_tokens_mean": _mean([window.context_start - num_special for window in windows]),
        "context_tokens_mean": _mean([len(window.start_char) for window in windows]),
        "unknown_tokens_percent": 0.0 if unknown_id is None else _percent(tokens == unknown_id),
        "golds": int(answered.sum()),
        "golds_in_no_window": int((answered & ~in_some_window).sum()),
        "golds_too_long": int(too_long.sum()),
        "golds_exact_percent": _percent([is_exact(window, one) for window, one in labelled]),
        "same_start_percent": round(100 * max(places.values(), default=0) / max(1, len(labelled)), 3),
    }


def labelled_text(window: Window, example: Example) -> str:
    """Return the text that the labels of a window with an answer stand for."""
    start_char = window.start_char[window.start_position - window.context_start]
    end_char = window.end_char[window.end_position - window.context_start]
    return example.context[start_char:end_char]


def is_exact(window: Window, example: Example) -> bool:
    """Check whether a window's labels give the first gold back.

    Invisible characters at its ends (zero-width spaces, byte-order marks, direction marks) do not count: they belong
    to the token beside them, whether an annotator included them or not.
    """
    text, gold = labelled_text(window, example), example.golds[0].text
    return text == gold or _without_outer_invisible(text) == _without_outer_invisible(gold)


def _without_outer_invisible(text: str) -> str:
    return text.strip("".join(one for one in set(text) if unicodedata.category(one) == "Cf"))


def _unknown_text(store: WindowStore, unknown_id: int | None) -> dict[str, Any]:
    """Count unknown tokens and their characters, in every context once."""
    num_tokens = num_unknown = num_chars = num_unknown_chars = num_mostly = 0
    for index in range(store.num_contexts):
        input_ids, start_char, end_char = store.context(index)
        # Characters that no later token has, too: a lone "▁" shares those of the token after it.
        later = np.append(np.minimum.accumulate(start_char[::-1])[::-1][1:], np.iinfo(np.int32).max)
        lengths = np.maximum(np.minimum(end_char, later[: len(end_char)]) - start_char, 0)
        unknown = input_ids == (-1 if unknown_id is None else unknown_id)
        num_tokens, num_unknown = num_tokens + len(input_ids), num_unknown + int(unknown.sum())
        of_context, of_unknown = int(lengths.sum()), int(lengths[unknown].sum())
        num_chars, num_unknown_chars = num_chars + of_context, num_unknown_chars + of_unknown
        num_mostly += 2 * of_unknown > of_context
    return {
        "contexts": store.num_contexts,
        "contexts_mostly_unknown": num_mostly,
        "unknown_tokens_percent": round(100 * num_unknown / max(1, num_tokens), 3),
        "unknown_text_percent": round(100 * num_unknown_chars / max(1, num_chars), 3),
    }


def _sample(store: WindowStore) -> list[Window]:
    """Return one window each of questions from all over the data: the first with the answer, where there is one."""
    starts = store.columns["start_position"]
    windows = []
    for index in np.unique(np.linspace(0, store.num_examples - 1, min(store.num_examples, _SAMPLE)).astype(np.int64)):
        first, end = int(store.first_window[index]), int(store.first_window[index + 1])
        inside = np.flatnonzero(starts[first:end])
        windows.append(store[first + (int(inside[0]) if len(inside) else 0)])
    return windows


def _percentiles(values: NDArray[Any]) -> dict[str, int]:
    if not len(values):
        return {}
    found = np.percentile(values, _PERCENTILES, method="nearest")
    return {f"p{percent}": int(value) for percent, value in zip(_PERCENTILES, found, strict=True)}


def _mean(values: Sequence[int]) -> float:
    return round(sum(values) / len(values), 3)


def _percent(values: Sequence[bool] | NDArray[np.bool_]) -> float | None:
    return round(100 * float(np.mean(values)), 3) if len(values) else None
