"""The model of a server, and what all requests share: their questions are counted, queued and waited for here.

The event loop counts the tokens of short texts, two threads count those of long ones, and the batcher's thread
computes; so a refusal never waits for an answer.
"""

import asyncio
import hmac
import re
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, Unpack

from fastapi import Request
from starlette.types import Receive

from albertqa.answer.answers import Answer
from albertqa.decode.reader_settings import ReaderChanges
from albertqa.errors import DataError, SettingsError
from albertqa.serve.batcher import Batcher, Job, Pair
from albertqa.serve.limits import ServeConfig
from albertqa.serve.metrics import Metrics
from albertqa.serve.refusal import CLIENT_LEFT, RequestRefusedError

if TYPE_CHECKING:
    from albertqa.answer.answerer import Answerer
    from albertqa.answer.collection import Collection

_TOO_LONG = re.compile(r"question (?P<index>\d+): has (?P<tokens>\d+) tokens")
_SHORT_CHARS = 4_000
"""The tokens of so much text are counted on the event loop, in some two milliseconds at most, and not by a thread."""
_LONG_CHARS = 50_000


class Service:
    """A model that answers requests, and what all requests share.

    Args:
        answers: The model.
        name: What to call it.
        config: Limits.
        tokens_per_second: What the model reads, measured; see `measure_speed`.
        documents: Indexed documents to pick from.
    """

    def __init__(
        self,
        answers: "Answerer",
        name: str,
        config: ServeConfig,
        tokens_per_second: float,
        documents: "Collection | None" = None,
    ) -> None:
        self.answers = answers
        self.documents = documents
        self.name = name
        self.config = config
        self.is_ready = True
        self.body_bytes = 0
        self.metrics = Metrics(lambda: self.batcher.load, lambda: self.batcher.num_waiting)
        self.batcher = Batcher(
            answers,
            max_queue_tokens=config.max_queue_tokens,
            max_batch_tokens=config.max_batch_tokens,
            speed=tokens_per_second,
            observer=self.metrics,
        )
        self.counter = ThreadPoolExecutor(1, "albertqa-counter")
        self.long_counter = ThreadPoolExecutor(1, "albertqa-long-counter")

    def close(self) -> None:
        """Answer what waits, then end."""
        self.is_ready = False
        self.batcher.close()
        self.counter.shutdown()
        self.long_counter.shutdown()

    def authorize(self, request: Request) -> None:
        """Check the API key.

        Raises:
            RequestRefusedError: It is missing or wrong.
        """
        key = self.config.api_key
        if key is None:
            return
        kind, _, given = request.headers.get("authorization", "").partition(" ")
        if kind.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), key.encode()):
            raise RequestRefusedError(401, "Authorization: expected 'Bearer KEY' with this server's API key")

    async def ask(
        self,
        request: Request,
        questions: Mapping[str, Pair],
        *,
        n_best: int,
        deadline_seconds: float,
        **reader_settings: Unpack[ReaderChanges],
    ) -> tuple[list[Answer], int]:
        """Answer the questions of one request.

        Args:
            request: The request; when its client leaves, its place is free.
            questions: The questions, each with its text, by their fields.
            n_best: Candidates of each.
            deadline_seconds: Longest time.
            reader_settings: Settings that differ from the model's own.

        Returns:
            The answers, and the tokens that were read.

        Raises:
            RequestRefusedError: There is no room, a question is too long, or time is up.
        """
        pairs = list(questions.values())
        deadline = time.monotonic() + deadline_seconds
        try:
            num_tokens = await self._count(pairs, reader_settings)
        except SettingsError as error:
            raise RequestRefusedError(422, f"parameters: {str(error).removeprefix('settings: ')}") from error
        except DataError as error:
            matched = _TOO_LONG.match(str(error))
            if matched is None:
                raise
            name = list(questions)[int(matched["index"])]
            raise RequestRefusedError(
                422, f"{name}: expected fewer tokens, found {matched['tokens']}, which leave no room for the text"
            ) from error
        job = Job(pairs, num_tokens, n_best, reader_settings, deadline)
        answered = asyncio.wrap_future(self.batcher.submit(job))
        left = asyncio.ensure_future(_client_left(request.receive))
        waited_for: set[asyncio.Future[Any]] = {answered, left}
        try:
            await asyncio.wait(waited_for, timeout=deadline - time.monotonic(), return_when=asyncio.FIRST_COMPLETED)
            if answered.done() and not answered.cancelled():
                return answered.result(), num_tokens
        finally:
            left.cancel()
            answered.cancel()
        if left.done():
            raise RequestRefusedError(CLIENT_LEFT, "the client left")
        raise RequestRefusedError(
            504, f"no answer within {deadline_seconds:g} seconds; ask for less, or try again later"
        )

    async def _count(self, pairs: list[Pair], reader_settings: ReaderChanges) -> int:
        num_chars = sum(len(question) + len(text) for question, text in pairs)
        count = partial(self.answers.num_tokens, pairs, **reader_settings)
        if num_chars <= _SHORT_CHARS:
            return count()
        # Others do not wait for a book to be counted.
        counter = self.long_counter if num_chars > _LONG_CHARS else self.counter
        return await asyncio.get_running_loop().run_in_executor(counter, count)


async def _client_left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
