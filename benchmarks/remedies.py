"""What does each remedy against overfitting give, over seeds, on the starter set?

    python benchmarks/remedies.py [--variants plain r-drop] [--seeds 42 1 2] [--threads 2]

The starter encoder trains with the quickstart's settings on few questions, seen several times: where a remedy has
something to remedy. Plain and with one remedy after the other, a run for each seed; the dev part is evaluated once, at
the end, so nothing is selected on it. A remedy is compared with its control on the same seeds: same head, same windows
in the same order. R-Drop's control has the same dropout.

A run takes two minutes on 2 cores, R-Drop's twice as many. What is finished in the work folder is not run again.
"""

import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from albertqa import files
from albertqa.config import Settings, load_settings
from albertqa.data.reading import load_examples
from albertqa.errors import AlbertQAError, SettingsError
from albertqa.cli.quickstart import VALIDATION, quickstart_settings
from albertqa.run.recipe import train
from albertqa.scoring.interval import difference_interval
from albertqa.scoring.official import score_each
from birth import command_line, write_result

PLAIN = "plain"
REFUSED = 2
_QUICKSTART = quickstart_settings(Path())
_DROPOUT = {"hidden_dropout": 0.1}
_ONCE = {"data", "trained_on", "predictions"}
# What of the machine may change a run's figures.
_MACHINE = ("device", "device_name", "precision", "threads")
_FIGURES = ("exact", "f1", "loss", "train_seconds")


@dataclass(frozen=True)
class Variant:
    """What a variant changes, and what it is compared with.

    Attributes:
        changes: Settings that differ from the plain ones.
        control: Name of the variant that has all but the remedy.
    """

    changes: dict[str, Any] = field(default_factory=dict)
    control: str = PLAIN


