"""The outermost layer: request ids, who is calling, the bound on bodies, and one shape for every error."""

import asyncio
import gzip
import json
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ragents import tracing
from ragents.deployment.callers import Caller
from ragents.deployment.http import (
    FOREIGN_ERRORS,
    PayloadTooLarge,
    RequestContext,
    enter_request,
    error_response,
    error_value,
    idempotency_key_from,
    internal,
    request_id_from,
)
from ragents.errors import RAGentsError

log = logging.getLogger(__name__)
access = logging.getLogger("ragents.access")

MEGABYTE = 1024 * 1024
COMPRESS_ABOVE_BYTES = 1024
THREAD_ABOVE_BYTES = 32 * 1024
"""Compressing so much takes about half a millisecond; for less, the way to a thread and back costs more."""
DRAIN_BYTES, DRAIN_TIMEOUT_S = 64 * MEGABYTE, 5.0
"""What is read and thrown away of a body that is too large: a client still writing would not see the answer."""


SYSTEM_PATHS = ("/", "/livez", "/readyz", "/metrics", "/docs.json", "/schema.json")
OTHER_PATHS = "/*"
PATH_KEY = "ragents.path"
TRACE_HEADERS = ("traceparent", "tracestate")
Admit = Callable[[Scope], Awaitable[Caller]]


def create_label(paths: Sequence[str]) -> Callable[[str], str]:
    """From a path to the route it belongs to. `paths` may have parameters: /documents/{id}."""
    plain = frozenset([*SYSTEM_PATHS, *(path for path in paths if "{" not in path)])
    prefixes = {path.partition("{")[0]: path for path in paths if "{" in path}

    def label(path: str) -> str:
        if path in plain:
            return path
        return next((route for prefix, route in prefixes.items() if path.startswith(prefix)), OTHER_PATHS)

    return label


def trace_headers(headers: Mapping[bytes, bytes]) -> dict[str, str]:
    """What the W3C's Trace Context defines, of a request's headers."""
    return {name: headers[name.encode()].decode("latin-1") for name in TRACE_HEADERS if name.encode() in headers}


class RealPath:
    """The innermost layer: routing sees the path that was asked for."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if PATH_KEY in scope:
            scope = {**scope, "path": scope[PATH_KEY]}
        await self._app(scope, receive, send)


class Front:
    """ASGI middleware around all of BentoML.

    In between BentoML sees the route instead of the path: its metrics keep one series per value for as long as the
    server runs.
    """

    def __init__(
        self, app: ASGIApp, *, label: Callable[[str], str], admit: Admit, max_body_mb: float, access_log: bool
    ) -> None:
        self.app = app
        self._label, self._admit = label, admit
        self._max_body_bytes = int(max_body_mb * MEGABYTE)
        self._access_log = access_log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        request_id = request_id_from(headers.get(b"x-request-id", b"").decode("latin-1"))
        context = RequestContext(request_id, openai=scope["path"].startswith("/v1/"))
        enter_request(context)
        answer = _Answer(scope, send, context, headers)
        body = _Body(receive, self._max_body_bytes, headers)
        try:
            context.caller = await self._admit(scope)
            key = headers.get(b"idempotency-key")
            context.idempotency_key = idempotency_key_from(None if key is None else key.decode("latin-1"))
            await body.check_declared()
            inner = {**scope, "path": self._label(scope["path"]), PATH_KEY: scope["path"]}
            with tracing.joining(trace_headers(headers)):
                await self.app(inner, body.receive, answer.send)
        except RAGentsError as error:
            if not answer.started:
                await self._refuse(error, context, scope, receive, answer)
        except Exception as error:
            told = internal(error, request_id)
            if not answer.started:
                await self._refuse(told, context, scope, receive, answer)
        if self._access_log:
            access.info(
                "%s %s %s %.1f ms %s", scope["method"], scope["path"], answer.status, context.latency_ms, request_id
            )

    async def _refuse(
        self, error: RAGentsError, context: RequestContext, scope: Scope, receive: Receive, answer: "_Answer"
    ) -> None:
        context.answered = True
        response = error_response(error, context.request_id)
        if isinstance(error, PayloadTooLarge):
            response.headers["Connection"] = "close"
        await response(scope, receive, answer.send)


class _Body:
    """The request's body, counted while it is read: chunked bodies declare no length."""

    def __init__(self, receive: Receive, limit: int, headers: dict[bytes, bytes]) -> None:
        self._receive, self._limit, self._headers = receive, limit, headers
        self._read = 0

    async def check_declared(self) -> None:
        declared = self._headers.get(b"content-length", b"")
        if declared.isdigit() and int(declared) > self._limit:
            # A client that asked first ("Expect: 100-continue") is still waiting and has sent nothing.
            if b"expect" not in self._headers:
                await self._drain()
            raise self._too_large()

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            self._read += len(message.get("body", b""))
            if self._read > self._limit:
                if message.get("more_body"):
                    await self._drain()
                raise self._too_large()
        return message

    async def _drain(self) -> None:
        drained, deadline = 0, time.monotonic() + DRAIN_TIMEOUT_S
        try:
            async with asyncio.timeout(DRAIN_TIMEOUT_S):
                while drained < DRAIN_BYTES and time.monotonic() < deadline:
                    message = await self._receive()
                    drained += len(message.get("body", b""))
                    if message["type"] != "http.request" or not message.get("more_body"):
                        return
        except TimeoutError:
            return

    def _too_large(self) -> PayloadTooLarge:
        limit = f"{self._limit / MEGABYTE:g} MB"
        return PayloadTooLarge(f"the body is larger than {limit}; send less, or raise serving.max_body_mb")


