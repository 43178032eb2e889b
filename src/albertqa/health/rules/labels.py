"""Rules about the data's answers: do they belong to their questions, and does training see them at all?"""

from collections.abc import Iterator
from typing import Any

from albertqa.health.advice import check_data, repair_data
from albertqa.health.finding import Finding
from albertqa.health.record import Part, RunRecord

PARTS: tuple[Part, ...] = ("train", "validation")

# Sound data has 2.4 or more (SQuAD, SQuADShifts, the starter set), shuffled labels 1.0; see `nearness`.
_UNRELATED_RATIO = 1.5
# Questions and contexts that belong together share rare words five times as often as others, or more.
_STRANGE_RATIO, _FEWEST_AT_HOME = 1.5, 0.05
_FEWEST_QUESTIONS = 30


def leaking_validation(record: RunRecord) -> Iterator[Finding]:
    """Validation questions or contexts that were trained on."""
    questions, contexts = (record.data("validation", f"shared_{what}_percent") for what in ("questions", "contexts"))
    same = record.data("train", "content_sha256") == record.data("validation", "content_sha256")
    if same:
        questions = contexts = 100.0
    if not same and (contexts is None or (questions < 1 and contexts < 5)):
        return
    yield Finding(
        "leaking-validation",
        "error",
        0,
        f"{contexts:.3g} % of the validation questions stand on contexts that are trained on, and {questions:.3g} % "
        "are themselves trained on. The scores then tell how much was learned by heart, not how well the model reads "
        "new text. Split the data by context or article, so that no text is in both parts.",
        check_data(record),
        {"shared_questions_percent": questions, "shared_contexts_percent": contexts},
    )


def labels_unrelated(record: RunRecord) -> Iterator[Finding]:
    """Answers that have nothing to do with their questions, or questions with their contexts."""
    if _validates(record):
        return
    for part in PARTS:
        found = record.data(part, "nearness")
        if not found or record.data(part, "golds") < _FEWEST_QUESTIONS:
            continue
        if _FEWEST_AT_HOME < found["at_home"] < _STRANGE_RATIO * found["elsewhere"]:
            yield _strange_contexts(record, part, found)
            return
        ratio_high = found["ratio"] + 1.64 * found["ratio_error"]
        if found["questions"] >= _FEWEST_QUESTIONS and ratio_high < _UNRELATED_RATIO:
            yield _strange_answers(record, part, found)
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
        exact, golds = record.data(part, "golds_exact_percent"), record.data(part, "golds")
        if exact is None or golds < _FEWEST_QUESTIONS or exact >= 90:
            continue
        shift = record.data(part, "answers_shift")
        yield Finding(
            "labels-off",
            "error" if exact < 75 else "warning",
            0,
            f"Only {exact:.3g} % of the {part} answers begin and end where tokens do; with sound data and tokenizer "
            f"it is over 98 %. {_why_off(shift)}",
            repair_data(record, part) if shift else check_data(record),
            {"part": part, "golds_exact_percent": exact, "golds": golds, "answers_shift": shift},
        )
        return


def _why_off(shift: int | None) -> str:
    if shift is None:
        return (
            "The others are cut in the middle of words: answer_start was counted in other units (bytes, or characters "
            "of a cleaned text), or the answers' texts were cut out with it. Correct the offsets; an answer is to be "
            "whole words."
        )
    by = "1 character" if abs(shift) == 1 else f"{abs(shift)} characters"
    side = "right" if shift > 0 else "left"
    return (
        f"All of them stand {by} too far {side} and were cut out there, as when contexts were stripped or "
        "joined with a title after the offsets were counted. The command moves them back and trains on the repaired "
        "copy."
    )


def labels_contradict(record: RunRecord) -> Iterator[Finding]:
    """The same question on the same context with quite different answers."""
    for part in PARTS:
        contradicting, questions = record.data(part, "contradicting_questions"), record.data(part, "questions")
        if contradicting is None or questions < _FEWEST_QUESTIONS or contradicting < 0.1 * questions:
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
    """Answers that all begin at the same token: offsets were lost."""
    percent, golds = record.data("train", "same_start_percent"), record.data("train", "golds")
    if percent is None or golds < _FEWEST_QUESTIONS or percent < 50:
        return
    yield Finding(
        "answers-in-one-place",
        "error" if percent >= 80 else "warning",
        0,
        f"{percent:.0f} % of the training answers begin at the same place of their contexts. The model learns that "
        "place and not to read. Was answer_start lost (0 in every row), or the context cut to begin with the answer?",
        check_data(record),
        {"same_start_percent": percent, "golds": golds},
    )


def swapped_fields(record: RunRecord) -> Iterator[Finding]:
    """Questions longer than their contexts, or without words."""
    for part in PARTS:
        question, context = (record.data(part, f"{what}_tokens_mean") for what in ("question", "context"))
        if question is None or 2 <= question <= context or record.data(part, "questions") < _FEWEST_QUESTIONS:
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


def no_answers(record: RunRecord) -> Iterator[Finding]:
    """Training data in which hardly any question has an answer, or only one of the two parts knows such questions."""
    shares = {part: record.data(part, "without_answer") / record.data(part, "questions") for part in PARTS}
    evidence: dict[str, Any] = {f"{part}_without_answer_percent": round(100 * shares[part], 2) for part in PARTS}
    if shares["train"] > 0.9:
        yield Finding(
            "no-answers",
            "error",
            0,
            f"{100 * shares['train']:.0f} % of the training questions have no answer. Saying nothing is then nearly "
            "always right, and the model learns to say nothing. Were the answers lost when the file was made?",
            check_data(record),
            evidence,
        )
    elif shares["train"] == 0 and shares["validation"] > 0.1:
        yield Finding(
            "no-answers",
            "warning",
            0,
            f"{100 * shares['validation']:.0f} % of the validation questions have no answer, but every training "
            "question has one: the model never learns to say nothing, and will answer them all. Train on data of the "
            "same kind.",
            check_data(record),
            evidence,
        )
    elif shares["train"] > 0.1 and shares["validation"] == 0:
        yield Finding(
            "no-answers",
            "warning",
            0,
            f"{100 * shares['train']:.0f} % of the training questions have no answer, but every validation question "
            "has one: what the model learns of saying nothing is not measured. Validate on data of the same kind.",
            check_data(record),
            evidence,
        )


def few_texts(record: RunRecord) -> Iterator[Finding]:
    """Questions on a handful of texts, or the same questions again and again."""
    questions, contexts, repeated = (
        record.data("train", f"{what}") for what in ("questions", "contexts", "repeated_questions")
    )
    if contexts is None or questions < _FEWEST_QUESTIONS:
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
    elif repeated > 0.5 * questions:
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


def _validates(record: RunRecord) -> bool:
    """Tell whether what was trained holds on the validation data; then the labels of both are right."""
    return bool(record.evaluations) and (
        record.evaluations[-1]["validation_loss"] < 0.6 * record.blind_loss("validation")
    )
