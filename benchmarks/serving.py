"""Does a server answer as `Answerer` does, how fast, and what happens when it is asked for more than it can do?

    python -m benchmarks.serving RUN [--parts equality throughput latency overload stopping]

Everything stays on the loopback interface and ends by itself, in about 12 minutes on 2 idle cores with the quickstart's
reader. The server runs in a process of its own and the clients in this one: they take some of the machine, too.

equality    1,000 questions by 32 clients in random order, each compared with `Answerer` asked alone
throughput  questions a second by 32 clients, against one call of `Answerer.answer_batch` (`albertqa answer --input`)
latency     one client's time for a question against `Answerer.answer`, taking turns, question by question
overload    four times as many questions as it can answer, for a minute
stopping    SIGTERM with 100 questions accepted and not yet answered
"""

import asyncio
import json
import random
import re
import signal
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import psutil

from albertqa.answer.answerer import Answerer
from albertqa.answer.answers import Answer
from albertqa.data.example import Example
from albertqa.data.reading import load_examples
from benchmarks.provenance import command_line, spread, usable_cores, write_result

CLIENTS = 32
OVERLOAD = 4.0
OVERLOAD_QUEUE_TOKENS = 32_768
IN_FLIGHT = 100
PRECISION = "no"
_LENGTH = re.compile(rb"content-length: (\d+)")
_PAUSE_SECONDS = 0.05
_RSS_SAMPLES = 200


