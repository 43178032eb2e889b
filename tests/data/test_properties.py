"""Properties over drawn data sets: round trips, repairs, the hash, and no input that gives a traceback."""

import json
import tempfile
import unicodedata
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from albertqa.data import Example, Gold, check_files, content_sha256, load_examples, read, squad_document
from albertqa.data.alignment import align, occurrences, similar_places
from albertqa.data.raw_rows import FIELDS
from albertqa.errors import DataError

from .cases import EXAMPLES, bare_row, clean_examples, rows, write_json, write_lines, write_squad


@given(clean_examples())
@settings(deadline=None)
def test_a_clean_data_set_survives_writing_and_reading(examples: list[Example]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        assert load_examples(write_squad(Path(folder) / "a.json", examples)) == examples
        assert load_examples(write_lines(Path(folder) / "a.jsonl", rows(examples))) == examples
        assert load_examples(write_json(Path(folder) / "rows.json", rows(examples))) == examples
    assert load_examples(rows(examples)) == examples


@given(clean_examples())
@settings(deadline=None)
def test_a_repaired_copy_of_a_clean_data_set_is_that_data_set(examples: list[Example]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = write_lines(Path(folder) / "a.jsonl", rows(examples))
        copy = check_files([path], write_repaired=Path(folder) / "b.json").copies[0]
        assert load_examples(copy.path) == examples
        assert (copy.num_repaired, copy.num_dropped) == (0, 0)


PIECE = st.sampled_from(["Rollo", " Rollo ", "Rollo,", "duke", "", " ", "xyz", None, 1976, "\ud800", "Normans \n"])
START = st.one_of(st.none(), st.integers(-3, 90), st.sampled_from(["45", 45.0, 1.5, True, 10**40]))
DAMAGED_ROW = st.fixed_dictionaries(
    {},
    optional={
        "id": st.sampled_from(["a", "b", "c", "", None, 1, 2, "row-1"]),
        "title": st.sampled_from(["T", None, 7, [], "U"]),
        "question": st.sampled_from(["Who?", "When?", " ", None, 3]),
        "context": st.sampled_from([EXAMPLES[0].context, "In 1976 Rollo came. Rollo!", " ", None]),
        "answers": st.one_of(
            st.lists(st.fixed_dictionaries({"text": PIECE}, optional={"answer_start": START}), max_size=2),
            st.fixed_dictionaries({"text": st.lists(PIECE, max_size=2), "answer_start": st.lists(START, max_size=2)}),
            st.none(),
        ),
        "is_impossible": st.sampled_from([True, False, None, "no"]),
    },
).map(lambda changes: bare_row(**changes))


@given(st.lists(DAMAGED_ROW, min_size=1, max_size=5), st.booleans())
@settings(max_examples=400, deadline=None)
def test_a_repaired_copy_has_nothing_left_to_repair_and_loses_nothing_silently(
    damaged: list[dict[str, Any]], nested: bool
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        values = damaged
        if nested:
            values = [{"title": item["title"], "context": item["context"], "qas": [item]} for item in damaged]
        path = write_json(Path(folder) / "in.json", {"data": values})
        report = check_files([path], write_repaired=Path(folder) / "out.json")
        copy, result = report.copies[0], read(path)
        assert report.files[0].num_questions == len(damaged)
        if copy.path is None:
            assert all(one.repaired is None for one in result.questions)
            return
        again = read(copy.path)
        assert [str(problem) for problem in again.problems if problem.repairable or problem.is_error] == []
        assert again.examples == [one.repaired for one in result.questions if one.repaired is not None]
        assert copy.num_questions + copy.num_dropped == len(damaged)
        assert len(json.loads(Path(copy.dropped_path or "").read_text())) == copy.num_dropped
        for example in again.examples:
            for gold in example.golds:
                assert example.context[gold.answer_start : gold.answer_end] == gold.text == gold.text.strip()


SHORT = st.text("ab ", max_size=12)


@given(SHORT, st.text("ab ", min_size=1, max_size=3))
@settings(deadline=None)
def test_occurrences_are_all_places(context: str, text: str) -> None:
    assert occurrences(context, text) == [at for at in range(len(context)) if context.startswith(text, at)]


@given(SHORT, SHORT.filter(str.strip), st.one_of(st.none(), st.integers(0, 20)))
@settings(deadline=None)
def test_an_aligned_gold_is_in_its_only_place_or_reported(context: str, text: str, start: int | None) -> None:
    aligned = align(text, start, context)
    for gold in (aligned.stated, aligned.repaired):
        assert gold is None or context[gold.answer_start : gold.answer_end] == gold.text
    if aligned.repaired is None:
        assert any(not repair for _, _, repair in aligned.findings)
    if aligned.stated != aligned.repaired:
        assert aligned.findings
    if not aligned.findings:
        assert aligned.stated == Gold(text, start if start is not None else -1)
    # Where the text occurs at several places and at none as stated, nothing is chosen.
    if len(occurrences(context, text)) > 1 and (start is None or not context.startswith(text, start)):
        assert aligned.repaired is None


JSON_VALUE = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["Rollo", "[1]", "{'text': []}", "array(["]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from([*FIELDS, "data", "version", "paragraphs", "qas", "text", "x"]),
            inner,
            max_size=5,
        )
    ),
    max_leaves=25,
)


