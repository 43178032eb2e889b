"""Model cards: metadata that the Hub reads, the figures of this model, no license."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard

from albertqa.report.analysis import analyse, load_runs
from albertqa.report.card import write_cards

from . import cases


def write_model_card(run: Path) -> list[Path]:
    (analysis,) = analyse(load_runs([run]))
    return write_cards(analysis)


def _copy(run: Path, folder: Path) -> Path:
    return Path(shutil.copytree(run, folder / "a run"))


def _metadata(card: Path) -> dict[str, Any]:
    return dict(yaml.safe_load(card.read_text(encoding="utf-8").split("---")[1]))


def test_both_models_get_a_card_that_the_hub_can_read(plain_run: Path, tmp_path: Path) -> None:
    run = _copy(plain_run, tmp_path)
    assert write_model_card(run) == [run / "best" / "README.md", run / "final" / "README.md"]
    scores = json.loads((run / "eval.json").read_text(encoding="utf-8"))
    data = ModelCard.load(run / "best" / "README.md").data
    assert data.model_name == "a run"
    results = {result.metric_type: result for result in data.eval_results or []}
    assert results["exact_match"].metric_value == pytest.approx(scores["exact"], abs=1e-4)
    assert results["f1"].metric_value == pytest.approx(scores["f1"], abs=1e-4)
    assert results["f1"].task_type == "question-answering"
    assert (results["f1"].dataset_type, results["f1"].dataset_name) == ("custom", "dev.json")


def test_license_is_left_to_the_user(plain_run: Path, tmp_path: Path) -> None:
    (card, _) = write_model_card(_copy(plain_run, tmp_path))
    assert "license" not in _metadata(card)
    assert "# license: yours to choose" in card.read_text(encoding="utf-8")


def test_metadata_names_base_model_and_only_data_that_is_on_the_hub(plain_run: Path, tmp_path: Path) -> None:
    run = _copy(plain_run, tmp_path)
    facts = json.loads((run / "run.json").read_text(encoding="utf-8"))
    facts["data"]["train"]["sources"] = ["rajpurkar/squad:train", "starter:train", "/data/my.json"]
    (run / "run.json").write_text(json.dumps(facts), encoding="utf-8")
    metadata = _metadata(write_model_card(run)[0])
    assert metadata["base_model"] == "albert/albert-base-v2"
    assert metadata["datasets"] == ["rajpurkar/squad"]
    assert metadata["metrics"] == ["exact_match", "f1"]
    assert metadata["library_name"] == "transformers"
    assert metadata["pipeline_tag"] == "question-answering"


def test_card_has_the_provenance_of_the_figures(plain_run: Path, tmp_path: Path) -> None:
    run = _copy(plain_run, tmp_path)
    text = write_model_card(run)[0].read_text(encoding="utf-8")
    facts = json.loads((run / "run.json").read_text(encoding="utf-8"))
    assert facts["data"]["validation"]["content_sha256"] in text
    assert "albertqa train --config" in text
    assert "| exact match | " in text
    assert " to " in text.split("| exact match |")[1].splitlines()[0]
    assert "| `train_file` | `starter:train` | `rajpurkar/squad:train` |" in text


def test_final_has_the_figures_of_the_last_evaluation_not_of_the_best(plain_run: Path, tmp_path: Path) -> None:
    run = _copy(plain_run, tmp_path)
    scores = json.loads((run / "eval.json").read_text(encoding="utf-8"))
    (run / "eval.json").write_text(json.dumps({**scores, "step": 40}), encoding="utf-8")
    rows = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    last = {**json.loads(rows[-1]), "exact": 11.125, "f1": 22.25}
    (run / "metrics.jsonl").write_text("\n".join([*rows[:-1], json.dumps(last)]) + "\n", encoding="utf-8")
    best, final = write_model_card(run)
    metrics = {entry["type"]: entry["value"] for entry in _metadata(final)["model-index"][0]["results"][0]["metrics"]}
    assert metrics == {"exact_match": 11.125, "f1": 22.25}
    assert "After step 60 of 60" in final.read_text(encoding="utf-8")
    assert "After step 40 of 60" in best.read_text(encoding="utf-8")


def test_final_without_an_evaluation_of_its_own_has_no_figures(plain_run: Path, tmp_path: Path) -> None:
    run = _copy(plain_run, tmp_path)
    scores = json.loads((run / "eval.json").read_text(encoding="utf-8"))
    (run / "eval.json").write_text(json.dumps({**scores, "step": 40}), encoding="utf-8")
    rows = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    (run / "metrics.jsonl").write_text("\n".join(rows[:-1]) + "\n", encoding="utf-8")
    _, final = write_model_card(run)
    assert "model-index" not in _metadata(final)
    assert "Not evaluated yet." in final.read_text(encoding="utf-8")


def test_run_without_a_model_has_nothing_to_describe(run_v2: Path) -> None:
    assert write_model_card(run_v2) == []


def test_hostile_names_are_escaped(hostile_run: Path, model_copy: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(hostile_run, tmp_path / "run `x` | <b>"))
    shutil.copytree(model_copy, run / "best")
    (card,) = write_model_card(run)
    text = card.read_text(encoding="utf-8")
    body = text.split("---\n", 2)[2]
    prose = [
        line for line in re.sub(r"```.*?```", "", body, flags=re.DOTALL).splitlines() if not line.startswith("    ")
    ]
    assert "<" not in re.sub(r"`[^`]*`", "", "\n".join(prose))
    assert _metadata(card)["model-index"][0]["name"] == "run `x` | <b>"
    assert all(line.count(" | ") == 2 for line in body.splitlines() if line.startswith("| questions"))
    assert cases.HOSTILE[0] not in text
