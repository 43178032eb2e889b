"""Everything that is measured, one after the other, then the table and the figures: `make bench`.

    python benchmarks/bench.py [--only windows decode]

About 20 minutes on 2 cores without anything else running on them; with something else running, the timings are wrong.
The scripts run as they would by hand, each in a process of its own.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from birth import RESULTS

# The quick ones first: a machine that cannot measure shows it early.
SCRIPTS = ("windows", "decode", "evaluate", "memory", "learning", "scaling", "train_throughput", "epochs")
HERE = Path(__file__).parent
# How epochs.py ends where there is no GPU; that is no failure.
NO_GPU_HERE = ("epochs", 2)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the scripts.

    Returns:
        Exit code: 1 if a script failed.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=SCRIPTS, nargs="+", default=SCRIPTS, help="only these scripts")
    parser.add_argument("--output", type=Path, default=RESULTS, metavar="FOLDER", help="benchmarks/results")
    options = parser.parse_args(arguments)
    failed = []
    for script in options.only:
        print(f"== {script}.py", flush=True)
        begun = time.perf_counter()
        code = subprocess.run(
            [sys.executable, HERE / f"{script}.py", "--output", options.output], check=False
        ).returncode
        print(f"== {script}.py: {time.perf_counter() - begun:.0f} s", flush=True)
        if code and (script, code) != NO_GPU_HERE:
            failed.append(script)
    table = subprocess.run([sys.executable, HERE / "table.py", "--results", options.output], check=False)
    if failed or table.returncode:
        print(f"failed: {', '.join(failed) or 'table'}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
