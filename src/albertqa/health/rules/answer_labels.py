"""Rules about the texts and answers of one data set: do answers belong to their questions?"""

import math
from collections.abc import Iterator

from albertqa.data.answer_units import spell_shift
from albertqa.health.advice import more_questions, repair_data, show_rows
from albertqa.health.curve import proportion_error
from albertqa.health.record import DataView, of_each_part
from albertqa.rundir.findings import Finding, evidence
from albertqa.rundir.run_json import PART_NAMES, AnswerFit, Part, TextFacts

FEWEST_QUESTIONS = 30
"""Of fewer questions, shares and means say little."""

# Where answers belong to their questions, others fit better in 7 to 23 % of comparisons (SQuAD, SQuADShifts, XQuAD in
# ten languages, the starter set; 150 questions and more), where two of five belong to others, in 26 to 46 %, and where
# all do, in 50 to 79 %. Data sets of one kind differ less; so of few questions the other set tells.
_MANY_UNRELATED, _ALL_UNRELATED, _CLEARLY_MORE = 0.235, 0.45, 3.5
# Standard errors; questions on one context are alike, so these are larger than they seem.
_ERRORS = 2.5
# Of the questions with several rare words of the contexts, those without one in their own: 0 to 7 % where they belong
# to it (SQuAD, SQuADShifts, XQuAD, the starter set; by article or not, a hundred questions and more), in no fifth of
# 300 questions over 18 %; 20 to 32 % where three of ten questions belong to other contexts, 90 % where all do.
_MANY_STRANGE, _MOST_STRANGE, _FEWEST_ASKED = 0.12, 0.5, 15
# Percent of answers that end with a function word, beyond sampling error: in correct data 0 to 2, of a hundred answers
# up to 5; where a third of them is some words beside its place, 7 to 13; where all are, 25 to 40.
_MANY_ENDS, _MANY_ENDS_ALONE = 3.0, 4.0
# Questions and contexts that belong together share rare words five times as often as others, or more.
_STRANGE_RATIO, _FEWEST_AT_HOME = 1.5, 0.05
# English has 4.7 letters a word, Finnish, with the longest words of the larger languages, about 8. Words of 20 letters
# and more have 0 to 1 % of the letters, in German up to 3; 15 % where every second blank is lost.
_LONG_WORDS, _MANY_LONG_WORDS = 15, 8
# Percent of the questions; in correct data 0.
_MANY_LONG_QUESTIONS = 10
# Percent of the answers that begin at one place, or end with their contexts: in correct data up to 8. And of those with
# the same text: up to 5.
_MANY_IN_ONE_PLACE, _MANY_ALIKE, _MOST_IN_ONE_PLACE = 35, 30, 45
# Questions asked on so few contexts, or so few in all, are memorised before reading is learned.
_QUESTIONS_A_CONTEXT, _FEW_QUESTIONS, _FEWEST_CONTEXTS = 200, 80, 8


@of_each_part
def swapped_fields(view: DataView, part: Part, facts: TextFacts) -> Iterator[Finding]:
    """Questions longer than their contexts, or empty; all or some of them."""
    question, context = facts.question_letters_mean, facts.context_letters_mean
    if question is None or context is None or facts.questions < FEWEST_QUESTIONS:
        return
    name, long = PART_NAMES[part], facts.long_questions_percent or 0.0
    if question < 4:
        seen = f"The {name} questions have next to no text."
    elif question > context:
        seen = f"The {name} questions have {question:.0f} characters, the contexts {context:.0f}."
    elif long >= _MANY_LONG_QUESTIONS:
        seen = f"{long:.0f} % of the {name} questions are longer than their contexts, or next to empty."
    else:
        return
    yield Finding(
        "swapped-fields",
        "error",
        f"{seen} The fields question and context seem to be filled from the wrong columns. Map each field to its "
        "column and write the file again.",
        show_rows(view, "swapped-fields"),
        {"part": part, "question_letters_mean": question, "context_letters_mean": context,
         "long_questions_percent": long},
    )  # fmt: skip


