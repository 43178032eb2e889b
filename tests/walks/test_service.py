"""A service around a trained reader: started, asked by clients that exist, watched, and stopped without a loss."""

import json
import re
import signal
import subprocess
import urllib.request
from typing import Any

import pytest

import albertqa

from .conftest import Shell

CONTEXT = "The old mill at Ry is by the river. It was built in 1750 by a widow named Karen Holm."


def post(url: str, body: object) -> Any:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as response:
        return json.load(response)


def listening(server: "subprocess.Popen[str]") -> str:
    """Return the address that a server says it listens on."""
    assert server.stderr is not None
    log = []
    for line in server.stderr:
        log.append(line)
        if found := re.search(r"answers at (http://\S+)", line):
            return found[1]
    raise AssertionError("".join(log))


@pytest.mark.allow_hosts(["127.0.0.1"])
def test_a_service_from_start_to_stop(shell: Shell) -> None:
    shell("albertqa", "index", "documents", "--output", "docs.sqlite")
    options = ["--documents", "docs.sqlite", "--port", 0, "--num-threads", 1]
    server = shell.start("albertqa", "serve", "runs/mine", *options)
    try:
        url = listening(server)
        with urllib.request.urlopen(f"{url}/ready", timeout=60) as response:
            assert response.status == 200
        answerer = albertqa.Answerer(shell.folder / "runs/mine", mixed_precision="no")
        expected = answerer.answer("Who built it?", CONTEXT)
        found = post(f"{url}/answer", {"inputs": {"question": "Who built it?", "context": CONTEXT}})
        assert found["answer"] == expected.text
        assert (found["start"], found["end"]) == (expected.start_char, expected.end_char)

        documents = [{"id": "mill", "text": CONTEXT}, {"id": "rain", "text": "It rained."}]
        fuller = post(f"{url}/v1/answer", {"question": "Who built it?", "documents": documents, "n_best": 3})
        assert json.dumps(fuller).count("mill")

        with urllib.request.urlopen(f"{url}/", timeout=60) as response:
            page = response.read().decode()
        assert "<title>" in page
        with urllib.request.urlopen(f"{url}/metrics", timeout=60) as response:
            assert b"albertqa_requests" in response.read()
        server.send_signal(signal.SIGTERM)
        assert server.wait(timeout=120) == 0
    finally:
        server.kill()
        server.wait()
        assert server.stderr is not None
        server.stderr.close()
