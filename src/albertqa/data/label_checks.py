"""Checks of labels: do questions, answers and contexts belong together, and do training and validation data overlap?

Nothing here changes training. The facts go into ``run.json``, where the rules of `albertqa.health` read them. They are
cheap (texts are compared for a sample of the questions) and the same in every process.
"""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from albertqa.data.answer_fit import UNSPACED, WORD, answer_fit, overlap, spread, words_of
from albertqa.data.answer_units import answers_shift, is_inside_word
from albertqa.data.example import Example, Gold, letters_and_digits
from albertqa.data.text_damage import damage_statistics, mean, percent, share_percent

_SAMPLE = 1_000
# Words that so many of the contexts have are no content words; of fewer contexts, some content words would be.
_FUNCTION_WORDS, _FUNCTION_SHARE, _FEWEST_CONTEXTS = 50, 0.25, 20
# Articles, prepositions and the like are hardly ever followed by a mark, what a text is about often is; where there are
# hardly any marks, the two cannot be told apart.
_BEFORE_MARKS, _FEWEST_MARKS = 0.05, 0.03
_SENTENCE_END, _SENTENCE_LETTERS = re.compile(r"[.!?]\s+|[\u3002\uff01\uff1f\u0964\n]"), 30
_FREQUENT_WORDS, _FREQUENT_IN_CONTEXTS, _FEWEST_FREQUENT_PERCENT = 100, 0.15, 12
# Of fewer words, too many are among the 100 most frequent by chance.
_FEWEST_TRAIN_WORDS, _FEWEST_VALIDATION_WORDS = 2_000, 200
# A word that so many questions begin with asks for something ("who", "how"); so many times rarer in other questions, it
# hardly occurs there. Of fewer questions shares say little.
_ASKING_SHARE, _ASKING_QUESTIONS, _TIMES_RARER = 0.04, 4, 5.0
_FEWEST_TRAIN_QUESTIONS, _FEWEST_VALIDATION_QUESTIONS = 80, 40


def label_statistics(examples: Sequence[Example]) -> dict[str, Any]:
    """Measure what distinguishes correct texts and answers from damaged ones.

    Args:
        examples: The data, at least one question.

    Returns:
        Facts for ``run.json``, of the first golds and in percent where the name says so.
        ``repeated_questions``: questions asked before on the same context; ``contradicting_questions``: those of them
        whose golds do not overlap. ``same_start_percent``: golds at the one character of their contexts at which most
        begin; ``golds_at_end_percent``: golds with no further word after them in their context;
        ``golds_whole_words_percent``: golds that begin and end where words do. ``answers_shift``: see
        `albertqa.data.answer_units`. ``function_word_ends_percent``: golds whose last word is one of `function_words`,
        0 to 2 where they are in their place (of a hundred answers 5), 7 to 13 where a third are some words beside it,
        None of too few contexts. ``answer_fit``: see there. And those of `damage_statistics`.
    """
    golds_of: defaultdict[tuple[str, str], list[tuple[Gold, ...]]] = defaultdict(list)
    for one in examples:
        golds_of[" ".join(one.question.split()), one.context].append(one.golds)
    contradicting = sum(
        golds != several[0] and not any(overlap(gold, other) for gold in golds for other in several[0])
        for several in golds_of.values()
        for golds in several[1:]
    )
    golds = [(one.context, one.golds[0]) for one in examples if one.golds]
    starts = Counter(gold.answer_start for _, gold in golds)
    return {
        "contexts": len({context for _, context in golds_of}),
        "repeated_questions": len(examples) - len(golds_of),
        "contradicting_questions": contradicting,
        "question_letters_mean": mean(len(one.question) for one in examples),
        "context_letters_mean": mean(len(context) for _, context in golds_of),
        "gold_words_mean": mean(len(gold.text.split()) for _, gold in golds),
        "same_start_percent": share_percent(max(starts.values(), default=0), len(golds)),
        "golds_at_end_percent": percent(not WORD.search(context, gold.answer_end) for context, gold in golds),
        "golds_whole_words_percent": percent(is_whole_words(*one) for one in golds) if golds else None,
        "function_word_ends_percent": _function_word_ends_percent(examples),
        "answers_shift": answers_shift(examples),
        "answer_fit": answer_fit(examples),
        **damage_statistics(examples, _sampled_contexts(examples)),
    }


