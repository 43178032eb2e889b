"""Run a campaign: inputs that follow from a seed, in worker processes, with limits on time and memory.

A target makes input number n and uses it as users do; it returns the kind of outcome. Whatever escapes it is a
traceback. A worker that crashes, or takes too long over an input, is counted and replaced.
"""

import faulthandler
import json
import os
import random
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

MAX_SECONDS = 10
MAX_BYTES = 2 * 2**30
Target = Callable[[int, random.Random, Path], str]
"""Use input number n, made with a generator, in an empty folder; return what kind of outcome it had."""

PIECES = [
    b"", b"\x00", b"\xff", b"\xef\xbb\xbf", b"\r\n", b"\r", b"\n", b'"', b"'", b",", b";", b"\t", b"[", b"{", b"}",
    b"]", b"null", b"NaN", b"-Infinity", b"1e999", b"9" * 5000, b"\\ud800", b"\\u0000", b"\x1b[31m", b"[" * 2000,
    b'{"a":' * 500, b"array([", b"...", b"id,question,context,answer_text\n", b'{"data": [', b'"qas"', b"-1",
    b'"detected_answers"', "é😀\u202e".encode(), "中".encode("utf-16"), b"PAR1", b"PK\x03\x04", b"\x1f\x8b",
]  # fmt: skip


def damaged(good: bytes, others: list[bytes], rng: random.Random) -> bytes:
    """Return a file with one to four faults."""
    data = bytearray(good)
    for _ in range(rng.choice([1, 1, 2, 4])):
        at = rng.randrange(len(data) + 1)
        kind = rng.randrange(7)
        if kind == 0 and data:
            data[at % len(data)] = rng.randrange(256)
        elif kind == 1:
            del data[at : at + rng.choice([1, 4, 50, 1000])]
        elif kind == 2:
            data[at:at] = rng.choice(PIECES) * rng.choice([1, 1, 3])
        elif kind == 3:
            del data[at:]
        elif kind == 4:
            other = rng.choice(others)
            data[at:at] = other[rng.randrange(len(other)) :][:500]
        elif kind == 5:
            data[at : at + 4] = rng.randbytes(4)
        else:
            data[at:at] = data[rng.randrange(len(data) + 1) :][: rng.choice([10, 200])]
    return bytes(data)


def damaged_value(value: Any, rng: random.Random) -> Any:
    """Return a JSON value, somewhere in which one value is of another type or range, missing, or another's."""
    places = list(_places(value))
    if not places:
        return rng.choice(_VALUES)
    container, key = rng.choice(places)
    kind = rng.randrange(4)
    if kind == 0:
        del container[key]
    elif kind == 1:
        other, name = rng.choice(places)
        container[key] = other[name] if name in (other if isinstance(other, dict) else range(len(other))) else None
        if container[key] is value or isinstance(container[key], dict | list):
            container[key] = None
    else:
        container[key] = rng.choice(_VALUES)
    return value


_VALUES: list[Any] = [
    None, True, False, 0, -1, 1, 3, 10**9, 10**30, -(10**30), 0.5, 1e308, float("nan"), float("inf"), "", "x", "7",
    "a\x1b[31m\n\u202e", "\ud800", [], [1], ["x"], [[]], {}, {"a": 1}, [{}], "../../etc/passwd", "/dev/zero", "1e999",
]  # fmt: skip


def _places(value: Any) -> Any:
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield value, key
            yield from _places(value[key])


def run_campaign(target: Target, seed: int, num_inputs: int, first: int = 0) -> dict[str, Any]:
    """Use inputs `first` to `first + num_inputs`; return how many there were of each outcome, time and memory."""
    outcomes: Counter[str] = Counter()
    slowest, peak_bytes, done, last = 0.0, 0, first, first + num_inputs
    while done < last:
        reading, writing = os.pipe()
        worker = os.fork()
        if worker == 0:
            os.close(reading)
            with os.fdopen(writing, "w", buffering=1) as stream:
                _work(target, seed, done, last, lambda line, stream=stream: print(line, file=stream, flush=True))
            os._exit(0)
        os.close(writing)
        signal.signal(signal.SIGALRM, lambda *_, worker=worker: os.kill(worker, signal.SIGKILL))
        with os.fdopen(reading) as stream:
            for line in stream:
                word, number, *rest = line.split(maxsplit=3)
                signal.alarm(MAX_SECONDS if word == "begin" else 0)
                if word == "end":
                    done = int(number) + 1
                    slowest = max(slowest, float(rest[0]))
                    outcomes[rest[1].strip()] += 1
        signal.alarm(0)
        _, status, usage = os.wait4(worker, 0)
        peak_bytes = max(peak_bytes, usage.ru_maxrss * 1024)
        if os.WIFSIGNALED(status):
            name = "HANG" if os.WTERMSIG(status) == signal.SIGKILL else f"CRASH signal {os.WTERMSIG(status)}"
            sys.stderr.write(f"\ninput {done}: {name}\n")
            outcomes[name] += 1
            done += 1
    bad = sum(count for name, count in outcomes.items() if name.split()[0].isupper())
    return {"inputs": num_inputs, "seed": seed, "bad": bad + (peak_bytes > MAX_BYTES), "slowest_seconds": slowest,
            "peak_bytes": peak_bytes, "outcomes": dict(outcomes.most_common())}  # fmt: skip


def _work(target: Target, seed: int, first: int, last: int, report: Callable[[str], None]) -> None:
    for number in range(first, last):
        report(f"begin {number}")
        faulthandler.dump_traceback_later(MAX_SECONDS - 1, file=sys.__stderr__)
        begun = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            try:
                outcome = target(number, random.Random(f"{seed}:{number}"), Path(folder))
            except BaseException as error:  # noqa: BLE001 -- whatever it is, it is what we look for
                outcome = f"TRACEBACK {type(error).__name__}"
                sys.__stderr__.write(f"\ninput {number}: {''.join(traceback.format_exception(error)[-4:])}\n")
        faulthandler.cancel_dump_traceback_later()
        report(f"end {number} {time.monotonic() - begun:.3f} {outcome}")


def refuse_constant(name: str) -> None:
    """Refuse what is no JSON."""
    raise AssertionError(f"{name} in the output")


def strict_json(text: str) -> Any:
    """Parse what a command printed with `--json`."""
    return json.loads(text, parse_constant=refuse_constant)
