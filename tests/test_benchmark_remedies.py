"""The comparison of remedies runs, goes on where it was, and compares each remedy with its control."""

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from albertqa.config import Settings, check_settings

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture(scope="module")
def remedies() -> ModuleType:
    # At the end: some scripts have the name of a folder of tests.
    sys.path.append(str(BENCHMARKS))
    spec = importlib.util.spec_from_file_location("benchmark_remedies", BENCHMARKS / "remedies.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Its dataclass looks its module up.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def run(remedies: ModuleType, folder: Path, *more: str) -> int:
    command = ["--work", str(folder / "work"), "--output", str(folder / "results"), "--threads", "1"]
    command += ["--questions", "8", "--dev-questions", "6", "--max-steps", "2"]
    code: int = remedies.main([*command, *more])
    return code


def written(folder: Path) -> dict[str, Any]:
    (path,) = (folder / "results").glob("remedies-*.json")
    result: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    path.unlink()
    return result


def test_every_variant_is_a_valid_setting_with_a_control(remedies: ModuleType) -> None:
    for variant in remedies.VARIANTS.values():
        check_settings(Settings(**variant.changes))
        control = remedies.VARIANTS[variant.control]
        assert control.changes.items() <= variant.changes.items()
    assert remedies.VARIANTS[remedies.PLAIN].changes == {}


def test_what_is_done_is_not_done_again(
    remedies: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    trained = []
    train = remedies.train

    def count(settings: Settings, *, resume: bool) -> Any:
        trained.append(settings.output_dir.name)
        return train(settings, resume=resume)

    monkeypatch.setattr(remedies, "train", count)
    chosen = ["--variants", "hidden-dropout", "r-drop", "--seeds"]
    assert run(remedies, tmp_path, *chosen, "3") == 0
    assert trained == ["hidden-dropout-3", "r-drop-3"]
    first = written(tmp_path)
    assert run(remedies, tmp_path, *chosen, "3", "4") == 0
    assert trained == ["hidden-dropout-3", "r-drop-3", "hidden-dropout-4", "r-drop-4"]
    second = written(tmp_path)
    for name, variant in second["variants"].items():
        assert variant["runs"][0] == first["variants"][name]["runs"][0]
        f1 = [one["f1"] for one in variant["runs"]]
        assert variant["f1"]["mean"] == pytest.approx(sum(f1) / 2, abs=1e-4)
        assert all(one["steps"] == 2 for one in variant["runs"])
    assert first["n"] == 1
    assert second["n"] == 2
    assert "against" not in second["variants"]["hidden-dropout"]
    against = second["variants"]["r-drop"]["against"]
    losses = [[one["loss"] for one in second["variants"][name]["runs"]] for name in ("r-drop", "hidden-dropout")]
    differences = [one - other for one, other in zip(*losses, strict=True)]
    assert against["control"] == "hidden-dropout"
    assert against["loss"]["min"] == pytest.approx(min(differences), abs=1e-4)
    assert against["loss"]["max"] == pytest.approx(max(differences), abs=1e-4)
    low, high = against["f1_interval_over_questions"]
    assert low <= against["f1"]["mean"] <= high
    # The models are gone: dozens of runs would fill a disk.
    assert not list((tmp_path / "work").rglob("*.safetensors"))

    capsys.readouterr()
    assert run(remedies, tmp_path, "--epochs", "2", "--variants", "r-drop", "--seeds", "3") == remedies.REFUSED
    assert capsys.readouterr().err == (
        f"remedies.py: {tmp_path / 'work' / 'r-drop-3'}: holds a run with other settings. Choose another --work\n"
    )
    facts = tmp_path / "work" / "r-drop-3" / "run.json"
    changed = json.loads(facts.read_text())
    changed["data"]["train"]["content_sha256"] = "other"
    facts.write_text(json.dumps(changed))
    assert run(remedies, tmp_path, *chosen, "3") == remedies.REFUSED
    assert "remedies.py: data is not the same in all runs (see their run.json). Choose another --work" in (
        capsys.readouterr().err
    )
