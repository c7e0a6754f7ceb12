"""/docs.json: what the routes take and give, as OpenAPI 3.1 says it; and the page at /, which lists them."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from html import escape
from typing import Any, Protocol, get_type_hints

from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema
from starlette.responses import Response

from ragents import __version__
from ragents.deployment.chat import ChatRequest
from ragents.deployment.schemas import Asking, BatchRequest, QueryRequest, QueryResponse, ResumeRequest

JSON, EVENTS, TEXT, HTML = "application/json", "text/event-stream", "text/plain", "text/html"
PARAMETER = re.compile(r"\{(\w+)\}")


class Error(BaseModel):
    """Every error, but those under /v1."""

    error: str
    code: str
    request_id: str


class OpenAIErrorDetail(BaseModel):
    message: str
    type: str
    param: str | None
    code: str


class OpenAIError(BaseModel):
    """Every error under /v1, as OpenAI's clients want it."""

    error: OpenAIErrorDetail
    request_id: str


@dataclass(frozen=True, slots=True)
class Operation:
    """`query` and `headers`: parameters by name, beside those of the path, and what they mean."""

    summary: str
    body: type[BaseModel] | None = None
    answer: type[BaseModel] | None = None
    media: tuple[str, ...] = (JSON,)
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)


class Api(Protocol):
    """What is read of BentoML's APIMethod."""

    @property
    def route(self) -> str: ...
    @property
    def func(self) -> Any: ...


TURN = {"Idempotency-Key": "names the turn, so that a question sent twice is one turn of its thread"}
OPERATIONS: Mapping[tuple[str, str], Operation] = {
    ("POST", "/query/stream"): Operation(
        "Ask a question; its answer comes as server-sent events: status, sources, token, done, error.",
        body=QueryRequest,
        media=(EVENTS,),
        headers=TURN,
    ),
    ("GET", "/runs/{run_id}/events"): Operation(
        "Go on with a stream that was cut off.",
        media=(EVENTS,),
        headers={"Last-Event-ID": "the last event that came"},
    ),
    ("POST", "/v1/chat/completions"): Operation(
        "OpenAI's chat completions; the model is an agent.", body=ChatRequest, media=(JSON, EVENTS)
    ),
    ("GET", "/v1/models"): Operation("The agents, as OpenAI lists models."),
    ("GET", "/v1/models/{name}"): Operation("One agent, as OpenAI shows a model."),
    ("GET", "/health"): Operation("Each component, tried for real; 503 when no question can be answered."),
    ("GET", "/agents"): Operation("The agents and what they do."),
    ("GET", "/cache/stats"): Operation("Hits, misses and sizes of each layer of the cache."),
    ("GET", "/api/v1/documents"): Operation(
        "The documents of the caller's tenant.",
        query={
            "collection": "of this collection only",
            "limit": "so many at most, 1 to 1000 (100)",
            "after": "`next` of the page before",
        },
    ),
    ("GET", "/api/v1/documents/{document_id}"): Operation("One document."),
    ("DELETE", "/api/v1/documents/{document_id}"): Operation(
        "Remove a document with its chunks, vectors and cached answers."
    ),
    ("GET", "/api/v1/collections"): Operation("The collections of the caller's tenant."),
    ("GET", "/threads/{thread_id}"): Operation("What was said on a thread, and whether it waits for an answer."),
    ("DELETE", "/threads/{thread_id}"): Operation("Erase a thread."),
    ("POST", "/threads/{thread_id}/resume"): Operation(
        "Answer what the agent has asked, or go on with a turn that was cut off.",
        body=ResumeRequest,
        answer=QueryResponse,
    ),
    ("GET", "/livez"): Operation("Whether the process lives.", media=(TEXT,)),
    ("GET", "/readyz"): Operation("Whether the service has started.", media=(TEXT,)),
    ("GET", "/metrics"): Operation("Metrics for Prometheus.", media=(TEXT,)),
    ("GET", "/docs.json"): Operation("This document."),
    ("GET", "/"): Operation("A page that lists the routes.", media=(HTML,)),
}
"""Every route but those of BentoML's APIs, which tell by their signatures."""


def operations(apis: Iterable[Api]) -> dict[tuple[str, str], Operation]:
    """All of them, BentoML's APIs first."""
    found = {}
    for api in apis:
        method = api.func.__wrapped__  # as it is written, before `endpoint`
        hints = get_type_hints(method)
        body, answer = hints["request"], hints["return"]
        headers = TURN if issubclass(body, Asking | BatchRequest) else {}
        found["POST", api.route] = Operation(method.__doc__, body=body, answer=answer, headers=headers)
    return found | dict(OPERATIONS)


def document(apis: Iterable[Api]) -> dict[str, Any]:
    """The OpenAPI document."""
    listed = operations(apis)
    wanted: list[tuple[type[BaseModel], JsonSchemaMode]] = [(Error, "serialization"), (OpenAIError, "serialization")]
    wanted += [(each.body, "validation") for each in listed.values() if each.body]
    wanted += [(each.answer, "serialization") for each in listed.values() if each.answer]
    references, schemas = models_json_schema(list(dict.fromkeys(wanted)), ref_template="#/components/schemas/{model}")
    paths: dict[str, dict[str, Any]] = {}
    for (method, path), each in listed.items():
        body = references[each.body, "validation"] if each.body else None
        answer = references[each.answer, "serialization"] if each.answer else {"type": "object"}
        paths.setdefault(path, {})[method.lower()] = _operation(method, path, each, body, answer)
    return {
        "openapi": "3.1.0",
        "info": {"title": "RAGents", "version": __version__},
        "paths": paths,
        "components": {
            "schemas": schemas["$defs"],
            "securitySchemes": {
                "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
                "bearer": {"type": "http", "scheme": "bearer"},
            },
        },
        "security": [{}, {"key": []}, {"bearer": []}],
    }


def page(apis: Iterable[Api]) -> Response:
    """Plain HTML: nothing is loaded from anywhere, and nothing could be."""
    rows = "".join(
        f"<tr><td>{method}<td><code>{escape(path)}</code><td>{escape(each.summary)}"
        for (method, path), each in operations(apis).items()
    )
    text = (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>RAGents</title>'
        f'<h1>RAGents {__version__}</h1><p>OpenAPI: <a href="docs.json">docs.json</a>. <a href="health">Health</a>.'
        f"<table>{rows}</table></html>"
    )
    return Response(text, media_type=HTML, headers={"Content-Security-Policy": "default-src 'none'"})


def _operation(method: str, path: str, each: Operation, body: Any, answer: Any) -> dict[str, Any]:
    places = [("path", dict.fromkeys(PARAMETER.findall(path), "")), ("query", each.query), ("header", each.headers)]
    error = OpenAIError if path.startswith("/v1/") else Error
    made: dict[str, Any] = {
        "operationId": "_".join([method.lower(), *re.findall(r"\w+", path)]),  # names the methods of made clients
        "summary": each.summary,
        "parameters": [
            {"name": name, "in": place, "required": place == "path", "description": told, "schema": {"type": "string"}}
            for place, named in places
            for name, told in named.items()
        ],
        "responses": {
            "200": {
                "description": "done",
                "content": {media: {"schema": answer if media == JSON else {"type": "string"}} for media in each.media},
            },
            "default": {
                "description": "what went wrong",
                "content": {JSON: {"schema": {"$ref": f"#/components/schemas/{error.__name__}"}}},
            },
        },
    }
    if body is not None:
        made["requestBody"] = {"required": True, "content": {JSON: {"schema": body}}}
    return made
