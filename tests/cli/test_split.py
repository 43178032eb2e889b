"""`split`, and `train` without validation data: parts that share no context, written once."""

import csv
import json
from pathlib import Path

import pytest

from albertqa.data.example import Example
from albertqa.data.formats.squad_json import squad_document
from albertqa.data.reading import load_examples
from albertqa.rundir.directory import load_run

from .conftest import Run


@pytest.fixture(scope="module")
def mine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hundred questions."""
    path = tmp_path_factory.mktemp("mine") / "mine.json"
    path.write_text(json.dumps(squad_document(load_examples("starter:train", limit=100))))
    return path


def parts(folder: Path) -> tuple[list[Example], list[Example]]:
    train, validation = load_examples(folder / "train.json"), load_examples(folder / "validation.json")
    assert not {one.context for one in train} & {one.context for one in validation}
    return train, validation


def test_split_writes_two_parts_that_share_no_context(run: Run, tmp_path: Path, mine: Path) -> None:
    code, out, _ = run("split", mine, "--output-dir", tmp_path / "a", "--fraction", 0.2, "--json")
    assert code == 0
    train, validation = parts(tmp_path / "a")
    assert json.loads(out) == {
        "train": str(tmp_path / "a/train.json"),
        "validation": str(tmp_path / "a/validation.json"),
        "train_questions": len(train),
        "validation_questions": len(validation),
        "seed": 42,
    }
    assert sorted(one.id for one in [*train, *validation]) == sorted(one.id for one in load_examples(mine))
    assert 10 <= len(validation) <= 30
    run("split", mine, "--output-dir", tmp_path / "b", "--fraction", 0.2)
    assert (tmp_path / "a/train.json").read_bytes() == (tmp_path / "b/train.json").read_bytes()
    run("split", mine, "--output-dir", tmp_path / "c", "--fraction", 0.2, "--seed", 7)
    assert (tmp_path / "a/train.json").read_bytes() != (tmp_path / "c/train.json").read_bytes()


def test_split_overwrites_nothing(run: Run, tmp_path: Path, mine: Path) -> None:
    (tmp_path / "validation.json").write_text("mine")
    code, _, err = run("split", mine, "--output-dir", tmp_path)
    assert code == 2
    assert err == f"albertqa: {tmp_path}/validation.json: is there already. Choose another --output-dir\n"
    assert not (tmp_path / "train.json").exists()


@pytest.mark.parametrize("fraction", ["0", "1", "nan", "-0.5"])
def test_split_needs_a_fraction(run: Run, tmp_path: Path, mine: Path, fraction: str) -> None:
    code, _, err = run("split", mine, "--output-dir", tmp_path / "out", "--fraction", fraction)
    assert (code, err.count("\n")) == (2, 1)
    assert "fraction" in err
    assert not (tmp_path / "out").exists()


def small(tiny_folder: Path, run: Path, *more: object) -> list[object]:
    return ["train", "--model", tiny_folder, "--from-scratch", "--max-steps", 1, "--output-dir", run, *more]


def test_train_without_validation_data_splits_some_off(run: Run, tmp_path: Path, tiny_folder: Path, mine: Path) -> None:
    code, out, _ = run(*small(tiny_folder, tmp_path / "run", "--train-file", mine))
    assert code == 0
    train, validation = parts(tmp_path / "run/data")
    assert out.splitlines()[0] == (
        f"data in {tmp_path}/run/data: {len(train)} questions to train on, {len(validation)} questions to validate on, "
        "split off by context (seed 42); or name --validation-file"
    )
    settings = load_run(tmp_path / "run").settings
    assert settings.train_file == (f"{tmp_path}/run/data/train.json",)
    assert settings.validation_file == (f"{tmp_path}/run/data/validation.json",)
    assert json.loads((tmp_path / "run/eval.json").read_text())["total"] == len(validation)
    # What the run has is what it goes on with.
    code, out, err = run("train", "--resume", "--output-dir", tmp_path / "run")
    assert code == 0, err
    assert "resuming from step 1 of 1" in out


def test_other_data_is_never_validated_on_squad(run: Run, tmp_path: Path, tiny_folder: Path) -> None:
    one = tmp_path / "one.json"
    one.write_text(json.dumps(squad_document(load_examples("starter:train", limit=1))))
    code, out, err = run(*small(tiny_folder, tmp_path / "run", "--train-file", one))
    assert (code, out) == (2, "")
    assert err.startswith("albertqa: no --validation-file is given, and no part can be split off: split: expected at ")
    assert err.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_a_settings_file_without_validation_data_is_no_different(
    run: Run, tmp_path: Path, tiny_folder: Path, mine: Path
) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(f'train_file = ["{mine}"]\nseed = 7\n')
    code, out, _ = run(*small(tiny_folder, tmp_path / "run", "--config", file))
    assert code == 0
    assert "split off by context (seed 7)" in out


def test_a_folder_that_is_taken_stays_as_it_is(run: Run, tmp_path: Path, tiny_folder: Path, mine: Path) -> None:
    assert run(*small(tiny_folder, tmp_path / "run", "--train-file", mine))[0] == 0
    before = (tmp_path / "run/data/train.json").stat().st_mtime_ns
    code, _, err = run(*small(tiny_folder, tmp_path / "run", "--train-file", mine, "--seed", 3))
    assert code == 2
    assert "already holds a run" in err
    assert (tmp_path / "run/data/train.json").stat().st_mtime_ns == before


def test_settings_are_checked_before_data_is_written(run: Run, tmp_path: Path, tiny_folder: Path, mine: Path) -> None:
    code, _, err = run(*small(tiny_folder, tmp_path / "run", "--train-file", mine, "--lr", "-1"))
    assert code == 2
    assert "--lr is -1.0" in err
    assert not (tmp_path / "run").exists()


def test_a_table_is_trained_on_in_its_own_words(run: Run, tmp_path: Path, tiny_folder: Path) -> None:
    for name, part in ("train.csv", "train"), ("dev.csv", "validation"):
        with (tmp_path / name).open("w", newline="") as file:
            writer = csv.writer(file, delimiter="\t")
            writer.writerow(["Frage", "Text", "Antwort"])
            writer.writerows(
                [one.question, one.context, one.golds[0].text]
                for one in load_examples(f"starter:{part}", limit=30)
                if one.context.count(one.golds[0].text) == 1
            )
    words = ["--question-column", "Frage", "--context-column", "Text", "--answer-column", "Antwort"]
    assert run("check", tmp_path / "train.csv")[0] == 1
    assert run("check", tmp_path / "train.csv", tmp_path / "dev.csv", *words)[0] == 0
    files = ["--train-file", tmp_path / "train.csv", "--validation-file", tmp_path / "dev.csv"]
    code, out, _ = run(*small(tiny_folder, tmp_path / "run", *files, *words))
    assert code == 0
    assert f"data in {tmp_path}/run/data: " in out
    code, out, _ = run("evaluate", tmp_path / "run", tmp_path / "dev.csv", *words, "--json")
    assert code == 0
    assert json.loads(out)["f1"] == json.loads((tmp_path / "run/eval.json").read_text())["f1"]


def test_find_lr_is_content_with_training_data(run: Run, tmp_path: Path, tiny_folder: Path, mine: Path) -> None:
    words = ["find-lr", "--model", tiny_folder, "--from-scratch", "--train-file", mine, "--batch-size", 2]
    code, out, err = run(*words, "--num-steps", 20, "--output-dir", tmp_path / "found")
    assert code == 0, err
    assert "split off" not in out
    assert "--validation-file" not in out
    assert not (tmp_path / "found/data").exists()
