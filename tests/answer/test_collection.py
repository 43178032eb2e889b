"""A collection has the folder's documents, whatever changes in it, and finds passages as plain BM25 does."""

import contextlib
import math
import os
import random
import re
import sqlite3
import threading
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from albertqa.answer import collection
from albertqa.answer.collection import Collection, Passage, index_folder, split_passages
from albertqa.data.reading import load_examples
from albertqa.data.starter import starter_file
from albertqa.errors import DataError, SettingsError
from albertqa.schema import LFS_POINTER

NORMANDY = "The Normans were the people who in the 10th and 11th centuries gave their name to Normandy, in France. " * 3
CARTHAGE = "Hannibal crossed the Alps with elephants in 218 BC, and no Roman had thought that it could be done. " * 3


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "docs" / "old").mkdir(parents=True)
    (tmp_path / "docs" / "normandy.txt").write_text(f"{NORMANDY}\n\nRollo ruled first. {NORMANDY}", encoding="utf-8")
    (tmp_path / "docs" / "old" / "carthage.md").write_text(f"# Carthage\n\n{CARTHAGE}", encoding="utf-8")
    (tmp_path / "docs" / ".hidden.txt").write_text("secret", encoding="utf-8")
    (tmp_path / "docs" / "picture.png").write_bytes(b"\x89PNG")
    return tmp_path / "docs"


def test_passages_are_found_where_they_are_in_their_document(folder: Path, tmp_path: Path) -> None:
    summary = index_folder(folder, tmp_path / "docs.sqlite")
    assert (summary.added, summary.changed, summary.removed, summary.unchanged) == (2, 0, 0, 0)
    assert summary.problems == ()
    with Collection(tmp_path / "docs.sqlite") as found:
        assert found.documents() == ["normandy.txt", "old/carthage.md"]
        assert found.num_passages == summary.num_passages == 3
        assert found.text("normandy.txt") == (folder / "normandy.txt").read_text(encoding="utf-8")
        assert found.text("old/carthage.md") == f"Carthage\n\n{CARTHAGE.strip()}"
        best = found.search("Who crossed the Alps?")[0]
        assert best.document == "old/carthage.md"
        (rollo, *_) = found.search("Which Norman was Rollo?")
        assert rollo.document == "normandy.txt"
        assert rollo.text.startswith("Rollo ruled first.")
        for passage in (best, rollo):
            text = found.text(passage.document)
            assert text[passage.start_char : passage.start_char + len(passage.text)] == passage.text
        assert found.search("Xylophone?") == found.search("?!") == []
        with pytest.raises(DataError, match=r"^collection: has no document 'picture.png'$"):
            found.text("picture.png")
        with pytest.raises(SettingsError, match=r"^limit is 0, expected at least 1$"):
            found.search("Who?", limit=0)


