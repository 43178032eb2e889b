"""Hashes of training questions recognise them, whatever their case, and nothing else."""

import dataclasses
from pathlib import Path

import pytest

from albertqa.data import trained_on
from albertqa.data.reading import load_examples
from albertqa.data.trained_on import TrainedOn
from albertqa.errors import AlbertQAError
from albertqa.files import TRAINED_ON_JSON


def test_questions_are_known_whatever_their_case_and_spaces() -> None:
    train, validation = load_examples("starter:train"), load_examples("starter:validation")
    known = TrainedOn().and_on([*train, *validation[:111]])
    shouted = [dataclasses.replace(one, question=f" {one.question.upper()} ", golds=()) for one in validation]
    assert known.questions == 2291
    assert known.percent_of(shouted) == pytest.approx(100 * 111 / 555)
    assert known.percent_of(validation[111:]) == 0
    assert TrainedOn().percent_of(validation) is None


def test_the_lowest_hashes_tell_the_share_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trained_on, "_MOST", 1000)
    train, validation = load_examples("starter:train"), load_examples("starter:validation")
    known = TrainedOn().and_on([*train, *validation[:222]])
    assert len(known.hashes) == 1000
    assert known.percent_of(validation) == pytest.approx(40, abs=10)
    assert known.percent_of(validation[222:]) == 0


def test_a_further_run_adds_to_what_earlier_runs_saw(tmp_path: Path) -> None:
    first, second = load_examples("starter:validation")[:100], load_examples("starter:train")[:100]
    TrainedOn().and_on(first).save(tmp_path)
    known = TrainedOn.load(tmp_path).and_on(second)
    assert known.questions == 200
    assert known.percent_of(first) == known.percent_of(second) == 100


def test_a_folder_without_the_file_knows_nothing_and_a_damaged_one_is_refused(tmp_path: Path) -> None:
    assert TrainedOn.load(tmp_path) == TrainedOn()
    (tmp_path / TRAINED_ON_JSON).write_text('{"questions": "many", "hashes": []}')
    with pytest.raises(AlbertQAError, match="expected a number as 'questions', found \"many\""):
        TrainedOn.load(tmp_path)
