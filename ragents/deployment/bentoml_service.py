"""RAGentsService: the routes on BentoML.

BentoML's parent process and every worker import this module, so the agents' libraries are imported at start-up, in the
workers alone.
"""

import logging
import sys
from contextlib import AsyncExitStack
from functools import wraps
from typing import TYPE_CHECKING, Any

import bentoml
from pydantic import BaseModel
from starlette.responses import Response

from ragents.config import load_settings
from ragents.deployment import process
from ragents.deployment.config import ServiceConfig
from ragents.deployment.encoder_service import create_encoder_service, find_encoder
from ragents.deployment.http import current_request, entry_of, respond
from ragents.deployment.middleware import Front, RealPath, create_label
from ragents.deployment.process import leave_tracing_to_us
from ragents.deployment.routes import create_routes
from ragents.deployment.schemas import (
    BatchRequest,
    BatchResponse,
    ClearRequest,
    ClearResponse,
    FeedbackRequest,
    FeedbackResponse,
    QueryRequest,
    QueryResponse,
    TableQueryRequest,
    TableQueryResponse,
)
from ragents.deployment.state import State
from ragents.errors import ConfigError, InputError, PermissionDenied, RAGentsError
from ragents.rag.cache.types import LAYERS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["RAGentsService", "ServiceConfig"]

log = logging.getLogger("ragents.service")

BENTOML_GRACE_S = 10
"""BentoML's own timeout comes after ours, which answers in our shape."""


def endpoint(method: "Callable[[Any, Any], Awaitable[BaseModel]]") -> "Callable[[Any, Any], Awaitable[Response]]":
    """A POST route: parse, call, return. A request that could not be read arrives as the error to answer with."""

    @wraps(method)
    async def run(self: Any, request: Any, /) -> Response:
        async def work() -> BaseModel:
            if isinstance(request, RAGentsError):
                raise request
            return await method(self, request)

        return await respond(work)

    return run


def _load() -> ServiceConfig:
    try:
        return load_settings(ServiceConfig)
    except ConfigError as error:
        # Here is no caller to tell: one line, and the process ends.
        process.say(error)
        sys.exit(2)


_config = _load()
process.prepare_listener()
_state = State()


class HostedService(bentoml.Service[Any]):
    """A BentoML service whose outermost layer is ours, around BentoML's own routes, metrics and time limit too."""

    def to_asgi(self, is_main: bool = True) -> Front:
        leave_tracing_to_us()
        paths = [method.route for method in self.apis.values()]
        paths += [route.path for app, *_ in self.mount_apps for route in app.routes]
        return Front(
            super().to_asgi(is_main),
            label=create_label(paths),
            admit=_state.admit,
            max_body_mb=_config.serving.max_body_mb,
            access_log=_config.observability.access_log,
        )


