"""Record real runs of the starter encoder for the tests: ``python tests/health/record.py [NAME ...]``.

Each run is trained for real (minutes on two cores) and kept in ``tests/health/recorded/NAME`` as what rules read of it:
``config.toml``, ``run.json`` and ``metrics.jsonl``, numbers rounded. ``old-*`` were recorded before ``run.json`` had
facts for the rules; they are kept with ``--keep RUN NAME [STEPS]``, and their ``run.json`` names the command.
"""

import dataclasses
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import msgspec

from albertqa import files
from albertqa.config import Settings
from albertqa.rundir.rows import read_rows

RECORDED = Path(__file__).parent / "recorded"
SOUND = Settings(
    model="starter",
    train_file=("starter:train",),
    validation_file=("starter:validation",),
    max_train_examples=1000,
    max_eval_examples=160,
    epochs=1.0,
    train_batch_size=4,
    learning_rate=2e-4,
    warmup_ratio=0.1,
    device="cpu",
    mixed_precision="no",
    num_threads=1,
    fit=False,
)
# The plan's 250 steps make a healthy run; a fault shows sooner.
RUNS: dict[str, dict[str, Any]] = {
    "starter-high-rate": {"learning_rate": 2e-2, "max_steps": 60},
    "starter-low-rate": {"learning_rate": 2e-6, "max_steps": 80},
    "starter-shuffled": {"max_steps": 80},
    "starter-healthy": {"eval_steps": 125.0},
}
_ROUNDED = {"train_loss": 4, "grad_norm": 6, "validation_loss": 4, "exact": 3, "f1": 3, "data_seconds": 5}
_LEFT_OUT = {"seconds", "eval_seconds"}


def record(name: str) -> None:
    """Train a run and keep it."""
    from rich.console import Console

    from albertqa.data.reading import load_examples
    from albertqa.run.display import TerminalDisplay
    from albertqa.run.recipe import train
    from health.cases import shuffle_answers, write_rows

    with tempfile.TemporaryDirectory() as folder:
        changes = dict(RUNS[name])
        if name == "starter-shuffled":
            examples = shuffle_answers(load_examples("starter:train"))
            changes["train_file"] = (str(write_rows(Path(folder) / "shuffled.jsonl", examples)),)
        run = Path(folder) / name
        train(dataclasses.replace(SOUND, output_dir=run, **changes), callbacks=[TerminalDisplay(Console(), 10)])
        keep(run, name)


def keep(run: Path, name: str, steps: int | None = None) -> None:
    """Copy what rules read of a run, rounded; of its record only the first steps, if so many are given."""
    folder = RECORDED / name
    folder.mkdir(parents=True, exist_ok=True)
    lines = [line for line in (run / files.CONFIG_TOML).read_text().splitlines() if line and not line.startswith("#")]
    (folder / files.CONFIG_TOML).write_text("\n".join(lines) + "\n")
    files.write_json(folder / files.RUN_JSON, json.loads((run / files.RUN_JSON).read_text()))
    rows = [_small(msgspec.to_builtins(row)) for row in read_rows(run) if steps is None or row.step <= steps]
    (folder / files.METRICS_JSONL).write_text("".join(json.dumps(row) + "\n" for row in rows))


def _small(row: dict[str, Any]) -> dict[str, Any]:
    return {
        key: round(value, _ROUNDED[key]) if key in _ROUNDED and value is not None else value
        for key, value in row.items()
        if key not in _LEFT_OUT
    }


if __name__ == "__main__":
    if sys.argv[1:2] == ["--keep"]:
        keep(Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]) if sys.argv[4:] else None)
    else:
        for wanted in sys.argv[1:] or RUNS:
            record(wanted)
