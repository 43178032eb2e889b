import json
import math
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from albertqa.data.example import Example, Gold
from albertqa.errors import DataError, SettingsError
from albertqa.scoring.metric import QuestionScore
from albertqa.scoring.official import score, score_each
from albertqa.scoring.predictions import compare_ids, read_null_odds, read_predictions

from . import reference
from .cases import Case, cases


def question(question_id: str, *gold_texts: str) -> Example:
    return Example(question_id, "?", "", tuple(Gold(text, 0) for text in gold_texts))


def read_squad(path: Path) -> list[Example]:
    articles = json.loads(path.read_text(encoding="utf-8"))["data"]
    return [
        Example(
            row["id"],
            row["question"],
            paragraph["context"],
            tuple(Gold(answer["text"], answer["answer_start"]) for answer in row["answers"]),
        )
        for article in articles
        for paragraph in article["paragraphs"]
        for row in paragraph["qas"]
    ]


@given(cases(unanswerable=False))
def test_version_1_equals_the_reference_to_the_last_digit(case: Case) -> None:
    expected = reference.score_v1(case.examples, case.predictions)
    assert list(score(case.examples, case.predictions, version_2=False).items()) == list(expected.items())


@given(cases(unanswerable=True), st.one_of(st.none(), st.sampled_from((-1.0, 0.5, 1.0))))
def test_version_2_equals_the_reference_to_the_last_digit(case: Case, threshold: float | None) -> None:
    assume(any(example.id in case.predictions for example in case.examples))
    expected = reference.score_v2(case.examples, case.predictions, case.null_odds, threshold)
    actual = score(
        case.examples, case.predictions, null_odds=case.null_odds, version_2=True, na_prob_threshold=threshold
    )
    assert list(actual.items()) == list(expected.items())


@given(cases(unanswerable=True, missing=False))
def test_null_odds_alone_change_no_figure(case: Case) -> None:
    plain = score(case.examples, case.predictions, version_2=True)
    with_null_odds = score(case.examples, case.predictions, null_odds=case.null_odds, version_2=True)
    assert with_null_odds.items() >= plain.items()
    assert with_null_odds.keys() - plain.keys() == {"best_exact", "best_exact_thresh", "best_f1", "best_f1_thresh"}


@pytest.mark.real_data
def test_published_predictions_on_version_1_give_the_official_figures(real_data: Path) -> None:
    examples = read_squad(real_data / "squad" / "dev-v1.1.json")
    predictions = read_predictions(real_data / "squad" / "predictions-v1.1-bert-ensemble.json")
    assert score(examples, predictions) == {"exact": 86.20624408703878, "f1": 92.19557978351129, "total": 10570}
    assert compare_ids(examples, predictions) == ([], [])


@pytest.mark.real_data
def test_published_predictions_on_version_2_give_the_official_figures(real_data: Path) -> None:
    examples = read_squad(real_data / "squad" / "dev-v2.0.json")
    predictions = read_predictions(real_data / "squad" / "predictions-v2.0-bert-single.json")
    assert score(examples, predictions) == {
        "exact": 78.74168280973637,
        "f1": 81.77528052374727,
        "total": 11873,
        "HasAns_exact": 74.10593792172739,
        "HasAns_f1": 80.18183293833516,
        "HasAns_total": 5928,
        "NoAns_exact": 83.36417157275021,
        "NoAns_f1": 83.36417157275021,
        "NoAns_total": 5945,
    }


def test_a_missing_prediction_is_0_in_version_1_and_left_out_in_version_2() -> None:
    examples = [question("a", "x"), question("b", "y")]
    assert score_each(examples, {"a": "x"}) == {"a": QuestionScore(1.0, 1.0), "b": QuestionScore(0.0, 0.0)}
    assert score(examples, {"a": "x"}) == {"exact": 50.0, "f1": 50.0, "total": 2}
    assert score([*examples, question("c")], {"a": "x"}) == {
        **{"exact": 100.0, "f1": 100.0, "total": 1},
        **{"HasAns_exact": 100.0, "HasAns_f1": 100.0, "HasAns_total": 1},
    }


def test_the_version_is_2_exactly_if_a_question_has_no_answer() -> None:
    answerable = [question("a", "the")]
    assert score(answerable, {"a": ""})["f1"] == 0.0
    assert score(answerable, {"a": ""}, version_2=True)["f1"] == 100.0
    assert score([*answerable, question("b")], {"a": "", "b": ""})["f1"] == 100.0
    assert score_each([*answerable, question("b")], {"a": ""}) == {"a": QuestionScore(1.0, 1.0)}


def test_groups_without_questions_have_no_keys() -> None:
    assert not any(key.startswith("NoAns") for key in score([question("a", "x")], {"a": "x"}, version_2=True))
    assert not any(key.startswith("HasAns") for key in score([question("a")], {"a": "x"}))


def test_scores_are_in_the_order_of_the_data_set() -> None:
    examples = [question("b", "x"), question("a", "x")]
    assert list(score_each(examples, {"a": "x", "b": "x"})) == ["b", "a"]


