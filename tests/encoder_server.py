"""A real HTTP server over our own ONNX model, which speaks as the encoder's process, OpenAI and TEI do."""

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from ragents.embeddings import EmbeddingConfig, open_embedder
from ragents.embeddings.local import LocalEmbedder
from ragents.embeddings.packing import pack
from ragents.errors import TextTooLong

START_TIMEOUT_S = 60
MODEL = "served/elsewhere"
"""The name under which it is served: a model that has no folder here."""


class EncoderServer:
    """`requests` are (path, body) in their order. What `answer` returns for a path, where it is set, is sent instead.

    `key`: what a caller must send as its bearer token.
    """

    def __init__(self, model: str | None = None, *, socket_path: Path | None = None, key: str | None = None) -> None:
        self.requests: list[tuple[str, Any]] = []
        self.answer: dict[str, list[Response]] = {}
        self.most_at_once = 0
        self._model, self._key, self._busy = model, key, 0
        self._socket = _listen(socket_path)
        port = "" if socket_path else self._socket.getsockname()[1]
        self.url = f"file://{socket_path}" if socket_path else f"http://127.0.0.1:{port}"
        app = Starlette(
            routes=[
                Route("/embed_queries", self._packed, methods=["POST"]),
                Route("/embed_documents", self._packed, methods=["POST"]),
                Route("/v1/embeddings", self._openai, methods=["POST"]),
                Route("/v1/models", self._models),
                Route("/embed", self._tei, methods=["POST"]),
                Route("/info", self._info),
                Route("/readyz", self._ready),
                Route("/health", self._ready),
            ],
            lifespan=self._lifespan,
        )
        self._server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="on"))
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._socket]}, daemon=True)

    def start(self) -> "EncoderServer":
        self._thread.start()
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._server.started:
            assert self._thread.is_alive(), "the server did not start"
            assert time.monotonic() < deadline, "the server did not start in time"
            time.sleep(0.02)
        return self

    def stop(self) -> None:
        self._server.should_exit = True
        self._server.force_exit = True
        self._thread.join(10)
        self._socket.close()

    @contextlib.asynccontextmanager
    async def _lifespan(self, app: Starlette) -> AsyncIterator[None]:
        options = {} if self._model is None else {"model": self._model}
        async with open_embedder(EmbeddingConfig(threads=1), **options) as embedder:
            assert isinstance(embedder, LocalEmbedder)
            self._embedder = embedder
            yield

    async def _packed(self, request: Request) -> Response:
        body = await request.json()
        kind = "query" if request.url.path == "/embed_queries" else "document"
        return await self._answer(request, body, lambda: self._packed_rows(body["texts"], kind))

    async def _packed_rows(self, texts: list[str], kind: Any) -> Any:
        return pack(await self._embedder.embed(texts, kind))

    async def _openai(self, request: Request) -> Response:
        body = await request.json()
        return await self._answer(request, body, lambda: self._openai_rows(body))

    async def _openai_rows(self, body: dict[str, Any]) -> Any:
        vectors = 3 * await self._embedder.embed(body["input"], "document")  # not of length 1, as some servers
        rows = [{"object": "embedding", "index": n, "embedding": row.tolist()} for n, row in enumerate(vectors)]
        return {"object": "list", "data": rows[::-1], "model": body["model"], "usage": {}}

    async def _tei(self, request: Request) -> Response:
        body = await request.json()
        return await self._answer(request, body, lambda: self._tei_rows(body))

    async def _tei_rows(self, body: dict[str, Any]) -> Any:
        return (await self._embedder.embed(body["inputs"], "document")).tolist()

    async def _info(self, request: Request) -> Response:
        return await self._answer(request, None, self._about)

    async def _about(self) -> Any:
        return {
            "model_id": self._embedder.model,
            "max_input_length": self._embedder.max_tokens,
            "max_client_batch_size": 4,
            "auto_truncate": False,
        }

    async def _models(self, request: Request) -> Response:
        return await self._answer(request, None, self._known_models)

    async def _known_models(self) -> Any:
        return {"object": "list", "data": [{"id": "other"}, {"id": MODEL, "max_model_len": self._embedder.max_tokens}]}

    async def _ready(self, request: Request) -> Response:
        return await self._answer(request, None, self._about)

    async def _answer(self, request: Request, body: Any, work: Any) -> Response:
        path = request.url.path
        self.requests.append((path, body))
        if self._key is not None and request.headers.get("authorization") != f"Bearer {self._key}":
            return JSONResponse({"error": "no"}, 401)
        if self.answer.get(path):
            return self.answer[path].pop(0)
        self._busy += 1
        self.most_at_once = max(self.most_at_once, self._busy)
        try:
            return JSONResponse(await work())
        except TextTooLong as error:
            return JSONResponse({"error": str(error), "error_type": "Validation"}, 400 if "/v1" in path else 413)
        finally:
            self._busy -= 1


class Late(PlainTextResponse):
    """Never comes."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(60)


class HangUp(PlainTextResponse):
    """Closes the connection in the middle of the answer."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"100")]})
        await send({"type": "http.response.body", "body": b"[", "more_body": True})
        raise ConnectionAbortedError


def serve(model: str | None = None, **options: Any) -> Iterator[EncoderServer]:
    """For fixtures."""
    server = EncoderServer(model, **options).start()
    yield server
    server.stop()


def _listen(path: Path | None) -> socket.socket:
    if path is not None:
        found = socket.socket(socket.AF_UNIX)
        found.bind(str(path))
    else:
        found = socket.socket()
        found.bind(("127.0.0.1", 0))
    found.listen()
    return found
