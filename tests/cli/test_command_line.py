"""What is wrong with a command line is one line that names the flag as it was typed."""

import json
import shlex
from pathlib import Path

import pytest

from albertqa import cli
from albertqa.config import DataConfig, Settings, to_toml

from .conftest import Run

WRONG = {
    "trian": "no command 'trian', did you mean 'train'?",
    "xyzzy": "no command 'xyzzy'. There are: quickstart, check, ",
    "--lr 3 train": "expected a command before --lr, found none. There are: quickstart, check, ",
    "train --leaning-rate 1": "train: there is no --leaning-rate, did you mean '--learning-rate'? "
    "See: albertqa train --help",
    "train --leaning_rate=1": "train: there is no --leaning_rate, did you mean '--learning-rate'? "
    "See: albertqa train --help",
    "train --zzzzzzzz": "train: there is no --zzzzzzzz. See: albertqa train --help",
    "train mine.json": "train: unexpected argument 'mine.json'. See: albertqa train --help",
    "train --learning_rate abc": "--learning_rate: expected a number, found 'abc'. See: albertqa train --help",
    "train --lr=1,5": "--lr: expected a number, found '1,5'. See: albertqa train --help",
    "train --seed 1.5": "--seed: expected a whole number, found '1.5'. See: albertqa train --help",
    "find-lr --max-steps None": "--max-steps: expected a whole number, found 'None'. See: albertqa find-lr --help",
    "train --lr": "--lr: expected a value (FLOAT), found none. See: albertqa train --help",
    "train --output-dir --json": "--output-dir: expected a value (DIR), found none. See: albertqa train --help",
    "train --lr-scheduler-type linaer": "--lr-scheduler-type: expected linear or cosine or constant, found 'linaer', "
    "did you mean 'linear'? See: albertqa train --help",
    "train --mixed_precision tf32": "--mixed_precision: expected auto or no or bf16 or fp16, found 'tf32'. "
    "See: albertqa train --help",
    "train --train-file a --train_file b": "--train-file is given twice. Name everything after one: --train-file A B",
    "train --lr -1 --batch_size 0": "settings: --lr is -1.0, expected above 0 and finite; "
    "--batch_size is 0, expected at least 1",
    "train --seed 18446744073709551616": "settings: --seed is 18446744073709551616, expected from 0 to 2^63 - 1",
    "evaluate": "evaluate: expected MODEL, found none. See: albertqa evaluate --help",
    "evaluate model": "evaluate: expected at least one data file, found none",
    "score predictions.json": "score: expected FILE, found none. See: albertqa score --help",
    "score": "score: expected PREDICTIONS and FILE, found none. See: albertqa score --help",
    "check": "check: expected at least one file, found none",
    "split": "split: expected at least one file, found none",
    "report": "report: expected at least one run directory, found none",
    "doctor": "doctor: expected RUN, found none. See: albertqa doctor --help",
    "answer model": "answer: give either --question with --context (or --context-file), or --input FILE",
    "answer model --question Who": "answer: give the text with --context, --context-file or --documents, one of them",
    "answer model --question a --context b --output c.json": "--output: is for the answers to --input FILE; "
    "one answer is printed",
    "answer model --input a.json --output c.csv": "--output: expected a .json or .jsonl file or a folder, found c.csv",
}


@pytest.mark.parametrize("line", WRONG)
def test_what_is_wrong_is_one_line(run: Run, line: str) -> None:
    code, out, err = run(*shlex.split(line))
    assert code == 2
    assert out == "" if "--json" not in line else json.loads(out)["error"] == err.strip().removeprefix("albertqa: ")
    assert err.count("\n") == 1
    if WRONG[line].endswith(" "):
        assert err.startswith(f"albertqa: {WRONG[line]}")
    else:
        assert err == f"albertqa: {WRONG[line]}\n"


def test_an_error_is_json_where_json_is_asked_for(run: Run) -> None:
    for words in (["train", "--json", "--seed", "x"], ["doctor", "nothing-there", "--json"]):
        code, out, err = run(*words)
        assert code == 2
        assert err == f"albertqa: {json.loads(out)['error']}\n"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--version-2-with-negative", True),
        ("--version_2_with_negative True", True),
        ("--version-2-with-negative=false", False),
        ("--no-version-2-with-negative", False),
        ("", None),
    ],
)
def test_a_switch_may_have_a_value(words: str, expected: bool | None) -> None:
    assert cli.parse(["train", *words.split()]).settings.version_2_with_negative is expected
    assert cli.parse(["evaluate", "m", "d", *words.split()]).reader.version_2_with_negative is expected


def test_flags_win_over_the_file_which_wins_over_defaults(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('learning_rate = 1e-4\nseed = 7\ntrain_file = ["a.json"]\nfrom_scratch = true\n')
    command = cli.parse(["train", "--seed", "8", "--no-from-scratch", "--config", str(file), "--json"])
    expected = Settings(learning_rate=1e-4, seed=8, train_file=("a.json",))
    assert (command.settings, command.json, command.resume) == (expected, True, False)
    assert command.data.validation_file == ()


def test_a_resumed_run_has_its_own_settings(tmp_path: Path) -> None:
    run = tmp_path / "moved"
    run.mkdir()
    own = Settings(seed=7, learning_rate=1e-4, output_dir=tmp_path / "before", validation_file=("dev.json",))
    # A setting of an earlier version.
    (run / "config.toml").write_text(to_toml(own) + "\nema_decay = 0.0\n")
    command = cli.parse(["train", "--resume", "--output-dir", str(run), "--logging-steps", "5"])
    assert command.settings == Settings(
        **{**vars(own), "output_dir": run, "logging_steps": 5},
    )
    assert command.resume


def test_a_resumed_run_with_other_threads_is_refused_with_what_to_do(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "config.toml").write_text(to_toml(Settings(output_dir=folder)))
    code, _, err = run("train", "--resume", "--output-dir", folder, "--num-threads", 1)
    assert code == 2
    assert "a resumed run keeps its settings: --num-threads is 1, the run has None. Leave the flags out; " in err
    assert "OMP_NUM_THREADS=N" in err


def test_validation_data_that_is_named_is_told_from_the_default(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('validation_file = ["rajpurkar/squad:validation"]')
    assert cli.parse(["train", "--train-file", "a.json"]).data.validation_file == ()
    assert cli.parse(["train", "--config", str(file)]).data.validation_file == DataConfig.validation_file
    named = cli.parse(["train", "--dev-file", "rajpurkar/squad:validation"])
    assert named.data.validation_file == DataConfig.validation_file
