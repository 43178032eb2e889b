"""The window store: built once, found again, rebuilt where damaged, and never half-written."""

import errno
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from albertqa.data.example import Example, Gold
from albertqa.windows import build
from albertqa.windows.build import build_windows, windows_in_memory
from albertqa.windows.store import (
    CONTEXTS_ARROW,
    DATA_FILES,
    MANIFEST_JSON,
    QUESTIONS_ARROW,
    WINDOWS_ARROW,
    Window,
    WindowStore,
)
from albertqa.windows.tokenizer import QATokenizer, load_tokenizer

from .cases import assert_same_store, starter_examples

SOME = [
    Example("a", "Who swam?", "Rollo swam in the river.", (Gold("Rollo", 0),)),
    Example("b", "Where?", "Rollo swam in the river.", (Gold("in the river", 11), Gold("river", 18))),
    Example("c", "Who sang?", "Nobody sang. " * 30),
]
SETTINGS = {"max_seq_length": 40, "doc_stride": 8}


def stores_in(cache: Path) -> list[Path]:
    """Folders in a cache, finished or not; locks stay and are no stores."""
    return sorted(path for path in cache.iterdir() if path.is_dir()) if cache.is_dir() else []


def stamps(folder: Path) -> dict[str, tuple[int, int]]:
    return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in folder.iterdir()}


