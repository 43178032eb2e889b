"""Targets and newest results as one table, in benchmarks/README.md and on the terminal.

    python -m benchmarks.table

Every figure comes from a file in ``benchmarks/results``, which the table names; it says where there is none. The
figures of the documents (``docs/figures``) are drawn from the same files.
"""

import argparse
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from benchmarks.figures import draw_figures
from benchmarks.provenance import RESULTS

README = Path(__file__).resolve().parent / "README.md"
FIGURES = Path(__file__).resolve().parents[1] / "docs" / "figures"
BEGIN, END = "<!-- written by table.py -->", "<!-- end of what table.py writes -->"

NO_BF16 = "no bf16 in hardware"

Result: TypeAlias = dict[str, Any]


@dataclass(frozen=True)
class Row:
    """One measurement with its targets.

    Attributes:
        what: What is measured.
        names: Names of the results that may have it, the preferred one first.
        figure: Returns it from a result: a number or a spread, with an n of its own if it has one; None if the result
            does not have it.
        at_least: The required value, or None.
        aim: The value aimed for, or None.
        unit: Written after numbers.
        lower_is_better: Whether the value must not exceed the targets.
        needs: Why a machine may be unable to measure it; None: every machine can.
    """

    what: str
    names: tuple[str, ...]
    figure: Callable[[Result], Any]
    at_least: float | None = None
    aim: float | None = None
    unit: str = ""
    lower_is_better: bool = False
    needs: str | None = None


def _at(*path: str) -> Callable[[Result], Any]:
    """Return a function that returns the value at a path of keys, or None."""

    def figure(result: Result) -> Any:
        found: Any = result
        for key in path:
            found = found.get(key) if isinstance(found, dict) else None
        return found

    return figure


def _where(holds: Callable[[Result], bool], figure: Callable[[Result], Any]) -> Callable[[Result], Any]:
    return lambda result: figure(result) if holds(result) else None


def _of_part(part: str, name: str) -> Callable[[Result], Any]:
    """Return a function that returns a figure of one part of a result, with the part's own n."""

    def figure(result: Result) -> Any:
        if part not in result:
            return None
        found = result[part][name]
        return {**(found if isinstance(found, dict) else {"median": found}), "n": result[part]["n"]}

    return figure


def _is_bf16(result: Result) -> bool:
    return "bfloat16" in (result.get("precision_of_B_and_ours") or result.get("precision_of_ours") or "")


def _distance_over_seeds(compared: Any) -> dict[str, float] | None:
    """Return the distance of two means over seeds in standard deviations, and the number of seeds."""
    if not isinstance(compared, dict) or not compared["sd_over_seeds_fp32"]:
        return None
    return {
        "median": abs(compared["difference_of_means"]) / compared["sd_over_seeds_fp32"],
        "n": len(compared["seeds"]),
    }


_INSTRUCTIONS = {"amx_bf16": "AMX", "avx512_bf16": "AVX512-BF16", "avx512f": "AVX512", "avx2": "AVX2"}

_TRAINING = ("train-throughput", "train-throughput-cuda")
_DROPOUT = ("train-throughput-dropout", "train-throughput-dropout-cuda")
_EVALUATION = ("evaluate", "evaluate-cuda")
_LEARNING = ("learning", "learning-cuda")
_ANSWERING = ("answering", "answering-cuda")

