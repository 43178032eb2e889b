"""What the doctor finds, and ``health.json``, which holds it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from albertqa.data.problems import SEVERITIES, Severity
from albertqa.errors import RunError
from albertqa.files import HEALTH_JSON, write_json
from albertqa.schema import convert, read_object


class Finding(msgspec.Struct, frozen=True):
    """Something that is wrong with a run.

    Attributes:
        name: Its stable name.
        severity: ``error``: the run is useless as it is, or its scores are wrong; ``warning``: it is worse, or slower,
            than it could be; ``note``: nothing is wrong, but worth knowing.
        message: What was seen, what it means, and what to change, for somebody who sees it for the first time.
        remedy: A command that can be run as it stands.
        evidence: The numbers it rests on, by name.
        step: The step at which it showed; 0 for what was wrong before the first.
    """

    name: str
    severity: Severity
    message: str
    remedy: str
    evidence: Mapping[str, float | int | str] = {}
    step: int = 0


def evidence(**numbers: float | str | None) -> dict[str, float | int | str]:
    """Return the numbers that are known."""
    return {name: value for name, value in numbers.items() if value is not None}


def is_healthy(findings: Sequence[Finding]) -> bool:
    """Return whether there are notes at most."""
    return all(finding.severity == "note" for finding in findings)


def has_error(findings: Sequence[Finding]) -> bool:
    """Return whether there is an error among them."""
    return any(finding.severity == "error" for finding in findings)


def by_severity(findings: Sequence[Finding]) -> list[Finding]:
    """Return them with errors first and notes last, else in their order."""
    return sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity))


def health_json(run: Path, status: str, findings: Sequence[Finding]) -> dict[str, Any]:
    """Return the content of ``health.json``, which ``albertqa doctor --json`` prints too."""
    return {
        "run": str(run),
        "status": status,
        "healthy": is_healthy(findings),
        "findings": [
            {"name": one.name, "severity": one.severity, "step": one.step, **msgspec.to_builtins(one)}
            for one in findings
        ],
    }


def write_findings(run: Path, status: str, findings: Sequence[Finding]) -> None:
    """Write a run's ``health.json``."""
    write_json(run / HEALTH_JSON, health_json(run, status, findings))


def read_findings(run: Path) -> tuple[Finding, ...]:
    """Read a run's ``health.json``.

    Returns:
        Its findings in order; none where the file is missing.

    Raises:
        RunError: The file is damaged.
    """
    path = run / HEALTH_JSON
    if not path.is_file():
        return ()
    remedy = f"Write it again: albertqa doctor {run} --write"
    content = read_object(path)
    if not isinstance(content.get("findings"), list):
        raise RunError(f"{path}: expected a list of findings, found something else. {remedy}")
    return convert(content["findings"], tuple[Finding, ...], str(path), remedy=remedy)
