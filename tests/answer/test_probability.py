"""A calibrated model's probabilities, from the command that fits them to the answers that carry them."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from albertqa.answer.answerer import Answerer
from albertqa.cli import main
from albertqa.decode.reader_settings import ReaderSettings
from albertqa.errors import SettingsError
from albertqa.scoring.calibration import log_loss
from decode.cases import save_reader, starter_examples

pytestmark = pytest.mark.usefixtures("one_thread")

LENGTHS = ["--max-seq-length", "128", "--doc-stride", "32", "--device", "cpu", "--mixed-precision", "no"]
READ = {"max_seq_length": 128, "doc_stride": 32, "device": "cpu", "mixed_precision": "no"}


@pytest.fixture(scope="module")
def plain(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_reader(tmp_path_factory.mktemp("plain"), tiny_folder)


@pytest.fixture(scope="module")
def data(plain: Path) -> list[dict[str, object]]:
    """Questions of which the model gets those right that it has high scores for, with exceptions."""
    examples = starter_examples(240)
    answers = Answerer(plain, **READ).answer_batch([(one.question, one.context) for one in examples])  # type: ignore[arg-type]
    middle = sorted(one.score for one in answers)[len(answers) // 2]
    rows = []
    for index, (example, answer) in enumerate(zip(examples, answers, strict=True)):
        is_right = (answer.score > middle) != (index % 7 == 0)
        gold = answer.text if is_right else example.golds[0].text
        start = answer.start_char if is_right else example.golds[0].answer_start
        rows.append({"id": example.id, "question": example.question, "context": example.context, "title": example.title,
                     "answers": {"text": [gold], "answer_start": [start]}})  # fmt: skip
    return rows


@pytest.fixture(scope="module")
def calibrated(plain: Path, data: list[dict[str, object]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model after ``albertqa evaluate --calibrate``."""
    folder = tmp_path_factory.mktemp("calibrated")
    model = shutil.copytree(plain, folder / "model")
    file = folder / "data.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in data), encoding="utf-8")
    assert main(["evaluate", str(model), str(file), "--calibrate", "--output-dir", str(folder / "out"), *LENGTHS]) == 0
    scores = json.loads((folder / "out" / "eval.json").read_text(encoding="utf-8"))
    assert scores["calibration_calibrated_log_loss"] < scores["calibration_softmax_log_loss"]
    return model


def test_probabilities_follow_how_often_the_answers_are_right(calibrated: Path, data: list[dict[str, object]]) -> None:
    answerer = Answerer(calibrated, **READ)  # type: ignore[arg-type]
    assert answerer.is_calibrated
    answers = answerer.answer_batch([(str(row["question"]), str(row["context"])) for row in data])
    right = np.asarray([float(row["answers"]["text"][0] == one.text) for row, one in zip(data, answers, strict=True)])  # type: ignore[index]
    losses = [
        log_loss(np.asarray([getattr(one, name) for one in answers]), right) for name in ("softmax", "probability")
    ]
    assert losses[1] < losses[0] - 0.05


def test_the_softmax_and_the_answer_are_those_of_the_model_before(plain: Path, calibrated: Path) -> None:
    pairs = [(one.question, one.context) for one in starter_examples(30)]
    before, after = (Answerer(model, **READ).answer_batch(pairs, n_best=20) for model in (plain, calibrated))  # type: ignore[arg-type]
    for one, other in zip(before, after, strict=True):
        assert (one.text, one.start_char, one.end_char) == (other.text, other.start_char, other.end_char)
        assert one.softmax == one.probability == other.softmax != other.probability
        assert other.n_best[0].probability == other.probability
        assert sum(candidate.probability for candidate in other.n_best) <= 1 + 1e-9
    assert not Answerer(plain, **READ).is_calibrated  # type: ignore[arg-type]


@pytest.mark.parametrize("model", ["plain", "calibrated"])
def test_below_the_least_probability_the_answer_is_no_answer(model: str, request: pytest.FixtureRequest) -> None:
    answerer = Answerer(request.getfixturevalue(model), **READ)
    pairs = [(one.question, one.context) for one in starter_examples(30)]
    free = answerer.answer_batch(pairs, n_best=3)
    bound = sorted(one.probability for one in free)[15]
    bounded = answerer.answer_batch(pairs, n_best=3, min_probability=bound)
    assert 0 < sum(not one.text for one in bounded) < 30
    for one, other in zip(free, bounded, strict=True):
        if one.probability >= bound:
            assert one == other
            continue
        assert (other.text, other.start_char, other.end_char) == ("", 0, 0)
        assert other.probability == pytest.approx(1 - one.probability)
        assert [each.text for each in other.n_best] == ["", *(each.text for each in one.n_best[:2])]
    with pytest.raises(SettingsError, match=r"min_probability is 1\.5, expected from 0 to 1"):
        answerer.answer_batch(pairs, min_probability=1.5)


def test_an_uncalibrated_model_says_so(plain: Path, calibrated: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for model, is_said in ((plain, True), (calibrated, False)):
        command = [
            "answer",
            str(model),
            "--question",
            "Who swam?",
            "--context",
            "Rollo swam, and Emma walked.",
            *LENGTHS,
        ]
        assert main(command) == 0
        assert ("the probability is not calibrated: albertqa evaluate MODEL DATA" in capsys.readouterr().out) == is_said


def test_data_that_calibrates_nothing_is_refused_and_nothing_is_written(
    plain: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        {"id": one.id, "question": one.question, "context": one.context,
         "answers": {"text": [one.golds[0].text], "answer_start": [one.golds[0].answer_start]}}
        for one in starter_examples(20)
    ]  # fmt: skip
    file = tmp_path / "few.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    model = shutil.copytree(plain, tmp_path / "model")
    assert main(["evaluate", str(model), str(file), "--calibrate", *LENGTHS]) == 2
    assert "makes the probabilities no better" in capsys.readouterr().err
    assert not (model / "reader.json").exists()


def test_a_calibration_comes_back_as_it_was_saved(calibrated: Path, tmp_path: Path) -> None:
    settings = ReaderSettings.load(calibrated)
    assert settings.confidence is not None
    settings.save(tmp_path)
    assert ReaderSettings.load(tmp_path) == settings