class Connection:
    """One client's connection: plain HTTP/1.1, so that the client costs little of what it measures."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def send(self, request: bytes) -> tuple[int, Any]:
        """Send a request; return status and parsed body."""
        if self.streams is not None and self.streams[0].at_eof():
            # Closed by the server, which keeps a connection without a request for half a minute.
            self.close()
        if self.streams is None:
            self.streams = await asyncio.open_connection("127.0.0.1", self.port)
        reader, writer = self.streams
        writer.write(request)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = int(_LENGTH.search(head)[1])  # type: ignore[index]
        body = await reader.readexactly(length)
        if b"connection: close" in head:
            self.close()
        status = int(head.split(b" ", 2)[1])
        # What was refused is not read: clients share the machine with the server, and may cost it little.
        is_json = status == 200 and b"application/json" in head
        return status, json.loads(body) if is_json else body.decode()

    def close(self) -> None:
        """Close it."""
        if self.streams is not None:
            self.streams[1].close()
        self.streams = None


class Server:
    """A server in a process of its own."""

    def __init__(self, model: str, *options: str) -> None:
        command = [sys.executable, "-m", "albertqa", "serve", model, "--port", "0", "--mixed-precision", PRECISION]
        self.process = subprocess.Popen([*command, *options], stderr=subprocess.PIPE, text=True)
        assert self.process.stderr is not None
        for line in self.process.stderr:
            if matched := re.search(r"answers at http://\S+:(\d+)", line):
                self.port = int(matched[1])
                break
        else:
            raise SystemExit(f"serving.py: the server of {model} did not start")
        # Its log must be read, or it would wait for the reader.
        self.reading = subprocess.Popen(["cat"], stdin=self.process.stderr, stdout=subprocess.DEVNULL)

    @property
    def rss_mib(self) -> float:
        """Its resident memory."""
        return float(psutil.Process(self.process.pid).memory_info().rss / 2**20)

    def stop(self) -> int:
        """Stop it and return its exit code."""
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(timeout=120)
        self.reading.wait()
        return code


def request_of(question: str, context: str) -> bytes:
    """Return a whole request for one question."""
    body = json.dumps({"inputs": {"question": question, "context": context}}).encode()
    head = f"POST /answer HTTP/1.1\nHost: localhost\nContent-Type: application/json\nContent-Length: {len(body)}\n\n"
    return head.replace("\n", "\r\n").encode() + body


async def metric(port: int, name: str) -> float:
    connection = Connection(port)
    _, text = await connection.send(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
    connection.close()
    return float(re.search(rf"^{name} (\S+)$", text, re.MULTILINE)[1])  # type: ignore[index]


async def ask_all(port: int, requests: Sequence[bytes], order: Sequence[int], clients: int) -> tuple[list[Any], float]:
    """Send requests by so many clients, each its next one when it has its answer; return answers and seconds."""
    answers: list[Any] = [None] * len(requests)
    waiting = iter(order)

    async def client() -> None:
        connection = Connection(port)
        for index in waiting:
            status, answers[index] = await connection.send(requests[index])
            if status != 200:
                raise SystemExit(f"serving.py: status {status}: {answers[index]}")
        connection.close()

    begun = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(clients)))
    return answers, time.perf_counter() - begun


def is_same(answer: dict[str, Any], expected: Answer) -> bool:
    return (answer["answer"], answer["start"], answer["end"]) == (
        expected.text,
        expected.start_char,
        expected.end_char,
    )


@dataclass
class _Overload:
    """What was seen of a server that was asked too often: statuses, times of refusals, its memory."""

    statuses: Counter[int] = field(default_factory=Counter)
    refused_ms: list[float] = field(default_factory=list)
    rss_mib: list[float] = field(default_factory=list)


class Bench:
    """What the parts share: questions, the model in this process, a server.

    Args:
        model: The model.
        examples: The questions.
    """

    def __init__(self, model: str, examples: Sequence[Example]) -> None:
        self.model = model
        self.pairs = [(one.question, one.context) for one in examples]
        self.requests = [request_of(*pair) for pair in self.pairs]
        self.answerer = Answerer(model, device="cpu", mixed_precision=PRECISION)
        self.answerer.answer(*self.pairs[0])

    @asynccontextmanager
    async def server(self, *options: str) -> AsyncIterator[Server]:
        """Start a server, warmed up, and stop it in the end."""
        running = Server(self.model, *options)
        try:
            await ask_all(running.port, self.requests[:16], range(16), 4)
            yield running
        finally:
            if running.process.poll() is None:
                running.stop()

    async def equality(self, _: int) -> dict[str, Any]:
        """Compare every answer with that of `Answerer` alone, and how far the probabilities differ."""
        order = list(range(len(self.pairs)))
        random.Random(0).shuffle(order)
        async with self.server() as server:
            answers, _ = await ask_all(server.port, self.requests, order, CLIENTS)
            questions = await metric(server.port, "albertqa_batch_questions_sum")
            batches = await metric(server.port, "albertqa_batch_questions_count")
        alone = [self.answerer.answer(*pair) for pair in self.pairs]
        pairs = list(zip(answers, alone, strict=True))
        return {
            "n": len(pairs),
            "equal": sum(is_same(answer, one) for answer, one in pairs),
            "largest_difference_of_probability": max(abs(answer["score"] - one.probability) for answer, one in pairs),
            "mean_questions_of_a_batch": round(questions / batches, 1),
        }

    async def throughput(self, rounds: int) -> dict[str, Any]:
        """Take turns: all questions in one call, all questions by 32 clients."""
        call, served = [], []
        async with self.server() as server:
            for _ in range(rounds):
                # As `albertqa answer --input` does it, in a new process's state: no context is remembered.
                fresh = Answerer(self.model, device="cpu", mixed_precision=PRECISION)
                begun = time.perf_counter()
                fresh.answer_batch(self.pairs)
                call.append(len(self.pairs) / (time.perf_counter() - begun))
                _, seconds = await ask_all(server.port, self.requests, range(len(self.pairs)), CLIENTS)
                served.append(len(self.pairs) / seconds)
                print(f"throughput: call {call[-1]:.1f}/s, served {served[-1]:.1f}/s", flush=True)
        return {
            "n": rounds,
            "questions": len(self.pairs),
            "questions_per_second_in_one_call": spread(call),
            "questions_per_second_served": spread(served),
            "served_over_call": spread([one / other for one, other in zip(served, call, strict=True)]),
        }

    async def latency(self, rounds: int) -> dict[str, Any]:
        """Take turns, question by question, each asked twice so that both have its context remembered.

        Before each there is a pause: the threads of a finished product wait busily for the next one, and on the cores
        of the other process.
        """
        own, served = [], []
        async with self.server() as server:
            connection = Connection(server.port)
            for index in range(min(len(self.pairs), 60 * rounds)):
                self.answerer.answer(*self.pairs[index])
                await connection.send(self.requests[index])
                await asyncio.sleep(_PAUSE_SECONDS)
                begun = time.perf_counter()
                self.answerer.answer(*self.pairs[index])
                own.append((time.perf_counter() - begun) * 1000)
                await asyncio.sleep(_PAUSE_SECONDS)
                begun = time.perf_counter()
                await connection.send(self.requests[index])
                served.append((time.perf_counter() - begun) * 1000)
            connection.close()
        more = statistics.median(served) - statistics.median(own)
        print(f"latency: alone {statistics.median(own):.1f} ms, served {more:+.1f} ms", flush=True)
        return {
            "n": len(own),
            "answerer_ms": spread(own),
            "served_ms": spread(served),
            "served_ms_more_at_p50": round(more, 2),
            "served_ms_p95": round(statistics.quantiles(served, n=20)[-1], 2),
        }

    async def _peak(self, server: Server) -> float:
        """Return the questions a second by 32 clients, each asking again once it has its answer."""
        count = CLIENTS * 20
        order = random.Random(2).sample(range(len(self.requests)), min(count, len(self.requests)))
        _, seconds = await ask_all(server.port, self.requests, order, CLIENTS)
        return len(order) / seconds

    async def overload(self, rounds: int, seconds: float = 60.0) -> dict[str, Any]:
        """Ask four times as often as the server can answer, at regular times, whether or not it keeps up.

        What it can answer is measured before and after every round, since what the machine gives may change.
        """
        seen = _Overload()
        goodput: list[float] = []
        async with self.server("--max-queue-tokens", str(OVERLOAD_QUEUE_TOKENS)) as server:
            peaks = [await self._peak(server)]
            for _ in range(rounds):
                goodput.append(await self._ask_too_often(server, seen, peaks[-1] * OVERLOAD, seconds))
                peaks.append(await self._peak(server))
                print(f"overload: peak {peaks[-1]:.1f}/s, goodput {goodput[-1]:.1f}/s", flush=True)
        shares = [good / statistics.mean(two) for good, two in zip(goodput, pairwise(peaks), strict=True)]
        half = len(seen.rss_mib) // 2
        return {
            "n": rounds,
            "seconds": seconds,
            "questions": sum(seen.statuses.values()),
            "peak_questions_per_second": spread(peaks),
            "goodput_questions_per_second": spread(goodput),
            "goodput_over_peak": spread(shares),
            "statuses": dict(sorted(seen.statuses.items())),
            "refused_ms": {
                **spread(seen.refused_ms),
                "p99": round(statistics.quantiles(seen.refused_ms, n=100)[-1], 1),
            },
            "rss_mib": {"first_half": spread(seen.rss_mib[:half]), "second_half": spread(seen.rss_mib[half:])},
        }

    async def _ask_too_often(self, server: Server, seen: "_Overload", rate: float, seconds: float) -> float:
        """Ask so many questions a second, note what is seen, and return the answers a second that came in time."""
        idle: list[Connection] = []
        generator = random.Random(1)
        num_answered = num_samples = 0
        begun = time.perf_counter()

        async def ask() -> None:
            nonlocal num_answered
            connection = idle.pop() if idle else Connection(server.port)
            at = time.perf_counter()
            status, _ = await connection.send(generator.choice(self.requests))
            seen.statuses[status] += 1
            if status == 429:
                seen.refused_ms.append((time.perf_counter() - at) * 1000)
            num_answered += status == 200 and time.perf_counter() - begun <= seconds
            idle.append(connection)

        asked: list[asyncio.Task[None]] = []
        while (now := time.perf_counter() - begun) < seconds:
            while len(asked) < now * rate:
                asked.append(asyncio.create_task(ask()))
            if num_samples < now / seconds * _RSS_SAMPLES:
                seen.rss_mib.append(server.rss_mib)
                num_samples += 1
            await asyncio.sleep(0.01)
        await asyncio.gather(*asked)
        for connection in idle:
            connection.close()
        return num_answered / seconds

    async def stopping(self, _: int) -> dict[str, Any]:
        """Stop a server that has accepted 100 questions."""
        async with self.server("--drain-seconds", "1") as server:
            connections = [Connection(server.port) for _ in range(IN_FLIGHT)]
            asked = [
                asyncio.create_task(one.send(request))
                for one, request in zip(connections, self.requests[:IN_FLIGHT], strict=True)
            ]
            while (waiting := await metric(server.port, "albertqa_queue_requests")) < IN_FLIGHT / 2:
                await asyncio.sleep(0.002)
            server.process.send_signal(signal.SIGTERM)
            answers = await asyncio.gather(*asked, return_exceptions=True)
            code = await asyncio.to_thread(server.process.wait, 120)
        alone = self.answerer.answer_batch(self.pairs[:IN_FLIGHT])
        right = [
            not isinstance(answer, BaseException) and answer[0] == 200 and is_same(answer[1], one)
            for answer, one in zip(answers, alone, strict=True)
        ]
        print(f"stopping: {sum(right)} of {IN_FLIGHT} answered, exit code {code}", flush=True)
        return {
            "n": IN_FLIGHT,
            "waiting_at_sigterm": int(waiting),
            "answered_right": sum(right),
            "exit_code": code,
        }


PARTS: dict[str, Callable[[Bench, int], Any]] = {
    name: getattr(Bench, name) for name in ("equality", "throughput", "latency", "overload", "stopping")
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and write the result."""
    parser = command_line(__doc__, rounds=3)
    parser.add_argument("model", help="run directory or model folder of a trained reader")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="only these parts")
    parser.add_argument("--data", default="starter:train", help="questions (starter:train)")
    parser.add_argument("--questions", type=int, default=1000, metavar="N", help="the first so many questions (1000)")
    options = parser.parse_args(arguments)
    bench = Bench(options.model, load_examples(options.data, limit=options.questions))
    found = {}
    for part in options.parts:
        found[part] = asyncio.run(PARTS[part](bench, options.rounds))
        print(json.dumps({part: found[part]}, indent=2), flush=True)
    write_result(
        "serving",
        {"model": options.model, "data": options.data, "precision": PRECISION, "cores_used": usable_cores(), **found},
        options.output,
    )


if __name__ == "__main__":
    main()
