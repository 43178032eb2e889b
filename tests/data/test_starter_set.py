"""The bundled starter set keeps the promises of its README."""

import bisect
import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from albertqa.data import check_files
from albertqa.data.starter import Split, starter_file
from albertqa.errors import DataError
from albertqa.report.breakdown import QUESTION_WORDS, question_word

README = starter_file("train").with_name("README.md")
SPLITS: tuple[Split, ...] = ("train", "dev")
LARGE_CLASSES = ("what", "who", "how many/much", "when", "which", "where", "how")
ANSWER_LENGTHS = ("1", "2", "3", "4-5", "6-10", "11+")
SHORTEST_SENTENCE_WORDS = 6
COMMON_RUN_WORDS = 8


def articles(split: Split, *, version_2: bool = False) -> list[dict[str, Any]]:
    return json.loads(starter_file(split, version_2=version_2).read_text(encoding="utf-8"))["data"]


def paragraphs(split: Split, *, version_2: bool = False) -> list[dict[str, Any]]:
    return [paragraph for article in articles(split, version_2=version_2) for paragraph in article["paragraphs"]]


def questions(split: Split, *, version_2: bool = False) -> list[dict[str, Any]]:
    return [question for paragraph in paragraphs(split, version_2=version_2) for question in paragraph["qas"]]


def readme_columns() -> dict[str, dict[str, str]]:
    """Column heading -> row name -> cell, from the README's table of question words and answer lengths."""
    lines = [line for line in README.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    start = next(index for index, line in enumerate(lines) if "squad/dev-v1.1.json" in line)
    heading, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines[start:])
    return {name: {row[0]: row[at] for row in rows} for at, name in enumerate(heading) if name}


def test_it_is_as_large_as_promised() -> None:
    contexts = [paragraph["context"] for split in SPLITS for paragraph in paragraphs(split)]
    assert len(contexts) >= 350
    assert len(set(contexts)) == len(contexts)
    assert all(80 <= len(context.split()) <= 180 for context in contexts)
    assert sum(len(articles(split)) for split in SPLITS) >= 85
    assert sum(len(questions(split)) for split in SPLITS) >= 2_700
    assert sum(question["is_impossible"] for split in SPLITS for question in questions(split, version_2=True)) >= 270


def test_no_title_is_in_both_splits_and_train_has_four_fifths_of_the_questions() -> None:
    titles = [article["title"] for split in SPLITS for article in articles(split)]
    assert len(set(titles)) == len(titles)
    num_train, num_dev = (len(questions(split)) for split in SPLITS)
    assert 0.77 <= num_train / (num_train + num_dev) <= 0.83


@pytest.mark.parametrize("version_2", [False, True])
def test_every_gold_is_at_its_offset_without_outer_space(version_2: bool) -> None:
    for split in SPLITS:
        for paragraph in paragraphs(split, version_2=version_2):
            for question in paragraph["qas"]:
                for gold in question["answers"] + question.get("plausible_answers", []):
                    start, text = gold["answer_start"], gold["text"]
                    assert paragraph["context"][start : start + len(text)] == text, question["id"]
                    assert text == text.strip() != "", question["id"]


def test_ids_and_questions_are_unique_over_the_splits() -> None:
    everything = [question for split in SPLITS for question in questions(split, version_2=True)]
    ids = [question["id"] for question in everything]
    assert len(set(ids)) == len(ids) == len({question["question"] for question in everything})
    assert all(re.fullmatch("[0-9a-f]{24}", question_id) for question_id in ids)


def test_train_has_one_gold_a_question_and_half_of_dev_has_two_or_three_different_ones() -> None:
    assert {len(question["answers"]) for question in questions("train")} == {1}
    dev = [[gold["text"] for gold in question["answers"]] for question in questions("dev")]
    assert {len(texts) for texts in dev} == {1, 2, 3}
    assert all(len(set(texts)) == len(texts) for texts in dev)
    assert sum(len(texts) > 1 for texts in dev) >= len(dev) / 2


@pytest.mark.parametrize("split", SPLITS)
def test_v2_is_v1_and_unanswerable_questions(split: Split) -> None:
    for first, second in zip(articles(split), articles(split, version_2=True), strict=True):
        assert first["title"] == second["title"]
        for before, after in zip(first["paragraphs"], second["paragraphs"], strict=True):
            assert before["context"] == after["context"]
            answerable = [question for question in after["qas"] if not question["is_impossible"]]
            assert before["qas"] == [
                {key: value for key, value in question.items() if key != "is_impossible"} for question in answerable
            ]
    unanswerable = [question for question in questions(split, version_2=True) if question["is_impossible"]]
    assert all(question["answers"] == [] and len(question["plausible_answers"]) == 1 for question in unanswerable)


