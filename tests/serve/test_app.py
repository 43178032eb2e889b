"""Both forms of request answer as `Answerer` does; every wrong request gets one sentence."""

import gc
import json
import random
import re
import string
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from fastapi import Request

from albertqa.answer.answerer import Answerer
from albertqa.answer.answers import Answer
from albertqa.answer.collection import Collection, index_folder
from albertqa.serve import forms
from albertqa.serve.batcher import Batcher, Job
from albertqa.serve.json_body import JsonRequest
from albertqa.serve.refusal import RequestRefusedError
from decode.cases import starter_examples
from serve.conftest import Client

pytestmark = pytest.mark.usefixtures("one_thread")

CONTEXT = "😀 Norman rule began in 1066, when 𐐀lfred had been dead for long and William crossed the Channel."


@pytest.fixture(scope="module")
def pairs() -> list[tuple[str, str]]:
    return [(one.question, one.context) for one in starter_examples(12)]


def task(question: str, context: str, **parameters: Any) -> dict[str, Any]:
    return {"inputs": {"question": question, "context": context}, "parameters": parameters}


def as_task(answer: Answer) -> dict[str, Any]:
    return {"answer": answer.text, "start": answer.start_char, "end": answer.end_char}


def without_score(answer: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in answer.items() if name != "score"}


def test_task_form_answers_as_answerer_does(client: Client, answerer: Answerer, pairs: list[tuple[str, str]]) -> None:
    for (question, context), expected in zip(pairs, answerer.answer_batch(pairs), strict=True):
        answer = client.post("/answer", task(question, context)).json()
        assert without_score(answer) == as_task(expected)
        assert answer["score"] == pytest.approx(expected.probability, abs=1e-5)


def test_a_list_gives_a_list_and_top_k_gives_candidates(
    client: Client, answerer: Answerer, pairs: list[tuple[str, str]]
) -> None:
    inputs = [{"question": question, "context": context} for question, context in pairs]
    answers = client.post("/", {"inputs": inputs}).json()
    assert [without_score(one) for one in answers] == [as_task(one) for one in answerer.answer_batch(pairs)]
    lists = client.post("/answer", {"inputs": inputs, "parameters": {"top_k": 3}}).json()
    for found, expected in zip(lists, answerer.answer_batch(pairs, n_best=3), strict=True):
        assert [(one["answer"], one["start"]) for one in found] == [
            (one.text, one.start_char) for one in expected.n_best
        ]


def test_parameters_change_how_one_request_is_read(client: Client, answerer: Answerer) -> None:
    (question, context), *_ = [(one.question, one.context) for one in starter_examples(1)]
    short = client.post("/answer", task(question, context, max_answer_len=1)).json()
    assert " " not in short["answer"]
    windows = client.post("/answer", task(question, context, max_seq_len=64, doc_stride=16)).json()
    expected = answerer.answer(question, context, max_seq_length=64, doc_stride=16)
    assert without_score(windows) == as_task(expected)
    none = client.post("/v1/answer", {"question": question, "documents": [{"text": context}], "allow_no_answer": True})
    assert none.json()["null_score"] == pytest.approx(
        answerer.answer(question, context, version_2_with_negative=True).null_score, abs=1e-4
    )


def test_answers_extend_to_whole_words_where_asked_for(client: Client, pairs: list[tuple[str, str]]) -> None:
    extended = 0
    for question, context in pairs:
        plain = client.post("/answer", task(question, context)).json()
        whole = client.post("/answer", task(question, context, align_to_words=True)).json()
        assert context[whole["start"] : whole["end"]] == whole["answer"]
        assert plain["answer"] in whole["answer"]
        assert not context[: whole["start"]][-1:].isalnum() or not whole["answer"][0].isalnum()
        assert not context[whole["end"] :][:1].isalnum() or not whole["answer"][-1].isalnum()
        extended += whole != plain
    assert extended


def test_no_answer_is_an_empty_answer(serving: Callable[..., Client], reader_folder: Path) -> None:
    refusing = Answerer(reader_folder, device="cpu", version_2_with_negative=True, null_score_diff_threshold=-1e6)
    client = serving(refusing)
    answer = client.post("/answer", task("Who?", CONTEXT)).json()
    assert without_score(answer) == {"answer": "", "start": 0, "end": 0}
    full = client.post("/v1/answer", {"question": "Who?", "documents": [{"text": CONTEXT}] * 2, "n_best": 4}).json()
    assert full["answer"] is None
    assert [one["text"] == "" for one in full["n_best"]] == [True, False, False, False]
    assert full["n_best"][0]["document"] is None
    assert full["probability"] == full["n_best"][0]["probability"]
    forced = client.post("/answer", task("Who?", CONTEXT, handle_impossible_answer=False)).json()
    assert forced["answer"] != ""
    assert 'albertqa_answers_total{kind="no_answer"} 2.0' in client.get("/metrics").text


