"""Rules about the data's answers: do they belong to their questions, and does training see them at all?"""

from collections.abc import Iterator

from albertqa.data.answer_units import spell_shift
from albertqa.health.advice import check_data, repair_data
from albertqa.health.record import RunRecord
from albertqa.rundir.findings import Finding, evidence
from albertqa.rundir.run_json import Part

PARTS: tuple[Part, ...] = ("train", "validation")

# Sound data has 2.4 or more (SQuAD, SQuADShifts, the starter set), shuffled labels 1.0; see `nearness`.
_UNRELATED_RATIO = 1.5
# Questions and contexts that belong together share rare words five times as often as others, or more.
_STRANGE_RATIO, _FEWEST_AT_HOME = 1.5, 0.05
# Of fewer, shares and means say little.
FEWEST_QUESTIONS = 30


def labels_unrelated(record: RunRecord) -> Iterator[Finding]:
    """Answers that have nothing to do with their questions, or questions with their contexts."""
    for part in PARTS:
        found = record.data(part).nearness
        if not found or (record.data(part).golds or 0) < FEWEST_QUESTIONS:
            continue
        if _FEWEST_AT_HOME < found["at_home"] < _STRANGE_RATIO * found["elsewhere"]:
            yield _strange_contexts(record, part, found)
            return
        ratio_high = found["ratio"] + 1.64 * found["ratio_error"]
        if found["questions"] >= FEWEST_QUESTIONS and ratio_high < _UNRELATED_RATIO:
            yield _strange_answers(record, part, found)
            return


def labels_partly_unrelated(record: RunRecord) -> Iterator[Finding]:
    """A stretch of the data, as one file of several, whose answers have nothing to do with their questions.

    The rest of the data shows that questions and answers of this kind do share words, so that a model which learns from
    the rest does not speak against it.
    """
    for part in PARTS:
        quarters = (record.data(part).nearness or {}).get("quarters") or []
        known = [one for one in quarters if one is not None and one["questions"] >= FEWEST_QUESTIONS]
        spoilt = [one for one in known if one["ratio"] + 1.64 * one["ratio_error"] < _UNRELATED_RATIO]
        sound = [one for one in known if one["ratio"] - 1.64 * one["ratio_error"] > _UNRELATED_RATIO]
        if not spoilt or not sound:
            continue
        which = [f"{quarters.index(one) + 1}" for one in spoilt]
        seen = ", ".join(f"{one['ratio']:.1f}" if one else "?" for one in quarters)
        yield Finding(
            "labels-partly-unrelated",
            "error",
            0,
            f"In quarter {' and '.join(which)} of the {part} data, the questions' own words stand no nearer to their "
            f"answers than to those of other questions ({seen} times as many of them in the four quarters, in order; "
            "sound data has two to five times as many). The answers there seem to belong to other questions: is one of "
            "several files shifted or shuffled? Leave it out or make it anew.",
            check_data(record),
            {"part": part, "quarters": ", ".join(which), "ratio": spoilt[0]["ratio"], "sound_ratio": sound[0]["ratio"]},
        )
        return


def _strange_answers(record: RunRecord, part: Part, found: dict[str, float]) -> Finding:
    return Finding(
        "labels-unrelated",
        "error",
        0,
        f"The {part} questions' own words stand no nearer to their answers than to those of other questions "
        f"({found['ratio']:.2f} times as many of them; sound data has two to five times as many). The answers seem "
        "to belong to other questions: rows were shuffled or shifted against each other when the file was made, or "
        "the answers are placed at random. Nothing can be learned from that. Make the file anew, and read a few of "
        "its questions with their answers before training.",
        check_data(record),
        {"part": part, **{name: found[name] for name in ("questions", "own", "others", "ratio", "ratio_error")}},
    )


def _strange_contexts(record: RunRecord, part: Part, found: dict[str, float]) -> Finding:
    return Finding(
        "labels-unrelated",
        "error",
        0,
        f"Only {100 * found['at_home']:.0f} % of the {part} questions share a rare word with their context, hardly "
        f"more than with some other question's context ({100 * found['elsewhere']:.0f} %); in sound data it is five "
        "times as many. The questions seem to belong to other contexts: rows were shuffled or shifted against each "
        "other when the file was made. Make it anew, and read a few of its questions with their answers before "
        "training.",
        check_data(record),
        {"part": part, **{name: found[name] for name in ("questions", "at_home", "elsewhere")}},
    )


