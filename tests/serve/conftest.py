"""A tiny reader behind a server, in this process and in one of its own, and a real browser."""

import asyncio
import os
import queue
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

httpx = pytest.importorskip("httpx2", reason="no httpx2 (the dev extra)")
pytest.importorskip("fastapi", reason="no FastAPI (the serve extra)")

from albertqa.answer.answerer import Answerer  # noqa: E402
from albertqa.serve.app import build_app  # noqa: E402
from albertqa.serve.limits import ServeConfig  # noqa: E402
from albertqa.serve.service import Service  # noqa: E402
from decode.cases import save_reader  # noqa: E402

OPTIONS = ["--port", "0", "--device", "cpu", "--num-threads", "1", "--deadline-seconds", "600"]
SPEED = 50_000.0
LISTENING = re.compile(r"answers at (http://\S+)")


class Client:
    """Sends requests to an application in this process; no socket is opened."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.app = build_app(service)

    def __call__(self, method: str, path: str, **options: Any) -> Any:
        async def send() -> Any:
            transport = httpx.ASGITransport(app=self.app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
                return await client.request(method, path, **options)

        # In a thread of its own: a browser test of the same process leaves a running event loop in this one.
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(asyncio.run, send()).result()

    def get(self, path: str, **options: Any) -> Any:
        return self("GET", path, **options)

    def post(self, path: str, body: Any, **options: Any) -> Any:
        return self("POST", path, json=body, **options)


class Server:
    """A server in a process of its own, on a free port of the loopback interface."""

    def __init__(self, model: Path, *options: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "albertqa", "serve", str(model), *OPTIONS, *options],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        self.log: list[str] = []
        listening: queue.Queue[str] = queue.Queue()

        def read() -> None:
            assert self.process.stderr is not None
            for line in self.process.stderr:
                self.log.append(line)
                if matched := LISTENING.search(line):
                    listening.put(matched[1])
            listening.put("")

        self._reader = threading.Thread(target=read, daemon=True)
        self._reader.start()
        self.url = listening.get(timeout=300)
        assert self.url, "".join(self.log)
        host, _, port = self.url.removeprefix("http://").partition(":")
        self.address = (host, int(port))

    def stop(self, signal_number: int = signal.SIGTERM) -> int:
        """Stop it and return its exit code."""
        self.process.send_signal(signal_number)
        code = self.process.wait(timeout=120)
        self._reader.join()
        assert self.process.stderr is not None
        self.process.stderr.close()
        return code


@pytest.fixture(scope="session")
def reader_folder(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny reader with drawn weights."""
    return save_reader(tmp_path_factory.mktemp("served"), tiny_folder)


@pytest.fixture(scope="session")
def answerer(reader_folder: Path) -> Answerer:
    return Answerer(reader_folder, device="cpu", mixed_precision="no")


@pytest.fixture
def serving(answerer: Answerer) -> Iterator[Callable[..., Client]]:
    """Builds clients of applications with settings of their own."""
    services: list[Service] = []

    def build(answers: Any = answerer, documents: Any = None, **settings: Any) -> Client:
        services.append(Service(answers, "tiny", ServeConfig(**settings), SPEED, documents))
        return Client(services[-1])

    yield build
    for service in services:
        service.close()


@pytest.fixture
def client(serving: Callable[..., Client]) -> Client:
    return serving()


@pytest.fixture
def start_server(reader_folder: Path) -> Iterator[Callable[..., Server]]:
    """Starts servers in processes of their own."""
    started: list[Server] = []

    def start(*options: str, model: Path = reader_folder) -> Server:
        started.append(Server(model, *options))
        return started[-1]

    yield start
    for server in started:
        server.stop(signal.SIGKILL)


@pytest.fixture(scope="module")
def server(reader_folder: Path) -> Iterator[Server]:
    """One server for the tests of a module."""
    running = Server(reader_folder)
    yield running
    running.stop(signal.SIGKILL)