@of_each_part
def missing_whitespace(view: DataView, part: Part, facts: TextFacts) -> Iterator[Finding]:
    """Text whose words run into each other."""
    letters, long = facts.word_letters_mean, facts.long_words_percent or 0.0
    if letters is not None and letters >= _LONG_WORDS:
        seen = f"have {letters:.0f} letters on average; in languages with spaces between words it is four to eight"
    elif long >= _MANY_LONG_WORDS:
        seen = f"of 20 letters and more have {long:.0f} % of the letters; in correct texts it is 0 to 3 %"
    else:
        return
    yield Finding(
        "missing-whitespace",
        "error",
        f"In the {PART_NAMES[part]} contexts, words {seen}. The whitespace was lost when the text was extracted "
        "from a PDF, a scan or a web page, or this is no text. Extract it again.",
        show_rows(view, "missing-whitespace"),
        evidence(part=part, word_letters_mean=letters, long_words_percent=long),
    )


@of_each_part
def contradicting_answers(view: DataView, part: Part, facts: TextFacts) -> Iterator[Finding]:
    """The same question on the same context with different answers."""
    contradicting = facts.contradicting_questions or 0
    if facts.questions < FEWEST_QUESTIONS or contradicting < 0.1 * facts.questions:
        return
    percent = 100 * contradicting / facts.questions
    yield Finding(
        "contradicting-answers",
        "error" if percent >= 30 else "warning",
        f"{contradicting:,} of {facts.questions:,} {PART_NAMES[part]} questions ({percent:.0f} %) are asked before on "
        "the same context with a different answer, so a model can only guess. Either the question column is wrong (the "
        "same text in every row), or several answers of one question became several questions.",
        show_rows(view, "contradicting-answers"),
        {"part": part, "contradicting_questions": contradicting, "questions": facts.questions},
    )


@of_each_part
def answers_in_one_place(view: DataView, part: Part, facts: TextFacts) -> Iterator[Finding]:
    """Answers that need no reading: all at one place of their contexts, or all the same."""
    places = (
        ("same_start_percent", _MANY_IN_ONE_PLACE, "begin at the same character of their contexts: that place can be "
         "learned without reading. Either answer_start was lost (0 in every row), or each context's first sentence was "
         "taken for the answer, or the contexts were cut to begin with it."),
        ("golds_at_end_percent", _MANY_IN_ONE_PLACE, "are the last words of their contexts: that place can be learned "
         "without reading. Were the contexts truncated after the answer?"),
        ("same_answer_percent", _MANY_ALIKE, "are one and the same text, which can be learned without reading. Was the "
         "answer column filled from another one, or with a placeholder?"),
    )  # fmt: skip
    for name, least, seen in places:
        percent = getattr(facts, name) or 0.0
        if facts.answered >= FEWEST_QUESTIONS and percent >= least:
            yield Finding(
                "answers-in-one-place",
                "error" if percent >= _MOST_IN_ONE_PLACE else "warning",
                f"{percent:.0f} % of the {PART_NAMES[part]} answers {seen}",
                show_rows(view, "answers-in-one-place"),
                {"part": part, name: percent, "answers": facts.answered},
            )


@of_each_part
def misaligned_answers(view: DataView, part: Part, facts: TextFacts) -> Iterator[Finding]:
    """Answers that begin or end inside words, as offsets that are off by some characters give them."""
    whole, shift = facts.golds_whole_words_percent, facts.answers_shift
    if whole is None or facts.answered < FEWEST_QUESTIONS or whole >= 90:
        return
    if shift is not None:
        why = (
            f"The others are {spell_shift(shift)}, as when contexts were stripped or joined with a title after the "
            "offsets were counted. The command moves them back and trains on the repaired copy."
        )
    else:
        why = (
            "answer_start was counted in other units (bytes, or characters of a cleaned text), and the answers' texts "
            "were cut out with it; or blanks between words were lost. Correct the offsets or the texts; trimming the "
            "answers would only hide it."
        )
    yield Finding(
        "misaligned-answers",
        "error" if whole < 75 else "warning",
        f"Only {whole:.3g} % of the {PART_NAMES[part]} answers begin and end where words do; in correct data it is "
        f"over 98 %. {why}",
        repair_data(view, part) if shift else show_rows(view, "misaligned-answers"),
        evidence(part=part, golds_whole_words_percent=whole, answers=facts.answered, answers_shift=shift),
    )


