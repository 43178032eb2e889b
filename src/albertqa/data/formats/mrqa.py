"""MRQA's shared-task form: JSON lines of a context with its questions, the first line perhaps a header.

`detected_answers` are the spans, `char_spans` with an inclusive end; `answers` are aliases that need not occur in the
context, and so are no spans.

Source: the MRQA 2019 shared task's data format (github.com/mrqa/MRQA-Shared-Task-2019).
"""

from collections.abc import Mapping

from albertqa.data.alignment import similar_places


def is_header(record: Mapping[str, object]) -> bool:
    """Check whether a record is the header line, which holds no question."""
    return "header" in record and not record.keys() & {"qas", "question", "paragraphs"}


def is_mrqa_question(question: Mapping[str, object]) -> bool:
    """Check whether a question is in MRQA's form."""
    return "detected_answers" in question or ("qid" in question and "id" not in question)


def mrqa_fields(question: Mapping[str, object], context: object) -> dict[str, object]:
    """Return a question's fields, with its spans as SQuAD's answers.

    An answer that differs from its span in case, white space and the like gets the span's characters, as MRQA's texts
    are of another tokenization.
    """
    detected = question.get("detected_answers", question.get("answers"))
    answers: object = detected
    if isinstance(detected, list):
        answers = [answer for item in detected for answer in _spans(item, context)]
    return {"id": question.get("qid", question.get("id")), "question": question.get("question"), "answers": answers}


def _spans(item: object, context: object) -> list[object]:
    spans = item.get("char_spans") if isinstance(item, Mapping) else None
    if not isinstance(item, Mapping) or not isinstance(spans, list) or not spans:
        return [item]
    return [_answer(item.get("text"), span, context) for span in spans]


def _answer(text: object, span: object, context: object) -> dict[str, object]:
    match span:
        case [int() as start, int() as last]:
            found = context[start : last + 1] if isinstance(context, str) and 0 <= start <= last else ""
            if isinstance(text, str) and similar_places(found, text) == [(0, len(found))]:
                text = found
            span = start
    return {"text": text, "answer_start": span}
