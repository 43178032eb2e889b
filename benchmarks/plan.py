"""What would a billion questions take on many hosts with 8 devices each, and what is the bottleneck?

    python -m benchmarks.plan [--questions 1000000000] [--hosts 1 8 64]

Nothing is measured here: the newest results of `bulk`, `windows`, `decode` and `evaluate` (on a GPU if there is one,
else on this processor) are multiplied out, so the plan changes with them. A question is taken as one window, as most
are in SQuAD. The result names the files that it is computed from.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.provenance import RESULTS, command_line, write_result

_DEVICES = 8
_PART_QUESTIONS = 10_000
_HOUR = 3600


def main(arguments: Sequence[str] | None = None) -> None:
    """Compute and write the plan."""
    parser = command_line(__doc__)
    parser.add_argument("--questions", type=int, default=10**9, metavar="N", help="questions (10^9)")
    parser.add_argument("--hosts", type=int, nargs="+", default=[1, 8, 64], metavar="N", help="numbers of hosts")
    parser.add_argument("--results", type=Path, default=RESULTS, metavar="FOLDER", help="where the measurements are")
    options = parser.parse_args(arguments)
    names = {name: newest(options.results, name) for name in ("bulk-memory", "windows", "decode")}
    names["evaluate"] = newest(options.results, "evaluate-cuda", "evaluate")
    found = {name: json.loads(path.read_text(encoding="utf-8")) for name, path in names.items()}
    write_result("plan", plan(found, options.questions, options.hosts) | sources(names), options.output)


def newest(folder: Path, *names: str) -> Path:
    """Return the newest result of the first of some benchmarks that has one."""
    for name in names:
        paths = list(folder.glob(f"{name}-2*.json"))
        if paths:
            return max(paths, key=lambda path: json.loads(path.read_text(encoding="utf-8"))["date"])
    raise SystemExit(f"{folder}: no result of {' or '.join(names)}. Run: python -m benchmarks.{names[-1]}")


def sources(names: dict[str, Path]) -> dict[str, Any]:
    """Return which files a plan is computed from."""
    return {"n": 1, "computed_from": {name: path.name for name, path in names.items()}}


def plan(found: dict[str, dict[str, Any]], questions: int, hosts: Sequence[int]) -> dict[str, Any]:
    """Multiply measured rates out.

    Args:
        found: Results of `bulk` (its memory), `windows`, `decode` and `evaluate`.
        questions: Questions to answer.
        hosts: Numbers of hosts, of 8 devices each.

    Returns:
        Rates of one device and one core, hours for each number of hosts, bytes, and the bottleneck.
    """
    evaluate = found["evaluate"]
    ours = [one["median"] for name, one in evaluate["windows_per_second"].items() if name.startswith("ours")]
    device_rate = max(ours)
    built = found["windows"]["windows_per_second"]["median"] / found["windows"]["cores_used"]
    decode = min(one["median"] for one in found["decode"]["seconds"].values())
    decoded = found["decode"]["num_windows"] / decode
    core_seconds = 1 / built + 1 / decoded
    read = found["bulk-memory"]["questions_read_per_cpu_second"]["median"]
    memory = found["bulk-memory"]["sizes"][-1]
    rows = []
    for count in hosts:
        computing = questions / (device_rate * _DEVICES * count)
        rows.append({
            "hosts": count,
            "devices": count * _DEVICES,
            "hours_of_the_devices": round(computing / _HOUR, 2),
            "hours_to_read_everything": round(questions / read / _HOUR, 2),
            "hours_to_read_a_share": round(questions / read / count / _HOUR, 2),
            "bottleneck_with_shard": "reading" if questions / read > computing else "devices",
        })  # fmt: skip
    return {
        "questions": questions,
        "device": evaluate["device_name"],
        "windows_per_second_of_a_device": round(device_rate, 1),
        "windows_per_second_of_a_core_built": round(built, 1),
        "windows_per_second_of_a_core_decoded": round(decoded, 1),
        "questions_per_second_read_by_a_process": round(read, 1),
        # A process builds windows, runs them and decodes, one after the other.
        "windows_per_second_of_one_actor_a_device": round(1 / (1 / device_rate + core_seconds), 1),
        "actors_that_keep_a_device_busy": round(1 + device_rate * core_seconds, 2),
        "cores_that_keep_8_devices_busy": round(_DEVICES * device_rate * core_seconds, 2),
        "devices_that_one_reading_process_feeds": round(read / device_rate, 1),
        "terabytes_read": round(questions * memory["bytes_read_per_question"] / 1e12, 3),
        "terabytes_written": round(questions * memory["bytes_written_per_answer"] / 1e12, 3),
        "parts": questions // _PART_QUESTIONS,
        "by_hosts": rows,
    }


if __name__ == "__main__":
    main()
