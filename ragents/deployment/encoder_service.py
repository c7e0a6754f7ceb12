"""The encoder as a BentoML service of its own, which all workers share: one model in memory, batches across workers.

Workers ask it over BentoML's socket with a client of their own (ragents/embeddings/remote.py): BentoML's proxy speaks
pickle, has no time limit that a caller can choose, and hides Retry-After.
"""

from contextlib import AsyncExitStack
from typing import Any

import bentoml
from _bentoml_impl.server.app import ServiceAppFactory
from bentoml._internal.marshal.dispatcher import Optimizer
from bentoml.container import BentoMLContainer  # type: ignore[attr-defined]  # BentoML is not strict about __all__
from opentelemetry.trace import SpanKind
from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from ragents import tracing
from ragents.config import load_settings
from ragents.deployment import process
from ragents.deployment.config import ServiceConfig
from ragents.deployment.middleware import trace_headers
from ragents.deployment.observability.tracing import ENCODER as NAME
from ragents.deployment.observability.tracing import open_tracing
from ragents.deployment.serving import ServingConfig
from ragents.embeddings import create_embedder
from ragents.embeddings.local import LocalEmbedder
from ragents.embeddings.packing import pack
from ragents.embeddings.types import EncoderService
from ragents.errors import RAGentsError

MAX_BATCH_TEXTS = 1_000
"""A worker sends 2,000 tokens at most, and the encoder cuts what comes into its own batches: BentoML splits nothing."""
SHED_AFTER_MS = 30_000
TIMEOUT_GRACE_S = 5.0


class Encoder:
    """Texts in, vectors out: base64 of float32, one string per text."""

    def __init__(self) -> None:
        self._stack = AsyncExitStack()
        self._embedder: LocalEmbedder | None = None

    @bentoml.on_startup
    async def start(self) -> None:
        process.end_with_listener()
        try:
            config = load_settings(ServiceConfig)
            await self._stack.enter_async_context(open_tracing(config.observability, service=NAME))
            embedder = create_embedder(config.embeddings, model=config.rag.embedding_model)
            assert isinstance(embedder, LocalEmbedder)  # ServiceConfig refuses the others
            self._embedder = await self._stack.enter_async_context(embedder)
        except RAGentsError as error:
            process.give_up(error)

    @bentoml.on_shutdown
    async def stop(self) -> None:
        self._embedder = None
        await self._stack.aclose()

    async def __is_ready__(self) -> bool:
        return self._embedder is not None

    @bentoml.api(batchable=True, max_batch_size=MAX_BATCH_TEXTS, max_latency_ms=SHED_AFTER_MS)
    async def embed_queries(self, texts: list[str]) -> list[str]:
        return pack(await self._opened().embed(texts, "query"))

    @bentoml.api(batchable=True, max_batch_size=MAX_BATCH_TEXTS, max_latency_ms=SHED_AFTER_MS)
    async def embed_documents(self, texts: list[str]) -> list[str]:
        return pack(await self._opened().embed(texts, "document"))

    def _opened(self) -> LocalEmbedder:
        if self._embedder is None:
            raise bentoml.exceptions.ServiceUnavailable("the encoder is not open")
        return self._embedder


class Eager(Optimizer):
    """BentoML's batching without its waiting for company.

    It makes a batch wait for as long as batches waited lately, and counts in the time that they stood behind another
    one: a lone question after a busy minute took 34.6 ms instead of 20.3 on a model that takes 20 (2026-11-21).
    """

    def trigger_refresh(self) -> None:
        super().trigger_refresh()  # type: ignore[no-untyped-call]  # BentoML's
        self.wait = 0


class EncoderHost(bentoml.Service[Any]):
    """A BentoML service whose batches start as soon as the encoder is free."""

    def to_asgi(self, is_main: bool = True) -> ASGIApp:
        process.leave_tracing_to_us()
        self.inject_config()
        factory = ServiceAppFactory(self, is_main=is_main)
        for dispatcher in factory.dispatchers.values():
            dispatcher.optimizer = Eager(dispatcher.max_latency)
        app: ASGIApp = factory()
        return app


class Traced:
    """A request in the trace of the question that it came with: inside, a batch has several and BentoML keeps one."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        with (
            tracing.joining(trace_headers(dict(scope["headers"]))),
            tracing.span("embeddings", {"gen_ai.operation.name": "embeddings"}, kind=SpanKind.SERVER),
        ):
            await self._app(scope, receive, send)


class JsonOnly:
    """BentoML's inner services unpack pickles, which could run code."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "POST":
            found = Headers(scope=scope).get("content-type", "")
            if found.partition(";")[0].strip().lower() != "application/json":
                await PlainTextResponse("expected application/json", 415)(scope, receive, send)
                return
        await self._app(scope, receive, send)


def create_encoder_service(serving: ServingConfig, *, max_queue: int) -> Any:
    """The service, for `bentoml.depends`."""
    service: Any = bentoml.service(
        name=NAME,
        service_class=EncoderHost,
        workers=1,
        traffic={"timeout": serving.encoder_timeout_s + TIMEOUT_GRACE_S, "max_concurrency": max_queue},
        endpoints={"livez": "/livez", "readyz": "/readyz"},
        logging={"access": {"enabled": False}},
    )(Encoder)
    service.add_asgi_middleware(JsonOnly)
    service.add_asgi_middleware(Traced)
    return service


def find_encoder(serving: ServingConfig) -> EncoderService | None:
    """Where the service listens; None where the settings or the way of starting know of none: outside of BentoML."""
    if serving.encoder != "service":
        return None
    url = BentoMLContainer.remote_runner_mapping.get().get(NAME)
    return None if url is None else EncoderService(url, timeout_s=serving.encoder_timeout_s)