def test_offsets_count_code_points_and_utf16_units(client: Client) -> None:
    documents = [
        {"id": "plain", "text": CONTEXT[2:]},
        {"id": "emoji", "text": CONTEXT},
        {"text": "😀" * 9 + " Rollo swam"},
    ]
    answer = client.post("/v1/answer", {"question": "Who?", "documents": documents, "n_best": 20}).json()
    texts = {"plain": CONTEXT[2:], "emoji": CONTEXT, "2": "😀" * 9 + " Rollo swam"}
    seen = set()
    for span in answer["n_best"]:
        text = texts[span["document"]]
        assert text[span["start"] : span["end"]] == span["text"] != ""
        units = text.encode("utf-16-le")
        assert units[2 * span["start_utf16"] : 2 * span["end_utf16"]].decode("utf-16-le") == span["text"]
        seen.add(span["start_utf16"] - span["start"])
    assert {0, 1} < seen
    assert answer["answer"] == answer["n_best"][0]
    assert [span["score"] for span in answer["n_best"]] == sorted(
        (one["score"] for one in answer["n_best"]), reverse=True
    )


def test_tokens_are_those_that_the_model_reads(
    client: Client, answerer: Answerer, pairs: list[tuple[str, str]]
) -> None:
    question, _ = pairs[0]
    documents = [{"text": context} for _, context in pairs[::5]]
    answer = client.post("/v1/answer", {"question": question, "documents": documents}).json()
    assert answer["num_tokens"] == answerer.num_tokens([(question, one["text"]) for one in documents])


LIMITS = {"max_questions": 3, "max_documents": 2, "max_body_bytes": 5000, "max_queue_tokens": 300}
GOOD = {"question": "Who?", "context": "Rollo swam."}


@pytest.mark.parametrize(
    ("path", "body", "status", "sentence"),
    [
        ("/answer", {"inputs": {"question": 5, "context": "a"}}, 422, "inputs.question: expected text, found 5"),
        ("/answer", {"inputs": {"question": "a"}}, 422, "inputs.context: expected a value, found none"),
        ("/answer", {"inputs": "Who?"}, 422, 'inputs: expected an object, found "Who?"'),
        ("/answer", {"inputs": []}, 422, "inputs: expected at least 1 of them, found a list of 0"),
        ("/answer", {"inputs": [GOOD, {**GOOD, "context": None}]}, 422, "inputs[1].context: expected text, found null"),
        ("/answer", {"inputs": [GOOD] * 4}, 422, "inputs: expected at most 3, found 4"),
        ("/answer", {}, 422, "inputs: expected a value, found none"),
        ("/answer", [GOOD], 422, "the body: expected an object, found a list of 1"),
        (
            "/answer",
            {"inputs": GOOD, "parameters": {"topk": 2}},
            422,
            "parameters.topk: no such field, did you mean 'top_k'?",
        ),
        (
            "/answer",
            {"inputs": GOOD, "parameters": {"top_k": 0}},
            422,
            "parameters.top_k: expected at least 1, found 0",
        ),
        (
            "/answer",
            {"inputs": GOOD, "parameters": {"top_k": True}},
            422,
            "parameters.top_k: expected a whole number, found true",
        ),
        (
            "/answer",
            {"inputs": GOOD, "parameters": {"doc_stride": 400}},
            422,
            "parameters: max_seq_length is 384, expected above doc_stride (400)",
        ),
        (
            "/answer",
            {"inputs": GOOD, "parameters": {"max_seq_len": 4000}},
            422,
            "parameters: max_seq_length is 4000, but",
        ),
        (
            "/answer",
            {"inputs": [GOOD, {"question": "who " * 300, "context": "Rollo swam. " * 60}]},
            422,
            "inputs[1].question: expected fewer tokens, found 300, which leave no room for the text",
        ),
        (
            "/answer",
            {"inputs": {"question": "Who?", "context": "Rollo swam. " * 200}},
            413,
            "the request has 2,070 tokens to read, expected at most 300",
        ),
        (
            "/answer",
            {"inputs": {"question": "Who?", "context": "Rollo " * 1000}},
            413,
            "the body: expected at most 5,000 bytes, found 6,0",
        ),
        (
            "/v1/answer",
            {"question": "Who?", "documents": []},
            422,
            "documents: expected at least 1 of them, found a list of 0",
        ),
        (
            "/v1/answer",
            {"question": "Who?", "documents": [{"text": "a"}] * 3},
            422,
            "documents: expected at most 2, found 3",
        ),
        (
            "/v1/answer",
            {"question": " \n", "documents": [{"text": "a"}]},
            422,
            'question: expected text that is not only white space, found " \\n"',
        ),
        (
            "/v1/answer",
            {"question": "Who?", "documents": [{"text": "a", "id": "x"}, {"text": "b", "id": "x"}]},
            422,
            'documents: expected ids that differ, found "x" twice',
        ),
        (
            "/v1/answer",
            {"question": "Who?", "documents": [{"text": "a"}], "n_best": 99},
            422,
            "n_best: expected at most 20, found 99",
        ),
        ("/v2/answer", {}, 404, "no such address; see /docs"),
        ("/health", {}, 405, "this address takes other methods; see /docs"),
    ],
)
def test_a_wrong_request_gets_one_sentence(
    serving: Callable[..., Client], path: str, body: Any, status: int, sentence: str
) -> None:
    response = serving(**LIMITS).post(path, body)
    assert response.status_code == status
    assert response.json()["error"].startswith(sentence)
    assert response.json()["error"].count("\n") == 0
    if status == 422:
        assert response.json()["field"] == sentence.partition(":")[0]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "the body: expected JSON in UTF-8, found something else (Input data was truncated)"),
        (b'{"inputs": NaN}', "the body: expected JSON in UTF-8, found something else (invalid character (byte 11))"),
        (b'{"inputs": "\xff"}', "the body: expected JSON in UTF-8, found something else ("),
        (b'{"inputs": "\\ud800"}', "the body: expected JSON in UTF-8, found something else ("),
        (b'{"inputs": ' + b"9" * 5000 + b"}", "the body: expected JSON in UTF-8, found something else ("),
        (b"[" * 100_000, "the body: expected JSON in UTF-8, found something else (maximum recursion depth"),
    ],
)
def test_what_is_not_json_is_refused(client: Client, content: bytes, sentence: str) -> None:
    response = client("POST", "/answer", content=content, headers={"content-type": "application/json"})
    assert response.status_code == 400
    assert response.json()["error"].startswith(sentence)


