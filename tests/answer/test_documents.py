"""One question on several documents, and on a collection: the answer, its document and its place."""

import json
from pathlib import Path

import pytest

from albertqa.answer.answerer import Answerer
from albertqa.answer.collection import Collection, index_folder
from albertqa.answer.ranking import word_scores
from albertqa.cli import main
from albertqa.errors import DataError
from decode.cases import save_reader, starter_examples

pytestmark = pytest.mark.usefixtures("one_thread")

MACHINE = {"device": "cpu", "mixed_precision": "no"}
FLAGS = ["--device", "cpu", "--mixed-precision", "no"]


@pytest.fixture(scope="module")
def folder(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_reader(tmp_path_factory.mktemp("reader"), tiny_folder)


@pytest.fixture(scope="module")
def answerer(folder: Path) -> Answerer:
    return Answerer(folder, **MACHINE)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def texts() -> dict[str, str]:
    contexts = list(dict.fromkeys(one.context for one in starter_examples(60)))[:6]
    return {f"document {at}": context for at, context in enumerate(contexts)}


def test_one_document_has_the_answer_of_its_text(answerer: Answerer) -> None:
    for one in starter_examples(8):
        alone = answerer.answer(one.question, one.context, n_best=5)
        found = answerer.answer_documents(one.question, {"a": one.context}, n_best=5)
        assert (found.answer.text, found.answer.start_char, found.answer.document) == (
            alone.text,
            alone.start_char,
            "a",
        )
        assert [(each.text, each.start_char) for each in found.n_best] == [
            (each.text, each.start_char) for each in alone.n_best
        ]
        assert found.answer.probability == pytest.approx(alone.probability, abs=1e-5)


def test_every_candidate_is_verbatim_in_its_document(answerer: Answerer, texts: dict[str, str]) -> None:
    for one in starter_examples(8):
        found = answerer.answer_documents(one.question, texts, n_best=20)
        assert len(found.n_best) == 20
        assert found.answer == found.n_best[0]
        for each in found.n_best:
            assert each.document is not None
            assert each.text == texts[each.document][each.start_char : each.end_char] != ""
        places = [(each.document, each.start_char, each.end_char) for each in found.n_best]
        assert len(set(places)) == 20


def test_the_order_of_the_documents_does_not_matter(answerer: Answerer, texts: dict[str, str]) -> None:
    backwards = dict(reversed(texts.items()))
    for one in starter_examples(8):
        found, other = (answerer.answer_documents(one.question, each).answer for each in (texts, backwards))
        assert (found.document, found.text, found.start_char) == (other.document, other.text, other.start_char)


def test_the_document_that_has_the_questions_words_is_preferred() -> None:
    examples = starter_examples(200)
    contexts = list(dict.fromkeys(one.context for one in examples))
    right = 0
    for one in examples[::4]:
        at = contexts.index(one.context)
        documents = [contexts[(at + step) % len(contexts)] for step in (2, 1, 0, 4, 3)]
        scores = word_scores(one.question, documents)
        assert all(0 <= score < 2.2 for score in scores)
        right += scores[2] == max(scores)
    assert right >= 35
    assert word_scores("Xylophone?", contexts) == [0.0] * len(contexts)


def test_no_answer_comes_first_only_where_no_document_has_one(answerer: Answerer, texts: dict[str, str]) -> None:
    question = starter_examples(1)[0].question
    settings = {"version_2_with_negative": True}
    none = answerer.answer_documents(question, texts, n_best=3, null_score_diff_threshold=-1e6, **settings)  # type: ignore[arg-type]
    assert (none.answer.text, none.answer.document) == ("", None)
    some = answerer.answer_documents(question, texts, n_best=3, null_score_diff_threshold=1e6, **settings)  # type: ignore[arg-type]
    assert some.answer.text
    assert none.null_score == some.null_score is not None
    with pytest.raises(DataError, match="documents: expected at least one, found none"):
        answerer.answer_documents(question, {})


@pytest.fixture(scope="module")
def collection_file(texts: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two documents of three paragraphs each."""
    source = tmp_path_factory.mktemp("source")
    contexts = list(texts.values())
    (source / "one.txt").write_text("\n\n".join(contexts[:3]), encoding="utf-8")
    (source / "two.txt").write_text("\n\n".join(contexts[3:]), encoding="utf-8")
    index_folder(source, source / "docs.sqlite")
    return source / "docs.sqlite"


def test_an_answer_from_a_collection_is_verbatim_in_its_document(answerer: Answerer, collection_file: Path) -> None:
    with Collection(collection_file) as collection:
        documents = set()
        for one in starter_examples(24):
            found = answerer.answer_collection(one.question, collection, n_best=5)
            for each in found.n_best:
                assert each.document is not None
                assert collection.text(each.document)[each.start_char : each.end_char] == each.text != ""
            documents.add(found.answer.document)
        assert documents == {"one.txt", "two.txt"}
        nothing = answerer.answer_collection("Xylophone?", collection)
        assert (nothing.answer.text, nothing.answer.document, nothing.n_best) == ("", None, ())
        with pytest.raises(DataError, match="the question is empty"):
            answerer.answer_collection(" ", collection)


def test_the_command_line_answers_from_a_collection(
    folder: Path, answerer: Answerer, collection_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    question = starter_examples(1)[0].question
    command = [
        "answer",
        str(folder),
        "--documents",
        str(collection_file),
        "--question",
        question,
        "--n-best",
        "3",
        *FLAGS,
    ]
    assert main([*command, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    with Collection(collection_file) as collection:
        expected = answerer.answer_collection(question, collection, n_best=3)
    assert [one["text"] for one in found["n_best"]] == [one.text for one in expected.n_best]
    assert (found["text"], found["document"]) == (expected.answer.text, expected.answer.document)
    assert main(command) == 0
    assert f"{expected.answer.document}, characters {expected.answer.start_char} to" in capsys.readouterr().out
    assert main(["answer", str(folder), "--documents", str(collection_file), "--input", "q.jsonl"]) == 2
    assert "--documents: is for one --question" in capsys.readouterr().err
