"""What is wrong with a study's file is one line that names it, and nothing is started."""

from pathlib import Path
from typing import Any

import pytest

from albertqa.errors import SettingsError
from albertqa.study.spec import load_spec, parse_spec

from .cases import content_of

MODEL = Path("model")


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"serach": "grid"}, "unknown key 'serach', did you mean 'search'?"),
        ({"space": {"learning_rat": [1e-4]}}, "unknown key 'learning_rat', did you mean 'learning_rate'?"),
        ({"space": {}}, "space is empty, expected at least one setting with its values"),
        ({"space": {"learning_rate": []}}, "space.learning_rate is empty, expected at least one value"),
        (
            {"space": {"learning_rate": [1e-4, 1e-4]}},
            "space.learning_rate has a value twice, so two runs would be the same",
        ),
        (
            {"search": "random", "num_settings": 3, "space": {"learning_rate": {"low": 1e-3, "high": 1e-4}}},
            "space.learning_rate is empty (low 0.001, high 0.0001), expected low below high",
        ),
        (
            {"search": "tpe", "num_settings": 3, "space": {"weight_decay": {"low": 0, "high": 1, "log": True}}},
            "space.weight_decay is logarithmic from 0 or below, expected low above 0",
        ),
        (
            {"space": {"learning_rate": {"low": 1e-5, "high": 1e-4}}},
            "space.learning_rate is a range, expected a list of values for search = 'grid'",
        ),
        ({"space": {"learning_rate": ["fast"]}}, "learning_rate is 'fast', expected float"),
        ({"space": {"learning_rate": [-1.0]}}, "learning_rate is -1.0"),
        ({"space": {"seed": [1, 2]}}, "seed belongs to the study; leave it out of base and space"),
        ({"seeds": [1, 1]}, "seeds has a seed twice, so two runs would have one folder"),
        ({"seeds": []}, "seeds is empty, expected at least one"),
        ({"fresh_seeds": [2]}, "fresh_seeds has 2, which seeds has, too; fresh seeds are others"),
        ({"heldout": 1.0}, "heldout is 1.0, expected a share between 0 and 1"),
        ({"search": "random"}, "num_settings is 0, expected at least 1 for search = 'random'"),
        ({"search": "hyperband"}, "Invalid enum value 'hyperband'"),
    ],
)
def test_a_wrong_file_is_one_line(changes: dict[str, Any], named: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as error:
        parse_spec(content_of(tmp_path / "study", MODEL, **changes), "study.toml")
    assert str(error.value).startswith("study.toml: ")
    assert named in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "study").exists()


def test_all_problems_are_listed_at_once(tmp_path: Path) -> None:
    changes = {"heldout": 0, "space": {"learning_rat": [1], "epochs": []}}
    with pytest.raises(SettingsError, match=r"heldout .*; space\.epochs is empty.*; unknown key 'learning_rat'"):
        parse_spec(content_of(tmp_path, MODEL, **changes), "study.toml")


def test_a_grid_has_every_combination_once(tmp_path: Path) -> None:
    spec = parse_spec(content_of(tmp_path, MODEL, space={"epochs": [1.0, 2.0], "warmup_ratio": [0.0, 0.1, 0.2]}), "")
    combinations = [tuple(one.items()) for one in spec.combinations()]
    assert len(set(combinations)) == len(combinations) == 6


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"none\.toml: cannot be read: No such file or directory$"):
        load_spec(tmp_path / "none.toml")
