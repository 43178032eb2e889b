"""Provenance of a run's figures: data, versions, machine, times, and the command to repeat the run."""

import shlex
from dataclasses import dataclass

from albertqa import files
from albertqa.report.templates import duration
from albertqa.rundir.directory import Run
from albertqa.rundir.run_json import Part


@dataclass(frozen=True, slots=True)
class Fact:
    """One line about where figures come from; code is shown in a fixed-width font."""

    name: str
    value: str
    is_code: bool = False


def title_of(run: Run) -> str:
    """Return which model was trained on which data."""
    return f"{run.settings.model} trained on {sources_of(run, 'train')}"


def sources_of(run: Run, part: Part) -> str:
    """Return the names of the training or validation data."""
    return ", ".join(run.facts.data[part].sources)


def data_facts(run: Run, part: Part) -> list[Fact]:
    """Return the facts of the training or validation data."""
    facts = run.facts.data[part]
    unanswerable = f", {facts.without_answer:,} without an answer" if facts.without_answer else ""
    windows = (
        f"{facts.windows:,} of at most {run.settings.max_seq_length} tokens, overlap {run.settings.doc_stride}; "
        f"{facts.windows_without_answer:,} without a gold answer"
    )
    return [
        Fact("source", sources_of(run, part)),
        Fact("questions", f"{facts.questions:,}{unanswerable}"),
        Fact("windows", windows),
        Fact("tokens", f"{facts.tokens:,}, without padding"),
        Fact("SHA-256 of the content", facts.content_sha256, is_code=True),
    ]


def origin_facts(run: Run) -> list[Fact]:
    """Return the facts of model, machine, versions, seed and times."""
    facts = run.facts
    model, machine, plan = facts.model, facts.machine, facts.plan
    parameters = f", {model.parameters:,} parameters" if model.parameters is not None else ""
    threads = f", {files.plural(machine.threads, 'CPU thread')}" if machine.device == "cpu" and machine.threads else ""
    lowered = f", float32 from step {facts.fp32_since_step:,} on" if facts.fp32_since_step is not None else ""
    processes = f", {facts.world_size} processes" if facts.world_size > 1 else ""
    resumed = f" (resumed {files.plural(len(facts.started) - 1, 'time')})" if len(facts.started) > 1 else ""
    return [
        Fact("model", f"{model.source} ({model.type}{parameters})"),
        Fact("SHA-256 of the tokenizer", model.tokenizer_sha256, is_code=True),
        Fact("seed", str(run.settings.seed)),
        Fact("steps", f"{run.step:,} of {plan.total_steps:,}; {plan.steps_per_epoch:,} per epoch"),
        Fact("machine", f"{machine.device_name} ({machine.device}){threads}{processes}"),
        Fact("precision", f"{machine.precision}{lowered}"),
        Fact("system", machine.platform),
        Fact("versions", ", ".join(f"{name} {version}" for name, version in facts.versions.items())),
        Fact("started", ", ".join(facts.started) + resumed),
        Fact("time", _time_spent(run)),
    ]


def command_started(run: Run) -> str:
    """Return the command line that started the run, for a shell."""
    size = run.facts.world_size
    launch = ["torchrun", "--nproc-per-node", str(size), "-m"] if size > 1 else []
    return shlex.join([*launch, "albertqa", *run.facts.command[1:]])


def command_again(run: Run) -> str:
    """Return the command line that repeats the run with its settings, into a new folder."""
    again = run.settings.output_dir.with_name(f"{run.settings.output_dir.name}-again")
    config = shlex.quote(str(run.path / files.CONFIG_TOML))
    return f"albertqa train --config {config} --output-dir {shlex.quote(str(again))}"


def _time_spent(run: Run) -> str:
    training = f"{duration(run.train_seconds)} training"
    if not run.evaluations:
        return training
    evaluating = duration(sum(row.eval_seconds or 0.0 for row in run.evaluations))
    return f"{training}, {evaluating} for {files.plural(len(run.evaluations), 'evaluation')}"
