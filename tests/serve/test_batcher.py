"""The queue: what is read together, what waits, what is refused, what is given up."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from albertqa.decode.reader_settings import ReaderSettings
from albertqa.serve.batcher import Batcher, Job, Pair
from albertqa.serve.refusal import RequestRefusedError

BATCH_TOKENS = 100
QUEUE_TOKENS = 1000
LONG = 60.0


class Scripted:
    """Answers with the questions themselves, one forward pass for every 100 tokens, each when it is let go.

    A real model's passes take as long as they take; what happens between two of them cannot be tested with one.
    """

    settings = ReaderSettings(max_seq_length=50, doc_stride=10)

    def __init__(self) -> None:
        self.calls: list[tuple[list[str], dict[str, Any]]] = []
        self.begun = threading.Semaphore(0)
        self.passes = threading.Semaphore(0)

    def num_tokens(self, pairs: Sequence[Pair], **_: Any) -> int:
        return sum(int(text) for _, text in pairs)

    def answer_batch(
        self, pairs: Sequence[Pair], *, progress: Callable[[int], None] | None, **options: Any
    ) -> list[Any]:
        questions = [question for question, _ in pairs]
        self.calls.append((questions, options))
        self.begun.release()
        for _ in range(-(-self.num_tokens(pairs) // BATCH_TOKENS)):
            assert self.passes.acquire(timeout=LONG)
            if progress is not None:
                progress(1)
        if "fail" in questions:
            raise ZeroDivisionError
        return questions

    def let_go(self, passes: int = 1) -> None:
        self.passes.release(passes)

    def wait_for_call(self) -> list[str]:
        assert self.begun.acquire(timeout=LONG)
        return self.calls[-1][0]


class Noted:
    def __init__(self) -> None:
        self.batches: list[tuple[int, int]] = []

    def on_batch(self, *, num_tokens: int, waited: Sequence[float], seconds: float) -> None:
        assert seconds >= 0
        assert min(waited) >= 0
        self.batches.append((num_tokens, len(waited)))


@pytest.fixture
def scripted() -> Scripted:
    return Scripted()


@pytest.fixture
def noted() -> Noted:
    return Noted()


@pytest.fixture
def batcher(scripted: Scripted, noted: Noted) -> Iterator[Batcher]:
    one = Batcher(scripted, max_queue_tokens=QUEUE_TOKENS, max_batch_tokens=BATCH_TOKENS, speed=1e6, observer=noted)
    yield one
    scripted.let_go(1000)
    one.close()


def job(question: str, tokens: int = 10, *, seconds: float = LONG, n_best: int = 1, **settings: Any) -> Job:
    return Job([(question, str(tokens))], tokens, n_best, settings, time.monotonic() + seconds)


def submit(batcher: Batcher, *jobs: Job) -> list[Any]:
    return [batcher.submit(one) for one in jobs]


def results(futures: Sequence[Any]) -> list[Any]:
    return [future.result(timeout=LONG)[0] for future in futures]


def test_what_waits_is_read_together_up_to_the_tokens_of_a_batch(
    batcher: Batcher, scripted: Scripted, noted: Noted
) -> None:
    first = submit(batcher, job("first"))
    assert scripted.wait_for_call() == ["first"]
    rest = submit(batcher, *(job(f"q{index}", 30) for index in range(5)), job("small"))
    assert (batcher.load, batcher.num_waiting) == (170, 6)
    scripted.let_go(3)
    assert results(first + rest) == ["first", "q0", "q1", "q2", "q3", "q4", "small"]
    assert [questions for questions, _ in scripted.calls] == [["first"], ["q0", "q1", "q2", "small"], ["q3", "q4"]]
    batcher.close()
    assert noted.batches == [(10, 1), (100, 4), (60, 2)]
    assert batcher.load == 0


def test_requests_with_other_settings_are_read_apart(batcher: Batcher, scripted: Scripted) -> None:
    submit(batcher, job("first"))
    scripted.wait_for_call()
    others = submit(batcher, job("a"), job("b", n_best=3), job("c"), job("d", max_answer_length=5))
    scripted.let_go(4)
    results(others)
    assert [questions for questions, _ in scripted.calls[1:]] == [["a", "c"], ["b"], ["d"]]
    assert [options.get("max_answer_length") for _, options in scripted.calls] == [None, None, None, 5]


def test_short_requests_go_between_the_passes_of_a_long_one(batcher: Batcher, scripted: Scripted) -> None:
    long = submit(batcher, job("book", 500))
    assert scripted.wait_for_call() == ["book"]
    other = submit(batcher, job("other book", 300))
    short = submit(batcher, job("short"), job("brief"))
    scripted.let_go(2)
    assert results(short) == ["short", "brief"]
    assert not long[0].done()
    assert scripted.calls[-1][0] == ["short", "brief"]
    scripted.let_go(4)
    assert results(long) == ["book"]
    scripted.let_go(3)
    assert results(other) == ["other book"]


def test_a_request_that_is_withdrawn_frees_its_place(batcher: Batcher, scripted: Scripted) -> None:
    long, waiting = submit(batcher, job("book", 500), job("waits"))
    scripted.wait_for_call()
    assert batcher.load == 510
    waiting.cancel()
    assert batcher.load == 500
    long.cancel()
    assert batcher.load == 0
    after = submit(batcher, job("after"))
    scripted.let_go(2)
    assert results(after) == ["after"]
    # One of the five passes that the book would have taken, and one for what came after it.
    assert [questions for questions, _ in scripted.calls] == [["book"], ["after"]]


def test_what_is_too_late_is_not_read(batcher: Batcher, scripted: Scripted) -> None:
    first = submit(batcher, job("first"))
    scripted.wait_for_call()
    late = submit(batcher, job("late", seconds=0.01))
    time.sleep(0.05)
    good = submit(batcher, job("good"))
    scripted.let_go(2)
    assert results(first + good) == ["first", "good"]
    assert late[0].cancelled()
    assert ["late"] not in [questions for questions, _ in scripted.calls]


def test_a_failure_is_its_batch_s_own(batcher: Batcher, scripted: Scripted) -> None:
    failing = submit(batcher, job("fail"))
    scripted.wait_for_call()
    beside = submit(batcher, job("beside"))
    scripted.let_go(2)
    with pytest.raises(ZeroDivisionError):
        failing[0].result(timeout=LONG)
    assert results(beside) == ["beside"]
    assert batcher.load == 0


def test_what_is_too_long_is_refused_for_ever_and_what_finds_no_room_for_now(
    batcher: Batcher, scripted: Scripted
) -> None:
    with pytest.raises(
        RequestRefusedError, match=r"^the request has 1,001 tokens to read, expected at most 1,000$"
    ) as error:
        batcher.submit(job("too long", 1001))
    assert (error.value.status, error.value.retry_after) == (413, None)
    futures = submit(batcher, job("a", 600), job("b", 400))
    scripted.wait_for_call()
    with pytest.raises(RequestRefusedError, match=r"^the server is busy: 1,000 tokens are waiting") as error:
        batcher.submit(job("c", 1))
    assert (error.value.status, error.value.retry_after) == (429, 1)
    scripted.let_go(10)
    results(futures)
    assert batcher.load == 0


def test_what_would_come_too_late_is_refused_unless_nothing_waits(scripted: Scripted, noted: Noted) -> None:
    slow = Batcher(scripted, max_queue_tokens=QUEUE_TOKENS, max_batch_tokens=BATCH_TOKENS, speed=10.0, observer=noted)
    alone = submit(slow, job("alone", 900, seconds=30))
    scripted.wait_for_call()
    with pytest.raises(RequestRefusedError, match=r"which takes about 90 seconds; try again later$") as error:
        slow.submit(job("late", 10, seconds=30))
    assert (error.value.status, error.value.retry_after) == (429, 90)
    patient = submit(slow, job("patient", 10, seconds=100))
    scripted.let_go(10)
    assert results(alone + patient) == ["alone", "patient"]
    slow.close()


def test_closing_answers_what_was_accepted_and_accepts_nothing_more(batcher: Batcher, scripted: Scripted) -> None:
    futures = submit(batcher, *(job(f"q{index}", 60) for index in range(4)))
    scripted.wait_for_call()
    closing = threading.Thread(target=batcher.close)
    closing.start()

    def submit_until_refused() -> None:
        while True:
            batcher.submit(job("never", 1)).cancel()

    with pytest.raises(RequestRefusedError, match=r"^the server is shutting down") as error:
        submit_until_refused()
    assert error.value.status == 503
    scripted.let_go(4)
    closing.join(LONG)
    assert results(futures) == ["q0", "q1", "q2", "q3"]
