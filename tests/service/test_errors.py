"""The error table: what a client does wrong, and what fails behind us, each with its status, code and body."""

import asyncio
import logging
import uuid
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from ragents.errors import ModelUnavailable, StoreUnavailable

JSON = {"content-type": "application/json"}


def check(response: httpx.Response, status: int, code: str, *words: str) -> None:
    body = response.json()
    assert (response.status_code, body["code"]) == (status, code), body
    assert set(body) == {"error", "code", "request_id"}
    assert body["request_id"] == response.headers["x-request-id"]
    assert "Traceback" not in body["error"]
    assert all(word in body["error"] for word in words), body["error"]


@pytest.mark.parametrize(
    ("body", "code", "words"),
    [
        ({}, "invalid_input", ["query is missing"]),
        ({"query": ""}, "invalid_input", ["query", "empty", "ask a question"]),
        ({"query": " \n\t "}, "invalid_input", ["query", "empty"]),
        ({"query": "x" * 9_000}, "invalid_input", ["query has 9000 characters", "8000"]),
        ({"query": 5}, "invalid_input", ["query = 5"]),
        ({"query": "x", "top_k": "many"}, "invalid_input", ["top_k = 'many'"]),
        ({"query": "x", "top_k": 51}, "invalid_input", ["top_k = 51", "50"]),
        ({"query": "x", "top_k": 0}, "invalid_input", ["top_k = 0"]),
        ({"query": "x", "top_k": True}, "invalid_input", ["top_k = True"]),
        ({"query": "x", "use_cache": "yes"}, "invalid_input", ["use_cache = 'yes'"]),
        ({"query": "x", "priority": "URGENT"}, "invalid_input", ["priority = 'URGENT'", "'HIGH'"]),
        ({"query": "x", "filters": {"a": [1]}}, "invalid_input", ["filters.a"]),
        ({"query": "x", "filters": {str(n): 1 for n in range(21)}}, "invalid_input", ["filters", "20"]),
        ({"query": "x", "thread_id": "a b"}, "invalid_input", ["thread_id"]),
        ({"query": "x", "thread_id": ""}, "invalid_input", ["thread_id"]),
        ({"query": "x", "max_tokens": 0}, "invalid_input", ["max_tokens = 0"]),
        ({"query": "x", "collection": ""}, "invalid_input", ["collection"]),
        ({"query": "x", "nonsense": 1}, "invalid_input", ["nonsense", "unknown field"]),
        ({"query": "x", "agent_type": "magic"}, "unknown_agent", ["agent_type = 'magic'", "'simple'"]),
    ],
)
async def test_a_bad_question_is_400_and_names_field_value_and_remedy(
    client: httpx.AsyncClient, body: dict[str, Any], code: str, words: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        check(await client.post("/query", json=body), 400, code, *words)
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize(
    "content",
    [
        '{"query":',
        "",
        "nonsense",
        '{"query": "x"}}',
        "[" * 100_000,
        '{"query": NaN}',
        '{"query": "x", "filters": {"a": 1e999}}',
    ],
)
async def test_broken_json_is_400(client: httpx.AsyncClient, content: str, caplog: pytest.LogCaptureFixture) -> None:
    check(await client.post("/query", content=content, headers=JSON), 400, "invalid_json")
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize("content", ["[]", '"x"', "5", "null"])
async def test_json_that_is_no_object_is_400(client: httpx.AsyncClient, content: str) -> None:
    check(await client.post("/query", content=content, headers=JSON), 400, "invalid_input", "expected an object")


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "", "application/vnd.x"])
async def test_another_content_type_is_415(client: httpx.AsyncClient, content_type: str) -> None:
    response = await client.post("/query", content='{"query": "x"}', headers={"content-type": content_type})
    check(response, 415, "unsupported_media_type", "application/json")


async def test_a_content_type_with_a_charset_is_taken(client: httpx.AsyncClient) -> None:
    headers = {"content-type": "application/json; charset=utf-8"}
    assert (await client.post("/query", content='{"query": "cat?"}', headers=headers)).status_code == 200


async def test_an_unknown_collection_is_404(client: httpx.AsyncClient) -> None:
    response = await client.post("/query", json={"query": "x", "collection": "nowhere"})
    check(response, 404, "not_found", "'nowhere'", "ingest")


@pytest.mark.parametrize(("method", "path"), [("GET", "/query"), ("PUT", "/query"), ("GET", "/cache/clear")])
async def test_a_wrong_method_is_405_with_allow(client: httpx.AsyncClient, method: str, path: str) -> None:
    response = await client.request(method, path)
    check(response, 405, "method_not_allowed")
    assert "POST" in response.headers["allow"]


async def test_a_wrong_method_on_a_mounted_route_is_405(client: httpx.AsyncClient) -> None:
    response = await client.post("/agents")
    check(response, 405, "method_not_allowed")
    assert "GET" in response.headers["allow"]


@pytest.mark.parametrize("path", ["/nowhere", "/api/v1/nothing", "/query/more", "/%00", "/api/v1/documents/a/b"])
async def test_an_unknown_route_is_404(client: httpx.AsyncClient, path: str) -> None:
    check(await client.get(path), 404, "not_found", "no such route")