def read_never_fails(path: Path) -> None:
    """Read as users do: problems or one-line DataErrors, nothing else."""
    result = read(path)
    check_files([path], write_repaired=path.with_name("out.json"))
    assert all(str(problem).isprintable() for problem in result.problems)
    if result.errors:
        with pytest.raises(DataError) as caught:
            load_examples(path)
        assert str(caught.value).isprintable()
    else:
        assert load_examples(path) == result.examples


@given(JSON_VALUE)
@settings(max_examples=300, deadline=None)
def test_no_json_value_gives_a_traceback(value: object) -> None:
    with tempfile.TemporaryDirectory() as folder:
        read_never_fails(write_json(Path(folder) / "in.json", value))
        read_never_fails(write_json(Path(folder) / "data.json", {"data": [value, {"paragraphs": [value]}]}))


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_no_damage_to_one_value_of_a_good_file_gives_a_traceback(data: st.DataObject) -> None:
    document = json.loads(json.dumps(squad_document(EXAMPLES)))
    node: Any = document
    while True:
        key = data.draw(st.sampled_from(list(node) if isinstance(node, dict) else range(len(node))))
        if not isinstance(node[key], dict | list) or not node[key] or data.draw(st.booleans()):
            node[key] = data.draw(JSON_VALUE)
            break
        node = node[key]
    with tempfile.TemporaryDirectory() as folder:
        read_never_fails(write_json(Path(folder) / "in.json", document))


SUFFIXES = ["json", "jsonl", "csv", "tsv", "txt", "json.gz", "parquet", "csv.gz", "bin"]
CSV_START = b"id,question,context,answers,answer_start,is_impossible\n"


