"""Results with their provenance: where, when and how a number was measured."""

import argparse
import json
import os
import platform
import shlex
import statistics
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from albertqa.model.processor import read_processor

if TYPE_CHECKING:
    import torch

RESULTS = Path(__file__).resolve().parent / "results"

# The instruction sets that decide how fast matrix products are.
_LIMITS = ("ONEDNN_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY", "MKL_ENABLE_INSTRUCTIONS")
_INSTRUCTIONS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")


def command_line(doc: str | None, *, rounds: int | None = None, device: bool = False) -> argparse.ArgumentParser:
    """Return a benchmark's command line.

    Args:
        doc: The script's docstring, shown by ``--help``.
        rounds: Default of ``--rounds``; None: the script has no rounds.
        device: Whether it has ``--device``.

    Returns:
        A parser with ``--output`` and these.
    """
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--output", type=Path, default=RESULTS, metavar="FOLDER", help="folder of the result (benchmarks/results)"
    )
    if rounds is not None:
        parser.add_argument("--rounds", type=int, default=rounds, metavar="N", help=f"measured rounds ({rounds})")
    if device:
        parser.add_argument("--device", default="auto", help="auto, cpu or cuda (auto)")
    return parser


def spread(values: Sequence[float]) -> dict[str, float]:
    """Return median, minimum and maximum, to four significant digits."""
    found = {"median": statistics.median(values), "min": min(values), "max": max(values)}
    return {name: float(f"{value:.4g}") for name, value in found.items()}


def write_result(
    name: str, result: dict[str, Any], folder: Path, device: "torch.device | None" = None, *, command: str | None = None
) -> Path:
    """Write a result with its provenance to ``NAME-DATE-COMMIT.json``.

    Args:
        name: What was measured.
        result: The measurement: n, spread, figures.
        folder: Its folder; created if missing.
        device: The device; a GPU's result has the name ``NAME-cuda``, so that it does not replace the processor's.
        command: The command; None: of the module in this package that is running.

    Returns:
        The file.
    """
    now = datetime.now(UTC)
    # A copy of the files may have an older repository, or none: its commit is in the environment.
    commit = (os.environ.get("GIT_COMMIT") or _git("rev-parse", "HEAD") or "nocommit")[:10]
    changed = _git("status", "--porcelain", "--untracked-files=no", "--", "src", "benchmarks/*.py")
    processor = read_processor()
    if device is not None and device.type != "cpu":
        name = f"{name}-{device.type}"
    content = {
        "name": name,
        "date": now.isoformat(timespec="seconds"),
        "commit": commit,
        "uncommitted_changes": bool(changed),
        "command": command or shlex.join(["python", "-m", f"benchmarks.{Path(sys.argv[0]).stem}", *sys.argv[1:]]),
        "machine": {
            "platform": platform.platform(),
            "processor": {
                "name": processor.name,
                "generation": processor.generation,
                "instructions": [one for one in _INSTRUCTIONS if one in processor.instructions],
                # What the libraries were told to leave unused, such as ONEDNN_MAX_CPU_ISA=AVX2.
                "limits": {one: os.environ[one] for one in _LIMITS if one in os.environ},
            },
            "cores": os.cpu_count(),
            "usable_cores": usable_cores(),
            "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        },
        "versions": {
            "python": platform.python_version(),
            **{one: metadata.version(one) for one in ("albertqa", "torch", "transformers", "tokenizers", "numpy")},
        },
        **({} if device is None else {"device": device.type, "device_name": _device_name(device)}),
        **result,
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{now:%Y%m%d}-{commit}.json"
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"wrote {path}")
    return path


def usable_cores() -> int:
    """Return the number of cores that this thread may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _device_name(device: "torch.device") -> str:
    import torch

    return str(torch.cuda.get_device_name(device)) if device.type == "cuda" else read_processor().name


def _git(*arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments], capture_output=True, text=True, check=False, cwd=Path(__file__).parent.parent
    )
    return done.stdout.strip()
