"""Answers are those of evaluation, one at a time or many, from short contexts and long ones."""

from pathlib import Path

import pytest

import albertqa
from albertqa.answer.answerer import Answerer
from albertqa.answer.answers import Answer
from albertqa.data.starter import starter_file
from albertqa.errors import DataError, ModelError, SettingsError
from decode.cases import save_reader, starter_examples

LENGTHS = {"max_seq_length": 96, "doc_stride": 32}
MACHINE = {"device": "cpu", "mixed_precision": "no"}


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def folder(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_reader(tmp_path_factory.mktemp("reader"), tiny_folder)


@pytest.fixture(scope="module")
def answerer(folder: Path) -> Answerer:
    return Answerer(folder, **LENGTHS, **MACHINE)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def pairs() -> list[tuple[str, str]]:
    return [(example.question, example.context) for example in starter_examples(16)]


@pytest.mark.parametrize("version_2", [False, True])
def test_answers_are_those_of_evaluate(folder: Path, answerer: Answerer, version_2: bool) -> None:
    some = starter_examples(40, version_2=version_2)
    data = starter_file("dev", version_2=version_2)
    chosen_by = {"max_answer_length": 20, "null_score_diff_threshold": 0.0}
    evaluation = albertqa.evaluate(folder, data, version_2=version_2, limit=40, **chosen_by, **LENGTHS, **MACHINE)
    if version_2:
        # A random model knows no "no answer": let it be one for half of the questions.
        differences = sorted(one.score_diff for one in evaluation.predictions if one.score_diff is not None)
        chosen_by["null_score_diff_threshold"] = (differences[19] + differences[20]) / 2
        evaluation = albertqa.evaluate(folder, data, version_2=True, limit=40, **chosen_by, **LENGTHS, **MACHINE)
    answers = answerer.answer_batch(
        [(example.question, example.context) for example in some],
        n_best=20,
        version_2_with_negative=version_2,
        **chosen_by,
    )
    assert evaluation.num_windows > len(some)
    assert [prediction.id for prediction in evaluation.predictions] == [example.id for example in some]
    for answer, prediction in zip(answers, evaluation.predictions, strict=True):
        assert answer.text == prediction.text
        chosen = next(one for one in prediction.n_best if one.text == prediction.text)
        assert (answer.start_char, answer.end_char) == (chosen.start_char, chosen.end_char)
        assert answer.score == pytest.approx(chosen.score, abs=1e-5)
        assert answer.probability == pytest.approx(chosen.probability, abs=1e-5)
        assert (answer.null_score is None) == (not version_2)
        if version_2:
            assert answer.null_score == pytest.approx(prediction.null_score, abs=1e-5)
    assert [answer.text for answer in answers].count("") == (20 if version_2 else 0)
    assert len({answer.text for answer in answers}) > 10


def test_an_answer_does_not_depend_on_its_batch(answerer: Answerer, pairs: list[tuple[str, str]]) -> None:
    together = answerer.answer_batch(pairs, n_best=3)
    backwards = answerer.answer_batch(pairs[::-1], n_best=3, batch_size=1)[::-1]
    alone = [answerer.answer(question, context, n_best=3) for question, context in pairs]
    for others in (backwards, alone):
        for one, other in zip(together, others, strict=True):
            assert _spans(one) == _spans(other)
            assert one.score == pytest.approx(other.score, abs=1e-5)
            assert one.probability == pytest.approx(other.probability, abs=1e-5)


def test_one_by_one_an_answer_in_half_precision_does_not_depend_on_its_batch(
    folder: Path, pairs: list[tuple[str, str]]
) -> None:
    answerer = Answerer(folder, device="cpu", mixed_precision="bf16", one_by_one=True, **LENGTHS)  # type: ignore[arg-type]
    together = answerer.answer_batch(pairs, n_best=5)
    assert together == answerer.answer_batch(pairs[::-1], n_best=5)[::-1]
    assert together == [answerer.answer(question, context, n_best=5) for question, context in pairs]


def test_an_answer_from_a_context_of_many_windows_is_verbatim(answerer: Answerer, pairs: list[tuple[str, str]]) -> None:
    contexts = list(dict.fromkeys(context for _, context in pairs))
    context = "\n".join(contexts * 3)
    seen = set()
    for question, _ in pairs:
        answer = answerer.answer(question, context, n_best=20)
        assert answer.text == context[answer.start_char : answer.end_char] != ""
        assert answer.n_best[0].text == answer.text
        assert answer.probability == answer.n_best[0].probability
        seen.add(answer.start_char // 1000)
    assert len(seen) > 1


def test_each_span_is_listed_once_best_first(answerer: Answerer, pairs: list[tuple[str, str]]) -> None:
    shared = 0
    for question, context in pairs:
        answer = answerer.answer(question, context, n_best=20)
        spans = _spans(answer)
        assert len(set(spans)) == len(spans)
        shared += len(spans) < 20
        scores = [candidate.score for candidate in answer.n_best]
        assert scores == sorted(scores, reverse=True)
        # Fewer are the first of more, and the answer itself stays.
        fewer = answerer.answer(question, context, n_best=2)
        assert _spans(fewer) == spans[:2]
        assert (fewer.text, fewer.probability) == (answer.text, answer.probability)
    # Overlapping windows do give the same span twice; without that this test would show nothing.
    assert shared


def test_no_answer_is_an_answer_only_where_allowed(answerer: Answerer, pairs: list[tuple[str, str]]) -> None:
    question, context = pairs[0]
    for threshold in (-1e6, 1e6):
        forced = answerer.answer(question, context, null_score_diff_threshold=threshold)
        assert forced.text != ""
        assert forced.null_score is None
    refused = answerer.answer(question, context, version_2_with_negative=True, null_score_diff_threshold=-1e6)
    assert (refused.text, refused.start_char, refused.end_char) == ("", 0, 0)
    assert refused.null_score == pytest.approx(refused.score, abs=1e-5)
    assert 0 < refused.probability < 1
    given = answerer.answer(question, context, version_2_with_negative=True, null_score_diff_threshold=1e6)
    assert given.text == forced.text
    assert given.null_score == refused.null_score


def test_the_longest_answer_is_as_long_as_asked_for(answerer: Answerer, pairs: list[tuple[str, str]]) -> None:
    for question, context in pairs[:5]:
        answer = answerer.answer(question, context, max_answer_length=1, n_best=20)
        assert all(" " not in one.text for one in answer.n_best)


def test_an_answer_is_plain_json(answerer: Answerer, pairs: list[tuple[str, str]]) -> None:
    import json

    answer = answerer.answer(*pairs[0], n_best=2)
    read = json.loads(json.dumps(answer.to_json(), allow_nan=False))
    assert read["text"] == answer.text
    assert [one["text"] for one in read["n_best"]] == [one.text for one in answer.n_best]


def test_white_space_around_question_and_context_changes_no_text(
    answerer: Answerer, pairs: list[tuple[str, str]]
) -> None:
    question, context = pairs[0]
    plain, padded = answerer.answer(question, context), answerer.answer(f"  {question} ", f"\n\t{context}\n")
    assert (padded.text, padded.start_char) == (plain.text, plain.start_char + 2)


def test_nothing_asked_is_nothing_answered(answerer: Answerer) -> None:
    assert answerer.answer_batch([]) == []


@pytest.mark.parametrize("empty", ["", " \n\t\u00a0"])
def test_an_empty_question_or_context_is_named(answerer: Answerer, empty: str) -> None:
    with pytest.raises(DataError, match=r"^pair 0: the question is empty, expected text$"):
        answerer.answer(empty, "Rollo swam.")
    with pytest.raises(DataError, match=r"^pair 1: the context is empty, expected text$"):
        answerer.answer_batch([("Who?", "Rollo swam."), ("Who?", empty)])


def test_a_context_of_nothing_the_tokenizer_keeps_has_no_answer(answerer: Answerer) -> None:
    answer = answerer.answer("Who?", "\u0301\u200b")
    assert answer == Answer("", 0, 0, 0.0, 0.0, 0.0, None, ())
    allowed = answerer.answer("Who?", "\u0301\u200b", version_2_with_negative=True, null_score_diff_threshold=1e9)
    assert (allowed.text, allowed.probability) == ("", 1.0)


def test_a_question_too_long_is_one_line(answerer: Answerer, pairs: list[tuple[str, str]]) -> None:
    with pytest.raises(DataError, match=r"^question 1: has \d+ tokens and leaves -?\d+ of 96 for the context") as error:
        answerer.answer_batch([pairs[0], ("Who " * 200, pairs[0][1])])
    assert "\n" not in str(error.value)


def test_a_model_without_a_trained_head_is_refused(tiny_folder: Path, tmp_path: Path) -> None:
    encoder = save_reader(tmp_path, tiny_folder, with_head=False)
    with pytest.raises(ModelError) as error:
        Answerer(encoder)
    assert str(error.value) == (
        f"{encoder}: has no trained span head (qa_outputs). Train it first: albertqa train --model {encoder}"
    )


def test_numbers_out_of_range_are_refused_before_anything_runs(folder: Path, answerer: Answerer) -> None:
    data = starter_file("dev")
    with pytest.raises(SettingsError, match=r"^max_seq_length is 600, but .* has positions for only 512 tokens"):
        Answerer(folder, max_seq_length=600)
    with pytest.raises(SettingsError, match=r"^max_seq_length is 600, but .* has positions for only 512 tokens"):
        albertqa.evaluate(folder, data, max_seq_length=600)
    with pytest.raises(SettingsError, match=r"^settings: doc_stride is -1, expected 0 or more$"):
        Answerer(folder, doc_stride=-1)
    with pytest.raises(SettingsError, match=r"^settings: n_best_size is 0, expected at least 1$"):
        albertqa.evaluate(folder, data, n_best_size=0)
    with pytest.raises(SettingsError, match=r"^settings: max_answer_length is 0, expected at least 1$"):
        answerer.answer("Who?", "Rollo swam.", max_answer_length=0)


def _spans(answer: Answer) -> list[tuple[int, int, str]]:
    return [(one.start_char, one.end_char, one.text) for one in answer.n_best]
