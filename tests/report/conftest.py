"""Runs that the tests of the report share, and a real browser where there is one."""

import random
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from albertqa.config import Settings
from albertqa.data.example import Example, Gold
from albertqa.windows.tokenizer import load_tokenizer

from . import cases

FINDINGS = (
    {"name": "loss-spike", "severity": "warning", "step": 30, "message": "loss rose <b>fast</b>", "remedy": "lower it"},
    {"name": "few-labels", "severity": "warning", "step": 0, "message": "few labels are right", "remedy": ""},
)


@pytest.fixture(scope="session")
def model_copy(tmp_path_factory: pytest.TempPathFactory, tiny_folder: Path) -> Path:
    """A model folder as training leaves it: config and tokenizer.json (weights are not looked at)."""
    folder = tmp_path_factory.mktemp("model-copy")
    shutil.copy(tiny_folder / "config.json", folder)
    load_tokenizer(tiny_folder).save(folder)
    (folder / "model.safetensors").write_bytes(b"")
    return folder


@pytest.fixture(scope="session")
def plain_run(tmp_path_factory: pytest.TempPathFactory, model_copy: Path) -> Path:
    """A run on 160 v1.1 questions, three in four right, with findings."""
    folder = tmp_path_factory.mktemp("plain")
    examples = cases.examples_of(20)
    data = cases.write_squad(folder / "dev.json", examples)
    return _run(folder / "run", data, examples, seed=42, share_right=0.75, model_copy=model_copy)


@pytest.fixture(scope="session")
def other_seeds(tmp_path_factory: pytest.TempPathFactory, plain_run: Path) -> tuple[Path, Path]:
    """Two more runs on the same questions: another seed, and another learning rate with worse answers."""
    folder = tmp_path_factory.mktemp("others")
    examples = cases.examples_of(20)
    data = plain_run.parent / "dev.json"
    second = _run(folder / "seed-43", data, examples, seed=43, share_right=0.7)
    third = _run(folder / "high-rate", data, examples, seed=42, share_right=0.2, learning_rate=1e-3)
    return second, third


def _run(
    folder: Path,
    data: Path,
    examples: list[Example],
    *,
    seed: int,
    share_right: float,
    learning_rate: float = 3e-5,
    model_copy: Path | None = None,
) -> Path:
    generator = random.Random(seed)
    answers, n_best = {}, {}
    for example in examples:
        gold = example.golds[0].text
        longer = f"In {gold}" if f"In {gold}" in example.context else f"of {gold}"
        wrong = generator.choice(["the bridge", longer])
        answers[example.id] = gold if generator.random() < share_right else wrong
        n_best[example.id] = cases.made_up_n_best(example, answers[example.id], generator, 8)
    settings = replace(Settings(), seed=seed, learning_rate=learning_rate, train_file=("starter:train",))
    return cases.write_run(
        folder,
        data,
        examples,
        answers,
        n_best,
        settings=settings,
        tokenizer_folder=model_copy,
        findings=FINDINGS if model_copy else (),
    )


@pytest.fixture(scope="session")
def run_v2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on 120 v2.0 questions, a third of them without an answer."""
    folder = tmp_path_factory.mktemp("v2")
    examples = cases.examples_of(15, version_2=True)
    data = cases.write_squad(folder / "dev.json", examples, version_2=True)
    generator = random.Random(5)
    answers, n_best, odds = {}, {}, {}
    for example in examples:
        text = example.golds[0].text if example.golds and generator.random() < 0.8 else "the bridge"
        odds[example.id] = generator.gauss(-2.0 if example.golds else 1.5, 1.5)
        logits = [5.0, 5.0 + odds[example.id]]
        rows = cases.candidates(example, [text, ""], logits)
        n_best[example.id] = sorted(rows, key=lambda row: -row["probability"])
        answers[example.id] = "" if odds[example.id] > 0 else text
    return cases.write_run(folder / "run", data, examples, answers, n_best, null_odds=odds)


@pytest.fixture(scope="session")
def hostile_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose ids, titles, questions, contexts and answers try to break out of the page."""
    folder = tmp_path_factory.mktemp("hostile <b>&")
    examples, answers, n_best = [], {}, {}
    for index, text in enumerate(cases.HOSTILE):
        context = f"😀 {text} stands before the answer {text} and after it."
        start = context.index("the answer")
        golds = (Gold("the answer " + text, start),)
        examples.append(Example(f"id {index} {text}", f"What is {text}?", context, golds, f"Title {text}"))
    long_word = "w" * 100_000
    examples.append(Example("long", f"Is {long_word} long?", f"{long_word} is a word.", (Gold(long_word, 0),), "Long"))
    for example in examples:
        answers[example.id] = example.golds[0].text
        n_best[example.id] = cases.candidates(example, [answers[example.id]], [3.0])
    data = cases.write_squad(folder / "dev.json", examples)
    return cases.write_run(folder / "run <i>", data, examples, answers, n_best)