def test_a_body_is_counted_as_it_comes_and_must_not_be_encoded(serving: Callable[..., Client]) -> None:
    client = serving(**LIMITS)

    async def chunks() -> Any:
        for _ in range(3):
            yield b" " * 2000

    as_json = {"content-type": "application/json"}
    streamed = client("POST", "/answer", content=chunks(), headers=as_json)
    assert (streamed.status_code, streamed.json()["error"]) == (
        413,
        "the body: expected at most 5,000 bytes, found more",
    )
    encoded = client("POST", "/answer", content=b"x", headers={**as_json, "content-encoding": "gzip"})
    assert (encoded.status_code, encoded.json()["error"]) == (415, 'Content-Encoding: expected none, found "gzip"')
    untyped = client("POST", "/answer", content=b"{}", headers={"content-type": "text/plain"})
    assert (untyped.status_code, untyped.json()["error"]) == (
        415,
        'Content-Type: expected application/json, found "text/plain"',
    )
    assert client.service.body_bytes == 0


def test_a_key_is_asked_for_before_the_body_is_read(serving: Callable[..., Client]) -> None:
    client = serving(api_key="s3cret-key", max_body_bytes=10)
    for headers in (
        {},
        {"authorization": "Bearer wrong"},
        {"authorization": "Basic s3cret-key"},
        {"authorization": "s3cret-key"},
    ):
        response = client.post("/answer", {"inputs": GOOD}, headers=headers)
        assert response.status_code == 401
        assert response.headers["www-authenticate"] == "Bearer"
        assert client.get("/metrics", headers=headers).status_code == 401
    right = client.post("/answer", {"inputs": GOOD}, headers={"authorization": "Bearer s3cret-key"})
    assert right.status_code == 413
    assert [client.get(path).status_code for path in ("/", "/docs", "/health", "/ready", "/v1/model")] == [200] * 5


def test_another_host_name_is_refused_on_the_loopback_interface(serving: Callable[..., Client]) -> None:
    for name, status in (
        ("localhost:8000", 200),
        ("127.0.0.1", 200),
        ("[::1]:80", 200),
        ("evil.example", 421),
        ("", 421),
    ):
        assert serving().get("/health", headers={"host": name}).status_code == status
    assert serving(host="0.0.0.0").get("/health", headers={"host": "qa.example"}).status_code == 200


