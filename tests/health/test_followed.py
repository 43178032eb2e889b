"""Whoever follows the doctor's command gets the sound run's f1 back: real trainings of the starter encoder.

A fault is planted into a sound run on part of the starter set. It must cost f1, beyond the noise of the questions
evaluated; the doctor's first command is run as it stands; what comes out must not be below the sound run, beyond that
noise.
"""

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from statistics import mean
from typing import Any

import pytest

from albertqa import cli, files
from albertqa.cli.quickstart import TRAIN, VALIDATION, quickstart_settings
from albertqa.config import Settings
from albertqa.data.example import Example, Gold
from albertqa.data.formats.squad_json import squad_document
from albertqa.data.reading import load_examples
from albertqa.health.diagnosis import diagnose
from albertqa.health.record import load_record
from albertqa.run.recipe import train
from albertqa.scoring.interval import difference_interval
from albertqa.scoring.official import score_each

from .test_remedies import commands_of

pytestmark = pytest.mark.slow

DEV_QUESTIONS = 300


@dataclass(frozen=True)
class Sound:
    """A run with nothing wrong: the quickstart's settings but for these."""

    questions: int
    settings: dict[str, Any]


@dataclass(frozen=True)
class Planted:
    """A fault, and what the doctor must say to it first.

    Attributes:
        sound: The run that it is planted into.
        findings: Names that the first finding may have.
        settings: Settings that differ from the sound run's.
        data: What was done to the training data.
    """

    sound: str
    findings: tuple[str, ...]
    settings: dict[str, Any] = dataclasses.field(default_factory=dict)
    data: Callable[[list[Example]], list[Example]] = list


def seven_to_the_right(examples: list[Example]) -> list[Example]:
    """Cut every answer out seven characters beside its place, as where a title was taken off the contexts."""
    return [
        replace(one, golds=(Gold(one.context[gold.answer_start + 7 : gold.answer_end + 7], gold.answer_start + 7),))
        for one in examples
        if (gold := one.golds[0]).answer_end + 7 <= len(one.context)
    ]


SOUND = {
    "usual": Sound(800, {"epochs": 1.5}),
    # Few questions, seen often, and never twice alike.
    "small": Sound(400, {"epochs": 8.0, "hidden_dropout": 0.1, "eval_steps": 200}),
}
FAULTS = {
    "learning rate 100 times too high": Planted("usual", ("high-learning-rate",), {"learning_rate": 2e-2}),
    "learning rate 100 times too low": Planted("usual", ("low-learning-rate",), {"learning_rate": 2e-6}),
    "batch too large": Planted("usual", ("too-few-steps",), {"train_batch_size": 256}),
    "misaligned data": Planted("usual", ("misaligned-answers",), data=seven_to_the_right),
    "no dropout on a small set": Planted("small", ("overfitting",), {"hidden_dropout": 0.0, "augment": ()}),
}


@pytest.fixture(scope="module")
def sound_run(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Settings]:
    """Train a sound run, once; give its settings."""

    @cache
    def trained(name: str) -> Settings:
        folder, sound = tmp_path_factory.mktemp(name), SOUND[name]
        settings = replace(
            quickstart_settings(folder / "run"),
            train_file=(str(write(folder / "train.json", load_examples(TRAIN, limit=sound.questions))),),
            max_eval_examples=DEV_QUESTIONS,
            **sound.settings,
        )
        train(settings)
        assert diagnose(load_record(settings.output_dir)) == []
        return settings

    return trained


@pytest.mark.parametrize("name", FAULTS)
def test_following_the_doctor_brings_f1_back(
    sound_run: Callable[[str], Settings], name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fault = FAULTS[name]
    sound = sound_run(fault.sound)
    settings = replace(
        sound,
        **fault.settings,
        train_file=(str(write(tmp_path / "train.json", fault.data(load_examples(sound.train_file[0])))),),
        output_dir=tmp_path / "run",
    )
    train(settings)
    finding = diagnose(load_record(settings.output_dir))[0]
    remedied = follow(finding.remedy)
    healthy = f1_of_questions(sound.output_dir)
    harm = difference_interval(healthy, f1_of_questions(settings.output_dir))
    left = difference_interval(healthy, f1_of_questions(remedied))
    with capsys.disabled():
        rows = (("sound", sound.output_dir), ("planted", settings.output_dir), ("remedied", remedied))
        figures = ", ".join(f"{what} {mean(f1_of_questions(run).values()):.1f}" for what, run in rows)
        print(f"\n{name}: f1 {figures} ({left.low:+.1f} to {left.high:+.1f}); {finding.name}: {finding.remedy}")
    assert finding.name in fault.findings
    assert harm.high < 0
    assert left.high >= 0


def follow(remedy: str) -> Path:
    """Run the commands of a remedy as a shell would; give the run that comes out."""
    commands = commands_of(remedy)
    codes = [cli.main(arguments) for arguments in commands]
    assert codes[-1] == 0
    assert commands[-1][0] == "train"
    return Path(commands[-1][commands[-1].index("--output-dir") + 1])


def f1_of_questions(run: Path) -> dict[str, float]:
    """Give the f1 of every evaluated question, in percent, of the model that the run ended with."""
    evaluated = run / "final-evaluated"
    if not evaluated.is_dir():
        words = ["evaluate", str(run / files.FINAL), VALIDATION, "--max-eval-examples", str(DEV_QUESTIONS)]
        assert cli.main([*words, "--output-dir", str(evaluated)]) == 0
    predictions = json.loads((evaluated / files.PREDICTIONS_JSON).read_text())
    scores = score_each(load_examples(VALIDATION, limit=DEV_QUESTIONS), predictions)
    return {name: 100 * one.f1 for name, one in scores.items()}


def write(path: Path, examples: list[Example]) -> Path:
    """Write examples as SQuAD JSON."""
    path.write_text(json.dumps(squad_document(examples)), encoding="utf-8")
    return path