def test_the_second_call_finds_the_store_and_builds_nothing(
    tokenizer: QATokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = build_windows(SOME, tokenizer, cache=tmp_path, **SETTINGS)
    (folder,) = stores_in(tmp_path)
    before = stamps(folder)
    assert set(before) == {*DATA_FILES, MANIFEST_JSON}
    monkeypatch.setattr(build, "_write_files", None)
    second = build_windows(SOME, tokenizer, cache=tmp_path, **SETTINGS)
    assert stores_in(tmp_path) == [folder]
    assert stamps(folder) == before
    assert_same_store(first, second)


def test_a_stored_store_equals_one_in_memory(tokenizer: QATokenizer, tmp_path: Path) -> None:
    some = starter_examples(60, version_2=True)
    stored = build_windows(some, tokenizer, cache=tmp_path, max_seq_length=64, doc_stride=16)
    in_memory = windows_in_memory(some, tokenizer, max_seq_length=64, doc_stride=16)
    assert len(stored) > len(some)
    assert_same_store(stored, in_memory)


def test_some_windows_are_those_of_the_whole_store(tokenizer: QATokenizer) -> None:
    store = windows_in_memory(starter_examples(60), tokenizer, max_seq_length=64, doc_stride=16)
    indices = np.array([0, 3, 4, len(store) - 1])
    some = store.take(indices)
    assert some.lengths.tolist() == store.lengths[indices].tolist()
    assert (len(some), some.num_examples, some.first_window[-1]) == (4, store.num_examples, 4)
    for at, index in enumerate(indices):
        one, other = some[at], store[int(index)]
        assert all(np.array_equal(getattr(one, name), getattr(other, name)) for name in Window.__slots__)


def test_characters_alone_are_those_of_the_whole_window(tokenizer: QATokenizer) -> None:
    store = windows_in_memory(starter_examples(60, version_2=True), tokenizer, max_seq_length=64, doc_stride=16)
    for index in range(len(store)):
        context_start, starts, ends = store.characters(index)
        window = store[index]
        assert context_start == window.context_start
        assert (starts.tolist(), ends.tolist()) == (window.start_char.tolist(), window.end_char.tolist())


def test_the_store_stays_under_the_cache_folder_unless_told_otherwise(
    tokenizer: QATokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALBERTQA_CACHE", str(tmp_path / "here"))
    build_windows(SOME, tokenizer)
    assert len(stores_in(tmp_path / "here" / "windows")) == 1


@pytest.mark.parametrize(
    "changed",
    [
        [replace(SOME[0], question="Who swum?"), *SOME[1:]],
        [replace(SOME[0], context="Rollo swam in the river!"), *SOME[1:]],
        [replace(SOME[0], golds=(Gold("Roll", 0),)), *SOME[1:]],
        [SOME[0], replace(SOME[1], golds=(Gold("in the river", 12), Gold("river", 18))), SOME[2]],
        [SOME[0], replace(SOME[1], golds=SOME[1].golds[::-1]), SOME[2]],
        [replace(SOME[0], id="z"), *SOME[1:]],
        [SOME[1], SOME[0], SOME[2]],
        SOME[:2],
        [*SOME, SOME[0]],
    ],
    ids=["question", "context", "gold text", "gold start", "first gold", "id", "order", "fewer", "more"],
)
def test_other_data_have_another_store(tokenizer: QATokenizer, tmp_path: Path, changed: list[Example]) -> None:
    build_windows(SOME, tokenizer, cache=tmp_path, **SETTINGS)
    other = build_windows(changed, tokenizer, cache=tmp_path, **SETTINGS)
    assert len(stores_in(tmp_path)) == 2
    assert_same_store(other, windows_in_memory(changed, tokenizer, **SETTINGS))


@pytest.mark.parametrize("setting", ["max_seq_length", "doc_stride"])
def test_other_lengths_have_another_store(tokenizer: QATokenizer, tmp_path: Path, setting: str) -> None:
    build_windows(SOME, tokenizer, cache=tmp_path, **SETTINGS)
    changed = {**SETTINGS, setting: SETTINGS[setting] + 1}
    other = build_windows(SOME, tokenizer, cache=tmp_path, **changed)
    assert len(stores_in(tmp_path)) == 2
    assert (other.max_seq_length, other.doc_stride) == (changed["max_seq_length"], changed["doc_stride"])
    assert_same_store(other, windows_in_memory(SOME, tokenizer, **changed))


def test_another_tokenizer_has_another_store(tokenizer: QATokenizer, spiece_model: Path, tmp_path: Path) -> None:
    cased = tmp_path / "cased"
    cased.mkdir()
    (cased / "spiece.model").write_bytes(spiece_model.read_bytes())
    (cased / "tokenizer_config.json").write_text('{"do_lower_case": false}')
    cache = tmp_path / "cache"
    build_windows(SOME, tokenizer, cache=cache, **SETTINGS)
    build_windows(SOME, load_tokenizer(cased), cache=cache, **SETTINGS)
    assert len(stores_in(cache)) == 2


def test_a_saved_tokenizer_opens_the_store_of_the_spiece_model(tokenizer: QATokenizer, tmp_path: Path) -> None:
    saved, cache = tmp_path / "saved", tmp_path / "cache"
    saved.mkdir()
    tokenizer.save(saved)
    build_windows(SOME, tokenizer, cache=cache, **SETTINGS)
    build_windows(SOME, load_tokenizer(saved), cache=cache, **SETTINGS)
    assert len(stores_in(cache)) == 1


def flip_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        *((name, damage) for name in DATA_FILES for damage in (flip_a_byte, cut, empty, Path.unlink)),
        # One flipped bit of the manifest may be white space; its last byte is the line's end.
        *((MANIFEST_JSON, damage) for damage in (empty, Path.unlink)),
    ],
)
def test_a_damaged_file_is_built_again(
    tokenizer: QATokenizer, tmp_path: Path, name: str, damage: Callable[[Path], None]
) -> None:
    build_windows(SOME, tokenizer, cache=tmp_path, **SETTINGS)
    (folder,) = stores_in(tmp_path)
    damage(folder / name)
    again = build_windows(SOME, tokenizer, cache=tmp_path, **SETTINGS)
    assert stores_in(tmp_path) == [folder]
    assert set(stamps(folder)) == {*DATA_FILES, MANIFEST_JSON}
    assert_same_store(again, windows_in_memory(SOME, tokenizer, **SETTINGS))


