"""SQuAD's own JSON, v1.1 and v2.0: articles of paragraphs of questions, read and written; MRQA's paragraphs, read.

MRQA's are JSON lines, the first perhaps a header. Its `detected_answers` are the spans, `char_spans` with an inclusive
end; `answers` are aliases that need not occur in the context, and so are no spans.

Source: the MRQA 2019 shared task's data format (github.com/mrqa/MRQA-Shared-Task-2019).
"""

import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from albertqa import files
from albertqa.data.alignment import similar_places
from albertqa.data.example import Example, has_unanswerable
from albertqa.data.problems import listed, quoted
from albertqa.data.raw_rows import BrokenRow, Row, Rows, row_fields
from albertqa.errors import DataError


def article_rows(article: Mapping[str, object], path: str, names: Mapping[str, str]) -> Rows:
    """Return the questions of an object with `paragraphs`, at a path in its file (`names`: see `row_fields`)."""
    paragraphs = article["paragraphs"]
    if not isinstance(paragraphs, list):
        message = f"expected a list of paragraphs, found {quoted(paragraphs)}"
        yield BrokenRow(path, "wrong-type", message, is_question=False)
        return
    for number, paragraph in enumerate(paragraphs):
        place = f"{path}.paragraphs[{number}]"
        if not isinstance(paragraph, dict):
            message = f"expected a paragraph object, found {quoted(paragraph)}"
            yield BrokenRow(place, "wrong-type", message, is_question=False)
        elif "qas" not in paragraph:
            message = f"expected the key 'qas', found {listed(paragraph)}"
            yield BrokenRow(place, "missing-key", message, is_question=False)
        else:
            yield from paragraph_rows(paragraph, article.get("title"), place, names)


def paragraph_rows(paragraph: Mapping[str, object], title: object, path: str, names: Mapping[str, str]) -> Rows:
    """Return the questions of an object with `context` and `qas` (see `article_rows`)."""
    qas = paragraph["qas"]
    if not isinstance(qas, list):
        yield BrokenRow(path, "wrong-type", f"expected a list of questions, found {quoted(qas)}", is_question=False)
        return
    shared = {"title": title, "context": paragraph.get(names["context"])}
    for number, question in enumerate(qas):
        place = f"{path}.qas[{number}]"
        if not isinstance(question, dict):
            yield BrokenRow(place, "wrong-type", f"expected a question object, found {quoted(question)}")
        else:
            is_mrqa = is_mrqa_question(question)
            fields = _mrqa_fields(question, shared["context"]) if is_mrqa else row_fields(question, names)
            yield Row(place, {**fields, **shared}, ("title", *paragraph, *question), nested=True)


def is_header(record: Mapping[str, object]) -> bool:
    """Check whether a record is MRQA's header line, which holds no question."""
    return "header" in record and not record.keys() & {"qas", "question", "paragraphs"}


def is_mrqa_question(question: Mapping[str, object]) -> bool:
    """Check whether a question is in MRQA's form."""
    return "detected_answers" in question or ("qid" in question and "id" not in question)


def _mrqa_fields(question: Mapping[str, object], context: object) -> dict[str, object]:
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


def write_squad_json(path: Path, examples: Sequence[Example]) -> None:
    """Write examples as SQuAD's own JSON, whole or not at all.

    Raises:
        DataError: The file cannot be written.
    """
    try:
        files.write_text(path, json.dumps(squad_document(examples), ensure_ascii=False))
    except OSError as error:
        raise DataError(f"{path}: cannot be written: {error.strerror or error}") from error


def squad_document(examples: Sequence[Example]) -> dict[str, object]:
    """Return examples in SQuAD's own form, v2.0 where some question has no answer and v1.1 otherwise.

    Neighbours with the same title share an article, neighbours with the same context a paragraph; the order stays.

    Returns:
        The document, ready for `json.dump`.
    """
    is_v2 = has_unanswerable(examples)
    articles = []
    for title, of_title in itertools.groupby(examples, key=lambda example: example.title):
        paragraphs = [
            {"context": context, "qas": [_question(example, is_v2) for example in of_context]}
            for context, of_context in itertools.groupby(of_title, key=lambda example: example.context)
        ]
        articles.append({"title": title, "paragraphs": paragraphs})
    return {"version": "v2.0" if is_v2 else "1.1", "data": articles}


def _question(example: Example, is_v2: bool) -> dict[str, object]:
    answers = [{"text": gold.text, "answer_start": gold.answer_start} for gold in example.golds]
    question: dict[str, object] = {"id": example.id, "question": example.question, "answers": answers}
    return question | {"is_impossible": not example.has_answer} if is_v2 else question
