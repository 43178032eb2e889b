"""Rules about texts that were damaged on their way into a file, or came into the wrong field."""

from collections.abc import Iterator

from albertqa.health.advice import show_rows
from albertqa.health.curve import proportion_error
from albertqa.health.record import DataView
from albertqa.health.rules.answer_labels import FEWEST_QUESTIONS
from albertqa.rundir.findings import Finding
from albertqa.rundir.run_json import PART_NAMES

# Percent; `albertqa.data.text_damage` has what correct data has.
_LEAST_ASKED, _LEAST_ANSWERED, _LEAST_DAMAGED = 5, 20, 15


def questions_in_contexts(view: DataView) -> Iterator[Finding]:
    """Contexts that repeat the question word by word."""
    for part, facts in view.parts():
        percent = facts.questions_in_contexts_percent
        if percent is None or facts.questions < FEWEST_QUESTIONS or percent < _LEAST_ASKED:
            continue
        yield Finding(
            "questions-in-contexts",
            "error" if percent >= 50 else "warning",
            0,
            f"{percent:.0f} % of the {PART_NAMES[part]} questions are in their own contexts word by word; in correct "
            "data hardly any is. The two fields were joined when the file was written, and the model learns to look "
            "beside the copy. Write the contexts without the questions, and count answer_start in them.",
            show_rows(view, "questions-in-contexts"),
            {"part": part, "questions_in_contexts_percent": percent},
        )
        return


def answers_in_questions(view: DataView) -> Iterator[Finding]:
    """Questions that contain their answers."""
    for part, facts in view.parts():
        percent = facts.golds_in_questions_percent
        if percent is None or facts.answered < FEWEST_QUESTIONS:
            continue
        if percent - 2 * proportion_error(percent, facts.answered) < _LEAST_ANSWERED:
            continue
        yield Finding(
            "answers-in-questions",
            "error" if percent >= 50 else "warning",
            0,
            f"{percent:.0f} % of the {PART_NAMES[part]} answers are words of their own questions; in correct data it "
            "is 0 to 5 %. Either the questions were made from the answers, and the model learns to find the question's "
            "words in the text and not to read, or the answers were taken from another column (title, question). "
            "Use questions that somebody asked without naming the answer.",
            show_rows(view, "answers-in-questions"),
            {"part": part, "golds_in_questions_percent": percent},
        )
        return


def damaged_texts(view: DataView) -> Iterator[Finding]:
    """Contexts with HTML, in a wrong encoding, or with everything twice."""
    for part, facts in view.parts():
        signs = (
            ("markup_percent", facts.markup_percent, "have tags or character references of HTML, as in '<b>' or "
             "'&nbsp;'. Take the text out of the pages with an HTML parser"),
            ("mojibake_percent", facts.mojibake_percent, "have characters that come from reading a file in a wrong "
             "encoding, as 'Ã©' for 'é'. Read the source as what it is, usually UTF-8"),
            ("doubled_percent", facts.doubled_percent, "say everything twice: the text was joined with itself. Keep "
             "one copy"),
        )  # fmt: skip
        for name, percent, seen in signs:
            if (
                percent is None
                or percent - 2 * proportion_error(percent, facts.contexts or facts.questions) < _LEAST_DAMAGED
            ):
                continue
            yield Finding(
                "damaged-texts",
                "error" if percent >= 50 else "warning",
                0,
                f"{percent:.0f} % of the {PART_NAMES[part]} contexts {seen}, then find the answers in the new texts.",
                show_rows(view, "damaged-texts"),
                {"part": part, name: percent},
            )
            return
