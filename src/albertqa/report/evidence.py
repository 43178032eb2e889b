"""Where a run's figures come from: data, versions, machine, times, and the command to do it again."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from albertqa import files
from albertqa.report.run import Run


@dataclass(frozen=True, slots=True)
class Fact:
    """One line of evidence.

    Attributes:
        name: What it is.
        value: Its value, for a person.
        is_code: Whether it is to be copied as it stands.
    """

    name: str
    value: str
    is_code: bool = False


def title_of(run: Run) -> str:
    """Say what was trained on what."""
    return f"{run.settings.model} trained on {sources_of(run, 'train')}"


def sources_of(run: Run, part: str) -> str:
    """Name the training or validation data."""
    return ", ".join(str(source) for source in run.facts["data"][part]["sources"])


def data_facts(run: Run, part: str) -> list[Fact]:
    """List the facts of the training or validation data."""
    facts = run.facts["data"][part]
    without = facts["without_answer"]
    questions = f"{facts['questions']:,}" + (f", {without:,} of them without an answer" if without else "")
    windows = (
        f"{facts['windows']:,} of at most {run.settings.max_seq_length} tokens, neighbours sharing "
        f"{run.settings.doc_stride}; {facts['windows_without_answer']:,} hold no gold"
    )
    return [
        Fact("source", sources_of(run, part)),
        Fact("questions", questions),
        Fact("windows", windows),
        Fact("tokens", f"{facts['tokens']:,} real tokens, padding not counted"),
        Fact("SHA-256 of the content", facts["content_sha256"], is_code=True),
    ]


def origin_facts(run: Run) -> list[Fact]:
    """List model, machine, versions, seed and times."""
    model, machine, plan = run.facts["model"], run.facts["machine"], run.facts["plan"]
    times = run.facts.get("started", [])
    resumed = len(times) - 1
    threads = f", {machine['threads']} CPU threads" if machine["device"] == "cpu" else ""
    since = run.facts.get("fp32_since_step")
    lowered = f", float32 from step {since:,} on" if since is not None else ""
    return [
        Fact("model", f"{model['source']} ({model['type']}, {model['parameters']:,} parameters)"),
        Fact("SHA-256 of the tokenizer", model["tokenizer_sha256"], is_code=True),
        Fact("seed", str(run.facts["seed"])),
        Fact("steps", f"{run.step:,} of {plan['total_steps']:,}; {plan['steps_per_epoch']:,} an epoch"),
        Fact("machine", f"{machine['device_name']} ({machine['device']}){threads}"),
        Fact("arithmetic", f"{machine['precision']}{lowered}"),
        Fact("system", machine["platform"]),
        Fact("versions", ", ".join(f"{name} {version}" for name, version in run.facts["versions"].items())),
        Fact("started", ", ".join(times) + (f" (resumed: {resumed})" if resumed > 0 else "")),
        Fact("time", time_spent(run)),
    ]


def time_spent(run: Run) -> str:
    """Say how long training and evaluations took."""
    training = duration(run.train_seconds)
    evaluations = run.evaluations
    if not evaluations:
        return f"{training} of training"
    evaluating = duration(sum(float(row.get("eval_seconds", 0.0)) for row in evaluations))
    number = "1 evaluation" if len(evaluations) == 1 else f"{len(evaluations)} evaluations"
    return f"{training} of training, {evaluating} of {number}"


def wall_seconds(run: Run) -> float | None:
    """Give the time from the start to the last word of a run that was never interrupted, in seconds."""
    times = run.facts.get("started", [])
    if len(times) != 1 or "updated" not in run.facts:
        return None
    return (datetime.fromisoformat(run.facts["updated"]) - datetime.fromisoformat(times[0])).total_seconds()


def duration(seconds: float) -> str:
    """Write a time as a person would.

    >>> duration(42.3), duration(200), duration(7300)
    ('42 s', '3 min 20 s', '2 h 2 min')

    Args:
        seconds: The time.

    Returns:
        Its two greatest units.
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def command_as_started(run: Run) -> str:
    """Give the command line that started the run, as a shell takes it."""
    command: Sequence[Any] = run.facts["command"]
    return shlex.join(str(part) for part in command)


def command_again(run: Run) -> str:
    """Give the command that does the run again from its settings, into a new folder."""
    again = run.settings.output_dir.with_name(f"{run.settings.output_dir.name}-again")
    config = shlex.quote(str(run.path / files.CONFIG_TOML))
    return f"albertqa train --config {config} --output-dir {shlex.quote(str(again))}"
