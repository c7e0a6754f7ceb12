"""/health: each component tried for real, briefly, and not more often than once a second."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ragents import __version__
from ragents.agents.checkpointing.postgres import PostgresCheckpointSaver
from ragents.agents.langgraph_base import thread_config
from ragents.deployment.app import App
from ragents.embeddings.types import Checked
from ragents.errors import BackendUnavailable, RAGentsError
from ragents.postgres import Connections
from ragents.principal import Principal
from ragents.rag.store.pgvector import PgVectorStore

log = logging.getLogger(__name__)

PROBE_TIMEOUT_S = 2.0
KEEP_S = 1.0
DISK_KEEP_S = 10.0
"""A disk that has room is tried no more often; a full one with every check, so that its recovery is seen."""
NEEDED = frozenset({"store", "encoder", "checkpointer"})
"""Without these no question can be answered; without another one the service is degraded."""

Status = Literal["ok", "degraded", "unavailable"]
PROBE = Principal(tenant="", user="health")


@dataclass(frozen=True, slots=True)
class Component:
    status: Literal["ok", "unavailable"]
    latency_ms: float
    error: str | None = None
    detail: str | None = None


class Health:
    """The probes of one App; their result is kept for a second, so that probing cannot become load."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._probes: Mapping[str, Callable[[], Awaitable[str | None]]] = {
            "store": self._store,
            "cache": self._cache,
            "checkpointer": self._checkpointer,
            "llm": self._llm,
            "encoder": self._encoder,
            "limits": self._limiter,
            "disk": self._disk,
        }
        self._lock = asyncio.Lock()
        self._checked_at = float("-inf")
        self._components: dict[str, Component] = {}
        self._had_room_at: dict[str, float] = {}

    async def check(self) -> dict[str, Component]:
        async with self._lock:
            if time.monotonic() - self._checked_at > KEEP_S:
                found = await asyncio.gather(*(self._try(probe) for probe in self._probes.values()))
                self._components = dict(zip(self._probes, found, strict=True))
                self._checked_at = time.monotonic()
            return self._components

    async def report(self) -> dict[str, Any]:
        """The body of /health; `status` comes first."""
        components = await self.check()
        return {
            "status": overall(components),
            "version": __version__,
            "components": {
                name: {"status": c.status, "latency_ms": round(c.latency_ms, 2), "error": c.error, "detail": c.detail}
                for name, c in components.items()
            },
        }

    async def _try(self, probe: Callable[[], Awaitable[str | None]]) -> Component:
        started = time.perf_counter()
        try:
            async with asyncio.timeout(PROBE_TIMEOUT_S):
                detail = await probe()
        except TimeoutError:
            return Component("unavailable", _ms(started), f"no answer within {PROBE_TIMEOUT_S:g} s")
        except RAGentsError as error:
            return Component("unavailable", _ms(started), str(error))
        except Exception as error:  # a probe that fails is the news this page is for, whatever it raised
            # A library's words may hold an address: they are for the log.
            log.warning("a health probe failed", exc_info=error)
            return Component("unavailable", _ms(started), f"failed ({type(error).__name__}); the log says more")
        return Component("ok", _ms(started), detail=detail)

    async def _store(self) -> str | None:
        await self._app.store.ping()
        return "embedded Postgres" if self._app.embedded_postgres else None

    async def _cache(self) -> str | None:
        cache = self._app.cache
        await cache.stats(tenant=PROBE.tenant)  # which finds out
        if cache.state is not None:
            raise BackendUnavailable("cache", cache.state)
        semantic = self._app.semantic
        if semantic.config.enabled and semantic.off_because is not None:
            raise BackendUnavailable("cache", f"the semantic layer is off: {semantic.off_because}")
        return cache.backend

    async def _checkpointer(self) -> str | None:
        saver = self._app.threads.saver
        await saver.aget_tuple(thread_config(PROBE, "health"))
        if isinstance(saver, PostgresCheckpointSaver):
            await self._has_room(saver.connections)
        return self._app.config.checkpoint.backend

    async def _llm(self) -> str | None:
        """Not called: a question to a model may cost money. Its breaker knows whether the last ones failed."""
        alone = [each.name for each in self._app.llm.models if each.left_alone]
        if alone:
            raise BackendUnavailable("llm", f"left alone after repeated failures: {', '.join(alone)}")
        return f"{self._app.config.llm.provider}: {self._app.llm.name}"

    async def _limiter(self) -> str | None:
        limiter = self._app.limiter
        try:
            await limiter.check()
        except BackendUnavailable as error:
            raise BackendUnavailable("limits", f"{error.detail}; {limiter.backend}") from None
        return limiter.backend if limiter.backend == "memory" else f"{limiter.backend}; {limiter.processes} processes"

    async def _disk(self) -> str | None:
        """Of the store's Postgres. Without room there nothing can be ingested, and what it has can still be found."""
        if not isinstance(self._app.store, PgVectorStore):
            return None
        await self._has_room(self._app.store.connections)
        return "Postgres can write"

    async def _has_room(self, connections: Connections) -> None:
        name, now = connections.component, time.monotonic()
        if now - self._had_room_at.get(name, float("-inf")) > DISK_KEEP_S:
            await connections.check_disk()
            self._had_room_at[name] = now

    async def _encoder(self) -> str | None:
        if isinstance(self._app.encoder, Checked):
            await self._app.encoder.check()
        else:
            self._app.encoder.count_tokens(["ready?"])
        return self._app.embedder.model


def overall(components: Mapping[str, Component]) -> Status:
    down = {name for name, component in components.items() if component.status != "ok"}
    if down & NEEDED:
        return "unavailable"
    return "degraded" if down else "ok"


def _ms(started: float) -> float:
    return (time.perf_counter() - started) * 1000
