"""A server in a process of its own: equality with `Answerer`, real clients, stopping, refusing, its log."""

import json
import random
import re
import signal
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest
from huggingface_hub import InferenceClient
from huggingface_hub.errors import HfHubHTTPError

from albertqa.answer.answerer import Answerer
from albertqa.cli import main
from albertqa.errors import SettingsError
from albertqa.serve.limits import ServeConfig
from albertqa.serve.server import listen, serve
from decode.cases import save_reader, starter_examples
from serve.conftest import Server

pytestmark = [pytest.mark.allow_hosts(["127.0.0.1"]), pytest.mark.usefixtures("one_thread")]


@pytest.fixture(scope="module")
def pairs() -> list[tuple[str, str]]:
    return [(one.question, one.context) for one in starter_examples(96)]


def wait_until(is_so: Callable[[], bool]) -> None:
    """Wait until something is so; fail where that takes minutes."""
    deadline = time.monotonic() + 120
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def metric(server: Server, name: str) -> float:
    text = httpx2.get(f"{server.url}/metrics").text
    return float(re.search(rf"^{name} (\S+)$", text, re.MULTILINE)[1])  # type: ignore[index]


def ask(url: str, question: str, context: str, **parameters: Any) -> httpx2.Response:
    body = {"inputs": {"question": question, "context": context}, "parameters": parameters}
    return httpx2.post(f"{url}/answer", json=body, timeout=120)


def test_answers_equal_answerer_alone_whatever_their_company(
    server: Server, answerer: Answerer, pairs: list[tuple[str, str]]
) -> None:
    order = [*range(len(pairs))] * 2
    random.Random(3).shuffle(order)
    with ThreadPoolExecutor(16) as clients:
        answers = list(clients.map(lambda index: ask(server.url, *pairs[index]).json(), order))
    alone = [answerer.answer(question, context) for question, context in pairs]
    for index, answer in zip(order, answers, strict=True):
        assert (answer["answer"], answer["start"], answer["end"]) == (
            alone[index].text,
            alone[index].start_char,
            alone[index].end_char,
        )
        assert answer["score"] == pytest.approx(alone[index].probability, abs=1e-5)
    assert metric(server, "albertqa_batch_questions_sum") > 2 * metric(server, "albertqa_batch_questions_count")


def test_the_client_of_hugging_face_works_unchanged(
    server: Server, answerer: Answerer, pairs: list[tuple[str, str]]
) -> None:
    for url in (server.url, f"{server.url}/answer"):
        client = InferenceClient(model=url, timeout=120)
        for question, context in pairs[:3]:
            answer: Any = client.question_answering(question=question, context=context)
            expected = answerer.answer(question, context)
            assert (answer.answer, answer.start, answer.end) == (expected.text, expected.start_char, expected.end_char)
    several: Any = client.question_answering(
        question=question, context=context, top_k=3, max_answer_len=10, doc_stride=64, max_seq_len=256,
        max_question_len=64, handle_impossible_answer=True, align_to_words=False,
    )  # fmt: skip
    assert len(several) == 3
    assert several[0].score >= several[1].score
    with pytest.raises(HfHubHTTPError, match=r"inputs\.question: expected text that is not only white space"):
        client.question_answering(question=" ", context=context)


def test_sigterm_answers_what_was_accepted(
    start_server: Callable[..., Server], answerer: Answerer, pairs: list[tuple[str, str]]
) -> None:
    server = start_server("--max-batch-tokens", "400", "--drain-seconds", "2")
    asked = [(question, "\n\n".join([context] * 4)) for question, context in pairs[:40]]
    expected = [answerer.answer(question, context) for question, context in asked]
    with ThreadPoolExecutor(40) as clients:
        answers = [clients.submit(ask, server.url, question, context) for question, context in asked]
        wait_until(lambda: metric(server, "albertqa_queue_requests") >= 20)
        server.process.send_signal(signal.SIGTERM)
        wait_until(lambda: httpx2.get(f"{server.url}/ready").status_code == 503)
        responses = [one.result() for one in answers]
    assert [response.status_code for response in responses] == [200] * 40
    assert [response.json()["answer"] for response in responses] == [one.text for one in expected]
    assert server.process.wait(timeout=60) == 0


