"""Every number of a report, for other programs."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgspec

from albertqa.report.analysis import Analysis, analyse, load_runs
from albertqa.report.compare import differing_settings, seed_groups, share_data
from albertqa.report.outcome import KINDS


def report_numbers(runs: Sequence[Path]) -> dict[str, Any]:
    """Return what the page of some runs shows in numbers.

    Args:
        runs: Run directories; the first is what the others are compared with.

    Returns:
        ``runs``: status, scores with intervals, evaluations, calibration and kinds of answers of each; of several runs
        also the settings that differ, ``differences`` from the first, and ``seeds``: spreads over seeds.

    Raises:
        AlbertQAError: A directory is not a run, or is damaged.
    """
    analyses = analyse(load_runs(runs))
    numbers: dict[str, Any] = {"runs": [_run_numbers(one) for one in analyses]}
    if len(analyses) > 1:
        settings = differing_settings([one.run.settings for one in analyses])
        numbers["settings"] = {row.name: list(row.values) for row in settings}
        numbers["differences"] = [
            {"run": one.name, "from": shared.analyses[0].name, **asdict(difference)}
            for shared in share_data(analyses)
            for one, difference in zip(shared.analyses[1:], shared.differences, strict=True)
        ]
        numbers["seeds"] = [asdict(group) for group in seed_groups({one.name: one.run for one in analyses})]
    return numbers


def _run_numbers(one: Analysis) -> dict[str, Any]:
    run = one.run
    return {
        "name": one.name,
        "path": str(run.path),
        "status": run.facts.status,
        "step": run.step,
        "best_step": run.best_step,
        "train_seconds": run.train_seconds,
        "processes": run.facts.world_size,
        "seed": run.settings.seed,
        "scores": run.scores,
        "exact": asdict(one.exact) if one.exact else None,
        "f1": asdict(one.f1) if one.f1 else None,
        "evaluations": [msgspec.to_builtins(row) for row in run.evaluations],
        "calibration": asdict(one.calibration) if one.calibration else None,
        "answers": dict(zip((kind.key for kind in KINDS), one.kind_counts(), strict=True)) if one.outcomes else {},
        "missing": one.missing,
    }
