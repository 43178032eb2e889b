"""How good and how fast is the quickstart, over seeds? Each seed runs as a user runs it, one after another.

python -m benchmarks.quickstart [--seeds 42 1 2]
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.provenance import command_line, write_result


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the seeds and write the result."""
    parser = command_line(__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[42, 1, 2], metavar="SEED", help="(42 1 2)")
    parser.add_argument("--epochs", type=float, metavar="N", help="passes over the questions (the quickstart's)")
    options = parser.parse_args(arguments)
    runs = []
    for seed in options.seeds:
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "albertqa", "quickstart", "--seed", str(seed), "--json"]
            command += ["--output-dir", str(Path(folder) / "run")]
            if options.epochs is not None:
                command += ["--epochs", str(options.epochs)]
            begun = time.perf_counter()
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            wall = time.perf_counter() - begun
        found = json.loads(done.stdout)
        kept = ("seed", "exact", "f1", "loss", "questions", "windows", "answers")
        runs.append({**{key: found[key] for key in kept}, "wall_seconds": round(wall, 1)})
        print(f"seed {seed}: exact {found['exact']:.1f} f1 {found['f1']:.1f} in {wall:.0f} s", flush=True)
    summary = {
        key: {
            "mean": statistics.mean(run[key] for run in runs),
            "sd": statistics.stdev(run[key] for run in runs) if len(runs) > 1 else None,
            "min": min(run[key] for run in runs),
            "max": max(run[key] for run in runs),
        }
        for key in ("exact", "f1", "wall_seconds")
    }
    write_result("quickstart", {"n": len(runs), **summary, "runs": runs}, options.output)


if __name__ == "__main__":
    main()