@bentoml.service(
    name="ragents",
    service_class=HostedService,
    workers=_config.serving.workers,
    traffic={"timeout": _config.serving.timeout_s + BENTOML_GRACE_S},
    http={"host": _config.serving.host, "port": _config.serving.port},
    endpoints={"livez": "/livez", "readyz": "/readyz"},
    runner_probe={"enabled": False},  # an encoder that starts again must not make every worker unready
    logging={"access": {"enabled": False}},
)
class RAGentsService:
    """Agents that answer questions over documents, with sources."""

    if _config.serving.encoder == "service":
        encoder = bentoml.depends(
            create_encoder_service(_config.serving, max_queue=_config.embeddings.max_queue)
        )  # BentoML starts it, and starts it again

    def __init__(self) -> None:
        self._stack = AsyncExitStack()

    @bentoml.on_startup
    async def start(self) -> None:
        process.end_with_listener()
        try:
            await self.initialize()
        except RAGentsError as error:
            process.give_up(error)
        process.settle_memory()

    @bentoml.on_shutdown
    async def stop(self) -> None:
        await self.close()

    async def initialize(self, config: ServiceConfig | None = None) -> None:
        """Open everything; outside of BentoML call it yourself, and `close` at the end."""
        from ragents.deployment.app import open_app
        from ragents.deployment.feedback import Feedback
        from ragents.deployment.health import Health
        from ragents.deployment.observability.logs import configure_logging
        from ragents.deployment.observability.metrics import get_metrics
        from ragents.deployment.observability.sampling import sampling
        from ragents.deployment.observability.scores import open_scores
        from ragents.deployment.observability.tracing import open_tracing
        from ragents.deployment.questions import Questions
        from ragents.deployment.samples import ensure_samples

        config = config or load_settings(ServiceConfig)
        configure_logging(config.observability)
        async with AsyncExitStack() as stack:
            metrics = get_metrics()
            await stack.enter_async_context(open_tracing(config.observability, service="ragents"))
            app = await stack.enter_async_context(
                open_app(
                    config,
                    on_batch=metrics.batch_encoded,
                    on_model_failure=metrics.model_failed,
                    on_checkpoint=metrics.threads.written,
                    encoder_service=find_encoder(config.serving),
                )
            )
            await ensure_samples(app, metrics.ingest)
            metrics.expect(app.conversations.agents)
            questions = Questions(app, metrics)
            await stack.enter_async_context(sampling(app, metrics, admission=questions.observe))
            stack.push_async_callback(questions.runs.close)
            feedback = Feedback(await stack.enter_async_context(open_scores(config.observability)), metrics)
            self._stack = stack.pop_all()
        _state.fill(app, questions, Health(app), feedback)
        if not await app.gate.keyed():
            log.info(
                "there are no API keys: only callers on this machine are answered (`ragents keys create` makes one)"
            )
        log.info("ready")

    async def close(self) -> None:
        _state.empty()
        await self._stack.aclose()

    async def __is_ready__(self) -> bool:
        """Started and the store reached once; a later outage shows in /health, it does not take every replica away."""
        return _state.started

    @bentoml.api(route="/query")
    @endpoint
    async def query(self, request: QueryRequest, /) -> QueryResponse:
        """Ask a question."""
        return await _state.questions.query(request)

    @bentoml.api(route="/query/batch")
    @endpoint
    async def query_batch(self, request: BatchRequest, /) -> BatchResponse:
        """Ask several questions; each is answered or refused on its own."""
        return await _state.questions.batch(request)

    @bentoml.api(route="/api/v1/query")
    @endpoint
    async def query_table(self, request: TableQueryRequest, /) -> TableQueryResponse:
        """Ask a question of a table (a collection)."""
        return await _state.questions.table_query(request)

    @bentoml.api(route="/feedback")
    @endpoint
    async def feedback(self, request: FeedbackRequest, /) -> FeedbackResponse:
        """Score an answer."""
        return await _state.feedback.take(request)

    @bentoml.api(route="/cache/clear")
    @endpoint
    async def cache_clear(self, request: ClearRequest, /) -> ClearResponse:
        """Empty the caches, or one layer of them (admin)."""
        context = current_request()
        if context.principal.role != "admin":
            raise PermissionDenied("clearing the cache is for admins")
        layer = _layer(request.layer)
        await _state.app.audit.record(entry_of(context, "cache.clear", layer or "all"))
        removed: dict[str, int] = {}
        if layer != "semantic":
            removed |= {str(name): count for name, count in (await _state.app.cache.clear(layer)).items()}
        if layer in (None, "semantic"):
            removed["semantic"] = await _state.app.semantic.clear(tenant=None)  # an admin's: of every tenant
        return ClearResponse(removed=removed, request_id=context.request_id)


def _layer(name: str | None) -> Any:
    names = (*LAYERS, "semantic")
    if name is not None and name not in names:
        raise InputError(f"layer = {name!r}: expected one of {', '.join(names)}", field="layer")
    return name


# GET and DELETE beside BentoML's POST routes.
_service: Any = RAGentsService  # the decorator has made a HostedService of the class
_service.mount_asgi_app(create_routes(_state, list(_service.apis.values())), path="/")
_service.add_asgi_middleware(RealPath)