async def test_a_foreign_document_reads_the_same_as_an_unknown_one(
    client: httpx.AsyncClient, foreign_document: str
) -> None:
    for method in ("GET", "DELETE"):
        for document_id in (foreign_document, str(uuid.uuid4()), "no-uuid"):
            response = await client.request(method, f"/api/v1/documents/{document_id}")
            check(response, 404, "not_found", f"no document '{document_id}'")


@pytest.mark.parametrize("query", ["limit=0", "limit=x", "limit=100000", "after=nonsense"])
async def test_a_bad_page_is_400(client: httpx.AsyncClient, query: str) -> None:
    check(await client.get(f"/api/v1/documents?{query}"), 400, "invalid_input")


async def test_a_body_that_says_it_is_too_large_is_413(client: httpx.AsyncClient) -> None:
    response = await client.post("/query", content=b"a" * 50_000_000, headers=JSON)
    check(response, 413, "payload_too_large", "1 MB", "serving.max_body_mb")


async def test_a_chunked_body_is_counted_and_413(client: httpx.AsyncClient) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(50):
            yield b"a" * 1_000_000

    check(await client.post("/query", content=endless(), headers=JSON), 413, "payload_too_large")


@pytest.mark.parametrize("path", ["/query", "/cache/stats", "/health", "/docs.json", "/api/v1/documents"])
async def test_a_caller_from_elsewhere_is_403(stranger: httpx.AsyncClient, path: str) -> None:
    check(await stranger.get(path), 403, "permission_denied", "own machine", "API keys")


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics"])
async def test_probes_and_metrics_are_open(stranger: httpx.AsyncClient, path: str) -> None:
    assert (await stranger.get(path)).status_code == 200


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded", "X-Real-IP"])
async def test_a_forwarded_request_is_not_a_local_one(client: httpx.AsyncClient, header: str) -> None:
    check(await client.get("/agents", headers={header: "127.0.0.1"}), 403, "permission_denied")


@pytest.mark.parametrize(
    ("header", "value"),
    [("Host", "evil.example.org"), ("Host", "192.0.2.1:3000"), ("Origin", "https://evil.example"), ("Origin", "null")],
)
async def test_a_page_of_another_site_cannot_ask_through_the_browser(
    client: httpx.AsyncClient, header: str, value: str
) -> None:
    check(await client.get("/agents", headers={header: value}), 403, "permission_denied", "not this machine")


@pytest.mark.parametrize("value", ["localhost:3000", "127.0.0.1:3000", "[::1]:3000", "my-laptop"])
async def test_names_of_this_machine_are_served(client: httpx.AsyncClient, value: str) -> None:
    assert (await client.get("/agents", headers={"Host": value})).status_code == 200


async def test_unknown_bearers_are_ignored(client: httpx.AsyncClient) -> None:
    headers = {"authorization": "Bearer x", "x-api-key": "y"}
    assert (await client.get("/agents", headers=headers)).status_code == 200


async def test_two_hundred_questions_at_once_are_answered_or_told_to_wait(client: httpx.AsyncClient) -> None:
    bodies = [{"query": f"question {n} about batching", "use_cache": False} for n in range(200)]
    responses = await asyncio.gather(*(client.post("/query", json=body) for body in bodies))
    statuses = {response.status_code for response in responses}
    assert statuses == {200, 429}
    for response in responses:
        if response.status_code == 429:
            check(response, 429, "overloaded", "try again")
            assert int(response.headers["retry-after"]) >= 1
    assert sum(response.status_code == 200 for response in responses) >= 45
    assert (await client.post("/query", json={"query": "batching?"})).status_code == 200


async def test_a_store_that_is_down_is_503_with_retry_after(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ragents.deployment.bentoml_service import _state

    async def down(*_: object, **__: object) -> None:
        raise StoreUnavailable("it cannot be reached")

    monkeypatch.setattr(_state.app.store, "collection", down)
    response = await client.post("/query", json={"query": "batching?"})
    check(response, 503, "store_unavailable", "store is unavailable")
    assert int(response.headers["retry-after"]) >= 1


async def test_a_model_that_is_down_is_503(client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    from ragents.llm.client import LLMClient

    async def down(*_: object, **__: object) -> None:
        raise ModelUnavailable("main: timed out")

    monkeypatch.setattr(LLMClient, "generate", down)
    response = await client.post("/query", json={"query": "batching, anew?", "use_cache": False})
    check(response, 503, "model_unavailable", "timed out")


async def test_a_defect_is_500_without_its_words(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from ragents.deployment.bentoml_service import _state

    async def broken(*_: object, **__: object) -> None:
        raise RuntimeError("password=hunter2")

    monkeypatch.setattr(_state.app.store, "collection", broken)
    monkeypatch.setattr(logging.getLogger("ragents"), "propagate", True)
    response = await client.post("/query", json={"query": "batching?"})
    check(response, 500, "internal_error", "request id")
    assert "hunter2" not in response.text
    assert "hunter2" in caplog.text


async def test_a_question_that_takes_too_long_is_504(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ragents.deployment.bentoml_service import _state

    async def hang(*_: object, **__: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(_state.app.store, "collection", hang)
    limits = _state.app.config.serving.model_copy(update={"timeout_s": 0.05})
    monkeypatch.setattr(_state.questions, "_limits", limits)
    check(await client.post("/query", json={"query": "batching?"}), 504, "deadline_exceeded", "0.05 s")
