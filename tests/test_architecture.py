"""Rooms import only what is before them; deferred imports and those for type checkers count, too."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import albertqa

PACKAGE = Path(albertqa.__file__).parent

# The one order of the rooms; a room that is missing here has no place yet.
ROOMS = (
    "errors",
    "schema",
    "config",
    "files",
    "data",
    "windows",
    "model",
    "decode",
    "scoring",
    "rundir",
    "health",
    "run",
    "study",
    "answer",
    "bulk",
    "export",
    "serve",
    "report",
    "cli",
    "__main__",
)
# Deleting one of these breaks the commands that show it, and nothing else.
LEAVES = {"bulk", "report", "serve", "export"}
COMMANDS = {"cli"}


@dataclass(frozen=True)
class Import:
    """One import of a module of ours.

    Attributes:
        importer: The module that has it, without ``albertqa.``.
        imported: The module it names, likewise.
        line: Its line.
    """

    importer: str
    imported: str
    line: int

    def __str__(self) -> str:
        return f"{self.importer}:{self.line} imports {self.imported}"


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def room(module: str) -> str:
    return module.split(".")[0]


def targets(node: ast.AST, module: str) -> Iterator[str]:
    """Yield the full names of what an import statement, or a call of an import function, may load."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        base = node.module or ""
        if node.level:
            package = f"albertqa.{module}".split(".")
            package = package if FILES[module].name == "__init__.py" else package[:-1]
            base = ".".join([*package[: len(package) - node.level + 1], *([base] if base else [])])
        yield from (f"{base}.{alias.name}" for alias in node.names)
    elif isinstance(node, ast.Call):
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if name in {"import_module", "__import__"} and node.args:
            argument = node.args[0]
            yield argument.value if isinstance(argument, ast.Constant) else "albertqa.<computed>"


def imports_of(module: str) -> Iterator[Import]:
    for node in ast.walk(ast.parse(FILES[module].read_text(encoding="utf-8"))):
        for target in targets(node, module):
            inside = target.removeprefix("albertqa.") if target.startswith("albertqa.") else None
            if inside is None:
                continue
            # `from albertqa.data import gold` names a module, `from albertqa.data.gold import x` something in one.
            while inside not in FILES and "." in inside:
                inside = inside.rpartition(".")[0]
            yield Import(module, inside, node.lineno)


# The package's own names are the public face: strings that are imported when they are first used.
IMPORTS = [one for module in FILES if module for one in imports_of(module)]


def test_every_module_is_in_a_room_of_the_order() -> None:
    assert {room(module) for module in FILES if module} <= set(ROOMS)


def test_rooms_import_only_what_is_before_them() -> None:
    wrong = [
        str(one)
        for one in IMPORTS
        if room(one.imported) != room(one.importer)
        and (one.imported not in FILES or ROOMS.index(room(one.imported)) > ROOMS.index(room(one.importer)))
    ]
    assert wrong == []


def test_only_commands_import_the_leaves() -> None:
    wrong = [
        str(one)
        for one in IMPORTS
        if room(one.imported) in LEAVES and room(one.importer) not in COMMANDS | {room(one.imported)}
    ]
    assert wrong == []


def test_no_module_imports_the_package_itself() -> None:
    assert [str(one) for one in IMPORTS if one.imported == ""] == []


def test_modules_import_each_other_in_no_cycle() -> None:
    graph: dict[str, set[str]] = {module: set() for module in FILES}
    for one in IMPORTS:
        if one.imported != one.importer:
            graph[one.importer].add(one.imported)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" imports ".join(reversed(error.args[1])))


def test_the_check_sees_deferred_relative_and_typing_imports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = """
from typing import TYPE_CHECKING
import albertqa.cli
if TYPE_CHECKING:
    from albertqa.run.recipe import train
def f():
    from albertqa import files
    from ..decode.spans import Prediction
    from . import example
    from importlib import import_module
    import_module("albertqa.serve.nothing")
    import_module(f"albertqa.{f}")
"""
    path = tmp_path / "probe.py"
    path.write_text(text)
    monkeypatch.setitem(FILES, "data.probe", path)
    found = [one.imported for one in imports_of("data.probe")]
    assert sorted(found) == sorted(
        ["cli", "run.recipe", "files", "decode.spans", "data.example", "serve", "<computed>"]
    )


def test_every_public_name_is_where_the_package_says() -> None:
    assert sorted(albertqa.__all__) == sorted(dir(albertqa))
    for name in albertqa.__all__:
        assert getattr(albertqa, name).__name__ == name
    with pytest.raises(AttributeError, match="No albertqa attribute finetune"):
        albertqa.finetune  # noqa: B018 -- the look-up is what is tested


def test_no_module_is_called_like_a_public_name_or_another_module() -> None:
    names = [module.rpartition(".")[2] for module in FILES if module]
    assert set(names) & set(albertqa.__all__) == set()
    twice = {name for name in names if names.count(name) > 1}
    assert twice == set()


def test_the_top_level_is_small() -> None:
    top = {path.name for path in PACKAGE.glob("*.py")}
    assert top == {"__init__.py", "__main__.py", "config.py", "errors.py", "files.py", "schema.py"}


def test_health_loads_neither_torch_nor_transformers() -> None:
    modules = [f"albertqa.{module}" for module in FILES if room(module) in {"rundir", "health"}]
    code = f"import sys, {', '.join(modules)}; print({{'torch', 'transformers'}} & {{*sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_importing_the_package_or_its_command_line_loads_nothing_heavy() -> None:
    heavy = ["torch", "transformers", "datasets", "pandas", "pyarrow", "tokenizers", "accelerate", "numpy"]
    heavy += ["matplotlib"]
    code = (
        "import sys, albertqa, albertqa.errors, albertqa.config, albertqa.cli;"
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("word", ["util", "helper", "common", "misc", "tools"])
def test_no_module_is_a_drawer_for_the_rest(word: str) -> None:
    assert [module for module in FILES if word in module] == []


def test_every_module_says_what_it_is_for() -> None:
    silent = [
        module for module, path in FILES.items() if not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert silent == []
