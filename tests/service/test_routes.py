"""What each route answers when all is well."""

import asyncio
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import httpx
import pytest
from starlette.routing import BaseRoute, Mount, Route

from ragents.deployment.bentoml_service import RAGentsService
from ragents.embeddings import EncodedBatch
from ragents.errors import BackendUnavailable
from ragents.principal import Principal, Role
from ragents.rag.cache import CacheConfig, get_cache
from tests.doubles import add_document

QUESTION = {"query": "Where does adaptive batching sit?"}
LAYER = {"hits", "misses", "hit_rate", "entries", "bytes", "evictions", "age_s"}
FIELDS = {
    *("answer", "sources", "citations", "thread_id", "agent_type", "confidence", "cached", "model", "usage"),
    *("timings", "latency_ms", "request_id", "notes", "pending", "cache_age_s", "cache_similarity", "finish_reason"),
}


async def test_a_question_is_answered_with_source_citation_and_receipt(client: httpx.AsyncClient) -> None:
    body = (await client.post("/query", json=QUESTION)).json()
    assert set(body) == FIELDS
    assert body["answer"].startswith("Adaptive batching sits at the encoder")
    assert body["sources"][0]["uri"] == "batching.md"
    assert body["citations"][0]["source_id"] == body["sources"][0]["id"]
    assert body["agent_type"] == "simple"
    assert set(body["timings"]) == {"queue_ms", "embed_ms", "retrieve_ms", "rerank_ms", "generate_ms"}
    assert body["latency_ms"] > 0


async def test_the_same_again_is_cached_and_counted(client: httpx.AsyncClient) -> None:
    question = {"query": "Where does the cat sleep every afternoon?"}
    before = (await client.get("/cache/stats")).json()["layers"]["answer"]
    assert (await client.post("/query", json=question)).json()["cached"] is None
    assert (await client.post("/query", json=question)).json()["cached"] == "answer"
    after = (await client.get("/cache/stats")).json()["layers"]["answer"]
    assert (after["hits"] - before["hits"], after["misses"] - before["misses"]) == (1, 1)
    assert 0 < after["hit_rate"] <= 1


async def test_the_statistics_say_whose_they_are_and_how_old_entries_are(client: httpx.AsyncClient) -> None:
    await client.post("/query", json={"query": "How old is a cached answer?"})
    body = (await client.get("/cache/stats")).json()
    assert (body["state"], body["scope"], body["note"]) == ("ok", "process", None)
    assert set(body["layers"]) == {"embedding", "chunk", "retrieval", "query_rewrite", "answer", "semantic"}
    assert all(set(layer) == LAYER for layer in [*body["layers"].values(), body["total"]])
    assert 0 <= body["layers"]["answer"]["age_s"] < 3600
    assert body["layers"]["chunk"]["age_s"] is None


