"""Keep a finished run as a result: its settings, scores, curve and command, with the figure of the curve.

    ALBERTQA_DATA=DATA python benchmarks/offline_result.py RUN

RUN is the run directory of the training that offline-result.toml describes; another finished run does as well.
"""

import argparse
import json
import os
import shlex
import statistics
from pathlib import Path
from typing import Any

from albertqa import files
from albertqa.config import Settings, load_settings
from birth import write_result

_POINTS = 100


def main() -> None:
    """Read the run and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    run = parser.parse_args().run
    facts = json.loads((run / files.RUN_JSON).read_text(encoding="utf-8"))
    settings, plain = load_settings(run / files.CONFIG_TOML), Settings()
    rows = list(read_rows(run))
    curve = _means([row for row in rows if "train_loss" in row])
    result = {
        "n": 1,
        "training_command": shlex.join(["albertqa", *facts["command"][1:]]),
        "settings": {
            name: value
            for name, value in vars(settings).items()
            if value != getattr(plain, name) and not isinstance(value, Path)
        },
        "data": facts["data"],
        "run": {name: facts[name] for name in ("status", "started", "updated", "step", "train_seconds", "versions")},
        "machine_of_the_run": facts["machine"],
        "eval": json.loads((run / files.EVAL_JSON).read_text(encoding="utf-8")),
        "evaluations": [row for row in rows if "validation_loss" in row],
        "curve": curve,
    }
    path = write_result("offline-result", _nameless(result))
    _draw(curve, path.with_suffix(".svg"))


def _nameless(result: Any) -> Any:
    """Write ALBERTQA_DATA where the data folder of this machine stands."""
    folder = os.environ.get("ALBERTQA_DATA")
    return json.loads(json.dumps(result).replace(f"{folder.rstrip('/')}/", "$ALBERTQA_DATA/")) if folder else result


def _means(rows: list[dict[str, Any]]) -> list[dict[str, float]]:
    """Average the steps in about a hundred stretches of equal length."""
    size = max(1, -(-len(rows) // _POINTS))
    return [
        {
            "step": part[-1]["step"],
            "train_loss": round(statistics.fmean(row["train_loss"] for row in part), 4),
            "learning_rate": part[-1]["learning_rate"],
            "grad_norm": round(statistics.fmean(row["grad_norm"] for row in part), 2),
            "tokens_per_second": round(sum(row["tokens"] for row in part) / sum(_seconds(row) for row in part), 1),
        }
        for part in (rows[at : at + size] for at in range(0, len(rows), size))
    ]


def _seconds(row: dict[str, Any]) -> float:
    return float(row["tokens"]) / float(row["tokens_per_second"])


def _draw(curve: list[dict[str, float]], path: Path) -> None:
    """Draw training loss and learning rate over the steps."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, left = pyplot.subplots(figsize=(7, 3.2), layout="constrained")
    steps = [one["step"] for one in curve]
    left.plot(steps, [one["train_loss"] for one in curve], color="#2563eb", linewidth=1.6)
    left.set(xlabel="optimizer step", ylabel="training loss", ylim=(0, None))
    left.yaxis.label.set_color("#2563eb")
    right = left.twinx()
    right.plot(steps, [one["learning_rate"] for one in curve], color="#b45309", linewidth=1, linestyle="--")
    right.set(ylabel="learning rate", ylim=(0, None))
    right.yaxis.label.set_color("#b45309")
    left.spines["top"].set_visible(False)
    right.spines["top"].set_visible(False)
    figure.savefig(path)


if __name__ == "__main__":
    main()