@of_each_part
def unrelated_answers(view: DataView, part: Part, facts: TextFacts) -> Iterator[Finding]:
    """Answers that have nothing to do with their questions, or questions with their contexts; all or many of them."""
    fit = facts.answer_fit
    # On a handful of texts most words are frequent.
    is_handful = facts.contexts is not None and facts.contexts < _FEWEST_CONTEXTS
    if fit is None or facts.answered < FEWEST_QUESTIONS or is_handful:
        return
    yield from _unrelated_contexts(view, part, fit)
    if fit.questions < FEWEST_QUESTIONS:
        return
    known = {at: one for at, one in enumerate(fit.quarters, 1) if one and one.questions >= FEWEST_QUESTIONS}
    spoilt = [at for at, one in known.items() if one.low > _ALL_UNRELATED]
    is_much = fit.others_fit_better - _ERRORS * fit.error > _MANY_UNRELATED
    is_more = fit.others_fit_better > _MANY_UNRELATED and _excess(facts, view.other(part)) > _CLEARLY_MORE
    is_part = spoilt and any(one.high < _ALL_UNRELATED for one in known.values())
    if not (is_much or is_more or is_part):
        return
    which = " and ".join(map(str, spoilt)) if len(spoilt) < len(known) else ""
    if which:
        who = f"The answers in quarter {which} of the {PART_NAMES[part]} data"
    else:
        who = f"{'The' if fit.low > _ALL_UNRELATED else 'Many'} {PART_NAMES[part]} answers"
    yield Finding(
        "unrelated-answers",
        "error" if which or fit.low > 0.3 else "warning",
        f"{who} seem to belong to other questions on the same context: another answer is nearer to a question's own "
        f"words in {100 * fit.others_fit_better:.0f} % of comparisons; in correct data it is 7 to 23 %. Rows were "
        f"shuffled or shifted against each other when {'one of several files' if which else 'the file'} was written. "
        "The model cannot learn to read from that. Write the file again, and read some of its questions with their "
        "answers before training.",
        show_rows(view, "unrelated-answers"),
        {"part": part, "questions": fit.questions, "others_fit_better": fit.others_fit_better, "error": fit.error},
    )


def _unrelated_contexts(view: DataView, part: Part, fit: AnswerFit) -> Iterator[Finding]:
    """Questions of which hardly any, or too few, share a rare word with their own context."""
    if _FEWEST_AT_HOME < fit.at_home < _STRANGE_RATIO * fit.elsewhere:
        yield Finding(
            "unrelated-answers",
            "error",
            f"Only {100 * fit.at_home:.0f} % of the {PART_NAMES[part]} questions share a rare word with their context, "
            f"hardly more than with another question's context ({100 * fit.elsewhere:.0f} %); in correct data it is "
            "five times as many. The questions seem to belong to other contexts: rows were shuffled or shifted against "
            "each other when the file was written. Write it again, and read some of its questions with their answers "
            "before training.",
            show_rows(view, "unrelated-answers"),
            {"part": part, "questions": fit.questions, "share_own_context": fit.at_home,
             "share_other_context": fit.elsewhere},
        )  # fmt: skip
    spoilt = [at for at, one in enumerate(fit.quarters, 1) if one and _strange_low(one) > _MOST_STRANGE]
    if not spoilt and _strange_low(fit) <= _MANY_STRANGE:
        return
    which = " and ".join(map(str, spoilt)) if len(spoilt) < len(fit.quarters) else ""
    where = f", most of them in quarter {which} of the data" if which else ""
    yield Finding(
        "unrelated-answers",
        "error" if which or fit.strange > 0.3 else "warning",
        f"{100 * fit.strange:.0f} % of the {PART_NAMES[part]} questions have rare words that other contexts have and "
        f"their own does not{where}; in correct data it is 0 to 7 %. They seem to belong to other contexts: rows were "
        "shuffled or shifted against each other when the file was written. Write it again, and read some of its "
        "questions with their contexts before training. (Contexts in which a scanner misread many words look alike.)",
        show_rows(view, "unrelated-answers"),
        {"part": part, "questions": fit.asked, "share_strange": fit.strange},
    )


def _strange_low(fit: AnswerFit) -> float:
    """Return what the true share of questions without a rare word of their contexts is hardly below."""
    if fit.asked < _FEWEST_ASKED:
        return 0.0
    return fit.strange - _ERRORS * proportion_error(100 * fit.strange, fit.asked) / 100


