"""The site, built once; and a folder with all that the documents name: files, models and runs, all of them tiny."""

import csv
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from albertqa import cli
from albertqa.config import Settings
from albertqa.data.example import Example
from albertqa.data.formats.squad_json import squad_document
from albertqa.data.reading import load_examples
from albertqa.data.starter import starter_file
from albertqa.run.recipe import RunResult, train

from .blocks import ROOT

sys.path.insert(0, str(ROOT / "docs"))

HUB_MODELS = (
    "albert/albert-base-v2",
    "albert/albert-large-v2",
    "albert/albert-xxlarge-v2",
    "google-bert/bert-base-german-cased",
    "google-bert/bert-base-multilingual-cased",
    "FacebookAI/xlm-roberta-base",
)
TINY_TRAINING = ["--epochs", "1", "--batch-size", "8", "--lr", "1e-3"]


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the built site; a warning fails every test that needs it."""
    pytest.importorskip("sphinx", reason="no Sphinx (the docs extra)")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-n", "-W", "--keep-going", "-q", "-b", "html"]
    done = subprocess.run(
        [*command, "-d", str(folder / "trees"), str(ROOT / "docs"), str(folder / "html")],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "html"


@pytest.fixture(scope="session")
def stage(tmp_path_factory: pytest.TempPathFactory, tiny_folder: Path) -> Iterator["Stage"]:
    """What the documents name, made once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ALBERTQA_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        yield Stage(tmp_path_factory.mktemp("stage"), tiny_folder)


