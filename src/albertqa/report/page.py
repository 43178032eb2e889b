"""The report: one HTML file with style, script and data inside, which loads nothing from anywhere.

Data reaches the page as escaped HTML, or as JSON that the script shows as text.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from markupsafe import Markup

from albertqa import files
from albertqa.config import Settings
from albertqa.errors import RunError
from albertqa.report import origin
from albertqa.report.analysis import CARD, Analysis, analyse, load_runs
from albertqa.report.breakdown import NUM_RESAMPLES
from albertqa.report.card import write_cards
from albertqa.report.chart import Chart, Mark
from albertqa.report.compare import SharedData, differing_settings, seed_groups, share_data
from albertqa.report.curves import curves_of, smoothed_loss, smoothed_steps
from albertqa.report.outcome import KINDS, RANKS
from albertqa.report.payload import answers_json, packed_json, questions_json, script_json
from albertqa.report.probability_charts import probability_charts
from albertqa.report.templates import render_page
from albertqa.scoring.calibration import LEAST_QUESTIONS

REPORT_HTML = "report.html"

_COVERAGES = (1.0, 0.9, 0.8, 0.7, 0.5, 0.25)


@dataclass(frozen=True)
class Description:
    """The files that describe a run.

    Attributes:
        page: The report.
        model_cards: A README.md for each model of the run, best first; empty if it has no model yet.
    """

    page: Path
    model_cards: tuple[Path, ...]


def write_report(runs: Sequence[str | PathLike[str]], output: str | PathLike[str] | None = None) -> Path:
    """Write one self-contained HTML page about one or several runs.

    Args:
        runs: Run directories, at least one; the first is what the others are compared with.
        output: The file to write; None: ``report.html`` in the run, or in the current folder for several runs.

    Raises:
        AlbertQAError: A directory is not a run or is damaged, or the file cannot be written.
    """
    target, analyses = _analysed(runs, output)
    return _write(analyses, target)


def describe_run(run: str | PathLike[str], output: str | PathLike[str] | None = None) -> Description:
    """Write a run's report and the cards of its models, from one analysis; see `write_report`."""
    target, analyses = _analysed([run], output)
    cards = write_cards(analyses[0])
    return Description(_write(analyses, target), tuple(cards))


def _analysed(runs: Sequence[str | PathLike[str]], output: str | PathLike[str] | None) -> tuple[Path, list[Analysis]]:
    """Find the file of the page, before anything is computed for it, and analyse the runs."""
    paths = [Path(run) for run in runs]
    loaded = load_runs(paths)
    default = paths[0] / REPORT_HTML if len(paths) == 1 else Path(REPORT_HTML)
    target = default if output is None else Path(output)
    if target.is_dir():
        raise RunError(f"{target}: is a folder, expected a file for the report. Choose {target / REPORT_HTML}")
    return target, analyse(loaded)


def _write(analyses: Sequence[Analysis], target: Path) -> Path:
    html = _page(analyses)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        files.write_text(target, html)
    except OSError as error:
        raise RunError(f"{target}: the report cannot be written ({error.strerror}). Choose another --output") from error
    return target


def _page(analyses: Sequence[Analysis]) -> str:
    runs = {one.name: one.run for one in analyses}
    shared = share_data(analyses)
    charts = _charts(analyses)
    return render_page(
        "page.html.jinja",
        "charts.js",
        "questions.js",
        "page.js",
        charts_json=Markup(script_json({key: asdict(chart) for key, chart in charts.items()})),
        questions_json=Markup(packed_json(_questions(shared)) if shared else ""),
        page_title=origin.title_of(analyses[0].run) if len(runs) == 1 else f"{len(runs)} runs compared",
        analyses=analyses,
        findings_page=files.FINDINGS_PAGE,
        several=len(analyses) > 1,
        shared=shared,
        card=CARD,
        charts=charts,
        kinds=KINDS,
        ranks=RANKS,
        coverages=_COVERAGES,
        num_resamples=NUM_RESAMPLES,
        least_questions=LEAST_QUESTIONS,
        recipe_rows=[differing_settings([run.settings, Settings()]) for run in runs.values()],
        differing=differing_settings([run.settings for run in runs.values()]),
        seed_groups=seed_groups(runs),
        smoothed_loss=smoothed_loss,
        smoothed_steps=smoothed_steps,
        origin=origin,
    )


def _charts(analyses: Sequence[Analysis]) -> dict[str, Chart]:
    references = []
    if any(one.card for one in analyses):
        references = [
            Mark(CARD.f1, f"published F1 {CARD.f1:.2f}", "reference"),
            Mark(CARD.exact, f"published exact {CARD.exact:.2f}", "reference"),
        ]
    curves = curves_of({one.name: one.run for one in analyses}, references)
    return {chart.key: chart for chart in (*curves, *probability_charts(analyses))}


def _questions(shared: Sequence[SharedData]) -> dict[str, Any]:
    """Return what the page's list of questions shows."""
    return {
        "kinds": [{"key": kind.key, "label": kind.label} for kind in KINDS],
        "ranks": RANKS,
        "sets": [questions_json(data.analyses[0].examples, data.facets) for data in shared],
        "runs": [
            {**answers_json(one.name, one.outcomes), "set": index}
            for index, data in enumerate(shared)
            for one in data.analyses
        ],
    }
