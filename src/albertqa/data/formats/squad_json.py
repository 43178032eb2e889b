"""SQuAD's own JSON: articles of paragraphs of questions."""

import itertools
from collections.abc import Sequence

from albertqa.data.example import Example, has_unanswerable


def squad_document(examples: Sequence[Example]) -> dict[str, object]:
    """Give examples in SQuAD's own form, v2.0 where some question has no answer and v1.1 otherwise.

    Neighbours with the same title share an article, neighbours with the same context a paragraph; the order stays.

    Args:
        examples: The data set.

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