def function_words(examples: Sequence[Example]) -> set[str]:
    """Return the words that texts of a language have and that no phrase ends with, like "the" and "of".

    Words that are often followed by a mark are left out: those that texts on one subject have in common.

    Returns:
        The words, in lower case; none where there are too few texts, or too few marks in them, to tell.
    """
    contexts = _sampled_contexts(examples)
    if len(contexts) < _FEWEST_CONTEXTS:
        return set()
    in_contexts, occurrences, before_mark = Counter[str](), Counter[str](), Counter[str]()
    for context in contexts:
        found = [(match[0].casefold(), match.end()) for match in WORD.finditer(context)]
        # Not a set: of words that as many contexts have, the first ones count, the same in every process.
        in_contexts.update(list(dict.fromkeys(word for word, _ in found)))
        occurrences.update(word for word, _ in found)
        before_mark.update(word for word, end in found if end < len(context) and not context[end].isspace())
    if before_mark.total() < _FEWEST_MARKS * occurrences.total():
        return set()
    return {
        word
        for word, count in in_contexts.most_common(_FUNCTION_WORDS)
        if count >= _FUNCTION_SHARE * len(contexts) and before_mark[word] <= _BEFORE_MARKS * occurrences[word]
    }


def last_word(gold: Gold) -> str:
    """Return an answer's last word, in lower case; empty where it has none."""
    return next(reversed(WORD.findall(gold.text)), "").casefold()


def shared_content(train: Sequence[Example], validation: Sequence[Example]) -> dict[str, Any]:
    """Measure what training and validation data share: no text should be in both, the language should.

    Returns:
        Facts for ``run.json``: ``shared_contexts_percent`` (see `TrainedContexts`) and ``shared_questions_percent``
        (see `TrainedQuestions`) of the validation questions, ignoring case, punctuation and spaces;
        ``other_scripts_percent``, by how much more of the letters in the validation contexts are of some scripts, as
        Latin or Greek, than of those in the training contexts. Where there is enough text,
        ``frequent_words_percent`` and ``frequent_words_percent_train``: the share of the 100 words that most training
        contexts have in the validation and in the training contexts. Where there are enough questions,
        ``rare_question_words``: see there; and the share of the validation questions that have one of them.
    """
    trained_contexts, trained = TrainedContexts(train), TrainedQuestions(train)
    known = {context: trained_contexts.has(context) for context in dict.fromkeys(one.context for one in validation)}
    here, there = ([words_of(context)[1] for context in _sampled_contexts(part)] for part in (validation, train))
    frequent = language_words(train)
    facts: dict[str, Any] = {
        "shared_contexts_percent": percent(known[one.context] for one in validation),
        "shared_questions_percent": percent(trained.same(one) is not None for one in validation),
        "other_scripts_percent": _other_scripts_percent(train, validation),
    }
    if sum(map(len, there)) >= _FEWEST_TRAIN_WORDS and sum(map(len, here)) >= _FEWEST_VALIDATION_WORDS:
        there_percent = percent(word in frequent for words in there for word in words)
        # Of scripts without spaces, pairs of letters say little.
        if there_percent >= _FEWEST_FREQUENT_PERCENT:
            facts["frequent_words_percent"] = percent(word in frequent for words in here for word in words)
            facts["frequent_words_percent_train"] = there_percent
    rare = rare_question_words(train, validation)
    if rare is not None:
        facts["rare_question_words"] = sorted(rare)
        facts["rare_question_words_percent"] = percent(not rare.isdisjoint(_asked(one)) for one in validation)
    return facts


def language_words(examples: Sequence[Example]) -> set[str]:
    """Return the words, as `words_of` gives them, that show the language of data and not its subject.

    These are its function words; where these cannot be told, the words that most contexts have.
    """
    function = {stem for word in function_words(examples) for stem in words_of(word)[1]}
    texts = [words_of(context)[1] for context in _sampled_contexts(examples)]
    if percent(word in function for words in texts for word in words) >= _FEWEST_FREQUENT_PERCENT:
        return function
    counts = Counter(word for words in texts for word in dict.fromkeys(words))
    # Those of a few contexts are what these are about.
    least = max(3.0, _FREQUENT_IN_CONTEXTS * len(texts))
    return {word for word, count in counts.most_common(_FREQUENT_WORDS) if count >= least}


