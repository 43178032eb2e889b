"""How good and how quick is the quickstart, over seeds? Each seed runs as a user would run it, one after another.

python benchmarks/quickstart.py [--seeds 42 1 2]
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from birth import write_result


def main() -> None:
    """Run the seeds and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[42, 1, 2])
    seeds = parser.parse_args().seeds
    runs = []
    for seed in seeds:
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "albertqa.cli", "quickstart", "--seed", str(seed), "--json"]
            command += ["--output-dir", str(Path(folder) / "run")]
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
    write_result("quickstart", {"n": len(runs), **summary, "runs": runs})


if __name__ == "__main__":
    main()