async def test_with_redis_away_the_statistics_say_so(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ragents.deployment.bentoml_service import _state

    settings = {"backend": "redis", "redis_url": "unix:///nowhere/redis.sock"}
    away = get_cache(CacheConfig.model_validate(settings))
    health, questions = _state.health, _state.questions
    monkeypatch.setattr(_state, "_open", (replace(_state.app, cache=away), questions, health))
    body = (await client.get("/cache/stats")).json()
    await away.close()
    assert body["scope"] == "shared"
    assert body["state"].startswith("Redis is away")
    assert "shown empty" in body["note"]
    assert body["layers"]["answer"]["entries"] == 0


async def test_an_answer_without_the_cache_is_computed(client: httpx.AsyncClient) -> None:
    for _ in range(2):
        body = (await client.post("/query", json={**QUESTION, "use_cache": False})).json()
        assert body["cached"] is None


async def test_a_thread_goes_on(client: httpx.AsyncClient) -> None:
    first = (await client.post("/query", json={**QUESTION, "use_cache": False})).json()
    again = {"query": "And the cat?", "thread_id": first["thread_id"]}
    assert (await client.post("/query", json=again)).json()["thread_id"] == first["thread_id"]


async def test_strange_characters_are_answered(client: httpx.AsyncClient) -> None:
    content = rb'{"query": "what \ud800 is \u0000 batching \ud83d\ude42?"}'
    response = await client.post("/query", content=content, headers={"content-type": "application/json"})
    assert response.status_code == 200


async def test_the_request_id_is_echoed_or_made(client: httpx.AsyncClient) -> None:
    echoed = await client.post("/query", json=QUESTION, headers={"x-request-id": "my-id-1"})
    assert echoed.headers["x-request-id"] == echoed.json()["request_id"] == "my-id-1"
    for bad in (b"", b"a b", b"x" * 200, "é".encode()):
        made = await client.get("/agents", headers={b"x-request-id": bad})
        assert len(made.headers["x-request-id"]) == 36


async def test_large_answers_are_compressed_for_who_takes_it(client: httpx.AsyncClient) -> None:
    zipped = await client.post("/query", json=QUESTION, headers={"accept-encoding": "gzip"})
    plain = await client.post("/query", json=QUESTION, headers={"accept-encoding": "identity"})
    assert zipped.headers["content-encoding"] == "gzip"
    assert "content-encoding" not in plain.headers
    assert zipped.json()["answer"] == plain.json()["answer"]


async def test_the_published_shape_of_v1(client: httpx.AsyncClient) -> None:
    question = {"query": "Which store keeps vectors?", "table_name": "default", "top_k": 2}
    first = (await client.post("/api/v1/query", json=question)).json()
    second = (await client.post("/api/v1/query", json=question)).json()
    assert (first["cached"], first["cache_layer"]) == (False, None)
    assert (second["cached"], second["cache_layer"]) == (True, "answer")
    assert {"text", "score", "metadata"} <= set(first["sources"][0])
    assert len(first["sources"]) == 2
    too_many = await client.post("/api/v1/query", json={**question, "top_k": 21})
    assert too_many.status_code == 400


async def test_a_batch_answers_each_item_on_its_own_and_in_order(client: httpx.AsyncClient) -> None:
    requests = [QUESTION, {"query": ""}, {"query": "x", "agent_type": "magic"}, {"query": "cat?"}]
    body = (await client.post("/query/batch", json={"requests": requests})).json()
    results = body["results"]
    assert [("answer" in r, r.get("code")) for r in results] == [
        (True, None),
        (False, "invalid_input"),
        (False, "unknown_agent"),
        (True, None),
    ]
    assert "requests.1.query" in results[1]["error"]


@pytest.mark.parametrize(("count", "status"), [(0, 400), (9, 400), (8, 200)])
async def test_a_batch_is_bounded(client: httpx.AsyncClient, count: int, status: int) -> None:
    response = await client.post("/query/batch", json={"requests": [QUESTION] * count})
    assert response.status_code == status


async def test_agents_are_listed_with_what_they_do(client: httpx.AsyncClient) -> None:
    body = (await client.get("/agents")).json()
    assert body["agents"] == ["simple", "logical", "langgraph", "react"]
    assert body["details"]["simple"]["available"] is True


async def test_documents_are_listed_shown_and_deleted_with_their_cached_answers(client: httpx.AsyncClient) -> None:
    from ragents.deployment.bentoml_service import _state

    document = await add_document(_state.app.engine, "gone.md", ["A unicorn lives here."], collection="zoo")
    listed = (await client.get("/api/v1/documents", params={"collection": "zoo"})).json()
    assert [d["id"] for d in listed["documents"]] == [document]
    assert listed["next"] is None
    assert (await client.get(f"/api/v1/documents/{document}")).json()["uri"] == "gone.md"
    question = {"query": "Where does the unicorn live?", "collection": "zoo"}
    assert "unicorn" in (await client.post("/query", json=question)).json()["answer"]
    deleted = (await client.delete(f"/api/v1/documents/{document}")).json()
    assert deleted["deleted"]["id"] == document
    after = (await client.post("/query", json=question)).json()
    assert (after["sources"], after["cached"]) == ([], None)
    assert (await client.delete(f"/api/v1/documents/{document}")).status_code == 404


async def test_collections_are_listed(client: httpx.AsyncClient) -> None:
    found = {c["name"]: c for c in (await client.get("/api/v1/collections")).json()["collections"]}
    assert found["default"]["documents"] == 3
    assert found["default"]["embedding_model"] == "hashing-384"


async def test_a_layer_is_cleared_and_an_unknown_one_refused(client: httpx.AsyncClient) -> None:
    await client.post("/query", json=QUESTION)
    removed = (await client.post("/cache/clear", json={"layer": "answer"})).json()["removed"]
    assert set(removed) == {"answer"}
    assert removed["answer"] >= 1
    assert set((await client.post("/cache/clear", json={})).json()["removed"]) > {"answer", "embedding"}
    bad = await client.post("/cache/clear", json={"layer": "nonsense"})
    assert bad.status_code == 400
    assert "embedding" in bad.json()["error"]


async def test_health_names_each_component(client: httpx.AsyncClient) -> None:
    response = await client.get("/health")
    body = response.json()
    assert (response.status_code, body["status"]) == (200, "ok")
    assert set(body["components"]) == {"store", "cache", "checkpointer", "llm", "encoder", "limits", "disk"}


async def test_health_tells_a_needed_component_from_another(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ragents.deployment.bentoml_service import _state

    async def down() -> None:
        raise ConnectionError("gone")

    for component, status, code in (("cache", "degraded", 200), ("store", "unavailable", 503)):
        monkeypatch.setattr(_state.health, "_checked_at", float("-inf"))
        monkeypatch.setitem(_state.health._probes, component, down)
        response = await client.get("/health")
        assert (response.json()["status"], response.status_code) == (status, code)
        assert "ConnectionError" in response.json()["components"][component]["error"]
        assert "gone" not in response.text
    monkeypatch.undo()
    _state.health._checked_at = float("-inf")


async def test_metrics_count_questions_by_bounded_labels(client: httpx.AsyncClient) -> None:
    await client.post("/query", json=QUESTION)
    await client.post("/query", json={"query": "x", "agent_type": "a-name-that-nobody-has"})
    text = (await client.get("/metrics")).text
    assert 'rag_queries_total{agent_type="simple",cached="answer",status="ok"}' in text
    assert 'agent_type="unknown"' in text
    assert "a-name-that-nobody-has" not in text
    assert "rag_query_duration_seconds_bucket" in text
    assert 'rag_cache_hits_total{layer="answer"}' in text


async def test_metrics_count_the_batches_of_the_encoder(client: httpx.AsyncClient) -> None:
    from ragents.deployment.observability.metrics import get_metrics

    get_metrics().batch_encoded(EncodedBatch(kind="query", texts=3, waits_s=(0.0, 0.2), run_s=0.03))
    text = (await client.get("/metrics")).text
    assert 'rag_encoder_batch_size_sum{kind="query"} 3.0' in text
    assert 'rag_encoder_wait_seconds_count{kind="query"} 2.0' in text
    assert 'rag_encoder_run_seconds_sum{kind="query"} 0.03' in text


async def test_the_metrics_of_bentoml_keep_one_series_per_route(client: httpx.AsyncClient) -> None:
    for n in range(5):
        await client.get(f"/nowhere/{n}")
        await client.get(f"/api/v1/documents/{n}")
    text = (await client.get("/metrics")).text
    assert 'endpoint="/*"' in text
    assert 'endpoint="/api/v1/documents/{document_id}"' in text
    assert "/nowhere/" not in text


BENTOML_OWN = {"/healthz", "/schema.json"}


def served(routes: Sequence[BaseRoute]) -> Iterator[tuple[str, str]]:
    """(method, path) of whatever the server answers, BentoML's own routes too."""
    for route in routes:
        if isinstance(route, Route):
            yield from ((method, route.path) for method in route.methods or {"GET"} if method != "HEAD")
        elif isinstance(route, Mount) and route.routes:
            yield from served(route.routes)


@pytest.mark.parametrize("role", ["user", "admin"])
async def test_whoever_deletes_is_in_the_audit_log(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, role: Role
) -> None:
    from ragents.deployment.bentoml_service import _state

    principal = Principal("default", "ann", role)
    monkeypatch.setattr("ragents.deployment.auth.LOCAL_ADMIN", principal)
    document = await add_document(_state.app.engine, "audited.md", ["Beavers audit their dams."], principal=principal)
    thread = (await client.post("/query", json={"query": "Who audits dams?"})).json()["thread_id"]
    with caplog.at_level("INFO", logger="ragents.audit"):
        for path in (f"/api/v1/documents/{document}", "/api/v1/documents/nothing", "/threads/nothing"):
            await client.delete(path)
        deleted = await client.delete(f"/threads/{thread}", headers={"X-Request-ID": "r-1"})
    assert deleted.status_code == 200
    found = [json.loads(record.message) for record in caplog.records if record.name == "ragents.audit"]
    assert [(each["action"], each["actor"], each["target"]) for each in found] == [
        ("document.delete", "ann", document),
        ("thread.delete", "ann", thread),
    ]
    assert found[1]["request_id"] == "r-1"


@pytest.mark.parametrize("path", ["/api/v1/documents/{document}", "/threads/{thread}"])
async def test_nothing_is_deleted_while_the_audit_log_cannot_be_written(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    from ragents.deployment.bentoml_service import _state

    async def away(self: object, entry: object) -> None:
        raise BackendUnavailable("store", "it is away")

    document = await add_document(_state.app.engine, "kept.md", ["Beavers keep their dams."])
    thread = (await client.post("/query", json={"query": "Who keeps dams?"})).json()["thread_id"]
    place = path.format(document=document, thread=thread)
    with monkeypatch.context() as patched:
        patched.setattr(type(_state.app.audit), "record", away)
        assert (await client.delete(place)).status_code == 503
    assert (await client.get(place)).status_code == 200
    await client.delete(f"/api/v1/documents/{document}")


async def test_the_openapi_page_has_every_route_and_only_those(client: httpx.AsyncClient, asgi: Any) -> None:
    found = (await client.get("/docs.json")).json()
    listed = {(method.upper(), path) for path, methods in found["paths"].items() for method in methods}
    assert listed == {(method, path) for method, path in served(asgi.app.routes) if path not in BENTOML_OWN}
    for method, path in listed:
        each = found["paths"][path][method.lower()]
        assert each["summary"]
        assert ("requestBody" in each) == (method == "POST"), path


async def test_the_openapi_page_is_valid_and_has_the_fields_of_a_question(client: httpx.AsyncClient) -> None:
    found = (await client.get("/docs.json")).json()
    schemas = found["components"]["schemas"]
    references = set(re.findall(r"#/components/schemas/(\w+)", json.dumps(found)))
    assert references <= schemas.keys()
    asked = found["paths"]["/query"]["post"]
    assert asked["requestBody"]["content"]["application/json"]["schema"]["$ref"].endswith("/QueryRequest")
    assert {"query", "agent_type", "collection", "filters", "top_k"} <= schemas["QueryRequest"]["properties"].keys()
    assert {"answer", "sources", "pending"} <= schemas["QueryResponse"]["properties"].keys()
    stream = found["paths"]["/query/stream"]["post"]["responses"]["200"]["content"]
    assert stream.keys() == {"text/event-stream"}
    (named,) = found["paths"]["/threads/{thread_id}"]["get"]["parameters"]
    assert (named["name"], named["in"], named["required"]) == ("thread_id", "path", True)


async def test_the_openapi_page_names_each_operation_and_the_errors_of_each(client: httpx.AsyncClient) -> None:
    found = (await client.get("/docs.json")).json()
    listed = [(path, each) for path, methods in found["paths"].items() for each in methods.values()]
    assert len({each["operationId"] for _, each in listed}) == len(listed)
    assert found["paths"]["/threads/{thread_id}"]["get"]["operationId"] == "get_threads_thread_id"
    for path, each in listed:
        error = each["responses"]["default"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
        assert error == ("OpenAIError" if path.startswith("/v1/") else "Error")
    answered = (await client.get("/v1/models/gpt-9")).json()
    schemas = found["components"]["schemas"]
    assert answered.keys() == schemas["OpenAIError"]["properties"].keys()
    assert answered["error"].keys() == schemas["OpenAIErrorDetail"]["properties"].keys()


async def test_the_first_page_is_ours_and_loads_nothing_from_elsewhere(client: httpx.AsyncClient) -> None:
    response = await client.get("/")
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/html")
    assert response.headers["content-security-policy"] == "default-src 'none'"
    assert not re.search(r"https?://|<script|//\w", response.text)
    assert "/query/stream" in response.text
    assert (await client.head("/")).status_code == 200


async def test_a_question_that_waits_goes_by_priority() -> None:
    from ragents.deployment.admission import Admission
    from ragents.deployment.rate_limiting import Priority

    admission = Admission(max_in_flight=1, max_queue=10, queue_timeout_s=5)
    order: list[str] = []

    async def ask(priority: Priority) -> None:
        async with admission.admit(priority):
            order.append(priority)
            await asyncio.sleep(0)

    async with admission.admit():
        waiting = [asyncio.create_task(ask(p)) for p in ("LOW", "NORMAL", "CRITICAL", "HIGH")]
        await asyncio.sleep(0.01)
    await asyncio.gather(*waiting)
    assert order == ["CRITICAL", "HIGH", "NORMAL", "LOW"]
    assert (admission.in_flight, admission.queued) == (0, 0)


def test_the_service_is_named_and_its_routes_are_apis() -> None:
    assert RAGentsService.name == "ragents"
    assert {api.route for api in RAGentsService.apis.values()} == {
        *("/query", "/query/batch", "/api/v1/query", "/cache/clear", "/feedback"),
    }