def test_a_folder_is_brought_up_to_date(folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "docs.sqlite"
    index_folder(folder, output)
    again = index_folder(folder, output)
    assert (again.added, again.changed, again.removed, again.unchanged) == (0, 0, 0, 2)
    (folder / "normandy.txt").unlink()
    (folder / "old" / "carthage.md").write_text("Hannibal went home.", encoding="utf-8")
    (folder / "rome.html").write_text("<p>Scipio landed in Africa.</p>", encoding="utf-8")
    changed = index_folder(folder, output)
    assert (changed.added, changed.changed, changed.removed, changed.unchanged) == (1, 1, 1, 0)
    with Collection(output) as found:
        assert found.documents() == ["old/carthage.md", "rome.html"]
        assert found.search("Who ruled the Normans?") == []
        assert found.search("elephants Alps") == []
        assert [one.document for one in found.search("Where did Scipio land?")] == ["rome.html"]
    # A file that was only touched is not a changed one.
    os.utime(folder / "rome.html", ns=(1, 1))
    assert index_folder(folder, output).unchanged == 2


def test_an_updated_collection_equals_a_new_one(folder: Path, tmp_path: Path) -> None:
    updated, new = tmp_path / "updated.sqlite", tmp_path / "new.sqlite"
    index_folder(folder, updated)
    (folder / "normandy.txt").unlink()
    (folder / "third.txt").write_text("Elephants do not swim to Normandy. " * 8, encoding="utf-8")
    index_folder(folder, updated)
    index_folder(folder, new)
    with Collection(updated) as one, Collection(new) as other:
        for question in ("Who crossed the Alps with elephants?", "What is Normandy?", "the"):
            assert one.search(question) == other.search(question)


def test_a_file_that_cannot_be_read_is_a_problem_and_the_rest_is_indexed(
    folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (folder / "broken.pdf").write_bytes(b"%PDF-1.4 nothing more")
    (folder / "latin.txt").write_bytes("café".encode("latin-1"))
    (folder / "pointer.md").write_bytes(LFS_POINTER + b"v1\n")
    (folder / "steep.html").write_text("<p>" * 5_000 + "x", encoding="utf-8")
    Path(os.fsdecode(bytes(folder) + b"/\xe9.txt")).write_text(NORMANDY)
    summary = index_folder(folder, tmp_path / "docs.sqlite")
    assert summary.added == 2
    assert len(summary.problems) == 5
    assert summary.problems[0].startswith(f"{folder / 'broken.pdf'}: cannot be read as PDF (")
    assert summary.problems[1] == f"{folder / 'latin.txt'}: not UTF-8 text (byte 3). Save it as UTF-8"
    assert summary.problems[2].endswith(
        "pointer.md: a Git LFS pointer instead of the file; run 'git lfs pull' in its repository"
    )
    assert (
        summary.problems[3] == f"{folder / 'steep.html'}: cannot be read as HTML (its elements are nested too deeply)"
    )
    assert summary.problems[4].endswith("its name is not UTF-8. Rename it")
    assert all("\n" not in problem for problem in summary.problems)
    assert capfd.readouterr() == ("", "")


def test_a_damaged_collection_is_refused_in_one_line(folder: Path, tmp_path: Path) -> None:
    path, damaged = tmp_path / "docs.sqlite", tmp_path / "damaged.sqlite"
    index_folder(folder, path)
    content, rng, refused = path.read_bytes(), random.Random(0), 0
    for _ in range(100):
        changed = bytearray(content)
        for _ in range(200):
            changed[rng.randrange(100, len(changed))] = rng.randrange(256)
        damaged.write_bytes(changed)
        for use in (
            lambda: Collection(damaged).search("Who gave Normandy its name?"),
            lambda: index_folder(folder, damaged),
        ):
            with contextlib.suppress(DataError):
                use()
                continue
            refused += 1
    assert refused > 100


def test_what_is_no_collection_is_refused_in_one_line(folder: Path, tmp_path: Path) -> None:
    missing = tmp_path / "missing.sqlite"
    with pytest.raises(DataError, match=r"missing\.sqlite: no such file, expected a collection\. Make one: albertqa"):
        Collection(missing)
    assert not missing.exists()
    text = tmp_path / "text.sqlite"
    text.write_text("no database at all, and long enough to be looked at as one" * 20, encoding="utf-8")
    other = tmp_path / "other.sqlite"
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE facts (name TEXT, value TEXT)")
    connection.close()
    for path, problem in ((text, "not a collection that"), (other, "expected 'albertqa collection 1', found 'None'")):
        for use in (Collection, lambda path: index_folder(folder, path)):
            with pytest.raises(DataError) as error:
                use(path)
            assert str(error.value).startswith(f"{path}: {problem}")
            assert "\n" not in str(error.value)
    with pytest.raises(DataError, match=r"^nowhere: no such folder, expected one with documents to index$"):
        index_folder(Path("nowhere"), tmp_path / "docs.sqlite")
    with pytest.raises(DataError, match=r"the folder .* is not there\. Make it, or choose another --output$"):
        index_folder(folder, tmp_path / "nowhere" / "docs.sqlite")
    index_folder(folder, tmp_path / "docs.sqlite")
    with pytest.raises(DataError, match=r"docs\.sqlite: is the collection of .*docs, not of .*old\. Choose another"):
        index_folder(folder / "old", tmp_path / "docs.sqlite")


def test_an_interrupted_update_changes_nothing(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = tmp_path / "docs.sqlite"
    read_text, calls = collection.read_text, 0

    def interrupted(path: Path) -> str:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise KeyboardInterrupt
        return read_text(path)

    monkeypatch.setattr(collection, "read_text", interrupted)
    with pytest.raises(KeyboardInterrupt):
        index_folder(folder, output)
    assert not output.exists()
    monkeypatch.undo()
    index_folder(folder, output)
    for name in ("normandy.txt", "old/carthage.md"):
        (folder / name).write_text("Other text.", encoding="utf-8")
    calls = 0
    monkeypatch.setattr(collection, "read_text", interrupted)
    with pytest.raises(KeyboardInterrupt):
        index_folder(folder, output)
    with Collection(output) as found:
        assert len(found.search("Rollo Alps")) == 2


TEXTS = st.lists(
    st.sampled_from(["Rollo", " ", "\n", "\n\n", "\n \n\n", ". ", "! ", "x" * 150, "y" * 2500, "word " * 90, "。"]),
    max_size=30,
).map("".join)


@given(TEXTS)
def test_passages_joined_are_the_text(text: str) -> None:
    passages = list(split_passages(text))
    assert "".join(passage for _, passage in passages) == text
    position = 0
    for start, passage in passages:
        assert start == position
        assert passage
        position += len(passage)
    assert all(len(passage.rstrip()) <= 2_000 + 200 for _, passage in passages)


def test_a_heading_goes_with_its_paragraph_and_a_long_paragraph_is_cut_at_a_sentence() -> None:
    (only,) = split_passages(f"Normandy\n\n{NORMANDY}")
    assert only == (0, f"Normandy\n\n{NORMANDY}")
    first, second, *_ = split_passages(CARTHAGE * 10)
    assert first[1].endswith("could be done. ")
    assert 1_000 <= len(first[1]) <= 2_000
    assert second[0] == len(first[1])


def bm25(question: str, passages: list[str]) -> list[float]:
    """Okapi BM25 with k1 1.2 and b 0.75 over words in lower case, as FTS5 documents it."""
    words = [re.findall(r"\w+", passage.lower()) for passage in passages]
    mean = sum(map(len, words)) / len(words)
    scores = []
    for one in words:
        counts = Counter(one)
        score = 0.0
        for word in dict.fromkeys(re.findall(r"\w+", question.lower())):
            having = sum(word in other for other in words)
            weight = max(1e-6, math.log((len(words) - having + 0.5) / (having + 0.5)))
            score += weight * counts[word] * 2.2 / (counts[word] + 1.2 * (0.25 + 0.75 * len(one) / mean))
        scores.append(score)
    return scores


def test_scores_are_those_of_bm25(tmp_path: Path) -> None:
    contexts = list(dict.fromkeys(example.context for example in load_examples(starter_file("dev"))))[:30]
    (tmp_path / "docs").mkdir()
    # Made-up endings, so that the stemmer leaves the words alone.
    plain = [re.sub(r"[^\W\d_]+", lambda found: f"{found[0].lower()}q", context) for context in contexts]
    for number, context in enumerate(plain):
        (tmp_path / "docs" / f"{number:02d}.txt").write_text(context, encoding="utf-8")
    index_folder(tmp_path / "docs", tmp_path / "docs.sqlite")
    question = " ".join(plain[7].split()[:6])
    expected = bm25(question, plain)
    with Collection(tmp_path / "docs.sqlite") as found:
        assert found.num_passages == 30
        passages = found.search(question, limit=5)
    best = sorted(range(30), key=lambda at: -expected[at])[:5]
    assert [one.document for one in passages] == [f"{at:02d}.txt" for at in best]
    assert [one.score for one in passages] == pytest.approx([expected[at] for at in best], rel=1e-6)


def test_common_words_are_left_out_of_a_search_that_would_cost_too_much(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index_folder(folder, tmp_path / "docs.sqlite")
    with Collection(tmp_path / "docs.sqlite") as found:
        assert len(found.search("the Alps")) == 3
        monkeypatch.setattr(collection, "_MOST_MATCHES", 2)
        assert [one.document for one in found.search("the Alps")] == ["old/carthage.md"]
        assert len(found.search("the")) == 3


def test_several_threads_may_search(folder: Path, tmp_path: Path) -> None:
    index_folder(folder, tmp_path / "docs.sqlite")
    with Collection(tmp_path / "docs.sqlite") as found:
        expected = found.search("Who crossed the Alps?")
        results: list[list[Passage]] = []
        threads = [
            threading.Thread(target=lambda: results.extend(found.search("Who crossed the Alps?") for _ in range(30)))
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert results == [expected] * 120
