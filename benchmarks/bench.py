"""Run all measurements one after another, then write the table and the figures: `make bench`.

    python -m benchmarks.bench [--only windows decode]

About half an hour on 2 cores; nothing else may run on them meanwhile. Each script runs in a process of its own.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from albertqa.model.load import choose_device, has_fast_bf16
from benchmarks.provenance import RESULTS
from benchmarks.table import NO_BF16, ROWS

# The quick ones first, so that a machine that cannot measure shows it early.
SCRIPTS = ("windows", "decode", "answering", "evaluate", "memory", "learning", "scaling", "train_throughput")
ROOT = Path(__file__).resolve().parents[1]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the scripts.

    Returns:
        Exit code: 1 if a script failed.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=SCRIPTS, nargs="+", default=SCRIPTS, help="only these scripts")
    parser.add_argument("--output", type=Path, default=RESULTS, metavar="FOLDER", help="(benchmarks/results)")
    options = parser.parse_args(arguments)
    print(f"runs {', '.join(options.only)}", flush=True)
    for reason, rows in unmeasured_rows().items():
        print(f"this machine has {reason}, so these rows of the table are not measured:", *rows, sep="\n  ", flush=True)
    failed = []
    for script in options.only:
        print(f"== {script}", flush=True)
        begun = time.perf_counter()
        if _run(script, "--output", options.output.resolve()):
            failed.append(script)
        print(f"== {script}: {time.perf_counter() - begun:.0f} s", flush=True)
    if _run("table", "--results", options.output.resolve()):
        failed.append("table")
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def unmeasured_rows() -> dict[str, list[str]]:
    """Return the table's rows that this machine cannot measure, by the reason."""
    if has_fast_bf16(choose_device("auto")):
        return {}
    return {NO_BF16: [row.what for row in ROWS if row.needs == NO_BF16]}


def _run(script: str, *arguments: str | Path) -> int:
    command = [sys.executable, "-m", f"benchmarks.{script}", *map(str, arguments)]
    return subprocess.run(command, check=False, cwd=ROOT).returncode


if __name__ == "__main__":
    sys.exit(main())
