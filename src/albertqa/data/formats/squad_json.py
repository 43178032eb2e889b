"""SQuAD's own JSON, v1.1 and v2.0: articles of paragraphs of questions; read and written."""

import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from albertqa import files
from albertqa.data.example import Example, has_unanswerable
from albertqa.data.formats.mrqa import is_mrqa_question, mrqa_fields
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
            fields = mrqa_fields(question, shared["context"]) if is_mrqa else row_fields(question, names)
            yield Row(place, {**fields, **shared}, ("title", *paragraph, *question), nested=True)


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
