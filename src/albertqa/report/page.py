"""The page: facts of runs put into the template, with styles, script and data inside; one file, no network.

The security policy in its head lets run nothing but the script that is hashed there. Whatever comes from data reaches
the page as escaped HTML, or as JSON that the script shows as text.
"""

import base64
import hashlib
from collections.abc import Sequence
from importlib import metadata, resources
from os import PathLike
from pathlib import Path
from typing import Any

from albertqa import files
from albertqa.config import field_docs
from albertqa.errors import RunError
from albertqa.report import evidence
from albertqa.report.analysis import Analysis, SharedData, analyse, share_data
from albertqa.report.breakdown import NUM_RESAMPLES
from albertqa.report.calibration import CALIBRATION_JSON, LEAST_QUESTIONS
from albertqa.report.chart import Chart, Mark
from albertqa.report.compare import seed_groups, settings_beside_each_other, settings_beside_recipe
from albertqa.report.curves import curves_of, smoothed_loss
from albertqa.report.outcome import KINDS, RANKS
from albertqa.report.payload import answers_json, packed_json, questions_json, script_json
from albertqa.report.published import CARD
from albertqa.report.run import Run, load_runs
from albertqa.report.trust import trust_charts
from albertqa.scoring.interval import Interval

REPORT_HTML = "report.html"

_SCRIPTS = ("charts.js", "questions.js", "page.js")
_NOTHING = "\N{EN DASH}"
_MINUS = "\N{MINUS SIGN}"
_COVERAGES = (1.0, 0.9, 0.8, 0.7, 0.5, 0.25)


def write_report(runs: Sequence[str | PathLike[str]], output: str | PathLike[str] | None = None) -> Path:
    """Write one self-contained HTML page about one or several runs.

    Where there are enough questions, each run's temperature is kept in it, too, as ``calibration.json``.

    Args:
        runs: Run directories, at least one; with several, the first is what the others are compared with.
        output: The file to write; None: ``report.html`` in the run, or with several runs in the current folder.

    Returns:
        The file.

    Raises:
        AlbertQAError: A directory is no run or is damaged, or the file cannot be written.
    """
    loaded = load_runs([Path(run) for run in runs])
    target = page_target(loaded, output)
    return write_page(analyse(loaded), target)


def page_target(runs: Sequence[Run], output: str | PathLike[str] | None) -> Path:
    """Choose the page's file, before anything is computed for it.

    Args:
        runs: The runs.
        output: What the user asked for; None: see `write_report`.

    Returns:
        The file.

    Raises:
        RunError: It is a folder.
    """
    beside = runs[0].path / REPORT_HTML if len(runs) == 1 else Path(REPORT_HTML)
    target = beside if output is None else Path(output)
    if target.is_dir():
        raise RunError(f"{target}: is a folder, expected a file for the report. Choose {target / REPORT_HTML}")
    return target


def write_page(analyses: Sequence[Analysis], target: Path) -> Path:
    """Write the page about runs that are analysed already.

    Args:
        analyses: The runs.
        target: The file.

    Returns:
        The file.

    Raises:
        RunError: It cannot be written.
    """
    html = build_page(analyses)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        files.write_text(target, html)
    except OSError as error:
        raise RunError(f"{target}: the report cannot be written ({error.strerror}). Choose another --output") from error
    return target


def build_page(analyses: Sequence[Analysis]) -> str:
    """Build the page.

    Args:
        analyses: The runs.

    Returns:
        The HTML.
    """
    import jinja2
    import markupsafe

    runs = [one.run for one in analyses]
    shared = share_data(analyses)
    docs = field_docs()
    charts = _charts(analyses)
    css, script = _part("page.css"), "\n".join(_part(name) for name in _SCRIPTS)
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(
        percent=lambda value: _NOTHING if value is None else f"{value:.2f}",
        rounded=lambda value: _NOTHING if value is None else f"{value:.4g}",
        signed=lambda value: f"{value:+.2f}".replace("-", _MINUS),
        thousands=lambda value: f"{value:,}",
        interval=_interval,
        with_code=_with_code,
        signed_interval=lambda one: f"{one.low:+.2f} to {one.high:+.2f}".replace("-", _MINUS),
        duration=evidence.duration,
    )
    html = environment.from_string(_part("page.html.jinja")).render(
        policy=_policy(css, script),
        css=markupsafe.Markup(css),
        script=markupsafe.Markup(script),
        charts_json=markupsafe.Markup(script_json(charts)),
        questions_json=markupsafe.Markup(packed_json(_questions(analyses, shared)) if shared else ""),
        page_title=evidence.title_of(runs[0]) if len(runs) == 1 else f"{len(runs)} runs compared",
        version=metadata.version("albertqa"),
        analyses=analyses,
        shared=shared,
        runs=runs,
        card=CARD,
        cards=[one for one in analyses if one.card],
        charts=charts,
        kinds=KINDS,
        ranks=RANKS,
        coverages=_COVERAGES,
        num_resamples=NUM_RESAMPLES,
        least_questions=LEAST_QUESTIONS,
        calibration_json=CALIBRATION_JSON,
        recipe_rows={run.name: settings_beside_recipe(run.settings, docs) for run in runs},
        differing=settings_beside_each_other(runs, docs) if len(runs) > 1 else [],
        seed_groups=seed_groups(runs),
        smoothed_loss=smoothed_loss,
        evidence=evidence,
    )
    # A lone surrogate, which JSON data may hold, has no UTF-8 form.
    return html.encode("utf-8", "replace").decode("utf-8")


def _charts(analyses: Sequence[Analysis]) -> dict[str, dict[str, Any]]:
    references: list[Mark] = []
    if any(one.card for one in analyses):
        references = [
            Mark(CARD.f1, f"published F1 {CARD.f1:.2f}", "reference"),
            Mark(CARD.exact, f"published exact {CARD.exact:.2f}", "reference"),
        ]
    charts: list[Chart] = [*curves_of([one.run for one in analyses], references), *trust_charts(analyses)]
    return {chart.key: chart.to_json() for chart in charts}


def _questions(analyses: Sequence[Analysis], shared: Sequence[SharedData]) -> dict[str, Any]:
    """Lay out what the page's browser of questions shows."""
    order = [one.run.name for one in analyses]
    return {
        "kinds": [{"key": kind.key, "label": kind.label, "meaning": kind.meaning} for kind in KINDS],
        "ranks": RANKS,
        "sets": [questions_json(data.analyses[0].examples, data.facets) for data in shared],
        "runs": [
            {**answers_json(one.run.name, one.outcomes), "set": index, "colour": order.index(one.run.name)}
            for index, data in enumerate(shared)
            for one in data.analyses
        ],
    }


def _interval(one: Interval | None) -> str:
    return "" if one is None else f"{one.low:.2f} to {one.high:.2f}"


def _with_code(text: str) -> Any:
    """Show what stands between back-quotes as code."""
    import markupsafe

    parts = [markupsafe.escape(part) for part in text.split("`")]
    code = markupsafe.Markup("<code>{}</code>")
    return markupsafe.Markup("").join(code.format(part) if at % 2 else part for at, part in enumerate(parts))


def _part(name: str) -> str:
    return resources.files("albertqa.report").joinpath(name).read_text(encoding="utf-8")


def _policy(css: str, script: str) -> str:
    """Give the content security policy: nothing from anywhere but this style and this script."""
    style_hash, script_hash = (
        base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii") for text in (css, script)
    )
    return (
        f"default-src 'none'; script-src 'sha256-{script_hash}'; style-src 'sha256-{style_hash}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
