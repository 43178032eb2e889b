"""Model cards for the Hub: a README.md with metadata in each of a run's model folders."""

from collections.abc import Sequence
from pathlib import Path

from albertqa import files
from albertqa.config import Settings
from albertqa.data.formats.hub_datasets import parse_hub_name
from albertqa.report.analysis import Analysis
from albertqa.report.compare import differing_settings
from albertqa.report.origin import command_again, data_facts, origin_facts, sources_of, title_of
from albertqa.report.templates import render
from albertqa.rundir.directory import Run

README = "README.md"


def write_cards(analysis: Analysis) -> list[Path]:
    """Write the model cards of a run.

    The figures of ``best/`` are those of ``eval.json``, those of ``final/`` of the evaluation after the last step.

    Returns:
        The README files written, best first; none if the run has no model yet.
    """
    written = []
    for name in (files.BEST, files.FINAL):
        folder = analysis.run.path / name
        if (folder / "config.json").is_file():
            files.write_text(folder / README, _card(analysis, name))
            written.append(folder / README)
    return written


def _card(analysis: Analysis, model: str) -> str:
    run = analysis.run
    name = run.path.resolve().name
    is_best = model == files.BEST or run.best_step == run.step
    figures = _figures(run, of_best=is_best)
    return render(
        "card.md.jinja",
        name=name,
        folder=repr(" ".join(name.split()).replace("`", "'")),
        metadata=_metadata(analysis, figures),
        run=run,
        title=title_of(run),
        figures=figures,
        exact_interval=analysis.exact if is_best else None,
        f1_interval=analysis.f1 if is_best else None,
        validation=run.facts.data.validation,
        validation_name=sources_of(run, "validation"),
        card=analysis.card,
        settings=differing_settings([run.settings, Settings()]),
        command=command_again(run),
        training_facts=data_facts(run, "train"),
        validation_facts=data_facts(run, "validation"),
        origin_facts=origin_facts(run),
    )


def _figures(run: Run, *, of_best: bool) -> dict[str, float]:
    """Return the figures of the best model, or of the evaluation after the last step; empty if there was none."""
    if of_best:
        return {**run.scores, "step": run.best_step} if run.scores else {}
    row = next((one for one in reversed(run.evaluations) if one.step == run.step), None)
    if row is None or row.exact is None:
        return {}
    return {"step": row.step, "exact": row.exact, "f1": row.f1, "loss": row.loss}


def _metadata(analysis: Analysis, figures: dict[str, float]) -> str:
    """Return the YAML that the Hub reads; the license is left to the user."""
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
            dataset_args={"content_sha256": run.facts.data.validation.content_sha256},
            metric_type=kind,
            metric_name=metric_name,
            metric_value=round(figures[key], 4),
        )
        for kind, metric_name, key in (("exact_match", "Exact match", "exact"), ("f1", "F1", "f1"))
        if key in figures
    ]
    base = run.settings.model if parse_hub_name(run.settings.model) and not Path(run.settings.model).exists() else None
    data = ModelCardData(
        base_model=base,
        datasets=_hub_names([*run.facts.data.train.sources, *run.facts.data.validation.sources]) or None,
        library_name="transformers",
        pipeline_tag="question-answering",
        tags=["albertqa", "extractive-qa", run.facts.model.type],
        metrics=["exact_match", "f1"],
        model_name=run.path.resolve().name if results else None,
        eval_results=results or None,
    )
    return data.to_yaml()


def _data_name(analysis: Analysis) -> tuple[str, str]:
    """Return type and name of the validation data: its name on the Hub, or "custom" and the names of the files."""
    sources = analysis.run.facts.data.validation.sources
    names = _hub_names(sources)
    if len(names) == 1 and len(sources) == 1:
        return names[0], names[0]
    if analysis.card:
        return "rajpurkar/squad", "SQuAD v1.1"
    return "custom", ", ".join(Path(source).name for source in sources)


def _hub_names(sources: Sequence[str]) -> list[str]:
    """Return the sources that are names on the Hub, each once."""
    found = [parse_hub_name(source) for source in sources if not Path(source).exists()]
    return list(dict.fromkeys(name for name, _ in filter(None, found)))