VARIANTS = {
    PLAIN: Variant(),
    "label-smoothing": Variant({"label_smoothing_factor": 0.1}),
    "hidden-dropout": Variant(_DROPOUT),
    "r-drop": Variant({"r_drop_alpha": 1.0, **_DROPOUT}, control="hidden-dropout"),
    "ema": Variant({"ema_decay": 0.99}),
    "weight-decay": Variant({"weight_decay": 0.01}),
    "whole-contexts": Variant({"augment": ()}),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is not there yet and write the result.

    Returns:
        Exit code: `REFUSED` where a run cannot be done or does not belong to the others.
    """
    parser = command_line(__doc__)
    parser.add_argument("--variants", choices=VARIANTS, nargs="+", default=list(VARIANTS), help="only these (all)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[42, 1, 2], metavar="SEED", help="(42 1 2)")
    parser.add_argument("--threads", type=int, metavar="N", help="CPU threads (PyTorch's choice)")
    parser.add_argument("--work", type=Path, default=Path("runs/remedies"), metavar="FOLDER", help="(runs/remedies)")
    parser.add_argument("--epochs", type=float, default=3.0, metavar="N", help="passes over the questions (3)")
    parser.add_argument("--max-steps", type=int, metavar="N", help="steps in all, for a trial")
    parser.add_argument("--questions", type=int, default=400, metavar="N", help="trained on (400)")
    parser.add_argument("--dev-questions", type=int, metavar="N", help="evaluated (all)")
    options = parser.parse_args(arguments)
    plain = replace(
        quickstart_settings(Path(), epochs=options.epochs),
        max_train_examples=options.questions,
        max_eval_examples=options.dev_questions,
        max_steps=options.max_steps,
        # Once, at the end.
        eval_steps=1e9,
        save_steps=1e9,
        num_threads=options.threads,
    )
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in options.variants}
    try:
        # Seed after seed, so that whoever stops early has every variant on the first ones.
        for seed in options.seeds:
            for name, rows in runs.items():
                folder = options.work / f"{name}-{seed}"
                row = finished_run(replace(plain, **VARIANTS[name].changes, seed=seed, output_dir=folder))
                print(f"{name}, seed {seed}: exact {row['exact']:.1f}, f1 {row['f1']:.1f}", flush=True)
                rows.append(row)
        _require_same([row for rows in runs.values() for row in rows])
    except AlbertQAError as error:
        print(f"remedies.py: {error}", file=sys.stderr)
        return REFUSED
    first = runs[options.variants[0]][0]
    result = {
        "n": len(options.seeds),
        "seeds": options.seeds,
        "data": first["data"],
        "trained_on": first["trained_on"],
        "plain_settings": {
            name: value
            for name, value in vars(plain).items()
            if value != getattr(Settings(), name) and not isinstance(value, Path)
        },
        "variants": {name: summary(name, runs, options.dev_questions) for name in runs},
    }
    write_result("remedies", result, options.output)
    return 0


def finished_run(settings: Settings) -> dict[str, Any]:
    """Train, unless that was done before.

    Args:
        settings: The run's settings; its folder keeps everything but the models, of some 400 MB a run.

    Returns:
        Scores, predictions, and what the run says of itself.

    Raises:
        AlbertQAError: The folder has a run of other settings, or the training failed or was interrupted.
    """
    run = settings.output_dir
    is_begun = (run / files.CONFIG_TOML).is_file()
    if is_begun and load_settings(run / files.CONFIG_TOML) != settings:
        raise SettingsError(f"{run}: holds a run with other settings. Choose another --work")
    if not is_begun or _read(run / files.RUN_JSON)["status"] != "finished":
        print(f"{run}: training", flush=True)
        status = train(settings, resume=is_begun).status
        if status != "finished":
            raise SettingsError(f"{run}: {status}. The same command goes on with it")
    for models in (files.CHECKPOINTS, files.BEST, files.FINAL):
        shutil.rmtree(run / models, ignore_errors=True)
    facts, scores = _read(run / files.RUN_JSON), _read(run / files.EVAL_JSON)
    return {
        "seed": settings.seed,
        **{name: scores[name] for name in ("exact", "f1", "loss")},
        "steps": facts["step"],
        "train_seconds": facts["train_seconds"],
        "last_train_loss": round(_last_train_loss(run), 4),
        "started": facts["started"],
        "data": facts["data"],
        "trained_on": {name: facts["machine"][name] for name in _MACHINE},
        "predictions": _read(run / files.PREDICTIONS_JSON),
    }


def summary(name: str, runs: dict[str, list[dict[str, Any]]], num_dev: int | None) -> dict[str, Any]:
    """Sum a variant's runs up.

    Args:
        name: The variant.
        runs: The runs of all variants, seeds in the same order.
        num_dev: Dev questions that were evaluated; None: all.

    Returns:
        Mean and spread of every figure over the seeds, and the difference from the control, seed by seed; with the
        interval that resampling the questions gives for the difference of f1, averaged over the seeds.
    """
    variant, rows = VARIANTS[name], runs[name]
    found: dict[str, Any] = {
        "changes": variant.changes,
        **{figure: _mean_and_spread([row[figure] for row in rows]) for figure in _FIGURES},
        "runs": [{key: value for key, value in row.items() if key not in _ONCE} for row in rows],
    }
    if name == PLAIN or variant.control not in runs:
        return found
    control = runs[variant.control]
    pairs = list(zip(rows, control, strict=True))
    interval = difference_interval(_f1_of_questions(control, num_dev), _f1_of_questions(rows, num_dev))
    found["against"] = {
        "control": variant.control,
        **{figure: _mean_and_spread([one[figure] - other[figure] for one, other in pairs]) for figure in _FIGURES},
        "f1_interval_over_questions": [round(interval.low, 3), round(interval.high, 3)],
    }
    return found


def _f1_of_questions(rows: list[dict[str, Any]], num_dev: int | None) -> dict[str, float]:
    """Give each question's f1 in percent, averaged over the seeds."""
    examples = load_examples(VALIDATION, limit=num_dev)
    each = [score_each(examples, row["predictions"]) for row in rows]
    return {example.id: 100 * mean(scores[example.id].f1 for scores in each) for example in examples}


def _last_train_loss(run: Path) -> float:
    """Average the training loss over the last tenth of the steps."""
    losses = [row["train_loss"] for row in read_rows(run) if row.get("train_loss") is not None]
    return mean(losses[-max(1, len(losses) // 10) :])


def _mean_and_spread(values: Sequence[float]) -> dict[str, float | None]:
    sd = stdev(values) if len(values) > 1 else None
    found = {"mean": mean(values), "sd": sd, "min": min(values), "max": max(values)}
    return {name: None if value is None else round(value, 4) for name, value in found.items()}


def _require_same(rows: Sequence[dict[str, Any]]) -> None:
    """Refuse runs between which the data or the machine changed."""
    for key in ("data", "trained_on"):
        if any(row[key] != rows[0][key] for row in rows):
            raise SettingsError(f"{key} is not the same in all runs (see their run.json). Choose another --work")


def _read(path: Path) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return read


if __name__ == "__main__":
    sys.exit(main())
