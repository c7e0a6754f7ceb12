"""RAGentsService: the routes on BentoML.

BentoML's parent process and every worker import this module, so the agents' libraries are imported at start-up, in the
workers alone.
"""

import ctypes
import logging
import os
import signal
import sys
from contextlib import AsyncExitStack
from functools import wraps
from typing import TYPE_CHECKING, Any

import bentoml
from pydantic import BaseModel
from starlette.responses import Response

from ragents.deployment.http import current_request, respond
from ragents.deployment.middleware import Front
from ragents.deployment.routes import create_routes
from ragents.deployment.schemas import (
    BatchRequest,
    BatchResponse,
    ClearRequest,
    ClearResponse,
    QueryRequest,
    QueryResponse,
    TableQueryRequest,
    TableQueryResponse,
)
from ragents.deployment.serving import load_serving
from ragents.deployment.state import State
from ragents.errors import ConfigError, InputError, PermissionDenied, RAGentsError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ragents.deployment.config import ServiceConfig

__all__ = ["RAGentsService", "ServiceConfig"]

log = logging.getLogger("ragents.service")

SERVER_VARIABLE = "RAGENTS_SERVER_PID"
"""Process id of the server that starts the workers: set by the first process that imports this module."""
os.environ.setdefault(SERVER_VARIABLE, str(os.getpid()))
EXIT_START_FAILED = 2
PR_SET_PDEATHSIG = 1

BENTOML_GRACE_S = 10
"""BentoML's own timeout comes after ours, which answers in our shape."""


def __getattr__(name: str) -> Any:
    """ServiceConfig is a documented name of this module, and importing it means importing every room."""
    if name == "ServiceConfig":
        from ragents.deployment.config import ServiceConfig

        return ServiceConfig
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


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


def _load() -> Any:
    try:
        return load_serving()
    except ConfigError as error:
        # Here is no caller to tell: one line, and the process ends.
        sys.exit(f"error: {error}")


_serving, _observability = _load()
_state = State()


@bentoml.service(
    name="ragents",
    workers=_serving.workers,
    traffic={"timeout": _serving.timeout_s + BENTOML_GRACE_S},
    http={"host": _serving.host, "port": _serving.port},
    endpoints={"livez": "/livez", "readyz": "/readyz"},
    logging={"access": {"enabled": False}},
)
class RAGentsService:
    """Agents that answer questions over documents, with sources."""

    def __init__(self) -> None:
        self._stack = AsyncExitStack()

    @bentoml.on_startup
    async def start(self) -> None:
        _end_with_server()
        try:
            await self.initialize()
        except RAGentsError as error:
            _give_up(error)

    @bentoml.on_shutdown
    async def stop(self) -> None:
        await self.close()

    async def initialize(self, config: "ServiceConfig | None" = None) -> None:
        """Open everything; outside of BentoML call it yourself, and `close` at the end."""
        from ragents.config import load_settings
        from ragents.deployment.app import open_app
        from ragents.deployment.config import ServiceConfig
        from ragents.deployment.health import Health
        from ragents.deployment.observability.logs import configure_logging
        from ragents.deployment.observability.metrics import get_metrics
        from ragents.deployment.questions import Questions
        from ragents.deployment.samples import ensure_samples

        config = config or load_settings(ServiceConfig)
        configure_logging(config.observability)
        async with AsyncExitStack() as stack:
            app = await stack.enter_async_context(open_app(config))
            await ensure_samples(app)
            self._stack = stack.pop_all()
        _state.fill(app, Questions(app, get_metrics()), Health(app))
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

    @bentoml.api(route="/cache/clear")
    @endpoint
    async def cache_clear(self, request: ClearRequest, /) -> ClearResponse:
        """Empty the caches, or one layer of them (admin)."""
        context = current_request()
        if context.principal.role != "admin":
            raise PermissionDenied("clearing the cache is for admins")
        removed = await _state.app.cache.clear(_layer(request.layer))
        return ClearResponse(removed=dict(removed), request_id=context.request_id)


def _layer(name: str | None) -> Any:
    from ragents.rag.cache.types import LAYERS

    if name is not None and name not in LAYERS:
        raise InputError(f"layer = {name!r}: expected one of {', '.join(LAYERS)}", field="layer")
    return name


def _end_with_server() -> None:
    """A worker whose server was killed would go on holding the port and the embedded Postgres (Linux)."""
    if sys.platform == "linux" and _started_by_server():
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


def _started_by_server() -> bool:
    return os.environ.get(SERVER_VARIABLE) == str(os.getppid())


def _give_up(error: RAGentsError) -> None:
    """One clear line, and the whole server ends: a worker that BentoML starts again and again helps nobody."""
    sys.stderr.write(f"error: {error}\n")
    sys.stderr.flush()
    if _started_by_server():
        os.kill(os.getppid(), signal.SIGTERM)
    os._exit(EXIT_START_FAILED)


# GET and DELETE beside BentoML's POST routes, and our layer around all of them.
_service: Any = RAGentsService  # the decorator has made a bentoml.Service of the class
_service.mount_asgi_app(create_routes(_state), path="/")
_service.add_asgi_middleware(Front, max_body_mb=_serving.max_body_mb, access_log=_observability.access_log)
