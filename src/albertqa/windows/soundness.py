"""What a data set's texts and labels say about its soundness: do questions, answers and contexts belong together?

Nothing here changes what is trained. The facts go into ``run.json``, and `albertqa.health` judges by them; so they are
few, cheap (texts are looked at for a sample of the questions), and the same in every process.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from albertqa.data.example import Example, Gold
from albertqa.windows.facts import labelled_text
from albertqa.windows.store import Window, WindowStore

_SAMPLE = 1_000
# Tokens on either side of an answer in which a question's words are looked for: about a sentence.
_NEAR_TOKENS = 15
# A token in more than this share of the contexts ("the", ",") says nothing about where in a context one is, and one in
# more than this share of the questions ("number", where all ask for one) nothing about what this one asks.
_COMMON_IN_CONTEXTS, _COMMON_IN_QUESTIONS = 0.1, 0.02
_PLACES = 16
_FREQUENT_TOKENS = 100


def soundness(
    store: WindowStore, examples: Sequence[Example], *, unknown_id: int | None, max_answer_length: int
) -> dict[str, Any]:
    """Measure what tells sound data from spoilt data.

    Args:
        store: Windows of `examples`.
        examples: The data, at least one question.
        unknown_id: Id of the token for what the vocabulary lacks; None where nothing is unknown (byte-level).
        max_answer_length: Longest answer predicted, tokens.

    Returns:
        Facts for ``run.json``: percentages of the questions, tokens or letters that the names say; means a question;
        ``uniform_loss``, the loss of a model that gives every token of a window the same probability.
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
    offsets = Counter(window.start_position - window.context_start for window, _ in labelled)
    golds = [one.golds[0] for one in examples if one.golds]
    return {
        "uniform_loss": round(float(np.log(store.lengths).mean()), 4),
        "question_tokens_mean": _mean(window.context_start - _num_specials(store) for window in windows),
        "context_tokens_mean": _mean(len(window.start_char) for window in windows),
        "unknown_tokens_percent": 0.0 if unknown_id is None else _percent(tokens == unknown_id),
        "upper_case_percent": _upper_case_percent(one.context for one in texts),
        "golds": len(golds),
        "golds_in_no_window": int((answered & ~in_some_window).sum()),
        "golds_too_long": int(too_long.sum()),
        "golds_exact_percent": _percent([labelled_text(window, one) == one.golds[0].text for window, one in labelled]),
        "gold_words_mean": _mean(len(gold.text.split()) for gold in golds),
        "same_start_percent": round(100 * max(offsets.values(), default=0) / max(1, len(labelled)), 3),
        **_repetitions(examples),
        "nearness": _nearness(labelled, examples),
    }


def shared_content(
    train: Sequence[Example], train_store: WindowStore, validation: Sequence[Example], validation_store: WindowStore
) -> dict[str, float]:
    """Measure what the validation data has in common with the training data: nothing should leak, the language be one.

    Args:
        train: The training data.
        train_store: Its windows.
        validation: The validation data.
        validation_store: Its windows.

    Returns:
        Facts for ``run.json``: ``shared_contexts_percent`` and ``shared_questions_percent`` (the same question on the
        same context) of the validation questions, whatever the case, punctuation and spaces; and of the validation
        contexts' tokens, the share that the training contexts' 100 most frequent tokens make up, there and here.
    """
    plain: dict[str, str] = {}
    contexts = {_plain(one.context, plain) for one in train}
    questions = {(_plain(one.question, {}), _plain(one.context, plain)) for one in train}
    counted = Counter(_context_tokens(train_store).tolist())
    frequent = [token for token, _ in counted.most_common(_FREQUENT_TOKENS)]
    return {
        "shared_contexts_percent": _percent([_plain(one.context, plain) in contexts for one in validation]),
        "shared_questions_percent": _percent(
            [(_plain(one.question, {}), _plain(one.context, plain)) in questions for one in validation]
        ),
        "frequent_tokens_percent": _percent(np.isin(_context_tokens(validation_store), frequent)),
        "frequent_tokens_percent_train": _percent(np.isin(_context_tokens(train_store), frequent)),
    }


def _sample(store: WindowStore) -> list[Window]:
    """Give one window of each of some questions, from all over the data: the first with the answer, if any."""
    starts = store.columns["start_position"]
    windows = []
    for index in _spread(store.num_examples, _SAMPLE):
        first, end = int(store.first_window[index]), int(store.first_window[index + 1])
        inside = np.flatnonzero(starts[first:end])
        windows.append(store[first + (int(inside[0]) if len(inside) else 0)])
    return windows


def _spread(count: int, most: int) -> NDArray[np.int64]:
    return np.unique(np.linspace(0, count - 1, min(count, most)).astype(np.int64))


def _context_tokens(store: WindowStore) -> NDArray[np.int64]:
    return np.concatenate([window.input_ids[window.context_start :] for window in _sample(store)])


def _num_specials(store: WindowStore) -> int:
    return len(store.layout.prefix) + len(store.layout.middle)