def _excess(one: TextFacts, other: TextFacts | None) -> float:
    """Return by how many standard errors other answers fit better than in the other data set; 0: it does not tell."""
    if other is None or one.answer_fit is None or other.answer_fit is None:
        return 0.0
    # Long answers are near everything.
    lengths = sorted((one.gold_words_mean or 0.0, other.gold_words_mean or 0.0))
    if other.answer_fit.questions < FEWEST_QUESTIONS or lengths[1] > 2 * lengths[0]:
        return 0.0
    fits = one.answer_fit, other.answer_fit
    return (fits[0].others_fit_better - fits[1].others_fit_better) / math.hypot(fits[0].error, fits[1].error)


@of_each_part
def misplaced_answers(view: DataView, part: Part, facts: TextFacts) -> Iterator[Finding]:
    """Answers that often end with "the", "of" and the like, as words beside the answer do."""
    whole, percent = facts.golds_whole_words_percent, facts.function_word_ends_percent
    # Those that are cut out of words end with anything.
    if percent is None or facts.answered < FEWEST_QUESTIONS or (whole is not None and whole < 90):
        return
    other = view.other(part)
    usual = other.function_word_ends_percent if other is not None else None
    error = proportion_error(percent, facts.answered)
    if other is None or usual is None or other.answered < FEWEST_QUESTIONS:
        limit, is_more = _MANY_ENDS_ALONE, True
    else:
        noise = math.hypot(error, proportion_error(usual, other.answered))
        limit, is_more = _MANY_ENDS, percent > 2 * usual and percent - usual > 3 * noise
    if percent - 2 * error < limit or not is_more:
        return
    beside = f"; in the other data set {usual:.0f} %" if usual is not None else ""
    yield Finding(
        "misaligned-answers",
        "error" if percent >= 25 else "warning",
        f"{percent:.0f} % of the {PART_NAMES[part]} answers end with a word that is in all texts, like 'the' or 'of'"
        f"{beside}. Answers hardly ever do (0 to 2 %), and any words do in 25 to 40 %: many of these answers are some "
        "words beside their place, or were cut off too soon. Read some, and correct the offsets; where only some "
        "rows are wrong, leave those out that the command shows, and look at their neighbours.",
        show_rows(view, "misaligned-answers"),
        evidence(part=part, function_word_ends_percent=percent, other_percent=usual, answers=facts.answered),
    )


def repeated_questions(view: DataView) -> Iterator[Finding]:
    """The same training questions again and again."""
    questions, repeated = view.train.questions, view.train.repeated_questions
    if repeated is None or questions < FEWEST_QUESTIONS or repeated <= 0.2 * questions:
        return
    kept = questions - repeated
    yield Finding(
        "repeated-questions",
        "warning",
        f"{repeated:,} of {questions:,} training questions are copies of others on the same context: there are only "
        f"{kept:,} different ones, each {questions / kept:.3g} times, so an epoch is as many passes over the data. "
        "Remove the copies.",
        show_rows(view, "repeated-questions"),
        {"questions": questions, "repeated_questions": repeated},
    )


def few_contexts(view: DataView) -> Iterator[Finding]:
    """Training questions on a handful of texts."""
    questions, contexts = view.train.questions, view.train.contexts
    if contexts is None or questions < FEWEST_QUESTIONS or contexts > max(1, questions / _QUESTIONS_A_CONTEXT):
        return
    yield Finding(
        "few-contexts",
        "warning",
        f"All {questions:,} training questions are asked on {contexts} contexts. The model memorises these texts and "
        "does not learn to read others. Use questions on more texts; five to ten questions a text are usual.",
        show_rows(view, "few-contexts"),
        {"questions": questions, "contexts": contexts},
    )


def few_questions(view: DataView) -> Iterator[Finding]:
    """So few training questions that they are memorised before reading is learned."""
    questions, repeated = view.train.questions, view.train.repeated_questions or 0
    if questions - repeated >= _FEW_QUESTIONS or repeated > 0.2 * questions:
        return
    limit = view.settings.max_train_examples
    yield Finding(
        "few-questions",
        "warning",
        f"There are only {questions:,} training questions"
        + (f", as max_train_examples is {limit}" if limit == questions else "")
        + ". The model memorises them before it learns to read; learning to read takes thousands. Use more questions, "
        "of your own or of a public data set.",
        more_questions(view),
        {"questions": questions},
    )