def labels_off(record: RunRecord) -> Iterator[Finding]:
    """Answers that begin or end inside words, as offsets off by some characters give them."""
    for part in PARTS:
        exact, golds = record.data(part).golds_exact_percent, record.data(part).golds or 0
        if exact is None or golds < FEWEST_QUESTIONS or exact >= 90:
            continue
        shift = record.data(part).answers_shift
        yield Finding(
            "labels-off",
            "error" if exact < 75 else "warning",
            0,
            f"Only {exact:.3g} % of the {part} answers begin and end where tokens do; with sound data and tokenizer "
            f"it is over 98 %. {_why_off(shift)}",
            repair_data(record, part) if shift else check_data(record),
            evidence(part=part, golds_exact_percent=exact, golds=golds, answers_shift=shift),
        )
        return


def _why_off(shift: int | None) -> str:
    if shift is None:
        return (
            "The others are cut in the middle of words: answer_start was counted in other units (bytes, or characters "
            "of a cleaned text), or the answers' texts were cut out with it. Correct the offsets; an answer is to be "
            "whole words."
        )
    return (
        f"All of them stand {spell_shift(shift)} and were cut out there, as when contexts were stripped or "
        "joined with a title after the offsets were counted. The command moves them back and trains on the repaired "
        "copy."
    )


def labels_contradict(record: RunRecord) -> Iterator[Finding]:
    """The same question on the same context with quite different answers."""
    for part in PARTS:
        contradicting, questions = record.data(part).contradicting_questions, record.data(part).questions
        if contradicting is None or questions < FEWEST_QUESTIONS or contradicting < 0.1 * questions:
            continue
        percent = 100 * contradicting / questions
        yield Finding(
            "labels-contradict",
            "error" if percent >= 30 else "warning",
            0,
            f"{contradicting:,} of {questions:,} {part} questions ({percent:.0f} %) are asked before on the same "
            "context with quite another answer. A model can only guess between them. Either the question column is "
            "wrong (the same text in every row), or several answers of one question became several questions.",
            check_data(record),
            {"part": part, "contradicting_questions": contradicting, "questions": questions},
        )
        return


def answers_in_one_place(record: RunRecord) -> Iterator[Finding]:
    """Answers that all begin at the same token, or end with their contexts: offsets were lost, or contexts cut."""
    golds = record.data("train").golds or 0
    places = {
        "same_start_percent": "begin at the same place of their contexts. The model learns that place and not to read. "
        "Was answer_start lost (0 in every row), or the context cut to begin with the answer?",
        "golds_at_end_percent": "are the last words of their contexts. The model learns that place and not to read. "
        "Were the contexts cut off behind the answer?",
    }
    for name, seen in places.items():
        percent = getattr(record.data("train"), name)
        if percent is None or golds < FEWEST_QUESTIONS or percent < 50:
            continue
        yield Finding(
            "answers-in-one-place",
            "error" if percent >= 80 else "warning",
            0,
            f"{percent:.0f} % of the training answers {seen}",
            check_data(record),
            {name: percent, "golds": golds},
        )
        return


def swapped_fields(record: RunRecord) -> Iterator[Finding]:
    """Questions longer than their contexts, or without words."""
    for part in PARTS:
        question, context = (getattr(record.data(part), f"{what}_tokens_mean") for what in ("question", "context"))
        if question is None or context is None or record.data(part).questions < FEWEST_QUESTIONS:
            continue
        if 2 <= question <= context:
            continue
        seen = "next to nothing in them" if question < 2 else f"{question:.0f} tokens, the contexts {context:.0f}"
        yield Finding(
            "swapped-fields",
            "error",
            0,
            f"The {part} questions have {seen}. Were the fields question and context filled from the wrong columns? "
            "The model reads a short question, then looks for the answer in the longer context.",
            check_data(record),
            {"part": part, "question_tokens_mean": question, "context_tokens_mean": context},
        )
        return


def few_texts(record: RunRecord) -> Iterator[Finding]:
    """Questions on a handful of texts, or the same questions again and again."""
    questions, contexts, repeated = (
        getattr(record.data("train"), f"{what}") for what in ("questions", "contexts", "repeated_questions")
    )
    if contexts is None or questions < FEWEST_QUESTIONS:
        return
    if contexts <= max(1, questions / 200):
        yield Finding(
            "few-texts",
            "warning",
            0,
            f"All {questions:,} training questions are asked on {contexts} contexts. The model learns these texts, "
            "not how to read others. Take questions on more texts; five to ten questions a text are usual.",
            check_data(record),
            {"questions": questions, "contexts": contexts},
        )
    elif repeated is not None and repeated > 0.5 * questions:
        yield Finding(
            "repeated-questions",
            "warning",
            0,
            f"{repeated:,} of {questions:,} training questions are asked before on the same context: each question "
            f"is there {questions / (questions - repeated):.0f} times, and an epoch is as many passes over the data. "
            "Was the file put together from copies? Keep one of each.",
            check_data(record),
            {"questions": questions, "repeated_questions": repeated},
        )
