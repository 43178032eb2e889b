"""The window store between processes: two at once, one that is killed, and memory that stays flat."""

import json
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from albertqa.windows.build import build_windows, windows_in_memory
from albertqa.windows.tokenizer import QATokenizer

from .cases import assert_same_store, starter_examples
from .test_store import stores_in

# They take seconds; a busy machine may make them wait.
PATIENCE_SECONDS = 500

# What every process begins with; `builds` counts how often it really tokenized.
PROLOGUE = """
import json, os, signal, sys
from pathlib import Path
from albertqa.data.example import Example
from albertqa.data.reading import load_examples
from albertqa.data.starter import starter_file
from albertqa.windows import build
from albertqa.windows.tokenizer import load_tokenizer

spiece, cache = sys.argv[1], Path(sys.argv[2])
tokenizer = load_tokenizer(spiece)
write_files, builds = build._write_files, 0

def counted(*arguments):
    global builds
    builds += 1
    write_files(*arguments)
    killed()

def killed():
    pass

build._write_files = counted
"""
AT_ONCE = """
examples = load_examples(starter_file("dev"))
print("ready", flush=True)
sys.stdin.readline()
store = build.build_windows(examples, tokenizer, cache=cache, max_seq_length=96, doc_stride=32)
print(json.dumps([builds, len(store), int(store[len(store) - 1].input_ids.sum())]))
"""
KILLED = """
def killed():
    os.kill(os.getpid(), signal.SIGKILL)

build.build_windows(load_examples(starter_file("dev")), tokenizer, cache=cache, max_seq_length=96, doc_stride=32)
"""
MEMORY = """
def distinct(count):
    words = "the normans gave their name to a region and swam in its river".split()
    for at in range(count):
        text = " ".join(f"{words[(at + k) % len(words)]} {at * 131 + k}" for k in range(30))
        yield Example(f"{count}-{at}", "Who swam?", text)

def peak():
    # Not getrusage: its peak is never below that of the process that started this one.
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) * 1024

small, large = list(distinct(1024)), list(distinct(8 * 1024))
peaks = [peak()]
for examples in (small, large):
    store = build.build_windows(examples, tokenizer, cache=cache, max_seq_length=384, doc_stride=128)
    for index in range(0, len(store), 7):
        store[index]
    peaks.append(peak())
print(json.dumps(peaks))
"""


def command(program: str, *arguments: Path) -> list[str]:
    return [sys.executable, "-c", PROLOGUE + program, *map(str, arguments)]


def test_two_processes_at_once_build_one_store(spiece_model: Path, tokenizer: QATokenizer, tmp_path: Path) -> None:
    reports = []
    with ExitStack() as ended:
        processes = []
        for _ in range(2):
            process = subprocess.Popen(
                command(AT_ONCE, spiece_model, tmp_path), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            processes.append(ended.enter_context(process))
            ended.callback(process.kill)
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        for process in processes:
            output, _ = process.communicate(timeout=PATIENCE_SECONDS)
            assert process.returncode == 0
            reports.append(json.loads(output))
    expected = windows_in_memory(starter_examples(), tokenizer, max_seq_length=96, doc_stride=32)
    checksum = [len(expected), int(expected[len(expected) - 1].input_ids.sum())]
    assert [report[1:] for report in reports] == [checksum, checksum]
    assert sum(report[0] for report in reports) == 1
    assert len(stores_in(tmp_path)) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_a_killed_process_leaves_no_store_and_no_lock(
    spiece_model: Path, tokenizer: QATokenizer, tmp_path: Path
) -> None:
    killed = subprocess.run(command(KILLED, spiece_model, tmp_path), timeout=PATIENCE_SECONDS, check=False)
    assert killed.returncode == -9
    left = stores_in(tmp_path)
    assert left
    some = starter_examples()
    store = build_windows(some, tokenizer, cache=tmp_path, max_seq_length=96, doc_stride=32)
    assert_same_store(store, windows_in_memory(some, tokenizer, max_seq_length=96, doc_stride=32))
    (finished,) = set(stores_in(tmp_path)) - set(left)
    assert [path.name for path in left] == [f".{finished.name}.building"]


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="needs Linux's record of the peak memory")
def test_memory_stays_flat_as_the_data_grow(spiece_model: Path, tmp_path: Path) -> None:
    measured = subprocess.run(
        command(MEMORY, spiece_model, tmp_path), timeout=PATIENCE_SECONDS, check=True, stdout=subprocess.PIPE, text=True
    )
    before, after_small, after_large = json.loads(measured.stdout)
    # One chunk of examples is what is ever held. Were all of it kept, eight times the data would need seven times more.
    assert after_small - before > 4 * 2**20
    assert after_large - after_small < 2 * (after_small - before)
