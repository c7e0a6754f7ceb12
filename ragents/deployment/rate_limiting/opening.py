"""open_backends: what counts and what queues, in memory or on Redis."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from ragents.deployment.rate_limiting import presence
from ragents.deployment.rate_limiting.config import RateLimitConfig
from ragents.deployment.rate_limiting.entries import MemoryQueue, RequestQueue
from ragents.deployment.rate_limiting.memory import MemoryRateLimits
from ragents.deployment.rate_limiting.presence import Presence
from ragents.deployment.rate_limiting.redis import START_TIMEOUT_S, RedisRateLimits, open_server, warn_of_eviction
from ragents.deployment.rate_limiting.redis_queue import RedisQueue
from ragents.deployment.rate_limiting.shared import SharedRateLimits
from ragents.errors import BackendUnavailable


@dataclass(frozen=True, slots=True)
class Backends:
    """`shared` with Redis; without it each process counts for itself."""

    queue: RequestQueue
    shared: SharedRateLimits | None = None


@asynccontextmanager
async def open_backends(config: RateLimitConfig, *, processes: int) -> AsyncIterator[Backends]:
    if config.redis_url is None:
        yield Backends(MemoryQueue(aging_s=config.aging_s, max_entries=config.max_queue))
        return
    async with open_server(config) as server:
        own = Presence(server, at_least=processes, gone_after_s=presence.GONE_AFTER_S)
        shared = SharedRateLimits(
            RedisRateLimits(server, timeout_s=config.redis_timeout_s),
            MemoryRateLimits(processes=processes, max_users=config.max_users, source="local share"),
            retry_s=config.retry_s,
            probe=lambda: own.say(timeout_s=config.redis_timeout_s),  # as long as a decision has
        )
        with suppress(BackendUnavailable):  # which `check` finds as well, when the connection is there
            await own.say(timeout_s=START_TIMEOUT_S)
        with suppress(BackendUnavailable):  # said in the log; it is tried again with the next requests
            await shared.check()
            await warn_of_eviction(server)
        saying = asyncio.create_task(_keep_saying(shared))
        try:
            yield Backends(RedisQueue(server, aging_s=config.aging_s, max_entries=config.max_queue), shared)
        finally:
            saying.cancel()
            await asyncio.wait([saying])
            await own.leave(timeout_s=config.redis_timeout_s)


async def _keep_saying(shared: SharedRateLimits) -> None:
    while True:
        await asyncio.sleep(presence.EVERY_S)
        with suppress(BackendUnavailable):
            await shared.check()
            await shared.release()
