"""Facts of data that the data rules judge by: what texts and answers are like, and what two data sets share.

They need no tokenizer, so `albertqa check` and a run's ``run.json`` have the same.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from albertqa.data.answer_fit import answer_fit
from albertqa.data.example import Example, Gold, content_sha256
from albertqa.data.label_checks import answer_statistics, shared_content
from albertqa.rundir.run_json import DataFacts, TextFacts
from albertqa.windows.statistics import token_statistics
from albertqa.windows.store import WindowStore

_WORD = re.compile(r"\w+")
# Scripts that put no space between words: Thai, Lao, Khmer, Japanese, Chinese.
_UNSPACED = re.compile(r"[\u0e00-\u0eff\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]")
# A word that so many questions begin with asks for something ("who", "how"); so many times rarer in other questions, it
# hardly occurs there. Of fewer questions shares say little.
_USUAL_SHARE, _TIMES_RARER, _FEWEST_QUESTIONS = 0.04, 5.0, 80


def measure(
    sources: Sequence[str], examples: Sequence[Example], *, train: Sequence[Example] | None = None
) -> TextFacts:
    """Measure a data set for the data rules.

    Args:
        sources: The files or names it was read from.
        examples: The data, at least one question.
        train: The training data, where `examples` is validation data.

    Returns:
        The facts.
    """
    facts = text_facts(sources, examples)
    return msgspec.convert({**facts, **(shared_facts(train, examples) if train else {})}, TextFacts)


def measure_windows(
    facts: TextFacts, examples: Sequence[Example], store: WindowStore, *, unknown_id: int | None, max_answer_length: int
) -> DataFacts:
    """Add to the facts of a data set what a tokenizer and window lengths make of it.

    Args:
        facts: Its facts (see `measure`).
        examples: The data.
        store: Its windows.
        unknown_id: See `token_statistics`.
        max_answer_length: Longest answer predicted, tokens.

    Returns:
        The facts, for ``run.json`` and for the rules about windows.
    """
    statistics = {
        "windows": len(store),
        "windows_without_answer": int((store.columns["start_position"] == 0).sum()),
        "tokens": int(store.lengths.sum()),
        **token_statistics(store, examples, unknown_id=unknown_id, max_answer_length=max_answer_length),
    }
    return msgspec.convert({**statistics, **msgspec.to_builtins(facts)}, DataFacts)


def text_facts(sources: Sequence[str], examples: Sequence[Example]) -> dict[str, Any]:
    """Return the facts of `TextFacts` that one data set has by itself.

    Args:
        sources: The files or names it was read from.
        examples: The data, at least one question.
    """
    golds = [(one.context, one.golds[0]) for one in examples if one.golds]
    starts = Counter(gold.answer_start for _, gold in golds)
    return {
        "sources": list(sources),
        "content_sha256": content_sha256(examples),
        "questions": len(examples),
        "without_answer": len(examples) - len(golds),
        "question_letters_mean": _letters_mean(one.question for one in examples),
        "context_letters_mean": _letters_mean(dict.fromkeys(one.context for one in examples)),
        "same_start_percent": round(100 * max(starts.values(), default=0) / max(1, len(golds)), 3),
        "golds_whole_words_percent": _percent([is_whole_words(context, gold) for context, gold in golds]),
        **answer_statistics(examples),
        "answer_fit": answer_fit(examples),
    }


def shared_facts(train: Sequence[Example], validation: Sequence[Example]) -> dict[str, Any]:
    """Return the facts of `TextFacts` that validation data has beside training data.

    Args:
        train: The training data.
        validation: The validation data.

    Returns:
        See `albertqa.data`; ``rare_question_words``: see `rare_question_words`; ``rare_question_words_percent`` of the
        validation questions have one of them.
    """
    rare = rare_question_words(train, validation)
    asked = None if rare is None else _percent([not rare.isdisjoint(words_of(one.question)) for one in validation])
    return {
        **shared_content(train, validation),
        "rare_question_words": None if rare is None else sorted(rare),
        "rare_question_words_percent": asked,
    }


def rare_question_words(train: Sequence[Example], validation: Sequence[Example]) -> set[str] | None:
    """Return the words that validation questions begin with ("who", "what") and training questions hardly have.

    Args:
        train: The training data.
        validation: The validation data.

    Returns:
        The words; None where there are too few questions to tell.
    """
    if min(len(train), len(validation)) < _FEWEST_QUESTIONS:
        return None
    first = Counter(words[0] for one in validation if (words := words_of(one.question)))
    here, there = (_word_shares(part) for part in (validation, train))
    return {
        word
        for word, count in first.items()
        if count >= _USUAL_SHARE * len(validation) and here[word] >= _TIMES_RARER * there.get(word, 0.0)
    }


def is_whole_words(context: str, gold: Gold) -> bool:
    """Check whether an answer begins and ends where words do.

    Args:
        context: Its context.
        gold: The answer.
    """
    start, end = gold.answer_start, gold.answer_end
    return (
        not context[start : start + 1].isspace()
        and not context[end - 1 : end].isspace()
        and not _is_inside_word(context, start)
        and not _is_inside_word(context, end)
    )


def _is_inside_word(context: str, at: int) -> bool:
    pair = context[at - 1 : at + 1] if 0 < at < len(context) else ""
    return len(pair) == 2 and pair[0].isalnum() and pair[1].isalnum() and not _UNSPACED.search(pair)


def _word_shares(examples: Sequence[Example]) -> dict[str, float]:
    """Return the share of the questions that have each word."""
    counts = Counter(word for one in examples for word in set(words_of(one.question)))
    return {word: count / len(examples) for word, count in counts.items()}


def words_of(text: str) -> list[str]:
    """Return the words of a text, in lower case."""
    return _WORD.findall(text.casefold())


def _letters_mean(texts: Iterable[str]) -> float:
    counts = [len(text) for text in texts]
    return round(sum(counts) / max(1, len(counts)), 3)


def _percent(values: Sequence[bool]) -> float | None:
    return round(100 * sum(values) / len(values), 3) if values else None
