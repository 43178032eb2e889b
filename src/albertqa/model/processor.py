"""The processor: its name, and the instruction sets that decide what is fast on it."""

import platform
from dataclasses import dataclass
from pathlib import Path

_CPUINFO = Path("/proc/cpuinfo")


@dataclass(frozen=True, slots=True)
class Processor:
    """What this machine computes with.

    Attributes:
        name: As the maker calls it.
        instructions: Its instruction sets as Linux spells them; empty where the system does not tell.
        generation: The maker's numbers for its design, as a server's name may be that of several; empty: not told.
    """

    name: str
    instructions: frozenset[str]
    generation: str = ""

    @property
    def has_bf16(self) -> bool:
        """Whether it multiplies bf16 in hardware."""
        return not self.instructions.isdisjoint({"avx512_bf16", "amx_bf16"})

    @property
    def has_amx(self) -> bool:
        """Whether it has matrix units for bf16, not vector instructions only."""
        return "amx_bf16" in self.instructions


def read_processor() -> Processor:
    """Ask the system about its first processor; systems other than Linux tell only a name."""
    try:
        lines = _CPUINFO.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return Processor(platform.processor() or platform.machine(), frozenset())
    facts: dict[str, str] = {}
    for line in lines:
        key, _, value = line.partition(":")
        facts.setdefault(key.strip(), value.strip())
    numbers = [f"{key.removeprefix('cpu ')} {facts[key]}" for key in ("cpu family", "model") if key in facts]
    return Processor(
        facts.get("model name") or platform.machine(), frozenset(facts.get("flags", "").split()), " ".join(numbers)
    )
