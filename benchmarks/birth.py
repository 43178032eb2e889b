"""A number's birth certificate: where, when and how it was measured."""

import json
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def write_result(name: str, result: dict[str, Any]) -> Path:
    """Write a result with its certificate to ``results/NAME-DATE-COMMIT.json``.

    Args:
        name: What was measured.
        result: The measurement: n, spread, figures.

    Returns:
        The file.
    """
    now = datetime.now(UTC)
    commit = _git("rev-parse", "--short=10", "HEAD") or "nocommit"
    certificate = {
        "name": name,
        "date": now.isoformat(timespec="seconds"),
        "commit": commit,
        "uncommitted_changes": bool(_git("status", "--porcelain", "--untracked-files=no", "src")),
        "command": " ".join([Path(sys.executable).name, *sys.argv]),
        "machine": {
            "platform": platform.platform(),
            "processor": _processor(),
            "cores": os.cpu_count(),
            "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        },
        "versions": {
            "python": platform.python_version(),
            **{one: metadata.version(one) for one in ("albertqa", "torch", "transformers", "tokenizers", "numpy")},
        },
    }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}-{now:%Y%m%d}-{commit}.json"
    path.write_text(json.dumps({**certificate, **result}, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"wrote {path}")
    return path


def _git(*arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments], capture_output=True, text=True, check=False, cwd=Path(__file__).parent.parent
    )
    return done.stdout.strip()


def _processor() -> dict[str, Any]:
    """Name the processor, with the instruction sets that decide what is fast."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return {"name": platform.processor()}
    facts: dict[str, str] = {}
    for line in lines:
        key, colon, value = line.partition(":")
        if colon and key.strip() in {"model name", "flags"}:
            facts.setdefault(key.strip(), value.strip())
    flags = facts.get("flags", "").split()
    known = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")
    return {"name": facts.get("model name", ""), "instructions": [one for one in known if one in flags]}
