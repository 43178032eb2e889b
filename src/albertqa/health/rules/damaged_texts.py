"""Rules about texts that were damaged on their way into a file, or came into the wrong field."""

from collections.abc import Iterator

from albertqa.health.advice import show_rows
from albertqa.health.curve import proportion_error
from albertqa.health.record import DataView, of_each_part
from albertqa.health.rules.answer_labels import FEWEST_QUESTIONS
from albertqa.rundir.findings import Finding
from albertqa.rundir.run_json import PART_NAMES, Part, TextFacts

# Percent; `albertqa.data.text_damage` has what correct data has.
_LEAST_ASKED, _LEAST_ANSWERED, _LEAST_DAMAGED = 5, 20, 15


@of_each_part
def questions_in_contexts(view: DataView, part: Part, facts: TextFacts) -> Iterator[Finding]:
    """Contexts that repeat the question word by word."""
    percent = facts.questions_in_contexts_percent or 0.0
    if facts.questions < FEWEST_QUESTIONS or percent < _LEAST_ASKED:
        return
    yield Finding(
        "questions-in-contexts",
        "error" if percent >= 50 else "warning",
        f"{percent:.0f} % of the {PART_NAMES[part]} questions are in their own contexts word by word; in correct data "
        "hardly any is. The two fields were joined when the file was written, and the model learns to look beside the "
        "copy. Write the contexts without the questions, and count answer_start in them.",
        show_rows(view, "questions-in-contexts"),
        {"part": part, "questions_in_contexts_percent": percent},
    )


@of_each_part
def answers_in_questions(view: DataView, part: Part, facts: TextFacts) -> Iterator[Finding]:
    """Questions that contain their answers."""
    percent = facts.golds_in_questions_percent or 0.0
    if facts.answered < FEWEST_QUESTIONS or percent - 2 * proportion_error(percent, facts.answered) < _LEAST_ANSWERED:
        return
    yield Finding(
        "answers-in-questions",
        "error" if percent >= 50 else "warning",
        f"{percent:.0f} % of the {PART_NAMES[part]} answers are words of their own questions; in correct data it is 0 "
        "to 5 %. Either the questions were made from the answers, and the model learns to find the question's words in "
        "the text and not to read, or the answers were taken from another column (title, question). Use questions that "
        "somebody asked without naming the answer.",
        show_rows(view, "answers-in-questions"),
        {"part": part, "golds_in_questions_percent": percent},
    )


@of_each_part
def damaged_texts(view: DataView, part: Part, facts: TextFacts) -> Iterator[Finding]:
    """Contexts with HTML, in a wrong encoding, or with everything twice."""
    signs = {
        "markup_percent": "have tags or character references of HTML, as in '<b>' or '&nbsp;'. Take the text out of "
        "the pages with an HTML parser",
        "mojibake_percent": "have characters that come from reading a file in a wrong encoding, as 'Ã©' for 'é'. Read "
        "the source as what it is, usually UTF-8",
        "doubled_percent": "say everything twice: the text was joined with itself. Keep one copy",
    }
    for name, seen in signs.items():
        percent = getattr(facts, name) or 0.0
        if percent - 2 * proportion_error(percent, facts.contexts or facts.questions) >= _LEAST_DAMAGED:
            yield Finding(
                "damaged-texts",
                "error" if percent >= 50 else "warning",
                f"{percent:.0f} % of the {PART_NAMES[part]} contexts {seen}, then find the answers in the new texts.",
                show_rows(view, "damaged-texts"),
                {"part": part, name: percent},
            )
