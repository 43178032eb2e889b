"""Every public name, command, flag, setting, finding, error and file is on a page of the site."""

import ast
import dataclasses
import html
import inspect
import re
from pathlib import Path
from typing import get_args

import pytest
from rich.console import Console

import albertqa
from albertqa import errors, files
from albertqa.cli.command_line import command_name, flags_of
from albertqa.cli.commands import Command
from albertqa.cli.settings_flags import SettingsFlags
from albertqa.config import Settings
from albertqa.data.problems import KINDS
from albertqa.health import rules
from albertqa.health.console import render_findings
from albertqa.rundir.findings import Finding

from .blocks import PAGES, blocks, commands

COMMANDS = {command_name(kind): kind for kind in get_args(Command)}


def ids(site: Path, page: str) -> set[str]:
    """Return the anchors of a page of the site."""
    return set(re.findall(r'id="([^"]+)"', (site / page).read_text(encoding="utf-8")))


def words(site: Path, page: str) -> str:
    """Return the text of a page of the site."""
    text = re.sub(r"<(script|style).*?</\1>", "", (site / page).read_text(encoding="utf-8"), flags=re.DOTALL)
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", text)))


def finding_names() -> set[str]:
    """Return every name that a rule gives a finding, read from the rules' source."""
    names = set()
    for path in Path(rules.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Finding":
                found = [one for one in ast.walk(node.args[0]) if isinstance(one, ast.Constant | ast.Name)]
                names |= {one.value for one in found if isinstance(one, ast.Constant)}
    return names


def test_every_public_name_is_documented(site: Path) -> None:
    anchors = ids(site, "reference/python.html")
    assert {f"albertqa.{name}" for name in albertqa.__all__} <= anchors
    kinds = {name for name, kind in vars(errors).items() if isinstance(kind, type)}
    assert {name for name in kinds if f"albertqa.{name}" in anchors or f"albertqa.errors.{name}" in anchors} == kinds


def test_every_method_of_a_public_class_is_documented(site: Path) -> None:
    anchors = ids(site, "reference/python.html")
    for name in albertqa.__all__:
        value = getattr(albertqa, name)
        if not inspect.isclass(value) or value is Settings:
            continue
        for member, method in vars(value).items():
            if not member.startswith("_") and (inspect.isfunction(method) or isinstance(method, property)):
                assert f"albertqa.{name}.{member}" in anchors


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_flag_is_documented(site: Path, name: str) -> None:
    anchors = ids(site, "reference/commands.html")
    assert f"command-{name}" in anchors
    kind = COMMANDS[name]
    shared = flags_of(SettingsFlags) if issubclass(kind, SettingsFlags) and name != "train" else {}
    for flag in flags_of(kind):
        if flag not in shared:
            assert f"cmdoption-albertqa-{name}-{flag.lstrip('-')}" in anchors
        else:
            assert f"cmdoption-albertqa-train-{flag.lstrip('-')}" in anchors


def test_every_setting_is_documented(site: Path) -> None:
    text = words(site, "reference/settings.html")
    for field in dataclasses.fields(Settings):
        assert f" {field.name} " in text


def test_every_finding_has_its_place(site: Path) -> None:
    names = finding_names()
    assert len(names) > 50
    assert names <= ids(site, "reference/findings.html")


def test_the_doctor_names_the_place_of_each_finding(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    render_findings([Finding("data-leakage", "error", "Some text.", "albertqa check")], Console(width=200))
    assert (
        f"more on each: {files.FINDINGS_PAGE} ('make docs' in a clone builds it): #data-leakage"
        in capsys.readouterr().out
    )
    assert "data-leakage" in ids(site, str(Path(files.FINDINGS_PAGE).relative_to(files.SITE)))


def test_every_problem_that_check_reports_is_documented(site: Path) -> None:
    text = words(site, "reference/data.html")
    for kind in KINDS:
        assert f" {kind} " in text


def test_every_file_of_a_run_is_documented(site: Path) -> None:
    text = words(site, "reference/files.html")
    names = {value for name, value in vars(files).items() if name.isupper() and isinstance(value, str)}
    for name in names - {files.LOCK, files.SITE, files.FINDINGS_PAGE}:
        assert name in text, name


def test_error_messages_are_found_by_their_words(site: Path) -> None:
    text = words(site, "reference/errors.html")
    for message in (
        "another process is training there. Wait for it, stop it, or choose another --output-dir",
        "give a local file, or check the name, the split and the network",
        "is a file, expected a Transformers model folder or a Hub name",
    ):
        assert message in text
    assert text.count("expected") > 100


def test_every_error_links_to_the_page_that_helps_on(site: Path) -> None:
    shown = (site / "reference/errors.html").read_text(encoding="utf-8")
    for kind in (one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, Exception)):
        assert (site / f"{kind.page}.html").is_file()
        if kind is not errors.AlbertQAError:
            assert f'href="../{kind.page}.html"' in shown or f'href="{Path(kind.page).name}.html"' in shown


def test_every_command_is_shown_in_a_guide() -> None:
    shown = {
        command.words[1]
        for page in PAGES
        for block in blocks(page)
        if block.language == "console"
        for command in commands(block)
        if command.words[0] == "albertqa" and not command.words[1].startswith("-")
    }
    assert set(COMMANDS) - {"quickstart"} <= shown


def test_most_blocks_run_and_the_others_say_why() -> None:
    found = [block for page in PAGES for block in blocks(page) if block.language in {"console", "python"}]
    left_out = [block for block in found if block.not_run]
    assert len(found) > 60
    assert len(left_out) <= len(found) / 10, [f"{block.page}:{block.line} {block.not_run}" for block in left_out]
