"""The real files are read with the right counts, are clean, and quickly so."""

import time
from pathlib import Path

import pytest

from albertqa.data import check_files, content_sha256, load_examples

FILES = [
    ("squad/dev-v1.1.json", 10_570, 0, 2_067, 34_726, 35),
    ("squad/dev-v2.0.json", 11_873, 5_945, 1_204, 20_302, 11),
    ("shifts/new_wiki_v1.0.json", 7_938, 0, 1_581, 22_794, 200),
    ("shifts/reddit_v1.0.json", 9_803, 0, 2_033, 27_692, 128),
]


@pytest.mark.real_data
@pytest.mark.parametrize(("name", "questions", "unanswerable", "contexts", "golds", "repeated"), FILES)
def test_the_real_files_have_their_published_counts_and_no_fault(
    real_data: Path, name: str, questions: int, unanswerable: int, contexts: int, golds: int, repeated: int
) -> None:
    examples = load_examples(real_data / name)
    assert len(examples) == questions
    assert sum(not example.has_answer for example in examples) == unanswerable
    assert len({id(example.context) for example in examples}) == contexts
    report = check_files([real_data / name])
    facts = report.files[0]
    assert (facts.num_questions, facts.num_unanswerable, facts.num_golds) == (questions, unanswerable, golds)
    assert {group.kind: group.count for group in report.groups} == {"duplicate-question": repeated}


@pytest.mark.real_data
def test_the_real_files_come_through_a_repaired_copy_unchanged(real_data: Path, tmp_path: Path) -> None:
    for name in ("squad/dev-v1.1.json", "squad/dev-v2.0.json"):
        out = tmp_path / Path(name).name
        check_files([real_data / name], write_repaired=out)
        examples, again = load_examples(real_data / name), load_examples(out)
        assert again == examples
        assert content_sha256(again) == content_sha256(examples)


@pytest.mark.real_data
def test_the_two_dev_sets_overlap_as_published(real_data: Path) -> None:
    report = check_files([real_data / "squad/dev-v1.1.json", real_data / "squad/dev-v2.0.json"])
    counts = {group.kind: group.count for group in report.groups}
    assert counts["shared-id"] == 5_928
    assert counts["shared-context"] == 1_204
    assert counts["mixed-versions"] == 1


@pytest.mark.real_data
def test_reading_and_checking_a_dev_set_takes_seconds_at_most(real_data: Path) -> None:
    path = real_data / "squad/dev-v1.1.json"
    begin = time.process_time()
    load_examples(path)
    read_seconds = time.process_time() - begin
    check_files([path])
    check_seconds = time.process_time() - begin - read_seconds
    assert read_seconds < 2.0  # 0.4 s measured; the bounds leave room for a busy machine
    assert check_seconds < 3.0
