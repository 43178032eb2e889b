"""Requests become batches: a queue counted in tokens, and one thread that reads it.

The thread takes the request that waits longest and as many behind it as fit one forward pass. A request of many passes
(a long document) lets a batch of short ones go between two of its passes, so that one reader of a book does not keep
everybody waiting, and ends there when its client has left.
"""

import math
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from albertqa.decode.reader_settings import ReaderChanges
from albertqa.serve.refusal import RequestRefusedError

if TYPE_CHECKING:
    from albertqa.answer.answerer import Answerer
    from albertqa.answer.answers import Answer

Pair = tuple[str, str]
"""A question, and the text that should hold its answer."""

_SPEED_SECONDS = 5.0
"""The measured speed is that of about the last so many seconds of reading."""


class _AbandonedError(Exception):
    """Nobody waits for what is being read."""


class Observer(Protocol):
    """Is told what was read."""

    def on_batch(self, *, num_tokens: int, waited: Sequence[float], seconds: float) -> None:
        """Take note of a batch: its tokens, the seconds that each of its questions waited, the seconds it took."""


@dataclass(eq=False)
class Job:
    """The questions of one request.

    Attributes:
        pairs: The questions, each with its text.
        num_tokens: Tokens that the model reads for them.
        n_best: Candidates of each.
        reader_settings: Settings that differ from the model's own.
        deadline: When nobody waits for them any more, in seconds of `time.monotonic`.
        future: Becomes their answers; cancel it to withdraw the job.
        queued_at: When they came.
    """

    pairs: Sequence[Pair]
    num_tokens: int
    n_best: int
    reader_settings: ReaderChanges
    deadline: float
    future: "Future[list[Answer]]" = field(default_factory=Future)
    queued_at: float = field(default_factory=time.monotonic)

    @property
    def is_over(self) -> bool:
        """Whether nobody waits for it any more."""
        return self.future.done() or time.monotonic() > self.deadline

    def goes_with(self, other: "Job") -> bool:
        """Return whether one call can answer both."""
        return self.n_best == other.n_best and self.reader_settings == other.reader_settings


class Batcher:
    """The queue and the thread that reads it.

    Args:
        answers: The model.
        max_queue_tokens: Most tokens waiting and being read.
        max_batch_tokens: Most tokens of one forward pass.
        speed: Tokens a second to begin with; measured from then on.
        observer: Is told of every batch.
    """

    def __init__(
        self, answers: "Answerer", *, max_queue_tokens: int, max_batch_tokens: int, speed: float, observer: Observer
    ) -> None:
        self._answers = answers
        self.max_queue_tokens = max_queue_tokens
        self.max_batch_tokens = max_batch_tokens
        self._speed = speed
        self._observer = observer
        self._waiting: dict[Job, None] = {}
        self._load = 0
        self._tokens_read = 0
        self._closing = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="albertqa-batcher", daemon=True)
        self._thread.start()

    @property
    def load(self) -> int:
        """Tokens waiting and being read."""
        return self._load

    @property
    def num_waiting(self) -> int:
        """Requests waiting."""
        return len(self._waiting)

    def require_room(self, num_tokens: int, deadline: float) -> None:
        """Check that there is room for so many tokens beside what waits.

        Args:
            num_tokens: Tokens that the model would read.
            deadline: When the answers must be there, in seconds of `time.monotonic`.

        Raises:
            RequestRefusedError: The queue is too full now (429).
        """
        # What waits alone is let in, however slow the machine is: it is then late, and not refused for ever.
        if not self._load:
            return
        seconds = self._load / self._speed
        is_late = time.monotonic() + seconds + num_tokens / self._speed > deadline
        if self._load + num_tokens > self.max_queue_tokens or is_late:
            raise RequestRefusedError(
                429,
                f"the server is busy: {self._load:,} tokens are waiting, which takes about {seconds:.0f} seconds; "
                "try again later",
                retry_after=max(1, math.ceil(seconds)),
            )

    def submit(self, job: Job) -> "Future[list[Answer]]":
        """Queue a request.

        Returns:
            Its answers, once they are there; cancelling it frees its place.

        Raises:
            RequestRefusedError: It is more than the queue ever holds (413), or there is no room now (429).
        """
        if job.num_tokens > self.max_queue_tokens:
            raise RequestRefusedError(
                413, f"the request has {job.num_tokens:,} tokens to read, expected at most {self.max_queue_tokens:,}"
            )
        with self._changed:
            if self._closing:
                raise RequestRefusedError(503, "the server is shutting down; try again later", retry_after=1)
            self.require_room(job.num_tokens, job.deadline)
            self._load += job.num_tokens
            self._waiting[job] = None
            job.future.add_done_callback(lambda _: self._free(job))
            self._changed.notify()
        return job.future

    def close(self) -> None:
        """Answer what waits, then end."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()

    def _free(self, job: Job) -> None:
        with self._changed:
            self._waiting.pop(job, None)
            self._load -= job.num_tokens

    def _run(self) -> None:
        while True:
            with self._changed:
                while not (self._waiting or self._closing):
                    self._changed.wait()
                if not self._waiting:
                    return
            begun, before = time.monotonic(), self._tokens_read
            if self._read(self._take()):
                self._measure(self._tokens_read - before, time.monotonic() - begun)

    def _take(self, *, only_short: bool = False) -> list[Job]:
        """Take the request that waits longest, and those behind it that fit the same forward pass."""
        batch: list[Job] = []
        room = self.max_batch_tokens
        with self._changed:
            for job in list(self._waiting):
                if job.is_over:
                    job.future.cancel()
                    continue
                fits = job.num_tokens <= room and (not batch or job.goes_with(batch[0]))
                if fits or not (batch or only_short):
                    batch.append(job)
                    room -= job.num_tokens
                    del self._waiting[job]
        return batch

    def _read(self, batch: list[Job]) -> bool:
        """Answer requests together and return whether that went well; what went wrong is theirs, the thread goes on."""
        if not batch:
            return False
        first, begun = batch[0], time.monotonic()
        num_tokens = sum(job.num_tokens for job in batch)
        is_long = num_tokens > self.max_batch_tokens
        try:
            answers = self._answers.answer_batch(
                [pair for job in batch for pair in job.pairs],
                n_best=first.n_best,
                batch_size=max(1, self.max_batch_tokens // self._answers.settings.max_seq_length),
                progress=(lambda _: self._between_passes(first)) if is_long else None,
                **first.reader_settings,
            )
        except Exception as error:  # noqa: BLE001 -- handed to those who wait for it, as an executor does
            for job in batch:
                if job.future.set_running_or_notify_cancel():
                    job.future.set_exception(error)
            return False
        self._tokens_read += num_tokens
        at = 0
        for job in batch:
            if job.future.set_running_or_notify_cancel():
                job.future.set_result(answers[at : at + len(job.pairs)])
            at += len(job.pairs)
        waited = [begun - job.queued_at for job in batch for _ in job.pairs]
        self._observer.on_batch(num_tokens=num_tokens, waited=waited, seconds=time.monotonic() - begun)
        return True

    def _between_passes(self, job: Job) -> None:
        """End a long request that nobody waits for; let short ones go first."""
        if job.is_over:
            job.future.cancel()
            raise _AbandonedError
        self._read(self._take(only_short=True))

    def _measure(self, num_tokens: int, seconds: float) -> None:
        share = min(1.0, seconds / _SPEED_SECONDS)
        self._speed += share * (num_tokens / max(seconds, 1e-6) - self._speed)
