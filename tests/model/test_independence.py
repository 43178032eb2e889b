"""Transformers is the judge of the tests and no part of what runs."""

import ast
import subprocess
import sys
from pathlib import Path

import albertqa

PACKAGE = Path(albertqa.__file__).parent


def imported_by(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add((node.module or "").split(".")[0])
    return found


def test_no_module_imports_transformers() -> None:
    assert [path for path in PACKAGE.rglob("*.py") if "transformers" in imported_by(path)] == []


def test_a_model_loads_computes_and_is_saved_without_transformers(tiny_weights: Path, tmp_path: Path) -> None:
    code = f"""
import sys
sys.modules["transformers"] = None
import torch
from pathlib import Path
from albertqa.model.compiled import _some_windows
from albertqa.model.load import load_model
model = load_model({str(tiny_weights)!r}, device=torch.device("cpu"))
model.logits(_some_windows(256))
model.save(Path({str(tmp_path)!r}))
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    assert (tmp_path / "model.safetensors").is_file()
