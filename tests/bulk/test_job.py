"""A bulk job answers every question once, whatever happens to it, as `Answerer` does."""

import json
import random
import shutil
import time
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from albertqa.answer.answerer import Answerer
from albertqa.bulk.job import BulkProgress, PlainEngine
from albertqa.bulk.parts import cut_into_parts
from albertqa.data.example import Example
from albertqa.data.reading import stream_questions
from albertqa.errors import DataError, RunError, SettingsError
from run.processes import start

from .cases import OPTIONS, files_of, finish, finish_alone, job_of, write_questions


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ...]:
    """Two files of questions."""
    folder = tmp_path_factory.mktemp("questions")
    return (write_questions(folder / "a.jsonl", 40), write_questions(folder / "b.jsonl", 21, first=100))


@pytest.fixture(scope="module")
def whole(inputs: tuple[Path, ...], tiny_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The answers of a job that nobody disturbed."""
    folder = tmp_path_factory.mktemp("whole") / "answers"
    process = start(finish_alone, job_of(inputs, folder, tiny_weights))
    process.join()
    assert process.exitcode == 0
    return folder


def test_every_question_is_answered_once_as_answerer_answers_it(
    inputs: tuple[Path, ...], whole: Path, tiny_weights: Path
) -> None:
    questions = list(stream_questions([str(one) for one in inputs]))
    rows = [row for path in sorted(whole.glob("part-*")) for row in pq.read_table(path).to_pylist()]
    assert [row["id"] for row in rows] == [one.id for one in questions]
    assert len({row["id"] for row in rows}) == len(questions) == 61
    answers = Answerer(tiny_weights, **OPTIONS).answer_batch([(one.question, one.context) for one in questions])
    for row, question, answer in zip(rows, questions, answers, strict=True):
        assert row["text"] == question.context[row["start_char"] : row["end_char"]] == answer.text
        assert row["question"] == question.question
        assert row["score"] == pytest.approx(answer.score, abs=1e-4)
    manifest = json.loads((whole / "manifest.json").read_text())
    assert manifest["status"] == "finished"
    assert manifest["questions"] == sum(part["questions"] for part in manifest["parts"]) == 61
    assert [part["file"] for part in manifest["parts"]] == sorted(path.name for path in whole.glob("part-*"))


@given(st.lists(st.integers(0, 30), max_size=40), st.integers(1, 7), st.integers(1, 60))
def test_parts_have_all_questions_in_order_within_both_limits(sizes: list[int], most: int, most_chars: int) -> None:
    questions = [Example(str(number), "", "x" * size) for number, size in enumerate(sizes)]
    parts = list(cut_into_parts(questions, most=most, most_chars=most_chars))
    assert [one for part in parts for one in part.questions] == questions
    assert [part.number for part in parts] == list(range(len(parts)))
    for part in parts:
        assert 1 <= len(part.questions) <= most
        assert len(part.questions) == 1 or sum(len(one.context) for one in part.questions) <= most_chars


def kill_again_and_again(
    kills: int, seed: int, inputs: tuple[Path, ...], whole: Path, model: Path, folder: Path
) -> int:
    """Kill a job at random moments, start it again each time, and compare what is there in the end.

    Returns:
        How often it was killed before it was done.
    """
    moments = random.Random(seed)
    job = job_of(inputs, folder / "answers", model)
    num_killed = 0
    for kill in range(kills):
        process = start(finish_alone, job)
        # Some moments within the start, the others within a part or between two.
        parts = len(list(job.output.glob("part-*"))) + kill % 2
        while process.is_alive() and len(list(job.output.glob("part-*"))) < parts:
            time.sleep(0.001)
        process.join(moments.uniform(0, 0.03 if kill % 2 else 0.3))
        process.kill()
        process.join()
        num_killed += process.exitcode != 0
    process = start(finish_alone, job)
    process.join()
    assert process.exitcode == 0
    assert files_of(job.output) == files_of(whole)
    return num_killed


def test_a_killed_job_goes_on_and_leaves_the_same_files(
    inputs: tuple[Path, ...], whole: Path, tiny_weights: Path, tmp_path: Path
) -> None:
    assert kill_again_and_again(4, 1, inputs, whole, tiny_weights, tmp_path) >= 2


@pytest.mark.slow
def test_twenty_random_kills_leave_the_same_files(tiny_weights: Path, tmp_path: Path) -> None:
    inputs = (write_questions(tmp_path / "many.jsonl", 300),)
    process = start(finish_alone, job_of(inputs, tmp_path / "whole", tiny_weights))
    process.join()
    assert process.exitcode == 0
    assert kill_again_and_again(20, 2, inputs, tmp_path / "whole", tiny_weights, tmp_path) == 20


def test_machines_share_a_job_by_parts(
    inputs: tuple[Path, ...], whole: Path, tiny_weights: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "answers"
    for index in (2, 1, 3):
        finish(job_of(inputs, folder, tiny_weights, shard=(index, 3)))
    found, expected = files_of(folder), files_of(whole)
    assert {name for name in found if name.startswith("part-")} == {one for one in expected if one.startswith("part-")}
    manifests = [json.loads((folder / f"manifest-{index}-of-3.json").read_text()) for index in (1, 2, 3)]
    assert sum(one["questions"] for one in manifests) == 61
    rows = [pq.read_table(folder / name).to_pylist() for name in sorted(found) if name.startswith("part-")]
    assert len({row["id"] for part in rows for row in part}) == 61


def test_finished_work_is_not_done_again(
    inputs: tuple[Path, ...], whole: Path, tiny_weights: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "answers"
    shutil.copytree(whole, folder)
    (folder / "part-0000003.parquet").unlink()
    seen: list[BulkProgress] = []
    job = job_of(inputs, folder, tiny_weights)
    job.run(PlainEngine(job.model, OPTIONS, n_best=1, batch_size=8), seen.append)
    assert len(seen) == 1
    assert seen[0].total == 61
    assert set(files_of(folder)) == set(files_of(whole))


def test_parts_may_be_json_lines(inputs: tuple[Path, ...], tiny_weights: Path, tmp_path: Path) -> None:
    for form in ("parquet", "jsonl"):
        finish(job_of(inputs, tmp_path / form, tiny_weights, form=form, n_best=2))
    texts = [path.read_text(encoding="utf-8") for path in sorted((tmp_path / "jsonl").glob("part-*"))]
    rows = [json.loads(line) for text in texts for line in text.split("\n") if line]
    tables = [pq.read_table(path).to_pylist() for path in sorted((tmp_path / "parquet").glob("part-*"))]
    assert rows == [row for table in tables for row in table]
    assert {len(row["n_best"]) for row in rows} == {2}


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"n_best": 2}, "n_best is 1 there and 2 here"),
        ({"part_questions": 8}, "part_questions is 3 there and 8 here"),
        ({"inputs": ("starter:train",)}, "inputs is "),
        ({"shard": (1, 2)}, r"was begun with another --shard \(manifest.json\). Give the same n"),
    ],
)
def test_another_jobs_folder_is_refused(
    changes: dict[str, object], named: str, inputs: tuple[Path, ...], whole: Path, tiny_weights: Path
) -> None:
    before = files_of(whole)
    with pytest.raises(RunError, match=rf"^{whole}: .*{named}"):
        finish(replace(job_of(inputs, whole, tiny_weights), **changes))
    assert files_of(whole) == before


def test_a_moved_input_is_the_same_input(
    inputs: tuple[Path, ...], whole: Path, tiny_weights: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "answers"
    shutil.copytree(whole, folder)
    moved = tuple(Path(shutil.copy(one, tmp_path)) for one in inputs)
    finish(job_of(moved, folder, tiny_weights))


def test_what_is_wrong_with_a_question_is_one_line_and_earlier_parts_stay(tiny_weights: Path, tmp_path: Path) -> None:
    path = write_questions(tmp_path / "questions.jsonl", 20)
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:16], json.dumps({"id": "x", "question": "Who?"}), *lines[17:]]))
    with pytest.raises(DataError, match=r"questions.jsonl: question x: expected the key 'context'"):
        finish(job_of((path,), tmp_path / "answers", tiny_weights))
    assert sorted(one.name for one in (tmp_path / "answers").glob("part-*")) == [
        f"part-{number:07d}.parquet" for number in range(5)
    ]


@pytest.mark.parametrize("shard", [(0, 1), (3, 2)])
def test_a_shard_that_is_none_is_refused(
    shard: tuple[int, int], inputs: tuple[Path, ...], tiny_weights: Path, tmp_path: Path
) -> None:
    with pytest.raises(SettingsError, match="--shard: expected i/n with i from 1 to n"):
        finish(job_of(inputs, tmp_path / "answers", tiny_weights, shard=shard))
    assert not (tmp_path / "answers").exists()
