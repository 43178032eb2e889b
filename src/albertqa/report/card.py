"""Model cards for the Hub: README.md with YAML metadata in a run's best/ and final/, with the run's own evidence."""

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from albertqa import files
from albertqa.config import field_docs
from albertqa.data.formats.hub_datasets import parse_hub_name
from albertqa.errors import RunError
from albertqa.report import evidence
from albertqa.report.analysis import Analysis, analyse
from albertqa.report.compare import settings_beside_recipe
from albertqa.report.published import CARD
from albertqa.report.run import Run, load_runs
from albertqa.scoring.interval import Interval

README = "README.md"

_USE = """```python
import albertqa

answer = albertqa.Answerer({folder!r}).answer("Who …?", "The context …")
print(answer.text, answer.probability)
```"""

_LICENSE_LINE = "# license: yours to choose (https://huggingface.co/docs/hub/repositories-licenses), then drop the #"


def write_model_card(run: str | PathLike[str]) -> list[Path]:
    """Write the model cards of a run.

    The figures of ``best/`` are those of ``eval.json``, those of ``final/`` of the evaluation after the last step.

    Args:
        run: Run directory with at least one of ``best/`` and ``final/``.

    Returns:
        The README files written, best first.

    Raises:
        AlbertQAError: The directory is no run, is damaged, or has no model yet.
    """
    path = Path(run)
    (loaded,) = load_runs([path])
    if not models_of(path):
        raise RunError(
            f"{path}: this run has neither {files.BEST}/ nor {files.FINAL}/ yet, so there is no model to describe"
        )
    (analysis,) = analyse([loaded])
    return write_cards(analysis)


def models_of(run: Path) -> list[str]:
    """Give the names of the models that a run directory holds, best first."""
    return [name for name in (files.BEST, files.FINAL) if (run / name / "config.json").is_file()]


def write_cards(analysis: Analysis) -> list[Path]:
    """Write the model cards of a run that is analysed already.

    Args:
        analysis: The run.

    Returns:
        The README files written, best first.
    """
    written = []
    for name in models_of(analysis.run.path):
        target = analysis.run.path / name / README
        files.write_text(target, _card(analysis, name))
        written.append(target)
    return written


