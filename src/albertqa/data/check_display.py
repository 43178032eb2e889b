"""The check's report for people: facts, problems with their first cases, and a verdict with the next command."""

from collections.abc import Iterator
from typing import Any

from rich import filesize
from rich.console import Console
from rich.text import Text

from albertqa.data.checking import CheckReport, FileFacts, ProblemGroup
from albertqa.data.problems import KINDS, Severity, quoted
from albertqa.data.repair import RepairedCopy
from albertqa.errors import printable

_STYLES: dict[Severity, str] = {"error": "bold red", "warning": "yellow", "note": "dim"}


def render_check(report: CheckReport, console: Console, *, also_found: str = "") -> None:
    """Print a report, line by line: nothing is cut or folded, whatever the width.

    What else is wrong, in the data as a whole, is `also_found`: "1 error, 2 warnings"; empty: nothing.
    """
    # No wrapping of what may be copied: a path, an id or a command must survive the terminal.
    for facts in report.files:
        for line in _facts_lines(facts):
            console.print(line, soft_wrap=True)
    for group in report.groups:
        _print_cases(group, console)
    console.print(_verdict(report, also_found), soft_wrap=True)
    for copy in report.copies:
        for line in _copy_lines(copy):
            console.print(line, soft_wrap=True)


def _print_cases(group: ProblemGroup, console: Console) -> None:
    repairable = f", {group.repairable:,} repairable" if group.repairable else ""
    head = f": {group.kind} ({group.count:,}{repairable}): {KINDS[group.kind].meaning}"
    console.print(Text.assemble((group.severity, _STYLES[group.severity]), head), soft_wrap=True)
    for case in group.cases:
        console.print(Text(f"  {case}"), soft_wrap=True)
        if case.repair:
            console.print(Text(f"    repair: {printable(case.repair)}", style="green"), soft_wrap=True)
    if (further := group.count - len(group.cases)) > 0:
        console.print(Text(f"  … and {further:,} more", style="dim"))


def _copy_lines(copy: RepairedCopy) -> Iterator[Text]:
    if copy.path is None:
        yield Text(f"{copy.source}: no repaired copy written: {printable(copy.reason)}", style="bold red")
        return
    yield Text(
        f"{copy.source}: wrote {printable(copy.path)} with {copy.num_questions:,} questions, {copy.num_repaired:,} of "
        f"them repaired; {copy.num_dropped:,} left out, listed in {printable(copy.dropped_path or '')}"
    )
    if copy.num_errors:
        yield Text(f"The repaired copy is not ready: errors: {copy.num_errors:,}", style="bold red")
    else:
        yield Text(
            f"OK: the repaired copy {printable(copy.path)} is ready for training and evaluation", style="bold green"
        )


def _facts_lines(facts: FileFacts) -> Iterator[Text]:
    yield Text(facts.name, style="bold")
    kind = " ".join(part for part in (facts.format or "not readable", facts.version) if part)
    size = "" if facts.size_bytes is None else f", {filesize.decimal(facts.size_bytes)}"
    usable = "" if facts.num_usable == facts.num_questions else f", {facts.num_usable:,} of them usable"
    yield Text(
        f"  {kind}{size}: {facts.num_questions:,} questions{usable}, {facts.num_unanswerable:,} without an answer, "
        f"on {facts.num_contexts:,} contexts; {facts.num_golds:,} golds"
    )
    for key, value in facts.extra.items():
        cases = value if isinstance(value, list | tuple) else ()
        if not isinstance(value, list | tuple):
            yield Text(f"  {key.replace('_', ' ')}: {_formatted(value)}")
        elif cases:
            yield Text(f"  {key.replace('_', ' ')}, the first:")
        for case in cases:
            yield Text(f"    {_formatted(case)}")


def _formatted(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_formatted(one)}" for key, one in value.items()) or "none"
    return f"{value:,}" if isinstance(value, int | float) else quoted(str(value))


def _verdict(report: CheckReport, also_found: str) -> Text:
    counts = ", ".join(f"{severity}s: {report.count(severity):,}" for severity in _STYLES)
    if report.ok and also_found:
        seen = f"All rows can be read ({counts}), but the data as a whole is not ready: {also_found}, see below."
        return Text(seen, style="bold red" if "error" in also_found else "bold yellow")
    if report.ok:
        return Text(f"OK: ready for training and evaluation ({counts}).", style="bold green")
    repairable = sum(group.repairable for group in report.groups if group.severity == "error")
    text = Text(f"Not ready for training ({counts}).", style="bold red")
    if repairable and not report.copies:
        text.append(f" Errors that can be repaired: {repairable:,}; add --write-repaired OUT.json", style="default")
    return text
