"""Limits and queue on Redis: one Lua call per decision, and never a longer wait than was set."""

import asyncio
import hashlib
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, RedisError

from ragents.deployment.rate_limiting.config import RateLimitConfig
from ragents.deployment.rate_limiting.deadline import Deadline
from ragents.deployment.rate_limiting.types import Bucket, Decision, Demand, Lease, Source
from ragents.errors import BackendUnavailable, ConfigError

log = logging.getLogger(__name__)

PREFIX = "ragents:limits"
START_TIMEOUT_S = 5.0
QUEUE_TIMEOUT_S = 5.0
FOLDER = Path(__file__).parent
Argument = str | bytes | int


class Script:
    """The text of NAME.lua."""

    def __init__(self, name: str) -> None:
        self.text = (FOLDER / f"{name}.lua").read_text("utf-8")
        self.sha = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()


TAKE, SETTLE = Script("take"), Script("settle")


class Server:
    """Redis as a neighbour that may be down or slow: BackendUnavailable after the time given at the latest."""

    def __init__(self, client: Redis, *, at_once: int) -> None:
        self.client = client
        self._turns = asyncio.Semaphore(at_once)

    async def run(
        self,
        script: Script,
        keys: Sequence[str],
        arguments: Sequence[Argument],
        *,
        timeout_s: float,
        again: bool = False,
    ) -> Any:
        """`again` as in `command`."""
        try:
            return await self.command(
                "EVALSHA", script.sha, len(keys), *keys, *arguments, timeout_s=timeout_s, again=again
            )
        except NoScriptError:  # a server that has restarted; EVAL keeps it there
            return await self.command(
                "EVAL", script.text, len(keys), *keys, *arguments, timeout_s=timeout_s, again=again
            )

    async def reach(self, *, timeout_s: float) -> None:
        """Before what may not be done twice: a connection that was closed while it was idle is replaced by this."""
        await self.command("PING", timeout_s=timeout_s, again=True)

    async def command(self, *parts: Argument, timeout_s: float, again: bool = False) -> Any:
        """`again` repeats, within the same time, what met a connection that had broken: only what may be done twice."""
        try:
            with Deadline(timeout_s):
                async with self._turns:
                    try:
                        return await self._execute(parts)
                    except RedisConnectionError:
                        if not again:
                            raise
                        return await self._execute(parts)
        except NoScriptError:
            raise
        except TimeoutError as error:
            raise BackendUnavailable("limits", f"no answer from Redis within {timeout_s:g} s") from error
        except (RedisError, OSError) as error:
            log.warning("limits: %s: %s", type(error).__name__, error)
            raise BackendUnavailable("limits", _reason(error)) from error

    async def _execute(self, parts: Sequence[Argument]) -> Any:
        return await self.client.execute_command(*parts)  # type: ignore[no-untyped-call]  # redis-py's own


class RedisRateLimits:
    """A RateLimitBackend that all processes share. Time is the server's."""

    def __init__(self, server: Server, *, timeout_s: float, take: Script = TAKE, settle: Script = SETTLE) -> None:
        self._server = server
        self._timeout_s = timeout_s
        self._take, self._settle = take, settle

    async def take(
        self, user: str, demand: Demand, limits: Sequence[Bucket], *, lease: Lease | None = None
    ) -> Decision:
        arguments: list[Argument] = []
        for bucket in limits:
            arguments += (bucket.argument, demand.of(bucket.name))
        if lease is not None:
            arguments += (lease.id, lease.limit, int(lease.lease_s * 1000))
        # A request whose answer was lost may be counted twice, and nobody gets more than the limit.
        told = await self._server.run(self._take, _keys(user, lease), arguments, timeout_s=self._timeout_s, again=True)
        allowed, wait_us, reason, *left = told.split()
        remaining = {bucket.name: int(each) for bucket, each in zip(limits, left, strict=True)}
        return Decision(allowed == "1", int(wait_us) / 1e6, None if reason == "-" else reason, remaining, "redis")

    async def settle(
        self, user: str, change: Demand, limits: Sequence[Bucket], *, source: Source, lease: Lease | None = None
    ) -> None:
        arguments: list[Argument] = []
        for bucket in limits:
            if (by := change.of(bucket.name)) != 0:
                arguments += (bucket.argument, by)
        if lease is not None:
            arguments.append(lease.id)
        if arguments:
            await self._server.run(self._settle, _keys(user, lease), arguments, timeout_s=self._timeout_s)


@asynccontextmanager
async def open_server(config: RateLimitConfig) -> AsyncIterator[Server]:
    """A client for `redis_url`, which need not be there yet. ConfigError for what is no Redis URL."""
    assert config.redis_url is not None
    try:
        pool = ConnectionPool.from_url(
            config.redis_url.get_secret_value(),
            max_connections=config.pool_size,
            socket_connect_timeout=START_TIMEOUT_S,
            socket_timeout=None,  # each call has its own limit
            decode_responses=True,
            retry=Retry(NoBackoff(), 0),
        )
    except ValueError:  # whose text may hold a part of the password
        raise ConfigError("rate_limit.redis_url is not a Redis URL, such as redis://:password@host:6379/2") from None
    client = Redis.from_pool(pool)
    try:
        yield Server(client, at_once=config.pool_size)
    finally:
        await client.aclose()


async def warn_of_eviction(server: Server) -> None:
    """A Redis that evicts forgets who has asked how often. From INFO, since managed servers refuse CONFIG."""
    info: Mapping[str, Any] = await server.command("INFO", "memory", timeout_s=START_TIMEOUT_S)
    policy = str(info.get("maxmemory_policy", "noeviction"))
    if policy != "noeviction":
        log.warning(
            "rate_limit.redis_url: Redis may throw limits away when memory is short (maxmemory-policy %s), which then "
            "start anew; use the Redis of the threads, or one with: CONFIG SET maxmemory-policy noeviction",
            policy,
        )


def _keys(user: str, lease: Lease | None) -> tuple[str, ...]:
    """The braces keep a user's keys on one node of a cluster."""
    buckets = f"{PREFIX}:{{{user}}}"
    return (buckets,) if lease is None else (buckets, f"{buckets}:leases")


def _reason(error: Exception) -> str:
    """Without an address or a password, which Redis's own messages may hold."""
    if "OOM" in str(error):
        return "Redis has no memory left; raise maxmemory"
    return f"Redis cannot be used ({type(error).__name__})"
