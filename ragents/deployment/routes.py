"""GET and DELETE: mounted beside BentoML's POST routes, in the same process and loop."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ragents.deployment.chat import ChatRequest, ModelNotFound, chunks, completion, model_card
from ragents.deployment.http import current_request, entry_of, json_response, respond
from ragents.deployment.openapi import Api, document, page
from ragents.deployment.parsing import parse
from ragents.deployment.schemas import QueryRequest, ResumeRequest
from ragents.deployment.sse import data_stream, event_stream, last_event_id
from ragents.deployment.state import State
from ragents.errors import InputError
from ragents.rag.cache.types import LAYERS, OF_DOCUMENTS, LayerStats
from ragents.rag.types import StoredDocument

if TYPE_CHECKING:
    from langchain_core.messages import BaseMessage

    from ragents.deployment.app import App

Handler = Callable[["App", Request], Awaitable[dict[str, Any]]]
MAX_PAGE = 1000
ROLES = {"human": "user", "ai": "assistant"}


def create_routes(state: State, apis: Sequence[Api] = ()) -> Starlette:
    """`state` holds the App once the service has started; before that every route that needs it answers 503.

    `apis`: BentoML's, for /docs.json and the page at /. Both take the place of BentoML's own: its document knows the
    APIs alone, and its page loads a tracker.
    """

    def endpoint(handler: Handler) -> Callable[[Request], Awaitable[Response]]:
        async def run(request: Request) -> Response:
            async def work() -> BaseModel | dict[str, Any]:
                return await handler(state.app, request)

            return await respond(work)

        return run

    async def health(request: Request) -> Response:
        async def report() -> dict[str, Any]:
            return await state.health.report()

        response = await respond(report)
        if response.status_code == 200 and b'"status": "unavailable"' in response.body[:30]:
            response.status_code = 503
        return response

    async def resume(request: Request) -> Response:
        async def work() -> BaseModel:
            asked = parse(ResumeRequest, request.headers.get("content-type", ""), await request.body())
            return await state.questions.resume(request.path_params["thread_id"], asked)

        return await respond(work)

    async def stream(request: Request) -> Response:
        async def work() -> Response:
            asked = parse(QueryRequest, request.headers.get("content-type", ""), await request.body())
            return event_stream(await state.questions.stream(asked))

        return await respond(work)

    async def events(request: Request) -> Response:
        async def work() -> Response:
            run, after = request.path_params["run_id"], last_event_id(request)
            return event_stream(await state.questions.runs.find(run, current_request().principal, after=after))

        return await respond(work)

    async def chat(request: Request) -> Response:
        async def work() -> Response | dict[str, Any]:
            asked = parse(ChatRequest, request.headers.get("content-type", ""), await request.body())
            if asked.model not in (known := state.app.conversations.agents):
                raise ModelNotFound("model", asked.model, remedy=f"choose one of {', '.join(map(repr, known))}")
            question, history = asked.question()
            if not asked.stream:
                return completion(await state.questions.query(question, history=history))
            events = await state.questions.stream(question, history=history)
            return data_stream(chunks(events, model=asked.model, include_usage=asked.include_usage))

        return await respond(work)

    told = cache(lambda: document(apis))  # made once: it takes tens of milliseconds, in which nobody is answered

    async def docs(request: Request) -> Response:
        return json_response(told())

    async def index(request: Request) -> Response:
        return page(apis)

    return Starlette(
        routes=[
            Route("/", index, methods=["GET"]),
            Route("/docs.json", docs, methods=["GET"]),
            Route("/query/stream", stream, methods=["POST"]),
            Route("/runs/{run_id}/events", events, methods=["GET"]),
            Route("/v1/chat/completions", chat, methods=["POST"]),
            Route("/v1/models", endpoint(models), methods=["GET"]),
            Route("/v1/models/{name}", endpoint(model), methods=["GET"]),
            Route("/health", health, methods=["GET"]),
            Route("/agents", endpoint(agents), methods=["GET"]),
            Route("/cache/stats", endpoint(cache_stats), methods=["GET"]),
            Route("/api/v1/documents", endpoint(list_documents), methods=["GET"]),
            Route("/api/v1/documents/{document_id}", endpoint(get_document), methods=["GET"]),
            Route("/api/v1/documents/{document_id}", endpoint(delete_document), methods=["DELETE"]),
            Route("/api/v1/collections", endpoint(list_collections), methods=["GET"]),
            Route("/threads/{thread_id}", endpoint(get_thread), methods=["GET"]),
            Route("/threads/{thread_id}", endpoint(delete_thread), methods=["DELETE"]),
            Route("/threads/{thread_id}/resume", resume, methods=["POST"]),
        ]
    )


async def agents(app: "App", request: Request) -> dict[str, Any]:
    known = app.conversations.agents
    details = {
        name: {"description": agent.description, "available": True, "reason": None} for name, agent in known.items()
    }
    return {"agents": list(known), "details": details}


async def models(app: "App", request: Request) -> dict[str, Any]:
    return {"object": "list", "data": [model_card(name) for name in app.conversations.agents]}


async def model(app: "App", request: Request) -> dict[str, Any]:
    name = request.path_params["name"]
    if name not in app.conversations.agents:
        raise ModelNotFound("model", name)
    return model_card(name)


async def cache_stats(app: "App", request: Request) -> dict[str, Any]:
    principal = current_request().principal
    whose = None if principal.role == "admin" else principal.tenant
    found = await app.cache.stats(tenant=whose)
    layers: dict[str, LayerStats] = {layer: found.get(layer, LayerStats()) for layer in LAYERS}
    semantic = await app.semantic.stats(tenant=whose)
    layers["semantic"] = LayerStats(
        semantic.hits, semantic.misses, semantic.entries, semantic.bytes, semantic.evictions, semantic.age_s
    )
    return {
        "backend": app.cache.backend,
        **_told_of(app, known=len(found) == len(LAYERS), semantic_known=semantic.known),
        "since": datetime.fromtimestamp(app.cache.since, UTC).isoformat(),
        "tenant": whose,
        "joined": app.cache.joined,
        "layers": {layer: _layer(stats) for layer, stats in layers.items()},
        "total": _layer(LayerStats.total(list(layers.values()))),
        "semantic": {
            "off_because": semantic.off_because,
            "refused": semantic.refused,
            "shadow_samples": semantic.shadow_samples,
            "shadow_differences": semantic.shadow_differences,
            "errors": semantic.errors,
        },
    }


def _told_of(app: "App", *, known: bool, semantic_known: bool) -> dict[str, str | None]:
    """Whose numbers these are, and whether they can be trusted: zeros of a Redis that is away are none."""
    state = app.cache.state or ("ok" if known else "Redis gives no answer in time")
    notes = []
    if not known:
        notes.append("the layers on Redis are shown empty, since it does not tell what they hold")
    if not semantic_known:
        notes.append("the semantic layer's entries are shown as none, since the store does not tell")
    if not app.cache.shared and app.config.serving.workers > 1:
        notes.append(
            f"each of the {app.config.serving.workers} workers has a cache of its own: these are the numbers of the "
            "one that answered"
        )
    return {"state": state, "scope": "shared" if app.cache.shared else "process", "note": "; ".join(notes) or None}


async def list_documents(app: "App", request: Request) -> dict[str, Any]:
    limit = _limit(request.query_params.get("limit", "100"))
    found = await app.store.documents(
        principal=current_request().principal,
        collection=request.query_params.get("collection"),
        limit=limit,
        after=request.query_params.get("after"),
    )
    return {"documents": [_document(each) for each in found], "next": found[-1].id if len(found) == limit else None}


async def get_document(app: "App", request: Request) -> dict[str, Any]:
    stored = await app.store.document(request.path_params["document_id"], principal=current_request().principal)
    return _document(stored)


async def delete_document(app: "App", request: Request) -> dict[str, Any]:
    """The caches forget as well: their entries could no longer be found, but they would still be held."""
    principal = current_request().principal
    document_id = (await app.store.document(request.path_params["document_id"], principal=principal)).id
    await app.audit.record(entry_of(current_request(), "document.delete", document_id))
    removed = await app.store.delete(document_id, principal=principal)
    for layer in OF_DOCUMENTS:
        await app.cache.clear(layer, tenant=principal.tenant)
    return {"deleted": _document(removed)}


async def list_collections(app: "App", request: Request) -> dict[str, Any]:
    found = await app.store.collections(principal=current_request().principal)
    return {"collections": [asdict(each) for each in found]}


async def get_thread(app: "App", request: Request) -> dict[str, Any]:
    thread_id = request.path_params["thread_id"]
    found = await app.conversations.thread(thread_id, principal=current_request().principal)
    return {
        "thread_id": found.thread_id,
        "agent_type": found.agent_type,
        "state": found.state,
        "pending": asdict(found.pending) if found.pending else None,
        "messages": [_message(each) for each in found.messages],
        "updated_at": found.updated_at,
    }


async def delete_thread(app: "App", request: Request) -> dict[str, Any]:
    thread_id, principal = request.path_params["thread_id"], current_request().principal
    await app.conversations.thread(thread_id, principal=principal)  # what is not there is not deleted
    await app.audit.record(entry_of(current_request(), "thread.delete", thread_id))
    await app.conversations.forget(thread_id, principal=principal)
    return {"deleted": thread_id}


def _message(message: "BaseMessage") -> dict[str, Any]:
    """`tool_calls` and `tool` where there are any."""
    shown: dict[str, Any] = {"id": message.id, "role": ROLES.get(message.type, message.type), "content": message.text}
    if calls := getattr(message, "tool_calls", None):
        shown["tool_calls"] = [{"id": call["id"], "name": call["name"], "arguments": call["args"]} for call in calls]
    if message.type == "tool":
        shown["tool"] = message.name
    return shown


def _layer(stats: LayerStats) -> dict[str, Any]:
    age_s = None if stats.age_s is None else round(stats.age_s, 3)
    return {**asdict(stats), "age_s": age_s, "hit_rate": round(stats.hit_rate, 4)}


def _document(stored: StoredDocument) -> dict[str, Any]:
    updated = datetime.fromtimestamp(stored.updated_at, UTC).isoformat()
    return {**asdict(stored), "metadata": dict(stored.metadata), "updated_at": updated}


def _limit(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= MAX_PAGE:
        raise InputError(f"limit = {text!r}: expected a number from 1 to {MAX_PAGE}", field="limit")
    return int(text)
