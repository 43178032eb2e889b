"""The page as a file: complete, self-contained, safe, and about the run it was made from."""

import base64
import hashlib
import json
import re
import shutil
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import pytest

from albertqa import files
from albertqa.config import load_settings, to_toml
from albertqa.errors import RunError
from albertqa.report import write_report
from albertqa.report.analysis import CARD, ids_sha256, published_card
from albertqa.rundir.directory import load_run

from . import cases


class Elements(HTMLParser):
    """Every element of a page with its attributes, and the content of styles and scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.contents: dict[str, str] = {}
        self._inside = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        self._inside = f"{tag} {dict(attrs).get('id', '')}".strip() if tag in ("style", "script") else ""

    def handle_endtag(self, tag: str) -> None:
        self._inside = "" if tag in ("style", "script") else self._inside

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.contents[self._inside] = self.contents.get(self._inside, "") + data


@pytest.fixture
def real_data_dev(real_data: Path) -> list[str]:
    articles = json.loads((real_data / "squad" / "dev-v1.1.json").read_text(encoding="utf-8"))["data"]
    return [one["id"] for article in articles for paragraph in article["paragraphs"] for one in paragraph["qas"]]


def _copy(run: Path, folder: Path) -> Path:
    return Path(shutil.copytree(run, folder / "copy"))


def _text(page: Path) -> str:
    """The page's visible text."""
    html = re.sub(r"<(style|script|svg)\b.*?</\1>", " ", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", html)).split())


def test_a_training_loss_with_a_regularizer_has_a_warning(plain_run: Path, tmp_path: Path) -> None:
    run, warning = _copy(plain_run, tmp_path), "it is not comparable with the validation loss"
    assert warning not in _text(write_report([run]))
    config = run / files.CONFIG_TOML
    before = load_settings(config)
    config.write_text(to_toml(replace(before, label_smoothing_factor=0.1)), encoding="utf-8")
    assert warning in _text(write_report([run]))


def test_page_is_one_file_that_refers_to_no_other(plain_run: Path, tmp_path: Path) -> None:
    page = Elements(write_report([plain_run], tmp_path / "report.html").read_text(encoding="utf-8"))
    for tag, attributes in page.found:
        for name, value in attributes.items():
            assert not name.startswith("on")
            assert name != "style"
            if name in ("src", "href", "action", "srcset"):
                assert str(value).startswith(("#", "data:,")), (tag, value)
    assert [tag for tag, _ in page.found if tag == "script"] == ["script"] * 3
    assert "url(" not in page.contents["style"]
    assert not re.search(
        r"\b(fetch|XMLHttpRequest|innerHTML|outerHTML|insertAdjacentHTML|eval|document\.write)\b",
        page.contents["script"],
    )


def test_policy_allows_exactly_the_pages_own_style_and_script(plain_run: Path, tmp_path: Path) -> None:
    page = Elements(write_report([plain_run], tmp_path / "report.html").read_text(encoding="utf-8"))
    policy = next(found["content"] for tag, found in page.found if tag == "meta" and "http-equiv" in found)

    def hashed(content: str) -> str:
        return base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()

    assert policy == (
        f"default-src 'none'; script-src 'sha256-{hashed(page.contents['script'])}'; "
        f"style-src 'sha256-{hashed(page.contents['style'])}'; img-src data:; base-uri 'none'; form-action 'none'"
    )


def test_page_is_written_into_the_run_by_default(
    plain_run: Path, other_seeds: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = _copy(plain_run, tmp_path)
    assert write_report([run]) == run / "report.html"
    monkeypatch.chdir(tmp_path)
    assert write_report([run, *other_seeds]).resolve() == tmp_path / "report.html"
    assert write_report([str(run)], tmp_path / "new" / "folder" / "x.html").is_file()


def test_same_run_gives_the_same_page(plain_run: Path, tmp_path: Path) -> None:
    first, second = (write_report([plain_run], tmp_path / name).read_bytes() for name in ("a.html", "b.html"))
    assert first == second


def test_output_that_is_a_folder_is_refused(plain_run: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="is a folder, expected a file"):
        write_report([plain_run], tmp_path)


def test_output_that_cannot_be_written_is_one_line(plain_run: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(RunError, match=r"the report cannot be written \(") as caught:
        write_report([plain_run], tmp_path / "file" / "report.html")
    assert "\n" not in str(caught.value)


def test_figures_at_the_top_are_those_of_the_run_with_intervals(plain_run: Path, tmp_path: Path) -> None:
    text = _text(write_report([plain_run], tmp_path / "report.html"))
    scores = json.loads((plain_run / "eval.json").read_text(encoding="utf-8"))
    assert re.search(rf"Exact match {scores['exact']:.2f} 95 % interval \d+\.\d\d to \d+\.\d\d", text)
    assert re.search(rf"F1 {scores['f1']:.2f} 95 % interval", text)
    assert "160 questions in 160 windows" in text
    assert "Test Processor" in text
    assert "albert/albert-base-v2 trained on starter:train" in text


def test_provenance_is_there(plain_run: Path, tmp_path: Path) -> None:
    text = _text(write_report([plain_run], tmp_path / "report.html"))
    facts = json.loads((plain_run / "run.json").read_text(encoding="utf-8"))
    assert facts["data"]["validation"]["content_sha256"] in text
    assert f"albertqa train --config {plain_run}/config.toml --output-dir {plain_run}-again" in text
    assert "transformers 5.23.0" in text
    assert "train_file" in text
    assert "learning_rate" not in text


def test_findings_are_shown_with_their_remedies(plain_run: Path, tmp_path: Path) -> None:
    text = _text(write_report([plain_run], tmp_path / "report.html"))
    assert "loss-spike warning step 30 loss rose <b>fast</b> Try: lower it" in text
    assert "few-labels warning before the first step few labels are right" in text
    assert files.FINDINGS_PAGE in text


def test_missing_data_leaves_out_single_questions_with_a_reason(plain_run: Path, tmp_path: Path) -> None:
    run = _copy(plain_run, tmp_path)
    facts = json.loads((run / "run.json").read_text(encoding="utf-8"))
    facts["data"]["validation"]["sources"] = [str(tmp_path / "gone.json")]
    (run / "run.json").write_text(json.dumps(facts), encoding="utf-8")
    page = write_report([run])
    text = _text(page)
    assert "gone.json) can no longer be read" in text
    assert "no interval" in text
    assert 'id="questions' not in page.read_text(encoding="utf-8")
    assert "chart-loss" in page.read_text(encoding="utf-8")


def test_predictions_of_another_evaluation_are_pointed_out(plain_run: Path, tmp_path: Path) -> None:
    run = _copy(plain_run, tmp_path)
    scores = json.loads((run / "eval.json").read_text(encoding="utf-8"))
    (run / "eval.json").write_text(json.dumps({**scores, "f1": 12.5}), encoding="utf-8")
    assert "are of different evaluations" in _text(write_report([run]))


def test_predictions_that_lack_questions_are_pointed_out(plain_run: Path, tmp_path: Path) -> None:
    run = _copy(plain_run, tmp_path)
    predictions = json.loads((run / "predictions.json").read_text(encoding="utf-8"))
    predictions.pop("q0-0")
    (run / "predictions.json").write_text(json.dumps(predictions), encoding="utf-8")
    assert "lacks 1 of the 160 validation questions" in _text(write_report([run]))


def test_run_without_a_model_has_a_note_on_its_windows(other_seeds: tuple[Path, Path], tmp_path: Path) -> None:
    assert "the run has no model, and so no tokenizer" in _text(write_report([other_seeds[0]], tmp_path / "r.html"))


def test_run_that_was_never_evaluated_has_curves(plain_run: Path, tmp_path: Path) -> None:
    run = _copy(plain_run, tmp_path)
    for name in ("eval.json", "predictions.json", "nbest_predictions.json"):
        (run / name).unlink()
    page = write_report([run])
    assert "has not been evaluated yet" in _text(page)
    assert "chart-loss" in page.read_text(encoding="utf-8")


def test_running_run_is_shown_up_to_its_last_step(plain_run: Path, tmp_path: Path) -> None:
    run = _copy(plain_run, tmp_path)
    facts = json.loads((run / "run.json").read_text(encoding="utf-8"))
    begun = {**facts, "status": "running", "step": 0, "best_step": 0, "train_seconds": 0.0}
    (run / "run.json").write_text(json.dumps(begun), encoding="utf-8")
    text = _text(write_report([run]))
    assert "step 60 of 60, selected by f1. Status of the run: running" in text
    assert "Training 3 min 0 s" in text


def test_several_runs_are_compared(plain_run: Path, other_seeds: tuple[Path, Path], tmp_path: Path) -> None:
    text = _text(write_report([plain_run, *other_seeds], tmp_path / "many.html"))
    assert "3 runs compared" in text
    assert "Difference from run on the same 160 questions" in text
    assert "worse than run" in text
    assert "The same settings with several seeds" in text
    assert re.search(r"learning_rate .* 3e-05 3e-05 0\.001", text)


def test_v2_shows_the_scores_at_other_thresholds(run_v2: Path, plain_run: Path, tmp_path: Path) -> None:
    page = write_report([run_v2], tmp_path / "v2.html")
    text = _text(page)
    assert "HasAns" in text
    assert "Answer, but there is none" in text
    assert re.search(r"precision \d+\.\d\d, recall \d+\.\d\d", text)
    assert 'id="chart-scores-0"' in page.read_text(encoding="utf-8")
    both = _text(write_report([plain_run, run_v2], tmp_path / "both.html"))
    assert "No two of these runs were evaluated on the same questions" in both


def test_hostile_text_is_only_ever_escaped(hostile_run: Path, tmp_path: Path) -> None:
    html = write_report([hostile_run], tmp_path / "hostile.html").read_text(encoding="utf-8")
    page = Elements(html)
    assert [tag for tag, _ in page.found if tag == "script"] == ["script"] * 3
    assert not any(tag in ("img", "i", "b") for tag, _ in page.found)
    assert "hacked" not in html
    assert "run &lt;i&gt;" in html


@pytest.mark.real_data
def test_card_is_shown_for_exactly_the_questions_of_the_dev_set(real_data_dev: list[str], plain_run: Path) -> None:
    run = load_run(plain_run)
    validation = msgspec.structs.replace(run.facts.data.validation, questions=CARD.questions)
    data = msgspec.structs.replace(run.facts.data, validation=validation)
    run = replace(run, facts=msgspec.structs.replace(run.facts, data=data))
    run.predictions.clear()
    run.predictions.update(dict.fromkeys(real_data_dev, "x"))
    assert published_card(run, []) == CARD
    run.predictions.pop(real_data_dev[0])
    run.predictions["another"] = "x"
    assert published_card(run, []) is None


def test_no_card_for_other_data(plain_run: Path) -> None:
    assert published_card(load_run(plain_run), cases.examples_of(20)) is None


def test_ids_hash_ignores_their_order() -> None:
    assert ids_sha256(["b", "a"]) == ids_sha256(["a", "b"]) != ids_sha256(["ab"])
