"""The card's result with seeds and learning rates: from the windows to a mean with its standard deviation."""

import re
from pathlib import Path

import pytest

from .conftest import Shell

TRAIN = ["--model", "albert/albert-base-v2", "--train-file", "train.json", "--validation-file", "dev.json"]


@pytest.mark.real_data
def test_the_cards_windows(shell: Shell, real_data: Path) -> None:
    spiece = real_data / "albert" / "spiece.model"
    report = shell.json("albertqa", "check", real_data / "squad" / "dev-v1.1.json", "--tokenizer", spiece)
    assert (report["questions"], report["windows"]) == (10_570, 10_808)


@pytest.mark.slow
def test_seeds_and_rates(shell: Shell) -> None:
    # A rate for this model and data; a tiny model on few questions may have none, and then the test says why.
    found = shell.json("albertqa", "find-lr", *TRAIN[:4], "--batch-size", 4, "--num-steps", 24, "--max-lr", 1)
    assert found["reason"]

    for rate in ("3e-5", "1e-3"):
        for seed in (1, 2):
            words = ["--lr", rate, "--seed", seed, "--epochs", 1, "--output-dir", f"runs/{rate}-seed-{seed}"]
            result = shell.json("albertqa", "train", *TRAIN, *words)
            assert result["status"] == "finished"
            assert 0 <= result["f1"] <= 100
            assert 0 < result["loss"] < 10

    runs = [f"runs/{rate}-seed-{seed}" for rate in ("3e-5", "1e-3") for seed in (1, 2)]
    shell("albertqa", "report", *runs, "--output", "seeds.html")
    page = (shell.folder / "seeds.html").read_text(encoding="utf-8")
    assert "The same settings with several seeds" in page
    assert re.search(r"\d\.\d+\s*±\s*\d", page)

    # The same run again, from its own settings: the same numbers.
    again = ["--config", "runs/1e-3-seed-1/config.toml", "--output-dir", "runs/again"]
    first = shell.json("albertqa", "evaluate", "runs/1e-3-seed-1", "dev.json")
    shell("albertqa", "train", *again)
    second = shell.json("albertqa", "evaluate", "runs/again", "dev.json")
    assert second["loss"] == pytest.approx(first["loss"], rel=1e-6)