def _card(analysis: Analysis, name: str) -> str:
    run = analysis.run
    figures = _figures(analysis, name)
    sections = [
        _metadata(analysis, figures),
        f"# {_plain(run.path.resolve().name)}",
        f"An extractive question-answering model: {_plain(evidence.title_of(run))}.",
        "## Use",
        _USE.format(folder=_line(run.path.resolve().name).replace("`", "'")) + "\n\nThe weights are Transformers' own "
        "(`AutoModelForQuestionAnswering`, `AutoTokenizer`).",
        "## Results",
        _results(analysis, figures),
        "## Training",
        _settings(run),
        _command(run),
        "## Evidence",
        _table(["", "training data", "validation data"], _data_rows(run)),
        _table(["", ""], [[fact.name, _code(fact.value)] for fact in evidence.origin_facts(run)]),
        f"Written by albertqa {_plain(run.facts['versions'].get('albertqa', ''))} from the run's own files.",
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _figures(analysis: Analysis, name: str) -> dict[str, Any]:
    """Give the figures of one of the run's models: its step, loss, exact and f1, with intervals where known."""
    run = analysis.run
    if name == files.BEST or run.best_step == run.step:
        if not run.scores:
            return {}
        intervals = {"exact_interval": analysis.exact, "f1_interval": analysis.f1}
        return {**run.scores, "step": run.best_step, **intervals}
    row = next((one for one in reversed(run.evaluations) if one["step"] == run.step), None)
    return {} if row is None else {**row, "loss": row["validation_loss"]}


def _metadata(analysis: Analysis, figures: dict[str, Any]) -> str:
    """Write the YAML block that the Hub reads; the license is the user's to name."""
    from huggingface_hub import EvalResult, ModelCardData

    run = analysis.run
    data_type, data_name = _data_name(analysis)
    results = [
        EvalResult(
            task_type="question-answering",
            task_name="Question Answering",
            dataset_type=data_type,
            dataset_name=data_name,
            dataset_split="validation",
            dataset_args={"content_sha256": run.validation["content_sha256"]},
            metric_type=kind,
            metric_name=metric_name,
            metric_value=round(float(figures[key]), 4),
        )
        for kind, metric_name, key in (("exact_match", "Exact match", "exact"), ("f1", "F1", "f1"))
        if key in figures
    ]
    base = run.settings.model if parse_hub_name(run.settings.model) and not Path(run.settings.model).exists() else None
    data = ModelCardData(
        base_model=base,
        datasets=_hub_names([*run.facts["data"]["train"]["sources"], *run.validation["sources"]]) or None,
        library_name="transformers",
        pipeline_tag="question-answering",
        tags=["albertqa", "extractive-qa", str(run.facts["model"]["type"])],
        metrics=["exact_match", "f1"],
        model_name=run.path.resolve().name if results else None,
        eval_results=results or None,
    )
    return f"---\n{_LICENSE_LINE}\n{data.to_yaml()}\n---"


def _data_name(analysis: Analysis) -> tuple[str, str]:
    """Name the validation data as the Hub would: its name there, or "custom" with the names of the files."""
    sources = [str(source) for source in analysis.run.validation["sources"]]
    names = _hub_names(sources)
    if len(names) == 1 and len(sources) == 1:
        return names[0], names[0]
    if analysis.card:
        return "rajpurkar/squad", "SQuAD v1.1"
    return "custom", ", ".join(Path(source).name for source in sources)


def _hub_names(sources: Sequence[Any]) -> list[str]:
    """Give the sources that are names on the Hub, each once."""
    found = [parse_hub_name(str(source)) for source in sources if not Path(str(source)).exists()]
    return list(dict.fromkeys(name for name, _ in filter(None, found)))


def _results(analysis: Analysis, figures: dict[str, Any]) -> str:
    run = analysis.run
    if not figures:
        return "Not evaluated yet."
    rows = [
        ["exact match", _number(figures["exact"]), _interval(figures.get("exact_interval"))],
        ["F1", _number(figures["f1"]), _interval(figures.get("f1_interval"))],
        ["validation loss", f"{figures['loss']:.4f}", ""],
    ]
    rows += [[key, _number(figures[key]), ""] for key in ("HasAns_exact", "HasAns_f1", "NoAns_exact") if key in figures]
    text = _table(["", "value", "95 % interval"], rows)
    text += (
        f"\n\nAfter step {figures['step']:,} of {run.facts['plan']['total_steps']:,}, on "
        f"{run.validation['questions']:,} questions in {run.validation['windows']:,} windows of "
        f"{_plain(evidence.sources_of(run, 'validation'))}, by the official SQuAD metric."
    )
    if analysis.card:
        text += (
            f" The published card `{CARD.name}` says {CARD.exact:.2f} exact and {CARD.f1:.2f} F1 on the same questions "
            f"({CARD.windows:,} windows)."
        )
    return text


def _settings(run: Run) -> str:
    rows = settings_beside_recipe(run.settings, field_docs())
    if not rows:
        return "All settings are those of the published recipe."
    table = _table(["setting", "this run", "recipe"], [[_code(row.name), *map(_code, row.values)] for row in rows])
    return f"Settings that differ from the published recipe; all others are its own:\n\n{table}"


def _command(run: Run) -> str:
    again = _line(evidence.command_again(run))
    return f"With the run's `{files.CONFIG_TOML}`, the training is done again by\n\n    {again}"


def _data_rows(run: Run) -> list[list[str]]:
    parts = (evidence.data_facts(run, "train"), evidence.data_facts(run, "validation"))
    return [[one.name, _code(one.value), _code(other.value)] for one, other in zip(*parts, strict=True)]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _number(value: float) -> str:
    return f"{value:.2f}"


def _interval(one: Interval | None) -> str:
    return "" if one is None else f"{one.low:.2f} to {one.high:.2f}"


def _plain(text: Any) -> str:
    """Write a text so that Markdown and HTML take none of it for their own."""
    return _line(text).replace("&", "&amp;").replace("<", "&lt;").replace("|", "&#124;").replace("`", "&#96;")


def _code(text: Any) -> str:
    """Write a value as code, which Markdown leaves as it is."""
    line = _line(text).replace("`", "'").replace("|", "\\|")
    return f"`{line}`" if line else ""


def _line(text: Any) -> str:
    """Write a text on one line."""
    return " ".join(str(text).split())