ROWS = (
    Row(
        "Training in bf16, against `run_qa`'s defaults (A)",
        _TRAINING,
        _at("ratios", "ours / A"),
        at_least=10,
        aim=14,
        unit=" times",
        needs=NO_BF16,
    ),
    Row(
        "Training in fp32, against A: the effect of no padding",
        (*_TRAINING, "train-throughput-fp32"),
        _at("ratios", "ours_fp32 / A"),
        at_least=2.9,
        aim=3.2,
        unit=" times",
    ),
    Row(
        "Training in bf16, against `run_qa`'s best flags (B)",
        _TRAINING,
        _where(_is_bf16, _at("ratios", "ours_on_B / B")),
        at_least=1.35,
        aim=1.7,
        unit=" times",
        needs=NO_BF16,
    ),
    Row(
        "The same, B with our allocator setting",
        _TRAINING,
        _where(_is_bf16, _at("ratios", "ours_on_B / B_kept")),
        unit=" times",
    ),
    Row(
        "Training in fp32, against B in fp32",
        ("train-throughput-fp32", *_TRAINING),
        _where(lambda result: not _is_bf16(result), _at("ratios", "ours_on_B / B")),
        at_least=1.0,
        aim=1.15,
        unit=" times",
    ),
    Row(
        "Training in bf16, share of the peak of matrix products",
        _TRAINING,
        _where(_is_bf16, _at("share_of_gemm_peak")),
        at_least=0.30,
        aim=0.40,
        needs=NO_BF16,
    ),
    Row(
        "Training in fp32, share of the peak of matrix products",
        ("train-throughput-fp32", *_TRAINING),
        _where(lambda result: not _is_bf16(result), _at("share_of_gemm_peak")),
    ),
    Row("Training in bf16 with dropout 0.1, against A", _DROPOUT, _at("ratios", "ours / A"), unit=" times"),
    Row("Training in fp32 with dropout 0.1, against A", _DROPOUT, _at("ratios", "ours_fp32 / A"), unit=" times"),
    Row(
        "Training in bf16 with dropout 0.1, against B",
        _DROPOUT,
        _where(_is_bf16, _at("ratios", "ours_on_B / B")),
        unit=" times",
    ),
    Row(
        "Evaluation in bf16, against a padded fp32 forward",
        _EVALUATION,
        _at("ratios", "ours / Transformers"),
        at_least=10,
        aim=14,
        unit=" times",
        needs=NO_BF16,
    ),
    Row(
        "Evaluation in fp32, against a padded fp32 forward",
        _EVALUATION,
        _at("ratios", "ours_fp32 / Transformers"),
        unit=" times",
    ),
    Row(
        "The same, Transformers with our allocator setting",
        _EVALUATION,
        _at("ratios", "ours_fp32 / Transformers_kept"),
        unit=" times",
    ),
    Row(
        "One question of 197 tokens in bf16, from text to text, against a forward of Transformers in fp32",
        _ANSWERING,
        _at("questions_1", "ratios", "ours / Transformers_fp32"),
        at_least=2,
        aim=3,
        unit=" times",
        needs=NO_BF16,
    ),
    Row(
        "The same in fp32",
        _ANSWERING,
        _at("questions_1", "ratios", "ours_fp32 / Transformers_fp32"),
        unit=" times",
    ),
    Row(
        "Sixteen questions at once in bf16, against a padded forward in fp32",
        _ANSWERING,
        _at("questions_16", "ratios", "ours / Transformers_fp32"),
        unit=" times",
        needs=NO_BF16,
    ),
    Row(
        "`import albertqa`",
        _ANSWERING,
        _at("start", "import_seconds"),
        at_least=0.3,
        unit=" s",
        lower_is_better=True,
    ),
    Row(
        "From the start of a process to the first answer of a local model",
        _ANSWERING,
        _at("start", "first_answer_seconds"),
        at_least=5,
        unit=" s",
        lower_is_better=True,
    ),
    Row(
        "Windows built per second on 2 cores",
        ("windows",),
        _where(lambda result: bool(result["cores_used"] == 2), _at("windows_per_second")),
        at_least=2500,
    ),
    Row(
        "10,808 windows of logits to n-best answers on one core",
        ("decode",),
        _where(lambda result: bool(result["num_windows"] == 10_808), _at("seconds", "v1.1")),
        at_least=2,
        unit=" s",
        lower_is_better=True,
    ),
    Row(
        "Largest relative difference of 300 steps' losses from a plain loop's, fp32",
        _LEARNING,
        _where(lambda result: bool(result["n"] >= 300), _at("fp32", "largest_relative_difference")),
        at_least=1e-4,
        lower_is_better=True,
    ),
    Row(
        "F1 after training in bf16 and in fp32: difference of the means in standard deviations over seeds (without the "
        "hardware: bf16 computed in fp32 and rounded)",
        _LEARNING,
        lambda result: _distance_over_seeds(result["bf16"]),
        at_least=1,
        lower_is_better=True,
        needs=NO_BF16,
    ),
    Row(
        "Questions a second by 32 clients of a server, against one call",
        ("serving",),
        _of_part("throughput", "served_over_call"),
        at_least=0.9,
    ),
    Row(
        "A question through a server, beside the reading itself, at p50",
        ("serving",),
        _of_part("latency", "served_ms_more_at_p50"),
        at_least=5,
        unit=" ms",
        lower_is_better=True,
    ),
    Row(
        "Answers a second at four times what a server can answer, against its peak",
        ("serving",),
        _of_part("overload", "goodput_over_peak"),
        at_least=0.9,
    ),
    Row(
        "Bulk answers a second on Ray, against as many processes without it",
        ("bulk-rates",),
        _at("ray / shards"),
        at_least=0.85,
    ),
    Row(
        "Memory of a job of 200,000 questions, against one of 10,000",
        ("bulk-memory",),
        _at("times_the_memory"),
        unit=" times",
    ),
    Row(
        "Two processes on two cores, against one process with both",
        ("distributed",),
        _at("times_as_fast_as_1_process"),
        unit=" times",
    ),
    Row(
        "Exchange of gradients between them, share of a step",
        ("distributed",),
        _at("share_of_exchange"),
    ),
)