def test_no_page_of_another_origin_may_read_answers(client: Client) -> None:
    asked = client.post("/answer", {"inputs": GOOD}, headers={"origin": "https://evil.example"})
    assert not [name for name in asked.headers if name.startswith("access-control")]
    before = client(
        "OPTIONS", "/answer", headers={"origin": "https://evil.example", "access-control-request-method": "POST"}
    )
    assert before.status_code == 405


def test_the_documented_examples_work(client: Client) -> None:
    api = client.get("/openapi.json").json()
    shown = client.get("/docs")
    assert "connect-src 'none'" in shown.headers["content-security-policy"]
    paths = {path: route["post"] for path, route in api["paths"].items() if "post" in route}
    assert set(paths) == {"/answer", "/v1/answer"}
    for path, route in paths.items():
        name = route["requestBody"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
        assert f'<h3 id="{name}">' in shown.text
        examples = api["components"]["schemas"][name]["examples"]
        for example in examples:
            assert client.post(path, example).status_code == 200
        assert {"401", "413", "415", "422", "429"} < set(route["responses"])
    for schema in api["components"]["schemas"].values():
        for field in schema.get("properties", {}).values():
            assert field.get("description"), schema


def test_pages_load_nothing_from_anywhere(client: Client) -> None:
    for path in ("/", "/docs"):
        page = client.get(path)
        assert not re.findall(r"(?:src|href)=[\"']?(?:https?:)?//", page.text)
        assert "default-src 'none'" in page.headers["content-security-policy"]
        assert page.headers["x-content-type-options"] == "nosniff"


def test_facts_say_how_the_model_reads(client: Client, answerer: Answerer) -> None:
    facts = client.get("/v1/model").json()
    assert facts["model"] == "tiny"
    assert (facts["max_seq_length"], facts["doc_stride"]) == (
        answerer.settings.max_seq_length,
        answerer.settings.doc_stride,
    )
    assert (facts["knows_no_answer"], facts["is_calibrated"], facts["has_documents"]) == (False, False, False)


def test_metrics_count_requests_batches_and_no_text(client: Client) -> None:
    client.post("/answer", task("Whose secretword?", "The secretword is Rollo's."))
    client.post("/answer/secretword", {})
    client.post("/answer", {"inputs": {"secretword": 1}})
    text = client.get("/metrics").text
    assert "secretword" not in text
    assert 'albertqa_requests_total{route="/answer",status="200"} 1.0' in text
    assert 'albertqa_requests_total{route="unknown",status="404"} 1.0' in text
    assert 'albertqa_requests_total{route="/answer",status="422"} 1.0' in text
    assert "albertqa_batch_questions_sum 1.0" in text
    assert "albertqa_queue_tokens 0.0" in text


def test_a_server_that_stops_is_alive_but_not_ready(client: Client) -> None:
    assert client.get("/ready").json() == {"status": "ready"}
    client.service.is_ready = False
    assert client.get("/ready").status_code == 503
    assert client.get("/health").status_code == 200


def test_indexed_documents_can_be_picked(serving: Callable[..., Client], tmp_path: Path) -> None:
    folder = tmp_path / "texts"
    folder.mkdir()
    for name, text in (("normans.txt", CONTEXT), ("mongols.txt", "Genghis Khan."), ("<b>.txt", "Bold.")):
        (folder / name).write_text(text, encoding="utf-8")
    index_folder(folder, tmp_path / "docs.sqlite")
    with Collection(tmp_path / "docs.sqlite") as collection:
        client = serving(documents=collection)
        assert client.get("/v1/model").json()["has_documents"]
        assert client.get("/v1/documents").json() == {
            "documents": ["<b>.txt", "mongols.txt", "normans.txt"],
            "total": 3,
        }
        assert client.get("/v1/documents?contains=MAN&limit=1").json() == {"documents": ["normans.txt"], "total": 1}
        assert client.get("/v1/documents/text?id=normans.txt").json()["text"] == CONTEXT
        missing = client.get("/v1/documents/text?id=../etc/passwd")
        assert missing.status_code == 404
        assert missing.json()["error"] == 'id: expected the name of an indexed document, found "../etc/passwd"'
        assert client.get("/v1/documents?limit=0").json()["error"] == 'query.limit: expected at least 1, found "0"'


def test_a_failure_says_nothing_of_a_users_text(serving: Callable[..., Client], answerer: Answerer) -> None:
    class Failing:
        settings = answerer.settings

        def num_tokens(self, pairs: Any, **_: Any) -> int:
            return len(pairs)

        def answer_batch(self, pairs: Any, **_: Any) -> Any:
            raise RuntimeError(f"cannot read {pairs}")

    client = serving(Failing())
    for _ in range(2):
        response = client.post("/answer", task("Whose secretword?", "x"))
        assert (response.status_code, response.json()) == (500, {"error": "the server failed; its log says where"})


def mutated(generator: random.Random) -> bytes:
    """Return a request that may be wrong in any way: another value, another key, other bytes."""
    odd: list[Any] = [
        None, True, -1, 0, 2**70, 1.5, "", " ", "x", "\x1b[31m", "\u202e", "<script>alert(1)</script>", "😀" * 50,
        "a" * 3000, [], {}, [[]], {"question": "q"}, "\u0000", "\u0301\u200b", [1, "2"], "Rollo swam. " * 20,
    ]  # fmt: skip
    body: Any = generator.choice(
        [
            task("Who swam?", "Rollo swam.", top_k=2, max_answer_len=5),
            {"inputs": [dict(GOOD), dict(GOOD)], "options": {"use_cache": False}},
            {"question": "Who?", "documents": [{"id": "a", "text": "Rollo swam."}, {"text": "He won."}], "n_best": 3},
        ]
    )
    for _ in range(generator.randrange(4)):
        at: Any = body
        while isinstance(at, (dict, list)) and at:
            key = generator.choice(list(at) if isinstance(at, dict) else range(len(at)))
            if generator.random() < 0.5 or not isinstance(at[key], (dict, list)):
                what = generator.random()
                if what < 0.6:
                    at[key] = generator.choice(odd)
                elif what < 0.8 and isinstance(at, dict):
                    at["".join(generator.choices(string.printable, k=5))] = generator.choice(odd)
                else:
                    del at[key]
                break
            at = at[key]
    content = bytearray(json.dumps(body, ensure_ascii=generator.random() < 0.5).encode())
    if generator.random() < 0.2:
        for _ in range(generator.randrange(1, 4)):
            content[generator.randrange(len(content))] = generator.randrange(256)
    return bytes(content[: generator.randrange(len(content))] if generator.random() < 0.05 else content)


def send_mutated(client: Client, count: int, seed: int) -> set[int]:
    """Send requests that may be wrong in any way; return the statuses."""
    generator = random.Random(seed)
    as_json = {"content-type": "application/json"}
    seen = set()
    for _ in range(count):
        path = generator.choice(["/answer", "/v1/answer", "/"])
        response = client("POST", path, content=mutated(generator), headers=as_json)
        seen.add(response.status_code)
        if response.status_code != 200:
            assert forms.Problem.model_validate_json(response.content).error
    return seen


def test_fuzzed_requests_never_fail_and_leave_nothing_behind(client: Client) -> None:
    assert send_mutated(client, 300, seed=7) == {200, 400, 422}
    client.service.close()
    assert (client.service.body_bytes, client.service.batcher.load) == (0, 0)
    gc.collect()
    assert not [one for one in gc.get_objects() if type(one) in {Job, Request, JsonRequest}]


@pytest.mark.slow
def test_ten_thousand_fuzzed_requests_take_no_memory(client: Client) -> None:
    process = psutil.Process()
    assert send_mutated(client, 5000, seed=8) == {200, 400, 422}
    gc.collect()
    before = process.memory_info().rss
    assert send_mutated(client, 5000, seed=9) == {200, 400, 422}
    gc.collect()
    # Allocators keep some pages back; a kilobyte left by each request would show.
    assert process.memory_info().rss - before < 5_000_000


def test_a_busy_server_refuses_before_it_reads_and_in_one_log_line(
    client: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def is_full(*_: Any) -> None:
        raise RequestRefusedError(429, "the server is busy: no room", retry_after=7)

    monkeypatch.setattr(Batcher, "require_room", is_full)
    with caplog.at_level("INFO", "albertqa.serve"):
        answers = [client.post("/v1/answer", "not JSON") for _ in range(5)]
    assert {(one.status_code, one.json()["error"], one.headers["retry-after"]) for one in answers} == {
        (429, "the server is busy: no room", "7")
    }
    assert [line for line in caplog.messages if "busy" in line] == [
        "busy; requests refused since the last such line: 1"
    ]
    assert 'albertqa_requests_total{route="/v1/answer",status="429"} 5.0' in client.get("/metrics").text