@pytest.mark.parametrize("content", ["[]", "{}", '{"files": null}', '{"files": {"contexts.arrow": []}}', "\xff"])
def test_a_manifest_that_says_something_else_is_built_again(
    tokenizer: QATokenizer, tmp_path: Path, content: str
) -> None:
    build_windows(SOME, tokenizer, cache=tmp_path, **SETTINGS)
    (folder,) = stores_in(tmp_path)
    (folder / MANIFEST_JSON).write_text(content, encoding="latin-1")
    again = build_windows(SOME, tokenizer, cache=tmp_path, **SETTINGS)
    assert_same_store(again, windows_in_memory(SOME, tokenizer, **SETTINGS))
    assert json.loads((folder / MANIFEST_JSON).read_text())["max_seq_length"] == 40


def test_the_manifest_knows_size_and_hash_of_every_file(tokenizer: QATokenizer, tmp_path: Path) -> None:
    import hashlib

    build_windows(SOME, tokenizer, cache=tmp_path, **SETTINGS)
    (folder,) = stores_in(tmp_path)
    manifest = json.loads((folder / MANIFEST_JSON).read_text())
    assert (manifest["max_seq_length"], manifest["doc_stride"]) == (40, 8)
    assert manifest["files"] == {
        name: [len(content), hashlib.sha256(content).hexdigest()]
        for name in DATA_FILES
        for content in [(folder / name).read_bytes()]
    }


@pytest.mark.parametrize("where", ["windows", "manifest"])
def test_a_full_disk_leaves_nothing_half_written(
    tokenizer: QATokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    write_files = build._write_files

    def full(*arguments: object) -> None:
        if where == "windows":
            sinks = arguments[-1]
            assert isinstance(sinks, dict)
            sinks[CONTEXTS_ARROW].write(b"half a con")
        else:
            write_files(*arguments)  # type: ignore[arg-type]
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(build, "_write_files", full)
        with pytest.raises(OSError, match="No space left on device"):
            build_windows(SOME, tokenizer, cache=tmp_path, **SETTINGS)
    assert stores_in(tmp_path) == []
    again = build_windows(SOME, tokenizer, cache=tmp_path, **SETTINGS)
    assert_same_store(again, windows_in_memory(SOME, tokenizer, **SETTINGS))


def test_an_interrupted_build_leaves_nothing_half_written(
    tokenizer: QATokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(build, "write_manifest", interrupted)
    with pytest.raises(KeyboardInterrupt):
        build_windows(SOME, tokenizer, cache=tmp_path, **SETTINGS)
    assert stores_in(tmp_path) == []


def test_each_context_is_stored_once(tokenizer: QATokenizer, tmp_path: Path) -> None:
    some = [Example(f"q{number}", f"Who was {number}?", SOME[number % 2 * 2].context) for number in range(40)]
    build_windows(some, tokenizer, cache=tmp_path, **SETTINGS)
    (folder,) = stores_in(tmp_path)
    with pa.memory_map(str(folder / CONTEXTS_ARROW)) as file:
        ids = [encoding.ids for encoding in tokenizer.encode_batch([SOME[0].context, SOME[2].context])]
        assert pa.ipc.open_file(file).read_all()["input_ids"].to_pylist() == ids
    with pa.memory_map(str(folder / QUESTIONS_ARROW)) as file:
        assert pa.ipc.open_file(file).read_all().num_rows == 40
    with pa.memory_map(str(folder / WINDOWS_ARROW)) as file:
        assert pa.ipc.open_file(file).read_all().num_rows == len(WindowStore.open(folder))


def test_no_examples_are_a_store_of_no_windows(tokenizer: QATokenizer, tmp_path: Path) -> None:
    store = build_windows([], tokenizer, cache=tmp_path)
    assert (len(store), store.num_examples, store.first_window.tolist()) == (0, 0, [0])


def test_an_index_past_the_end_is_an_error(tokenizer: QATokenizer) -> None:
    store = windows_in_memory(SOME, tokenizer, **SETTINGS)
    with pytest.raises(IndexError):
        store[len(store)]