def _repetitions(examples: Sequence[Example]) -> dict[str, int]:
    """Count contexts, questions asked again on the same context, and those of them with quite another gold."""
    golds_of: defaultdict[tuple[str, str], list[tuple[Gold, ...]]] = defaultdict(list)
    for one in examples:
        golds_of[" ".join(one.question.split()), one.context].append(one.golds)
    contradicting = sum(
        not any(_overlap(gold, other) for gold in golds for other in several[0]) and golds != several[0]
        for several in golds_of.values()
        for golds in several[1:]
    )
    return {
        "contexts": len({context for _, context in golds_of}),
        "repeated_questions": len(examples) - len(golds_of),
        "contradicting_questions": contradicting,
    }


def _overlap(one: Gold, other: Gold) -> bool:
    return one.answer_start < other.answer_end and other.answer_start < one.answer_end


def _nearness(labelled: Sequence[tuple[Window, Example]], examples: Sequence[Example]) -> dict[str, float] | None:
    """Compare how many rare tokens of a question stand near its own gold and near other places of the same context.

    Where labels belong to their questions it is two and a half to six times as many (SQuAD's dev sets, SQuADShifts, the
    starter set); where labels were shuffled within their contexts or lie anywhere, it is the same number.
    The other places are the golds of other questions, which look like answers too; else places all over the context.
    """
    sampled = {one.context for _, one in labelled}
    golds_of: defaultdict[str, set[Gold]] = defaultdict(set)
    for one in examples:
        if one.golds and one.context in sampled:
            golds_of[one.context].add(one.golds[0])
    in_contexts, in_questions = Counter[int](), Counter[int]()
    for window, _ in labelled:
        in_questions.update(set(window.input_ids[: window.context_start].tolist()))
        in_contexts.update(set(window.input_ids[window.context_start :].tolist()))
    counts = []
    for window, one in labelled:
        rare = {
            token
            for token in window.input_ids[: window.context_start].tolist()
            if in_contexts[token] <= max(1, _COMMON_IN_CONTEXTS * len(labelled))
            and in_questions[token] <= max(10, _COMMON_IN_QUESTIONS * len(labelled))
        }
        own = (window.start_position - window.context_start, window.end_position - window.context_start)
        context = window.input_ids[window.context_start :].tolist()
        others = [place for gold in golds_of[one.context] if (place := _place(gold, window)) and not _touch(place, own)]
        others = others or [place for place in _places(len(window.start_char), own) if not _touch(place, own)]
        if others and not rare.isdisjoint(context):
            near = [_near(context, place, rare) for place in others]
            counts.append((_near(context, own, rare), sum(near) / len(near)))
    own_mean, others_mean = np.asarray(counts).mean(axis=0) if counts else (0.0, 0.0)
    if others_mean == 0:
        return None
    ratio = own_mean / others_mean
    own_counts, others_counts = np.asarray(counts).T
    # The spread of a ratio of means, by linearization (Cochran, Sampling Techniques, chapter 6).
    error = float((own_counts - ratio * others_counts).std()) / (others_mean * np.sqrt(len(counts)))
    return {
        "questions": len(counts),
        "own": round(float(own_mean), 4),
        "others": round(float(others_mean), 4),
        "ratio": round(float(ratio), 4),
        "ratio_error": round(float(error), 4),
    }


def _place(gold: Gold, window: Window) -> tuple[int, int] | None:
    """Give the context tokens of a gold, or None where the window does not hold it."""
    if not len(window.start_char) or gold.answer_start < window.start_char[0] or gold.answer_end > window.end_char[-1]:
        return None
    start = int(np.searchsorted(window.start_char, gold.answer_start, side="right")) - 1
    return start, max(start, int(np.searchsorted(window.end_char, gold.answer_end, side="left")))


def _places(num_tokens: int, own: tuple[int, int]) -> list[tuple[int, int]]:
    """Give places of the own gold's length, spread over the context."""
    length = own[1] - own[0]
    return [(int(at), int(at) + length) for at in _spread(max(1, num_tokens - length), _PLACES)]


def _touch(one: tuple[int, int], other: tuple[int, int]) -> bool:
    return one[0] <= other[1] and other[0] <= one[1]


def _near(context: list[int], place: tuple[int, int], tokens: set[int]) -> int:
    start, end = place
    around = {*context[max(0, start - _NEAR_TOKENS) : start], *context[end + 1 : end + 1 + _NEAR_TOKENS]}
    return len(around & tokens)


def _plain(text: str, known: dict[str, str]) -> str:
    """Reduce a text to its letters and digits."""
    if text not in known:
        known[text] = "".join(character for character in text.casefold() if character.isalnum())
    return known[text]


def _upper_case_percent(texts: Iterable[str]) -> float:
    """Give the share of upper case among the letters that have case."""
    upper = lower = 0
    for text in dict.fromkeys(texts):
        upper += sum(map(str.isupper, text))
        lower += sum(map(str.islower, text))
    return round(100 * upper / max(1, upper + lower), 3)


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return round(sum(found) / len(found), 3) if found else 0.0


def _percent(values: Sequence[bool] | NDArray[np.bool_]) -> float:
    return round(100 * float(np.mean(values)), 3) if len(values) else 0.0