@pytest.mark.parametrize("version_2", [False, True])
def test_the_check_finds_nothing(version_2: bool) -> None:
    assert check_files([starter_file(split, version_2=version_2) for split in SPLITS]).groups == ()


def test_an_unknown_split_is_one_clear_line() -> None:
    with pytest.raises(DataError, match=r"^starter set: expected the split 'train' or 'dev', found 'test'$"):
        starter_file("test")  # type: ignore[arg-type]


@pytest.mark.parametrize("split", SPLITS)
def test_question_words_are_mixed_as_in_squad(split: Split) -> None:
    columns = readme_columns()
    starter, squad = columns[f"starter/{split}-v1.1.json"], columns["squad/dev-v1.1.json"]
    for word in LARGE_CLASSES:
        share, reference = (float(column[word].removesuffix(" %")) for column in (starter, squad))
        assert abs(share - reference) <= 5, word


def counted(path: Path) -> dict[str, str]:
    """Row name -> cell, as the README's table has them for a SQuAD JSON file."""
    articles = json.loads(path.read_text(encoding="utf-8"))["data"]
    paragraphs = [paragraph for article in articles for paragraph in article["paragraphs"]]
    questions = [question for paragraph in paragraphs for question in paragraph["qas"]]
    lengths = [len(question["answers"][0]["text"].split()) for question in questions if question["answers"]]
    words = Counter(question_word(question["question"]) for question in questions)
    groups = Counter(ANSWER_LENGTHS[bisect.bisect_left((1, 2, 3, 5, 10), length)] for length in lengths)
    return {
        "titles": f"{len(articles):,}",
        "paragraphs": f"{len(paragraphs):,}",
        "questions": f"{len(questions):,}",
        "without an answer": f"{len(questions) - len(lengths):,}",
        "golds": f"{sum(len(question['answers']) for question in questions):,}",
        **{word: f"{100 * words[word] / len(questions):.1f} %" for word in QUESTION_WORDS},
        **{f"words in the answer: {key}": f"{100 * groups[key] / len(lengths):.1f} %" for key in ANSWER_LENGTHS},
    }


@pytest.mark.parametrize("version_2", [False, True])
@pytest.mark.parametrize("split", SPLITS)
def test_the_readme_counts_the_files_as_they_are(split: Split, version_2: bool) -> None:
    path = starter_file(split, version_2=version_2)
    column = readme_columns()[f"starter/{path.name}"]
    assert {name: cell for name, cell in column.items() if name} == counted(path)


@pytest.mark.real_data
def test_the_readme_counts_squad_as_it_is(real_data: Path) -> None:
    assert readme_columns()["squad/dev-v1.1.json"] == counted(real_data / "squad" / "dev-v1.1.json")


def sentences(context: str) -> Iterator[str]:
    for sentence in re.split(r"(?<=[.!?])[\"')\]]*\s+", context):
        words = re.findall(r"\w+", sentence.lower())
        if len(words) >= SHORTEST_SENTENCE_WORDS:
            yield " ".join(words)


def runs(context: str) -> Iterator[str]:
    text = " ".join(re.findall(r"\w+", context.lower()))
    starts = [0, *(match.end() for match in re.finditer(" ", text)), len(text) + 1]
    for start, end in zip(starts, starts[COMMON_RUN_WORDS:], strict=False):
        yield text[start : end - 1]


def test_runs_are_all_sequences_of_eight_words() -> None:
    assert list(runs("One, two three four five six seven eight. Nine ten")) == [
        "one two three four five six seven eight",
        "two three four five six seven eight nine",
        "three four five six seven eight nine ten",
    ]
    assert list(runs("too short")) == []


@pytest.mark.real_data
def test_no_sentence_and_no_run_of_eight_words_is_shared_with_the_real_data(real_data: Path) -> None:
    files = [*real_data.glob("squad/dev-*.json"), *real_data.glob("shifts/*.json")]
    assert len(files) >= 4
    contexts = {
        paragraph["context"]
        for file in files
        for article in json.loads(file.read_text(encoding="utf-8"))["data"]
        for paragraph in article["paragraphs"]
    }
    own = [paragraph["context"] for split in SPLITS for paragraph in paragraphs(split)]
    for pieces in (sentences, runs):
        ours = {piece for context in own for piece in pieces(context)}
        assert len(ours) > 1_000
        assert not ours.intersection(piece for context in contexts for piece in pieces(context))