def read_results(folder: Path) -> dict[str, list[tuple[Path, Result]]]:
    """Read every result.

    Args:
        folder: Their folder.

    Returns:
        Files and contents by the result's name, newest first.
    """
    found: dict[str, list[tuple[Path, Result]]] = {}
    for path in sorted(folder.glob("*.json")):
        result = json.loads(path.read_text(encoding="utf-8"))
        found.setdefault(result["name"], []).append((path, result))
    return {name: sorted(results, key=lambda one: one[1]["date"], reverse=True) for name, results in found.items()}


# The figures that figures.py draws, the results they need, and their text for screen readers.
_PICTURES = (
    ("throughput", ("train-throughput", "evaluate"), "Training and evaluation rates against Transformers"),
    ("memory", ("memory",), "Peak memory of a training step against its windows"),
    ("scaling", ("scaling",), "Time and memory against windows and context tokens"),
)


def report(results: dict[str, list[tuple[Path, Result]]], readme: Path, figures: Path) -> str:
    """Return all tables, and the figures that are drawn from the same results.

    Args:
        results: See `read_results`.
        readme: The file they are written to; links are relative to it.
        figures: The folder of the figures.

    Returns:
        Markdown.
    """

    def link(path: Path) -> str:
        return f"[{path.stem}]({os.path.relpath(path, readme.parent)})"

    cells = [["what", "required", "aim", "measured (minimum to maximum)", "n", "", "machine", "file"]]
    cells += [line for row in ROWS for line in _lines(row, results, link)]
    parts = [_markdown(cells)]
    for name, title, table in (
        ("memory", "Peak memory of a training step, MiB", _memory),
        ("scaling", "Growth: an exponent of 1 is in proportion to the size", _scaling),
    ):
        for one in (name, f"{name}-cuda"):
            for path, result in results.get(one, [])[:1]:
                note = f"{_machine(result)}, n {result['n']}, {result['windows']}: {link(path)}"
                parts.append(f"### {title}\n\n{note}\n\n{_markdown(table(result))}")
    folder = os.path.relpath(figures, readme.parent)
    parts += [
        f'<picture><source media="(prefers-color-scheme: dark)" srcset="{folder}/{name}{suffix}-dark.svg">'
        f'<img alt="{alt}" src="{folder}/{name}{suffix}-light.svg"></picture>'
        for suffix in ("", "-cuda")
        for name, sources, alt in _PICTURES
        if any(source + suffix in results for source in sources)
    ]
    return "\n\n".join(parts)


def _lines(row: Row, results: dict[str, list[tuple[Path, Result]]], link: Callable[[Path], str]) -> list[list[str]]:
    """Return a row's lines: the newest result of every machine that has one."""
    targets = [_number(value, row.unit) for value in (row.at_least, row.aim)]
    if row.lower_is_better:
        targets = [f"≤ {value}" if value else "" for value in targets]
    lines: dict[str, list[str]] = {}
    for name in row.names:
        for path, result in results.get(name, []):
            figure, machine = row.figure(result), _machine(result)
            if figure is None or machine in lines:
                continue
            spread = figure if isinstance(figure, dict) else {"median": figure}
            text = _number(spread["median"], row.unit)
            if "min" in spread:
                text += f" ({_number(spread['min'], '')} to {_number(spread['max'], '')})"
            number = str(spread["n"] if "n" in spread else result["n"])
            # The targets are for processors.
            verdict = "" if result.get("device") == "cuda" else _verdict(row, spread["median"])
            lines[machine] = [row.what, *targets, text, number, verdict, machine, link(path)]
    missing = f"not measured here: {row.needs}" if row.needs else "not measured yet"
    return list(lines.values()) or [[row.what, *targets, missing, "", "", "", ""]]