class _Answer:
    """What is sent back: with the request id, compressed where the client takes it, and errors in our shape."""

    def __init__(self, scope: Scope, send: Send, context: RequestContext, headers: dict[bytes, bytes]) -> None:
        self._scope, self._send, self._context = scope, send, context
        self._gzip = b"gzip" in headers.get(b"accept-encoding", b"")
        self._start: Message | None = None
        self._replaced = False
        self.started = False
        self.status = 0

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self._start = message
        elif message["type"] == "http.response.body" and self._start is not None:
            await self._begin(self._start, message)
        elif not self._replaced:
            await self._send(message)

    async def _begin(self, start: Message, first: Message) -> None:
        """Headers are held back until the first of the body is here, since either may have to change."""
        self._start = None
        self.started = True
        headers = MutableHeaders(raw=list(start["headers"]))
        headers["X-Request-ID"] = self._context.request_id
        for name, value in self._context.headers.items():
            headers[name] = value
        body = first.get("body", b"")
        if start["status"] >= 400 and not self._context.answered:
            body = self._in_our_shape(start["status"], body)
            headers["content-type"] = "application/json"
            headers["content-length"] = str(len(body))
            self._replaced = True
            first = {"type": "http.response.body", "body": body}
        elif self._compressible(headers, first):
            if len(body) > THREAD_ABOVE_BYTES:
                body = await asyncio.to_thread(gzip.compress, body, 5)
            else:
                body = gzip.compress(body, 5)
            headers["content-encoding"] = "gzip"
            headers["content-length"] = str(len(body))
            headers.add_vary_header("Accept-Encoding")
            first = {**first, "body": body}
        await self._send({**start, "headers": headers.raw})
        await self._send(first)

    def _compressible(self, headers: MutableHeaders, first: Message) -> bool:
        """Whole JSON answers; a stream is sent as it comes."""
        return (
            self._gzip
            and not first.get("more_body")
            and len(first.get("body", b"")) > COMPRESS_ABOVE_BYTES
            and "json" in headers.get("content-type", "")
            and "content-encoding" not in headers
        )

    def _in_our_shape(self, status: int, body: bytes) -> bytes:
        code, message = FOREIGN_ERRORS.get(
            status, ("internal_error" if status >= 500 else "invalid_input", _said(body))
        )
        return json.dumps(error_value(status, code, message, self._context.request_id)).encode()


def _said(body: bytes) -> str:
    return " ".join(body.decode("utf-8", "replace").split())[:300] or "the request failed"
