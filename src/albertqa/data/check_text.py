"""The check's report for people: tables and a verdict with the next command."""

from rich import filesize
from rich.console import Console
from rich.table import Table
from rich.text import Text

from albertqa.data.check import CheckReport, FileFacts, ProblemGroup
from albertqa.data.problem import KINDS, Severity
from albertqa.data.squad_json import RepairedCopy

_STYLES: dict[Severity, str] = {"error": "bold red", "warning": "yellow", "note": "dim"}


def render_check(report: CheckReport, console: Console) -> None:
    """Print a report.

    Args:
        report: What the check found.
        console: Where to print; its width is respected.
    """
    console.print(_facts_table(report.files))
    if report.groups:
        console.print(_problems_table(report))
    for group in report.groups:
        _print_cases(group, console)
    for copy in report.copies:
        # No wrapping of what may be copied: a path, an id or a command must survive the terminal.
        console.print(_copy_line(copy), soft_wrap=True)
    console.print(_verdict(report), soft_wrap=True)


def _print_cases(group: ProblemGroup, console: Console) -> None:
    console.print(Text.assemble((group.kind, _STYLES[group.severity]), f" ({group.count:,})"))
    for case in group.cases:
        console.print(Text(f"  {case}"), soft_wrap=True)
        if case.repair:
            console.print(Text(f"    repair: {case.repair}", style="green"), soft_wrap=True)
    if (further := group.count - len(group.cases)) > 0:
        console.print(Text(f"  … and {further:,} more", style="dim"))


def _copy_line(copy: RepairedCopy) -> Text:
    if copy.path is None:
        return Text(f"{copy.source}: no repaired copy written: {copy.reason}", style="bold red")
    return Text(
        f"{copy.source}: wrote {copy.path} with {copy.num_questions:,} questions, {copy.num_repaired:,} of them "
        f"repaired; {copy.num_dropped:,} left out, listed in {copy.dropped_path}"
    )


def _facts_table(files: tuple[FileFacts, ...]) -> Table:
    table = Table(title="Files", title_justify="left")
    table.add_column("file", overflow="fold")
    for heading in ("format", "version"):
        table.add_column(heading)
    for heading in ("questions", "usable", "no answer", "contexts", "golds", "size"):
        table.add_column(heading, justify="right")
    extra = list(dict.fromkeys(key for facts in files for key in facts.extra))
    for key in extra:
        table.add_column(Text(key), justify="right")
    for facts in files:
        counts = (
            facts.num_questions,
            facts.num_usable,
            facts.num_unanswerable,
            facts.num_contexts,
            facts.num_golds,
        )
        cells = [facts.name, facts.format or "?", facts.version or "-", *(f"{count:,}" for count in counts)]
        cells.append("-" if facts.size_bytes is None else filesize.decimal(facts.size_bytes))
        cells.extend(str(facts.extra.get(key, "-")) for key in extra)
        table.add_row(*(Text(cell) for cell in cells))
    return table


def _problems_table(report: CheckReport) -> Table:
    table = Table(title="Problems", title_justify="left")
    table.add_column("severity")
    table.add_column("kind", no_wrap=True)
    table.add_column("count", justify="right")
    table.add_column("repairable", justify="right")
    table.add_column("meaning")
    for group in report.groups:
        style = _STYLES[group.severity]
        cells = (f"{group.count:,}", f"{group.repairable:,}", KINDS[group.kind].meaning)
        table.add_row(Text(group.severity, style=style), group.kind, *cells)
    return table


def _verdict(report: CheckReport) -> Text:
    counts = ", ".join(f"{severity}s: {report.count(severity):,}" for severity in _STYLES)
    if report.ok:
        return Text(f"OK: ready for training and evaluation ({counts}).", style="bold green")
    repairable = sum(group.repairable for group in report.groups if group.severity == "error")
    text = Text(f"Not usable as it stands ({counts}).", style="bold red")
    if repairable and not report.copies:
        text.append(f" Errors that can be repaired: {repairable:,}; add --write-repaired OUT.json", style="default")
    return text