class TrainedContexts:
    """The training contexts, to find validation contexts among them.

    The same context is one with the same words; or one of which half the text or more are sentences of training
    contexts, as contexts are edited or cut otherwise. Between data sets that share no text that is 0 %.
    """

    def __init__(self, train: Sequence[Example]) -> None:
        contexts = dict.fromkeys(one.context for one in train)
        self._plain = {letters_and_digits(context) for context in contexts}
        self._sentences = {sentence for context in contexts for sentence in _sentences(context)}

    def has(self, context: str) -> bool:
        """Return whether a validation context is among them."""
        plain = letters_and_digits(context)
        if plain in self._plain:
            return True
        return 2 * sum(len(one) for one in _sentences(context) if one in self._sentences) >= max(1, len(plain))


class TrainedQuestions:
    """The training questions, to find validation questions among them.

    The same question is one with the same words on the same context; or with the same answer on whatever context, as
    contexts are edited or cut otherwise, if no second training question has these words, as in forms. Between data sets
    that share no text that are 0 to 0.04 % (SQuAD, SQuADShifts, the starter set).
    """

    def __init__(self, train: Sequence[Example]) -> None:
        self._asked: defaultdict[str, list[Example]] = defaultdict(list)
        for one in train:
            self._asked[letters_and_digits(one.question)].append(one)

    def same(self, example: Example) -> Example | None:
        """Return the training question that a validation question is; None where there is none."""
        asked = self._asked.get(letters_and_digits(example.question), [])
        context = letters_and_digits(example.context) if asked else ""
        on_context = next((one for one in asked if letters_and_digits(one.context) == context), None)
        if on_context is not None or len(asked) != 1:
            return on_context
        golds = [{letters_and_digits(gold.text) for gold in one.golds} for one in (example, asked[0])]
        return asked[0] if golds[0] & golds[1] else None


def rare_question_words(train: Sequence[Example], validation: Sequence[Example]) -> set[str] | None:
    """Return the words that validation questions begin with ("who", "what") and training questions hardly have.

    Returns:
        The words; None where there are too few questions to tell.
    """
    if len(train) < _FEWEST_TRAIN_QUESTIONS or len(validation) < _FEWEST_VALIDATION_QUESTIONS:
        return None
    first = Counter(words[0] for one in validation if (words := _asked(one)))
    here, there = (Counter(word for one in part for word in set(_asked(one))) for part in (validation, train))
    return {
        word
        for word, count in first.items()
        if count >= max(_ASKING_QUESTIONS, _ASKING_SHARE * len(validation))
        and here[word] / len(validation) >= _TIMES_RARER * there[word] / len(train)
    }


def is_whole_words(context: str, gold: Gold) -> bool:
    """Check whether an answer begins and ends where words do."""
    text = gold.text
    return text.strip() == text and not any(
        is_inside_word(context, at) and not UNSPACED.search(context, at - 1, at + 1)
        for at in (gold.answer_start, gold.answer_end)
    )


def _asked(example: Example) -> list[str]:
    """Return the words of a question, in lower case."""
    return WORD.findall(example.question.casefold())


def _sampled_contexts(examples: Sequence[Example]) -> list[str]:
    """Return different contexts from all over the data."""
    return list(dict.fromkeys(one.context for one in spread(examples, _SAMPLE)))


def _function_word_ends_percent(examples: Sequence[Example]) -> float | None:
    words, golds = function_words(examples), [one.golds[0] for one in examples if one.golds]
    return percent(last_word(gold) in words for gold in golds) if words and golds else None


def _sentences(context: str) -> set[str]:
    """Return the sentences of a text, as letters and digits; not short ones, which are in others by chance."""
    plain = map(letters_and_digits, _SENTENCE_END.split(context))
    return {one for one in plain if len(one) >= _SENTENCE_LETTERS}


def _other_scripts_percent(train: Sequence[Example], validation: Sequence[Example]) -> float:
    there, here = (_scripts(_sampled_contexts(part)) for part in (train, validation))
    shares = [(count / here.total(), there[script] / max(1, there.total())) for script, count in here.items()]
    return share_percent(sum(max(0.0, one - other) for one, other in shares), 1)


def _scripts(texts: Iterable[str]) -> Counter[str]:
    """Count letters by their script, the first word of their names in Unicode."""
    letters = Counter[str]()
    for text in texts:
        letters.update(text)
    scripts = Counter[str]()
    for letter, count in letters.items():
        if letter.isalpha():
            scripts[unicodedata.name(letter, "other").partition(" ")[0]] += count
    return scripts