@given(
    st.sampled_from(SUFFIXES),
    st.sampled_from([b"", b"{", b'[{"', b"\x1f\x8b\x08\x00", b"PAR1", b"PK\x03\x04", CSV_START, b"\xef\xbb\xbf"]),
    st.one_of(st.binary(max_size=200), st.text('{}[]",:\n\\ \tid0-é', max_size=200).map(str.encode)),
)
@settings(max_examples=500, deadline=None)
def test_no_bytes_give_a_traceback(suffix: str, start: bytes, rest: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"in.{suffix}"
        path.write_bytes(start + rest)
        read_never_fails(path)


@given(st.sampled_from(["json", "jsonl", "csv", "parquet", "json.gz"]), st.integers(0, 10**6), st.binary(max_size=4))
@settings(max_examples=300, deadline=None)
def test_no_flipped_bytes_in_a_good_file_give_a_traceback(suffix: str, place: int, change: bytes) -> None:
    good = GOOD_BYTES[suffix]
    place %= len(good)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"in.{suffix}"
        path.write_bytes(good[:place] + change + good[place + len(change) :])
        read_never_fails(path)


def _good_bytes() -> dict[str, bytes]:
    import gzip
    import io

    import pyarrow as pa
    import pyarrow.parquet as pq

    squad = json.dumps(squad_document(EXAMPLES)).encode()
    stream = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows(EXAMPLES)), stream)
    table = (
        CSV_START
        + "".join(
            f'{example.id},{example.question},"{example.context}","[\'{example.golds[0].text}\']",,\n'
            for example in EXAMPLES
        ).encode()
    )
    return {
        "json": squad,
        "jsonl": b"".join(json.dumps(item).encode() + b"\n" for item in rows(EXAMPLES)),
        "csv": table,
        "parquet": stream.getvalue(),
        "json.gz": gzip.compress(squad),
    }


GOOD_BYTES = _good_bytes()


@given(clean_examples(), st.data())
@settings(deadline=None)
def test_the_hash_sees_every_part_and_the_order(examples: list[Example], data: st.DataObject) -> None:
    whole = content_sha256(examples)
    assert content_sha256(list(examples)) == whole
    place = data.draw(st.integers(0, len(examples) - 1))
    old = examples[place]
    golds = (*old.golds, Gold("x", 0))
    others = [
        Example(old.id + "x", old.question, old.context, old.golds),
        Example(old.id, old.question + "x", old.context, old.golds),
        Example(old.id, old.question, old.context + "x", old.golds),
        Example(old.id, old.question, old.context, golds),
        Example(old.id + old.question, "", old.context, old.golds),
    ]
    for other in others:
        assert content_sha256([*examples[:place], other, *examples[place + 1 :]]) != whole
    assert content_sha256(examples[:-1]) != whole
    if examples != examples[::-1]:
        assert content_sha256(examples[::-1]) != whole


def test_the_hash_is_the_same_in_every_process() -> None:
    import subprocess
    import sys

    code = (
        "from albertqa.data import Example, Gold, content_sha256;"
        "print(content_sha256([Example('a', 'Who?', 'Rollo came', (Gold('Rollo', 0),))]))"
    )
    runs = {
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout.strip()
        for seed in ("1", "2")
    }
    assert runs == {content_sha256([Example("a", "Who?", "Rollo came", (Gold("Rollo", 0),))])}


FOLDABLE = st.text(st.sampled_from("aAb \n\u00a0éE\u0301\u0323ßﬁİ“\"’'–-한\u1112\u1161\u11ab東😀"), max_size=14)


@given(FOLDABLE, FOLDABLE, st.integers(0, 14), st.integers(1, 6))
@settings(deadline=None)
def test_similar_places_are_whole_characters_that_differ_in_form_alone(
    context: str, other: str, start: int, length: int
) -> None:
    text = context[start : start + length]
    for wanted in (text, other):
        for begin, end in similar_places(context, wanted):
            assert _form(context[begin:end]) == _form(wanted.strip())
            assert not unicodedata.combining(context[end : end + 1] or "a")
    stripped = context.strip()
    marks_follow_letters = not any(
        unicodedata.combining(after) and before.isspace() for before, after in pairwise(" " + stripped)
    )
    if stripped and marks_follow_letters:
        decomposed = unicodedata.normalize("NFD", stripped)
        for one, another in ((stripped, decomposed), (decomposed, stripped), (stripped, stripped.upper())):
            found = similar_places(one, another)
            assert found == [(0, len(one))] or _form(one) != _form(another)


def _form(text: str) -> str:
    """Return a text without what a repair may change, by way of the whole text instead of each character."""
    for found, plain in (("“", '"'), ("’", "'"), ("–", "-")):
        text = text.replace(found, plain)
    return " ".join(unicodedata.normalize("NFD", unicodedata.normalize("NFD", text).casefold()).split())
