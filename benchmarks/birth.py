"""A number's birth certificate: where, when and how it was measured."""

import argparse
import json
import os
import platform
import shlex
import statistics
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from albertqa.model.processor import read_processor

RESULTS = Path(__file__).resolve().parent / "results"

# Of the instruction sets, those that decide how fast matrix products are.
_TOLD_INSTRUCTIONS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")


def command_line(doc: str | None, *, rounds: int | None = None) -> argparse.ArgumentParser:
    """Begin a benchmark's command line.

    Args:
        doc: The script's docstring, shown by ``--help``.
        rounds: Default of ``--rounds``; None: the script has no rounds.

    Returns:
        A parser with ``--output`` and, where asked for, ``--rounds``.
    """
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--output", type=Path, default=RESULTS, metavar="FOLDER", help="where the result goes (benchmarks/results)"
    )
    if rounds is not None:
        parser.add_argument("--rounds", type=int, default=rounds, metavar="N", help=f"measured rounds ({rounds})")
    return parser


def spread(values: Sequence[float]) -> dict[str, float]:
    """Give median, least and most of measured values, to four significant digits."""
    found = {"median": statistics.median(values), "min": min(values), "max": max(values)}
    return {name: float(f"{value:.4g}") for name, value in found.items()}


def write_result(name: str, result: dict[str, Any], folder: Path = RESULTS) -> Path:
    """Write a result with its certificate to ``NAME-DATE-COMMIT.json``.

    Args:
        name: What was measured.
        result: The measurement: n, spread, figures.
        folder: Where to; made where it is not there.

    Returns:
        The file.
    """
    now = datetime.now(UTC)
    commit = _git("rev-parse", "--short=10", "HEAD") or "nocommit"
    changed = _git("status", "--porcelain", "--untracked-files=no", "--", "src", "benchmarks/*.py")
    processor = read_processor()
    certificate = {
        "name": name,
        "date": now.isoformat(timespec="seconds"),
        "commit": commit,
        "uncommitted_changes": bool(changed),
        "command": shlex.join([Path(sys.executable).name, *sys.argv]),
        "machine": {
            "platform": platform.platform(),
            "processor": {
                "name": processor.name,
                "instructions": [one for one in _TOLD_INSTRUCTIONS if one in processor.instructions],
            },
            "cores": os.cpu_count(),
            "usable_cores": usable_cores(),
            "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        },
        "versions": {
            "python": platform.python_version(),
            **{one: metadata.version(one) for one in ("albertqa", "torch", "transformers", "tokenizers", "numpy")},
        },
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{now:%Y%m%d}-{commit}.json"
    path.write_text(json.dumps({**certificate, **result}, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"wrote {path}")
    return path


def usable_cores() -> int:
    """Count the cores that this thread may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _git(*arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments], capture_output=True, text=True, check=False, cwd=Path(__file__).parent.parent
    )
    return done.stdout.strip()
