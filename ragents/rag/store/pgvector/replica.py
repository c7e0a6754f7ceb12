"""Replica: a second server that searches may go to, and that may be down or behind."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager

from cachetools import LRUCache

from ragents.errors import BackendUnavailable, ConfigError
from ragents.postgres.connections import Connections

log = logging.getLogger(__name__)

PAUSE_S = 30.0
"""After a failure: how long searches go to the primary before the replica is tried again."""
KNOWN_EPOCHS = 10_000


class Replica:
    """Made by `open_replica`. Opened when first used, so that a replica that is down keeps nobody from starting."""

    def __init__(
        self, opening: Callable[[], AbstractAsyncContextManager[Connections]], *, stack: AsyncExitStack
    ) -> None:
        self._opening = opening
        self._stack = stack
        self._lock = asyncio.Lock()
        self._connections: Connections | None = None
        self._closed_until = 0.0
        self._epochs: LRUCache[tuple[str, str], int] = LRUCache(KNOWN_EPOCHS)

    async def connections(self, *, starting: bool = False) -> Connections | None:
        """None while it is being left alone after a failure. At the start wrong settings raise ConfigError."""
        if time.monotonic() < self._closed_until:
            return None
        async with self._lock:
            if self._connections is None and time.monotonic() >= self._closed_until:
                try:
                    self._connections = await self._stack.enter_async_context(self._opening())
                except ConfigError as error:
                    if starting:
                        raise
                    self.failed(error)
                except BackendUnavailable as error:
                    self.failed(error)
            return self._connections

    @property
    def pool(self) -> Connections | None:
        """None until it is first used."""
        return self._connections

    def failed(self, error: Exception) -> None:
        """Searches go to the primary for a while."""
        self._closed_until = time.monotonic() + PAUSE_S
        log.warning("the replica of store.read_dsn is not used for %g s: %s", PAUSE_S, error)

    def saw(self, tenant: str, collection: str, epoch: int) -> None:
        """The primary's collection is at this epoch: a replica behind it would answer with what was."""
        key = (tenant, collection)
        self._epochs[key] = max(epoch, self._epochs.get(key, 0))

    def newest(self, tenant: str, collection: str) -> int:
        return self._epochs.get((tenant, collection), 0)


@asynccontextmanager
async def open_replica(opening: Callable[[], AbstractAsyncContextManager[Connections]]) -> AsyncIterator[Replica]:
    async with AsyncExitStack() as stack:
        yield Replica(opening, stack=stack)
