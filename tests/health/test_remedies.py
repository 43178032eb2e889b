"""Remedies are commands that run as they stand."""

import dataclasses
import json
import shlex
import shutil
import subprocess
from collections.abc import Callable
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

from albertqa import cli
from albertqa.config import to_toml
from albertqa.data.example import Gold
from albertqa.data.reading import load_examples
from albertqa.health.advice import (
    evaluate_again,
    find_rate,
    fix_case,
    more_questions,
    short,
    show_rows,
    train_again,
    train_for,
)
from albertqa.health.diagnosis import diagnose
from albertqa.health.record import RunRecord, load_record
from albertqa.run.recipe import train

from .cases import Task, changed, numbers_task, published_run, write_rows
from .faults import off_by_two
from .test_rules import CASES, SOUND, STEPS

# Faults whose remedies differ in kind: settings, data, lengths, another model.
REALLY_RUN = (
    "learning rate 100 times too high",
    "answer_start off by two",
    "windows of 64 tokens",
    "from scratch on real questions",
    "60 epochs on 16 questions",
)


def commands_of(remedy: str) -> list[list[str]]:
    """Split a remedy as a shell would, which runs each command whatever became of those before it.

    A variable before a command is no word of it.
    """
    lexer = shlex.shlex(remedy, posix=True, punctuation_chars=";&|")
    lexer.whitespace_split, lexer.commenters = True, ""
    words = list(lexer)
    assert not {"&&", "||", "|", "&"} & set(words)
    commands = [list(one) for is_end, one in groupby(words, key=";".__eq__) if not is_end]
    commands = [command[1:] if "=" in command[0] else command for command in commands]
    assert all(command[0] == "albertqa" for command in commands)
    return [command[1:] for command in commands]


@pytest.mark.parametrize("at", range(len(CASES)), ids=[f"{at}-{case[0]}" for at, case in enumerate(CASES)])
def test_every_remedy_is_a_command_that_parses_to_sound_settings(at: int, tmp_path: Path) -> None:
    _, wrong, _ = CASES[at]
    run = tmp_path / "it's a run"
    run.mkdir()
    record = changed(changed(SOUND, **wrong), path=run)
    (run / "config.toml").write_text(to_toml(record.settings))
    found = [(one, *words) for one in diagnose(record) for words in commands_of(one.remedy)]
    for finding, command, *arguments in found:
        parsed = cli.parse([command, *arguments])
        if command == "train":
            settings = parsed.settings
            settings.check()
            if "--resume" not in arguments:
                assert not settings.output_dir.exists()
                assert settings.output_dir.parent == tmp_path
                changes = [
                    one.name
                    for one in dataclasses.fields(settings)
                    if getattr(settings, one.name) != getattr(record.settings, one.name)
                ]
                assert set(changes) > {"output_dir"} or "ALBERTQA_CACHE" in finding.remedy, finding.remedy