def _verdict(row: Row, value: float) -> str:
    def reaches(limit: float | None) -> bool:
        return limit is not None and (value <= limit if row.lower_is_better else value >= limit)

    if row.at_least is None:
        return ""
    return "aim reached" if reaches(row.aim) else "reached" if reaches(row.at_least) else "**missed**"


def _machine(result: Result) -> str:
    if result.get("device") == "cuda":
        return str(result["device_name"])
    machine = result["machine"]
    cores = machine.get("usable_cores", machine["cores"])
    processor = machine["processor"]
    has = processor["instructions"]
    name = f"{processor['name']} ({processor['generation']})" if processor.get("generation") else processor["name"]
    # Processors of one name differ in what they multiply with.
    what = next((f" with {label}" for instruction, label in _INSTRUCTIONS.items() if instruction in has), "")
    if limits := machine["processor"].get("limits"):
        what = f" limited to {next(iter(limits.values())).upper()}"
    return f"{name}{what}, {cores} core{'s' if cores > 1 else ''}"


def _memory(result: Result) -> list[list[str]]:
    cells = [["shape", "windows", "real tokens", "Transformers, padded", "ours", "ours, recomputing"]]
    found: dict[tuple[str, int], dict[str, Any]] = {}
    for cell in result["cells"]:
        found.setdefault((cell["shape"], cell["batch"]), {"tokens": cell["real_tokens"]})[cell["way"]] = cell[
            "peak_mib"
        ]
    for (shape, batch), ways in found.items():
        peaks = [
            "not tried" if way not in ways else "does not fit" if ways[way] is None else f"{ways[way]:,.0f}"
            for way in ("padded", "ours", "ours_recomputed")
        ]
        cells.append([f"albert-{shape}", str(batch), f"{ways['tokens']:,}", *peaks])
    return cells


def _scaling(result: Result) -> list[list[str]]:
    cells = [
        ["what", "from", "to", "seconds at the larger size", "MiB there", "exponent of time", "exponent of memory"]
    ]
    for against, axis in (("against_windows", "windows"), ("against_context_tokens", "context_tokens")):
        for stage, found in result[against].items():
            points = found["points"]
            sizes = [f"{points[at][axis]:,} {axis.replace('_', ' ')}" for at in (0, -1)]
            most = [_number(points[-1][name]["median"], "") for name in ("seconds", "mib")]
            exponents = [_exponent(found[f"{name}_exponent"]) for name in ("seconds", "mib")]
            cells.append([stage, *sizes, *most, *exponents])
    return cells


def _exponent(spread: dict[str, float] | None) -> str:
    return "too small" if spread is None else f"{spread['median']:.2f} ({spread['min']:.2f} to {spread['max']:.2f})"


def _number(value: float | None, unit: str) -> str:
    if value is None:
        return ""
    text = f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return text + unit


def _markdown(cells: list[list[str]]) -> str:
    rows = [cells[0], ["---"] * len(cells[0]), *cells[1:]]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def replace_between_markers(text: str, tables: str) -> str:
    """Return a document with tables between its markers.

    Args:
        text: The document.
        tables: The tables.

    Raises:
        ValueError: The document has no markers.
    """
    before, found, rest = text.partition(BEGIN)
    _, also, after = rest.partition(END)
    if not (found and also):
        raise ValueError(f"the document lacks '{BEGIN}' or '{END}'")
    return f"{before}{BEGIN}\n\n{tables}\n\n{END}{after}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables, write them into the document, draw the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=RESULTS, metavar="FOLDER", help="benchmarks/results")
    options = parser.parse_args(arguments)
    results = read_results(options.results)
    # Results elsewhere are a trial: their tables and figures are written beside them, not into the documents.
    trial = options.results.resolve() != RESULTS
    readme, figures = (options.results / "README.md", options.results / "figures") if trial else (README, FIGURES)
    tables = report(results, readme, figures)
    print(tables)
    text = f"{BEGIN}\n{END}\n" if trial else readme.read_text(encoding="utf-8")
    readme.write_text(replace_between_markers(text, tables), encoding="utf-8")
    # The newest of a processor with bf16, where it makes a difference.
    newest = {name: next((one for _, one in found if _is_bf16(one)), found[0][1]) for name, found in results.items()}
    for path in draw_figures(newest, figures):
        print(f"drew {path}")


if __name__ == "__main__":
    main()