class Stage:
    """A stand-in for what is not here: the Hub's models and data sets, and runs that take hours.

    Args:
        root: An empty folder.
        tiny_folder: A tiny model without weights.
    """

    def __init__(self, root: Path, tiny_folder: Path) -> None:
        self.files, self.hub, self._starter = root / "files", root / "hub", root / "starter"
        self._starter.mkdir()
        for split in ("train", "dev"):
            for version_2 in (False, True):
                _write_part(starter_file(split, version_2=version_2), self._starter, split, version_2)
        self._model = self._train_first(tiny_folder, root / "first")
        for name in HUB_MODELS:
            self._put_on_the_hub(name)
        self._write_files()

    def activate(self, patch: pytest.MonkeyPatch) -> None:
        """Put the stand-ins in place of the Hub and of the bundled encoder and data."""
        import datasets
        import huggingface_hub.constants

        patch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(self.hub))
        patch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
        patch.setattr("albertqa.model.load.starter_encoder", lambda: self._model)
        patch.setattr("albertqa.data.sources.starter_file", self._starter_file)

        def train_for_some_steps(settings: Settings, *, resume: bool = False, **more: Any) -> RunResult:
            return train(settings if resume else replace(settings, max_steps=4), resume=resume, **more)

        patch.setattr("albertqa.train", train_for_some_steps)
        patch.setattr("albertqa.run.recipe.train", train_for_some_steps)
        patch.setattr("albertqa.study.trials.train", train_for_some_steps)

        def load_dataset(name: str, split: str | None = None, **_: Any) -> Any:
            part = "train" if str(split).startswith("train") else "dev"
            rows = [_row(one) for one in load_examples(self._starter_file(part, version_2="v2" in name))]
            return datasets.Dataset.from_list(rows)

        patch.setattr(datasets, "load_dataset", load_dataset)
        patch.setattr("albertqa.data.formats.hub_datasets._hub_answers", lambda _: True)

    def _starter_file(self, split: str, *, version_2: bool = False) -> Path:
        return self._starter / f"{split}-{'v2.0' if version_2 else 'v1.1'}.json"

    def _train_first(self, tiny_folder: Path, run: Path) -> Path:
        """Train a first model, whose weights all others begin with; return its folder."""
        data = ["--train-file", str(self._starter_file("train")), "--validation-file", str(self._starter_file("dev"))]
        command = ["train", "--model", str(tiny_folder), "--from-scratch", *data, *TINY_TRAINING]
        assert cli.main([*command, "--output-dir", str(run)]) == 0
        return run / "best"

    def _put_on_the_hub(self, name: str) -> None:
        folder = self.hub / f"models--{name.replace('/', '--')}"
        (folder / "refs").mkdir(parents=True)
        (folder / "refs" / "main").write_text("0" * 40)
        (folder / "snapshots").mkdir()
        (folder / "snapshots" / ("0" * 40)).symlink_to(self._model)

    def _write_files(self) -> None:
        self.files.mkdir()
        train, dev = load_examples(self._starter_file("train")), load_examples(self._starter_file("dev"))
        for name, examples in ("train", train), ("dev", dev), ("validation", dev):
            _write_json(self.files / f"{name}.json", squad_document(examples))
        for split in ("train", "dev"):
            second = load_examples(self._starter_file(split, version_2=True))
            _write_json(self.files / f"{split}-v2.json", squad_document(second))
        with (self.files / "questions.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["question", "context", "answer_text"])
            writer.writerows([one.question, one.context, one.golds[0].text] for one in _unambiguous(train))
        with (self.files / "faq.csv").open("w", newline="", encoding="cp1252") as file:
            writer = csv.writer(file, delimiter=";")
            writer.writerow(["Frage", "Text", "Antwort"])
            writer.writerows([one.question, one.context, one.golds[0].text] for one in _unambiguous(train))
        _write_excel(self.files / "faq.xlsx", _unambiguous(train))
        lines = [{"id": one.id, "question": one.question, "context": one.context} for one in dev[:3]]
        (self.files / "questions.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
        pq.write_table(pa.Table.from_pylist(lines), self.files / "questions.parquet")
        _write_json(self.files / "predictions.json", {one.id: one.golds[0].text for one in dev})
        (self.files / "contract.txt").write_text("\n\n".join(dict.fromkeys(one.context for one in train)))
        documents = self.files / "documents"
        documents.mkdir()
        for number, context in enumerate(dict.fromkeys(one.context for one in dev)):
            (documents / f"{number}.txt").write_text(context)
        for run, changes in {"mine": [], "other": ["--seed", "1"], "v2": []}.items():
            version = "-v2" if run == "v2" else ""
            data = ["--train-file", self.files / f"train{version}.json"]
            data += ["--validation-file", self.files / f"dev{version}.json"]
            words = ["train", "--model", self._model, *data, *TINY_TRAINING, *changes]
            assert cli.main([*map(str, words), "--output-dir", str(self.files / "runs" / run)]) == 0
        shutil.copytree(self.files / "runs" / "mine", self.files / "runs" / "quickstart")


def _write_part(source: Path, folder: Path, split: str, version_2: bool) -> None:
    """Write the first questions of some paragraphs of the starter set."""
    examples = load_examples(source)
    contexts = list(dict.fromkeys(one.context for one in examples))[: 16 if split == "train" else 6]
    chosen = [one for one in examples if one.context in contexts]
    _write_json(folder / f"{split}-{'v2.0' if version_2 else 'v1.1'}.json", squad_document(chosen))


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value), encoding="utf-8")


def _unambiguous(examples: list[Example]) -> list[Example]:
    return [one for one in examples if one.context.count(one.golds[0].text) == 1]


def _row(example: Example) -> dict[str, Any]:
    answers = {
        "text": [gold.text for gold in example.golds],
        "answer_start": [gold.answer_start for gold in example.golds],
    }
    return {"id": example.id, "title": example.title, "context": example.context, "question": example.question,
            "answers": answers}  # fmt: skip


def _write_excel(path: Path, examples: list[Example]) -> None:
    import openpyxl

    workbook = openpyxl.Workbook()
    sheet = workbook.active
    assert sheet is not None
    sheet.append(["Frage", "Text", "Antwort"])
    for one in examples:
        sheet.append([one.question, one.context, one.golds[0].text])
    workbook.save(path)


@pytest.fixture
def staged(stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the stage's files, which is the working folder."""
    folder = tmp_path / "work"
    shutil.copytree(stage.files, folder)
    stage.activate(monkeypatch)
    monkeypatch.chdir(folder)
    return folder