@pytest.mark.parametrize("fault", REALLY_RUN)
def test_a_remedy_really_runs(
    planted: Callable[[str], RunRecord],
    fault: str,
    tiny_weights_for_remedies: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    import albertqa.run.recipe as recipe

    real = recipe.resolve_model

    def resolve(source: Any) -> str:
        # The Hub cannot be reached from here; what is tested is the command.
        return str(tiny_weights_for_remedies) if source == "albert/albert-base-v2" else real(source)

    monkeypatch.setattr(recipe, "resolve_model", resolve)
    finding = diagnose(planted(fault))[0]
    # Neither can public questions.
    remedy = finding.remedy.replace("rajpurkar/squad:train", "starter:train")
    for command, *arguments in commands_of(remedy):
        code = cli.main([command, *arguments, *(["--max-steps", "1"] if command == "train" else [])])
        captured = capsys.readouterr()
        assert code == 0 or command == "check", captured.err
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


def test_a_repaired_copy_is_trained_on_though_the_check_tells_of_errors(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    shifted = [off_by_two(one) for one in load_examples("starter:train", limit=60)]
    lost = dataclasses.replace(shifted[0], id="lost", golds=(Gold("not there", 3),))
    task = Task(
        write_rows(Path("its train.jsonl"), [*shifted, lost]),
        write_rows(Path("validation.jsonl"), load_examples("starter:validation", limit=10)),
        tiny_folder,
    )
    lengths = {"max_seq_length": 384, "doc_stride": 128}
    # The row that cannot be repaired stands behind those that are trained on.
    train(task.settings(Path("run"), max_train_examples=60, max_steps=1, **lengths))
    finding = diagnose(load_record(Path("run")))[0]
    assert finding.name == "misaligned-answers"
    codes = [cli.main(command) for command in commands_of(finding.remedy)]
    assert codes == [1, 0], capsys.readouterr().err
    assert (tmp_path / "run-repaired" / "final").is_dir()


def test_a_run_judged_from_within_its_folder_is_repeated_from_there(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "started").mkdir()
    monkeypatch.chdir(tmp_path / "started")
    shutil.copytree(tiny_folder, "model")
    task = Task(
        write_rows(Path("train.jsonl"), numbers_task("train", 8)),
        write_rows(Path("validation.jsonl"), numbers_task("validation", 8)),
        Path("model"),
    )
    train(task.settings(Path("runs/one"), max_steps=1))
    beside = load_record(Path("runs/one"))
    rows = "albertqa check train.jsonl --validation-file validation.jsonl --show-rows data-leakage"
    assert show_rows(beside, "data-leakage") == rows
    monkeypatch.chdir("runs/one")
    for named in (Path(), Path("../one")):
        record = changed(beside, path=named)
        for remedy in (train_again(record, "again", seed=7), evaluate_again(record), show_rows(record, "data-leakage")):
            (command,) = commands_of(remedy)
            assert cli.main(command) == 0, capsys.readouterr().err
    runs = tmp_path / "started" / "runs"
    assert sorted(path.name for path in runs.iterdir()) == ["one", "one-again", "one-again-2"]
    assert find_rate(record).startswith(f"albertqa find-lr --config ../one/config.toml --model {runs.parent}/model")
    monkeypatch.chdir("best")
    assert train_again(changed(beside, path=Path("..")), "again").endswith(f" {runs}/one-again-3")


def test_an_evaluation_is_as_the_run_had_it() -> None:
    record = changed(
        published_run(noise=0.1, seed=1),
        settings={"validation_file": ("a.json", "b.json"), "max_eval_examples": 40, "n_best_size": 5, "doc_stride": 64},
    )
    told = evaluate_again(record, max_answer_length=12)
    assert told == (
        "albertqa evaluate runs/published a.json b.json "
        "--max-eval-examples 40 --doc-stride 64 --max-answer-length 12 --n-best-size 5"
    )


def test_a_threshold_is_tuned_only_where_some_questions_have_no_answer() -> None:
    record = changed(SOUND, scores={"f1": 70.0, "best_f1": 76.0, "best_f1_thresh": -2.0})
    (finding,) = diagnose(record)
    assert finding.name == "threshold-off"
    assert finding.remedy == (
        "albertqa evaluate runs/published rajpurkar/squad:validation --version-2-with-negative False"
    )
    assert "let the model answer them all" in finding.message
    some = changed(record, train={"without_answer": 43_000}, validation={"without_answer": 3000})
    (finding,) = diagnose(some)
    assert finding.remedy == "albertqa evaluate runs/published rajpurkar/squad:validation --tune-threshold"


@pytest.mark.parametrize(("file", "key"), [("tokenizer.json", "lowercase"), ("tokenizer_config.json", "do_lower_case")])
def test_case_is_corrected_where_the_tokenizer_reads_it(file: str, key: str, tmp_path: Path) -> None:
    folder = tmp_path / "its model"
    folder.mkdir()
    setting = {"normalizer": {"type": "BertNormalizer", key: False}}
    (folder / file).write_text(json.dumps(setting))
    record = changed(published_run(noise=0.1, seed=1), settings={"model": str(folder)})
    edit, _, again = fix_case(record, lowercase=True).partition("; ")
    subprocess.run(edit, shell=True, check=True)
    assert json.loads((folder / file).read_text()) == {"normalizer": {"type": "BertNormalizer", key: True}}
    assert json.loads((folder / f"{file}.before").read_text()) == setting
    assert again.startswith("albertqa train --config ")
    assert "--model" not in again
    # It is corrected, so the fault is elsewhere.
    assert "--model albert/albert-base-v2" in fix_case(record, lowercase=True)


def test_rows_that_only_the_model_knows_are_shown_with_the_model() -> None:
    record = changed(SOUND, settings={"model": "runs/before/best"}, validation={"seen_by_model_percent": 4.0})
    (finding,) = diagnose(record)
    assert finding.remedy.endswith(" --tokenizer runs/before/best --show-rows data-leakage")


def test_a_learning_rate_is_measured_only_where_there_are_windows_for_it() -> None:
    rows = [{**row, "train_loss": min(20.0, 4.9 + row["step"] / 10)} for row in STEPS[:400]]
    wrong: dict[str, Any] = {"steps": rows, "evaluations": [], "status": "running"}
    (finding,) = diagnose(changed(SOUND, **wrong))
    assert "'albertqa find-lr --config runs/published/config.toml' measures what suits." in finding.message
    (finding,) = diagnose(
        changed(SOUND, train={"windows": 319, "tokens": 54_000, "windows_without_answer": 5}, **wrong)
    )
    assert finding.message.endswith("Start again with less: 3e-6.")


@pytest.mark.parametrize(
    ("longest", "now", "remedy"),
    [
        (512, (384, 128), "--max-seq-length 512 --doc-stride 170"),
        (512, (512, 170), "--max-seq-length 512 --doc-stride 256"),
        (512, (512, 300), None),
        (128, (64, 16), "--max-seq-length 128 --doc-stride 42"),
        (None, (600, 100), "--max-seq-length 600 --doc-stride 300"),
    ],
)
def test_windows_for_cut_answers_are_others_than_before(
    longest: int | None, now: tuple[int, int], remedy: str | None
) -> None:
    record = changed(SOUND, settings=dict(zip(("max_seq_length", "doc_stride"), now, strict=True)),
                     model={"max_positions": longest}, train={"golds_in_no_window": 3000})  # fmt: skip
    (finding,) = diagnose(changed(record, train={"golds_too_long": 0}))
    assert finding.name == "truncated-answers"
    if remedy is None:
        assert finding.remedy.startswith("albertqa check ")
        assert "No window would hold them" in finding.message
    else:
        assert f" {remedy} " in finding.remedy
        cli.parse(commands_of(without_file(finding.remedy))[0]).settings.check()


def test_longer_windows_of_a_short_model_overlap_by_less() -> None:
    record = changed(SOUND, model={"max_positions": 128}, settings={"max_seq_length": 64, "doc_stride": 16},
                     train={"windows_without_answer": 60_000})  # fmt: skip
    (finding,) = diagnose(record)
    assert finding.name == "short-windows"
    assert " --max-seq-length 128 --doc-stride 42 " in finding.remedy
    cli.parse(commands_of(without_file(finding.remedy))[0]).settings.check()


def without_file(remedy: str) -> str:
    """Leave out the settings file of a run that is not there."""
    return remedy.replace(" --config runs/published/config.toml", "")


def test_what_only_decoding_decides_is_no_reason_to_train_again() -> None:
    (finding,) = diagnose(changed(SOUND, train={"golds_in_no_window": 0, "golds_too_long": 6000}))
    assert finding.name == "answers-too-long"
    assert "A trained model needs no new training: 'albertqa evaluate' takes --max-answer-length" in finding.message
    assert " --max-answer-length 90 " in finding.remedy


def test_validation_data_is_never_trained_on() -> None:
    (finding,) = diagnose(changed(SOUND, train={"questions": 1500}))
    assert finding.name == "swapped-files"
    assert finding.remedy == (
        "albertqa train --config runs/published/config.toml --max-eval-examples 1500 "
        "--output-dir runs/published-less-validation"
    )


def test_a_folder_that_is_taken_is_passed_over(tmp_path: Path) -> None:
    record = changed(published_run(noise=0.1, seed=1), path=tmp_path / "run")
    (tmp_path / "run-slow").mkdir()
    (tmp_path / "run-slow-2").mkdir()
    assert train_again(record, "slow", learning_rate=1e-5).endswith(f"--lr 1e-5 --output-dir {tmp_path}/run-slow-3")


def test_a_run_named_by_a_dot_has_a_neighbour(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "run").mkdir()
    monkeypatch.chdir(tmp_path / "run")
    record = changed(published_run(noise=0.1, seed=1), path=Path())
    assert train_again(record, "slow", from_scratch=False, augment=("crop",)) == (
        f"albertqa train --config config.toml --no-from-scratch --augment crop --output-dir {tmp_path}/run-slow"
    )


@pytest.mark.parametrize(
    ("value", "text"), [(3.12e-5, "3.1e-5"), (0.01, "0.01"), (2.0, "2"), (1e-8, "1e-8"), (250.0, "250")]
)
def test_numbers_are_spelled_short(value: float, text: str) -> None:
    assert short(value) == text
    assert float(text) == pytest.approx(value, rel=0.02)


@pytest.mark.parametrize("max_steps", [4, 5_000])
def test_more_questions_get_the_steps_to_learn_from_them(max_steps: int, tmp_path: Path) -> None:
    settings = {"model": "starter", "train_file": ("mine.json",), "max_steps": max_steps, "train_batch_size": 4}
    (words,) = commands_of(more_questions(changed(SOUND, settings=settings, path=tmp_path / "run")))
    passes = 2 * len(load_examples("starter:train")) / 4
    assert int(words[words.index("--max-steps") + 1]) == max(max_steps, passes)
