"""What a rule finds."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:
    from albertqa.health.record import RunRecord

Severity = Literal["error", "warning"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning")


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is wrong with a run.

    Attributes:
        name: Its stable name.
        severity: ``error``: as it is, the run is worth nothing, or its scores are not true; ``warning``: it is worse,
            or slower, than it need be.
        step: The step at which it showed; 0 for what is wrong before the first.
        message: What was seen, what it means, and what to change, for somebody who sees it for the first time.
        remedy: A command that can be run as it stands.
        evidence: The numbers it rests on, by name.
    """

    name: str
    severity: Severity
    step: int
    message: str
    remedy: str
    evidence: Mapping[str, float | int | str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Give the finding as ``health.json`` has it."""
        return {
            "name": self.name,
            "severity": self.severity,
            "step": self.step,
            "message": self.message,
            "remedy": self.remedy,
            "evidence": dict(self.evidence),
        }


# A rule sees a run and yields what it finds; its docstring says what it looks for. See `albertqa.health.diagnose`.
Rule: TypeAlias = "Callable[[RunRecord], Iterator[Finding]]"
