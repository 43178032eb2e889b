"""Remedies are commands that run as they stand."""

import dataclasses
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from albertqa import cli
from albertqa.config import check_settings, to_toml
from albertqa.health.advice import short, train_again, train_for
from albertqa.health.diagnose import diagnose
from albertqa.health.record import RunRecord

from .cases import changed, published_run
from .test_rules import CASES, SOUND

# Faults whose remedies differ in kind: settings, data, lengths, another model.
REALLY_RUN = (
    "learning rate 100 times too high",
    "answer_start off by two",
    "windows of 64 tokens",
    "from scratch on real questions",
    "60 epochs on 16 questions",
)


def commands_of(remedy: str) -> list[list[str]]:
    """Split a remedy as a shell would; a variable before the command is no word of it."""
    words = shlex.split(remedy)
    assert words[0] == "albertqa" or "=" in words[0]
    starts = [at for at, word in enumerate(words) if word == "albertqa"]
    assert all(words[at - 1] == "&&" for at in starts[1:])
    return [words[at + 1 : end] for at, end in zip(starts, [*(at - 1 for at in starts[1:]), len(words)], strict=True)]


@pytest.mark.parametrize("at", range(len(CASES)), ids=[f"{at}-{case[0]}" for at, case in enumerate(CASES)])
def test_every_remedy_is_a_command_that_parses_to_sound_settings(at: int, tmp_path: Path) -> None:
    _, wrong, _ = CASES[at]
    run = tmp_path / "it's a run"
    run.mkdir()
    record = dataclasses.replace(changed(SOUND, **wrong), run=run)
    (run / "config.toml").write_text(to_toml(record.settings))
    for finding in diagnose(record):
        ((command, *arguments),) = commands_of(finding.remedy)
        form, _ = cli.COMMANDS[command]
        if command == "train":
            settings = cli._parse_train(arguments).settings
            check_settings(settings)
            if "--resume" not in arguments:
                assert not settings.output_dir.exists()
                assert settings.output_dir.parent == tmp_path
                changes = [
                    one.name
                    for one in dataclasses.fields(settings)
                    if getattr(settings, one.name) != getattr(record.settings, one.name)
                ]
                assert set(changes) > {"output_dir"} or "ALBERTQA_CACHE" in finding.remedy, finding.remedy
        else:
            import tyro

            tyro.cli(form, args=arguments)


@pytest.mark.parametrize("fault", REALLY_RUN)
def test_a_remedy_really_runs(
    planted: Callable[[str], RunRecord],
    fault: str,
    tiny_weights_for_remedies: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    import albertqa.recipe as recipe

    real = recipe.resolve_model

    def resolve(source: Any) -> str:
        # The Hub cannot be reached from here; what is tested is the command.
        return str(tiny_weights_for_remedies) if source == "albert/albert-base-v2" else real(source)

    monkeypatch.setattr(recipe, "resolve_model", resolve)
    finding = diagnose(planted(fault))[0]
    for command, *arguments in commands_of(finding.remedy):
        code = cli.main([command, *arguments, *(["--max-steps", "1"] if command == "train" else [])])
        captured = capsys.readouterr()
        assert code == 0, captured.err
        if command == "train":
            written = Path(arguments[arguments.index("--output-dir") + 1])
            assert (written / "health.json").is_file()
            shutil.rmtree(written)
        elif "--write-repaired" in arguments:
            assert Path(arguments[arguments.index("--write-repaired") + 1]).is_file()


def test_a_run_that_was_told_its_steps_is_told_steps() -> None:
    record = changed(published_run(noise=0.1, seed=1), settings={"max_steps": 16_620})
    told = train_for(record, "short", 1.0, train_batch_size=8)
    assert "--max-steps 11080 --train-batch-size 8" in told
    assert "--epochs" not in told


def test_a_folder_that_is_taken_is_passed_over(tmp_path: Path) -> None:
    record = dataclasses.replace(published_run(noise=0.1, seed=1), run=tmp_path / "run")
    (tmp_path / "run-slow").mkdir()
    (tmp_path / "run-slow-2").mkdir()
    assert train_again(record, "slow", learning_rate=1e-5).endswith(f"--lr 1e-5 --output-dir {tmp_path}/run-slow-3")


def test_a_run_named_by_a_dot_has_a_neighbour(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "run").mkdir()
    monkeypatch.chdir(tmp_path / "run")
    record = dataclasses.replace(published_run(noise=0.1, seed=1), run=Path())
    assert train_again(record, "slow", from_scratch=False, augment=("crop", "typo")) == (
        f"albertqa train --config config.toml --no-from-scratch --augment crop typo --output-dir {tmp_path}/run-slow"
    )


@pytest.mark.parametrize(
    ("value", "text"), [(3.12e-5, "3.1e-5"), (0.01, "0.01"), (2.0, "2"), (1e-8, "1e-8"), (250.0, "250")]
)
def test_numbers_are_spelled_short(value: float, text: str) -> None:
    assert short(value) == text
    assert float(text) == pytest.approx(value, rel=0.02)
