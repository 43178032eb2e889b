"""Inside somebody else's service: from many threads, from an event loop, and without changing the process unasked."""

import asyncio
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from albertqa.answer.answerer import Answerer
from albertqa.answer.answers import Answer
from decode.cases import save_reader, starter_examples

LENGTHS = {"max_seq_length": 96, "doc_stride": 32}
MACHINE = {"device": "cpu", "mixed_precision": "no"}


@pytest.fixture(scope="module")
def folder(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_reader(tmp_path_factory.mktemp("reader"), tiny_folder)


@pytest.fixture(scope="module")
def answerer(folder: Path) -> Answerer:
    return Answerer(folder, **LENGTHS, **MACHINE)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def pairs() -> list[tuple[str, str]]:
    return [(example.question, example.context) for example in starter_examples(24)]


@pytest.mark.usefixtures("one_thread")
def test_many_threads_get_the_answers_of_one(answerer: Answerer, pairs: list[tuple[str, str]]) -> None:
    expected = [answerer.answer(*pair, n_best=3) for pair in pairs]
    found: dict[int, Answer] = {}
    barrier = threading.Barrier(6)

    def work(first: int) -> None:
        barrier.wait()
        for at in range(first, len(pairs), 6):
            found[at] = answerer.answer(*pairs[at], n_best=3)

    threads = [threading.Thread(target=work, args=(first,)) for first in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found[at] for at in range(len(pairs))] == expected


@pytest.mark.usefixtures("one_thread")
def test_an_event_loop_goes_on_while_a_question_is_answered(answerer: Answerer, pairs: list[tuple[str, str]]) -> None:
    async def main() -> tuple[list[Answer], int]:
        ticks, done = 0, False

        async def tick() -> None:
            nonlocal ticks
            while not done:
                ticks += 1
                await asyncio.sleep(0)

        ticking = asyncio.create_task(tick())
        answers = await asyncio.gather(*(answerer.answer_async(*pair) for pair in pairs[:6]))
        done = True
        await ticking
        return answers, ticks

    # In a thread of its own: a browser test of the same process leaves a running event loop in this one.
    with ThreadPoolExecutor(1) as pool:
        answers, ticks = pool.submit(asyncio.run, main()).result()
    assert answers == [answerer.answer(*pair) for pair in pairs[:6]]
    assert ticks > 1


def test_the_number_of_threads_is_changed_only_where_asked(folder: Path) -> None:
    before = torch.get_num_threads()
    try:
        Answerer(folder, **MACHINE)  # type: ignore[arg-type]
        assert torch.get_num_threads() == before
        Answerer(folder, num_threads=before + 1, **MACHINE)  # type: ignore[arg-type]
        assert torch.get_num_threads() == before + 1
    finally:
        torch.set_num_threads(before)


def test_nothing_of_the_process_is_changed_and_nothing_is_printed(folder: Path) -> None:
    code = f"""
import ctypes, logging, os, signal, sys
calls = []
real = ctypes.CDLL
class Recorded(real):
    def __getattr__(self, name):
        if name == "mallopt":
            calls.append(name)
        return super().__getattr__(name)
import torch
before = (logging.root.handlers[:], logging.root.level, signal.getsignal(signal.SIGTERM), sys.excepthook,
          dict(os.environ), torch.get_default_dtype(), torch.is_inference_mode_enabled(),
          torch.get_rng_state().tolist())
ctypes.CDLL = Recorded
from albertqa import Answerer
answerer = Answerer({str(folder)!r}, device="cpu")
answerer.answer("Who swam?", "Rollo swam in the river.")
after = (logging.root.handlers[:], logging.root.level, signal.getsignal(signal.SIGTERM), sys.excepthook,
         dict(os.environ), torch.get_default_dtype(), torch.is_inference_mode_enabled(),
         torch.get_rng_state().tolist())
assert calls == [], calls
for one, other in zip(before, after):
    assert one == other, (one, other)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
