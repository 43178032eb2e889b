"""Hub names are distinguished from paths, and a data set that cannot be fetched says what to do."""

from pathlib import Path
from typing import Any

import datasets
import pytest

from albertqa.data import load_examples, read
from albertqa.data.formats import hub_datasets
from albertqa.data.formats.hub_datasets import parse_hub_name
from albertqa.errors import DataError

from .cases import EXAMPLES, rows, write_squad


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("rajpurkar/squad", ("rajpurkar/squad", None)),
        ("rajpurkar/squad_v2:train[:10%]", ("rajpurkar/squad_v2", "train[:10%]")),
        ("squad:validation", ("rajpurkar/squad", "validation")),
        ("data/train.json", None),
        ("data/train.jsonl.gz", None),
        ("./squad", None),
        ("../x", None),
        ("/tmp/squad", None),
        ("a/b/c", None),
        ("train", None),
    ],
)
def test_hub_names_are_distinguished_from_paths(text: str, expected: tuple[str, str | None] | None) -> None:
    assert parse_hub_name(text) == expected


def test_a_hub_name_with_a_split_is_fetched_without_running_its_code(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[str, dict[str, Any]]] = []

    def load(name: str, **settings: Any) -> datasets.Dataset:
        calls.append((name, settings))
        return datasets.Dataset.from_list(rows(EXAMPLES))

    monkeypatch.setattr(datasets, "load_dataset", load)
    monkeypatch.setattr(hub_datasets, "_hub_answers", lambda _: True)
    assert load_examples("rajpurkar/squad:train") == EXAMPLES
    assert load_examples("rajpurkar/squad", split="validation", limit=1) == EXAMPLES[:1]
    assert calls == [("rajpurkar/squad", {"split": "train"}), ("rajpurkar/squad", {"split": "validation"})]


@pytest.mark.parametrize("error", [ConnectionError("no route\nmore"), ValueError("Unknown split"), RuntimeError("off")])
def test_a_data_set_that_is_not_fetched_says_what_to_do(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(datasets, "load_dataset", fail)
    monkeypatch.setattr(hub_datasets, "_hub_answers", lambda _: True)
    with pytest.raises(DataError) as caught:
        load_examples("rajpurkar/squad", split="train")
    line = str(caught.value)
    assert line.isprintable()
    assert line.startswith("rajpurkar/squad: no such file or folder, and no data set of that name came from the Hub (")
    assert line.endswith("give a local file, or check the name, the split and the network")


def test_without_a_network_it_says_so_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    # A port of this machine on which nothing listens.
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: pytest.fail("asked without a network"))
    with pytest.raises(DataError, match=r"came from the Hub \(ConnectionError: no network\); give a local file"):
        load_examples("rajpurkar/squad", split="train")


def test_a_cached_data_set_needs_no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "rajpurkar___squad").mkdir()
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    monkeypatch.setattr(hub_datasets, "_hub_answers", lambda _: pytest.fail("asked for a cached data set"))
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: datasets.Dataset.from_list(rows(EXAMPLES)))
    assert load_examples("rajpurkar/squad", split="train") == EXAMPLES


def test_a_file_wins_over_a_hub_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "rajpurkar").mkdir()
    write_squad(tmp_path / "rajpurkar" / "squad", EXAMPLES)
    monkeypatch.chdir(tmp_path)
    assert load_examples("rajpurkar/squad") == EXAMPLES


def test_a_damaged_saved_folder_is_one_problem(tmp_path: Path) -> None:
    folder = tmp_path / "saved"
    datasets.Dataset.from_list(rows(EXAMPLES)).save_to_disk(str(folder))
    (folder / "state.json").write_text("{}")
    assert [problem.kind for problem in read(folder).problems] == ["unreadable-file"]
    (folder / "state.json").write_text("not json")
    assert [problem.kind for problem in read(folder).problems] == ["unreadable-file"]


def test_an_arrow_file_cut_short_is_one_problem(tmp_path: Path) -> None:
    folder = tmp_path / "saved"
    datasets.Dataset.from_list(rows(EXAMPLES)).save_to_disk(str(folder))
    (arrow,) = folder.glob("*.arrow")
    arrow.write_bytes(arrow.read_bytes()[:200])
    assert [problem.kind for problem in read(folder).problems] == ["unreadable-file"]