def test_a_full_queue_refuses_at_once_and_who_leaves_or_is_late_frees_the_place(
    start_server: Callable[..., Server], answerer: Answerer, pairs: list[tuple[str, str]]
) -> None:
    # Some seconds to read, so that there is time to look.
    book, question = "\n\n".join(context for _, context in pairs * 3), pairs[0][0]
    tokens = answerer.num_tokens([(question, book)])
    server = start_server("--max-batch-tokens", "400", "--max-queue-tokens", str(tokens + 10))

    body = json.dumps({"inputs": {"question": question, "context": book}}).encode()
    head = f"POST /answer HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    # A raw connection, which can be cut while the server reads.
    with socket.create_connection(server.address) as leaver:
        leaver.sendall(head.encode() + b"\r\n\r\n" + body)
        wait_until(lambda: metric(server, "albertqa_queue_tokens") == tokens)
        refused = ask(server.url, *pairs[0])
    assert (refused.status_code, refused.json()["error"].partition(":")[0]) == (429, "the server is busy")
    assert int(refused.headers["retry-after"]) >= 1
    wait_until(lambda: metric(server, "albertqa_queue_tokens") == 0)
    assert ask(server.url, *pairs[0]).status_code == 200
    assert 'albertqa_requests_total{route="/answer",status="499"} 1.0' in httpx2.get(f"{server.url}/metrics").text

    late = {"question": question, "documents": [{"text": book}], "deadline_seconds": 0.001}
    response = httpx2.post(f"{server.url}/v1/answer", json=late, timeout=120)
    assert response.status_code == 504
    assert response.json()["error"] == "no answer within 0.001 seconds; ask for less, or try again later"
    wait_until(lambda: metric(server, "albertqa_queue_tokens") == 0)
    # Ctrl-C while idle.
    assert server.stop(signal.SIGINT) == 0


def test_a_key_is_the_client_s_token_and_nothing_that_a_user_sends_reaches_the_log(
    start_server: Callable[..., Server],
) -> None:
    server = start_server("--drain-seconds", "0.1", "--api-key", "s3cret")
    answer: Any = InferenceClient(model=server.url, token="s3cret", timeout=120).question_answering("Who?", "He swam.")
    assert answer.answer in "He swam."
    with pytest.raises(HfHubHTTPError, match="401"):
        InferenceClient(model=server.url, token="wrong", timeout=120).question_answering("Who?", "He swam.")
    body = {"inputs": {"question": "Who is secretword \x1b[31m?", "context": "secretword"}, "\x1b[2Jsecretword": 1}
    key = {"authorization": "Bearer s3cret"}
    assert httpx2.post(f"{server.url}/answer", json=body, headers=key).status_code == 422
    httpx2.get(f"{server.url}/secretword%1b[31m?secretword")
    httpx2.get(server.url, headers={"user-agent": "secretword", "host": "secretword"})
    for raw in (b"GET /\x1b[31msecretword HTTP/1.1\r\n\r\n", b"\x1b]0;secretword\x07\r\n\r\n"):
        with socket.create_connection(server.address) as connection:
            connection.sendall(raw)
            assert connection.recv(1000).startswith(b"HTTP/1.1 400")
    with httpx2.Client() as kept_open:
        assert kept_open.get(f"{server.url}/health").status_code == 200
        assert server.stop() == 0
    log = "".join(server.log)
    assert not re.search(r"secretword|s3cret|\x1b|Traceback", log)
    assert "POST /answer 422" in log


def test_an_address_in_use_is_one_line(answerer: Answerer, server: Server) -> None:
    port = int(server.url.rpartition(":")[2])
    with pytest.raises(
        SettingsError, match=rf"^127\.0\.0\.1:{port}: cannot listen there \(Address already in use\)\. Choose"
    ):
        serve(lambda: answerer, "tiny", ServeConfig(port=port))
    with pytest.raises(
        SettingsError, match=r"^settings: port is 70000, expected from 0 to 65535; deadline_seconds is 0"
    ):
        serve(lambda: answerer, "tiny", ServeConfig(port=70000, deadline_seconds=0))


def test_the_end_of_an_answer_does_not_wait_for_the_client_to_acknowledge_its_beginning() -> None:
    # What asyncio sets only on sockets whose protocol is named, which those of `socket.create_server` are not.
    with listen(ServeConfig(port=0)) as listener, socket.create_connection(listener.getsockname()):
        connection, _ = listener.accept()
        with connection:
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_model_without_a_head_ends_before_anything_listens(
    tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    encoder = save_reader(tmp_path, tiny_folder, with_head=False)
    assert main(["serve", str(encoder), "--port", "0"]) == 2
    assert capsys.readouterr().err.startswith(f"albertqa: {encoder}: has no trained span head (qa_outputs)")