def test_sums_go_from_left_to_right() -> None:
    golds = [" ".join("xyzuvw"[:length]) for length in (1, 2, 3, 4, 5, 6)] * 5
    examples = [question(str(number), gold) for number, gold in enumerate(golds)]
    predictions = {example.id: "x" for example in examples}
    values = [value.f1 for value in score_each(examples, predictions).values()]
    left_to_right = 0.0
    for value in values:
        left_to_right += value
    assert left_to_right != math.fsum(values), "the case must tell the two sums apart"
    assert score(examples, predictions)["f1"] == 100.0 * left_to_right / len(values)


def test_the_official_threshold_takes_answers_with_higher_odds_for_no_answer() -> None:
    examples = [question("a", "x"), question("b"), question("c"), question("d", "x")]
    predictions = {"a": "x", "b": "x", "c": "x", "d": "x"}
    null_odds = {"a": 2.0, "b": 2.0, "c": 1.0, "d": 1.0}
    result = score(examples, predictions, null_odds=null_odds, na_prob_threshold=1.0)
    assert (result["HasAns_exact"], result["NoAns_exact"]) == (50.0, 50.0)
    assert score(examples, predictions, null_odds=null_odds)["NoAns_exact"] == 0.0


def test_the_official_search_cuts_between_equal_odds_in_file_order() -> None:
    examples = [question("a", "x"), question("b")]
    predictions = {"a": "x", "b": "x"}
    answerable_first = score(examples, predictions, null_odds={"a": 3.0, "b": 3.0})
    answerable_last = score(examples, predictions, null_odds={"b": 3.0, "a": 3.0})
    assert (answerable_first["best_exact"], answerable_first["best_exact_thresh"]) == (100.0, 3.0)
    assert (answerable_last["best_exact"], answerable_last["best_exact_thresh"]) == (50.0, 0.0)


def test_the_official_search_takes_the_first_of_equal_thresholds_and_exact_and_f1_apart() -> None:
    examples = [question("a", "x"), question("b"), question("c", "x y"), question("d", "x")]
    predictions = {"a": "x", "b": "x", "c": "x", "d": "x z"}
    null_odds = {"a": -4.0, "b": 3.0, "c": -2.0, "d": 5.0}
    result = score(examples, predictions, null_odds=null_odds)
    assert (result["best_exact"], result["best_exact_thresh"]) == (50.0, -4.0)
    assert result["best_f1_thresh"] == -2.0


@pytest.mark.parametrize("answer", ["the", " ", "!"])
def test_the_official_search_charges_for_an_answer_that_normalizes_to_nothing(answer: str) -> None:
    result = score([question("a", "x"), question("b")], {"a": "x", "b": answer}, null_odds={"b": 1.0, "a": 2.0})
    assert (result["exact"], result["best_exact"], result["best_exact_thresh"]) == (100.0, 50.0, 0.0)


def test_nothing_to_score_is_an_error() -> None:
    with pytest.raises(DataError, match=r"nothing to score: 1 predictions for 1 questions, no id in both"):
        score([question("a")], {"b": "x"})
    with pytest.raises(DataError, match=r"nothing to score: 0 predictions for 0 questions"):
        score([], {})


def test_a_repeated_id_is_an_error() -> None:
    for examples in ([question("a", "x"), question("a", "x")], [question("a"), question("a")]):
        with pytest.raises(DataError, match=r"question a: this id is in the data set twice"):
            score(examples, {})


def test_version_1_refuses_a_question_without_gold() -> None:
    with pytest.raises(DataError, match=r"question b: expected a gold answer, found none; score as SQuAD 2\.0"):
        score([question("a", "x"), question("b")], {"a": "x"}, version_2=False)


def test_null_odds_must_cover_the_scored_questions() -> None:
    examples = [question("a"), question("b"), question("c")]
    for null_odds in ({"a": 1.0}, {"a": 1.0, "b": math.nan}):
        with pytest.raises(DataError, match=r"null odds: 1 of 2 predicted questions have none or NaN \(first: b\)"):
            score(examples, {"a": "x", "b": "y"}, null_odds=null_odds)


def test_settings_that_contradict_each_other_are_errors() -> None:
    with pytest.raises(SettingsError, match=r"threshold needs null odds"):
        score([question("a")], {"a": ""}, na_prob_threshold=1.0)
    with pytest.raises(SettingsError, match=r"null odds need SQuAD 2\.0 scoring"):
        score([question("a", "x")], {"a": "x"}, null_odds={"a": 1.0})


def test_files_on_disk_score_like_their_content(tmp_path: Path) -> None:
    examples = [question("a", "é"), question("b")]
    predictions_file, null_odds_file = tmp_path / "predictions.json", tmp_path / "null_odds.json"
    predictions_file.write_text('{"b": "", "a": "é"}', encoding="utf-8")
    null_odds_file.write_text('{"b": 7, "a": -1.5}', encoding="utf-8")
    result = score(examples, read_predictions(predictions_file), null_odds=read_null_odds(null_odds_file))
    assert (result["exact"], result["best_exact"], result["best_exact_thresh"]) == (100.0, 100.0, -1.5)
