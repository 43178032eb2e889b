"""A run's model reads as that run's own evaluation did, with no setting given: windows, decoding, "no answer"."""

import json
import statistics
from dataclasses import replace
from pathlib import Path

import pytest

import albertqa
from albertqa.answer.answerer import Answerer
from albertqa.config import Settings
from albertqa.data.reading import load_examples
from albertqa.data.starter import starter_file
from albertqa.decode.reader_settings import ReaderSettings
from albertqa.run.recipe import train

DATA = starter_file("dev", version_2=True)


@pytest.fixture(scope="module")
def run(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of seconds at 256/64 on v2.0 data, with a threshold that makes half of its answers "no answer"."""
    folder = tmp_path_factory.mktemp("runs")
    settings = Settings(
        model=str(tiny_folder),
        from_scratch=True,
        train_file=(str(starter_file("train", version_2=True)),),
        validation_file=(str(DATA),),
        output_dir=folder / "first",
        max_train_examples=32,
        max_eval_examples=120,
        max_seq_length=256,
        doc_stride=64,
        max_answer_length=12,
        max_steps=4,
        learning_rate=1e-3,
        device="cpu",
        mixed_precision="no",
        num_threads=1,
    )
    train(settings)
    odds = json.loads((folder / "first" / "null_odds.json").read_text(encoding="utf-8"))
    # The same run again, with a threshold that is not the default.
    threshold = statistics.median(odds.values())
    train(replace(settings, output_dir=folder / "second", null_score_diff_threshold=threshold))
    return folder / "second"


def test_best_and_final_say_how_they_read(run: Path) -> None:
    for name in ("best", "final"):
        settings = ReaderSettings.load(run / name)
        assert (settings.max_seq_length, settings.doc_stride, settings.max_answer_length) == (256, 64, 12)
        assert settings.version_2_with_negative is True
        assert abs(settings.null_score_diff_threshold) > 1e-3


def test_evaluate_equals_the_runs_own_evaluation_with_no_setting_given(run: Path) -> None:
    own = json.loads((run / "eval.json").read_text(encoding="utf-8"))
    found = albertqa.evaluate(run, DATA, limit=120, device="cpu", mixed_precision="no").summary()
    timed = {"seconds", "windows_per_second", "step"}
    assert {key: value for key, value in found.items() if key not in timed} == pytest.approx(
        {key: value for key, value in own.items() if key not in timed}
    )
    # Otherwise the recipe's 384/128 would have given the same.
    assert found["windows"] > 120


def test_answerer_equals_the_runs_own_predictions_with_no_setting_given(run: Path) -> None:
    predictions = json.loads((run / "predictions.json").read_text(encoding="utf-8"))
    n_best = json.loads((run / "nbest_predictions.json").read_text(encoding="utf-8"))
    examples = load_examples(DATA, limit=120)
    answerer = Answerer(run, device="cpu", mixed_precision="no")
    answers = answerer.answer_batch([(one.question, one.context) for one in examples])
    assert [one.text for one in answers] == [predictions[example.id] for example in examples]
    assert 40 < [one.text for one in answers].count("") < 80
    for answer, example in zip(answers, examples, strict=True):
        chosen = next(one for one in n_best[example.id] if one["text"] == answer.text)
        assert (answer.start_char, answer.end_char) == (chosen["start_char"], chosen["end_char"])


def test_a_setting_given_wins(run: Path) -> None:
    evaluation = albertqa.evaluate(run, DATA, limit=20, max_seq_length=384, doc_stride=128, device="cpu")
    assert evaluation.num_windows < albertqa.evaluate(run, DATA, limit=20, device="cpu").num_windows
    answerer = Answerer(run, version_2_with_negative=False, device="cpu")
    examples = load_examples(DATA, limit=20)
    assert all(one.text for one in answerer.answer_batch([(one.question, one.context) for one in examples]))
