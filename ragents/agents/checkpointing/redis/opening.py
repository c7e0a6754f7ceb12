"""A client for Redis as a store of state: bounded waits, a bounded pool, and a server that does not forget."""

import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from redis.asyncio import BlockingConnectionPool, Redis, RedisCluster
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from ragents.agents.checkpointing.redis.scripts import Client, Server
from ragents.agents.checkpointing.types import CheckpointConfig, StateMemory
from ragents.errors import ConfigError

log = logging.getLogger(__name__)

HEALTH_CHECK_S = 30.0
MIN_VERSION = (6, 2)
APART = "conversation threads need a Redis of their own, apart from the cache"


@asynccontextmanager
async def open_redis(config: CheckpointConfig) -> AsyncIterator[Client]:
    """ConfigError when the server is too old or may throw state away; BackendUnavailable when it is not there."""
    client = create_client(config)
    try:
        await _check(Server(client, timeout_s=config.connect_timeout_s, at_once=config.pool_size))
        yield client
    finally:
        await client.aclose()


def create_client(config: CheckpointConfig) -> Client:
    """A client that has not connected yet. ConfigError for what is no Redis URL."""
    try:
        return _client(config)
    except ValueError:  # whose text may hold a part of the password
        raise ConfigError("checkpoint.redis_url is not a Redis URL, such as redis://:password@host:6379/1") from None


def _client(config: CheckpointConfig) -> Client:
    url = config.redis_url.get_secret_value()
    common: dict[str, Any] = {
        "socket_connect_timeout": config.connect_timeout_s,
        "socket_timeout": config.statement_timeout_s,
        "health_check_interval": HEALTH_CHECK_S,
        "socket_keepalive": True,
        "retry": Retry(NoBackoff(), 0),  # not repeated here: Server knows which calls may be
    }
    if config.redis_cluster:
        return RedisCluster.from_url(url, max_connections=config.pool_size, **common)
    if url.startswith("unix:"):
        del common["socket_keepalive"]
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=config.pool_size,
        timeout=config.statement_timeout_s,
        **common,
    )
    return Redis.from_pool(pool)


async def _check(server: Server) -> None:
    for info in await _infos(server):
        check_version(info)
        check_memory(info)
        if str(info.get("aof_enabled", "1")) == "0":
            log.warning(
                "checkpoint.redis_url: the append-only file is off, a restart of Redis loses threads; "
                "set appendonly yes, with appendfsync everysec or always"
            )


async def _infos(server: Server) -> list[Mapping[str, Any]]:
    """Of each primary. From INFO, since managed servers refuse CONFIG."""
    if not isinstance(server.client, RedisCluster):
        return [await _info(server)]
    await server.command("PING", again=True)  # which makes the client look for the nodes
    return [await _info(server, target_nodes=node) for node in server.client.get_primaries()]


async def _info(server: Server, **options: Any) -> Mapping[str, Any]:
    found: dict[str, Any] = {}
    for section in ("server", "memory", "persistence", "stats"):
        found |= await server.command("INFO", section, again=True, **options)
    return found


async def memory_of(server: Server) -> StateMemory:
    """BackendUnavailable when it cannot be asked."""
    infos = await _infos(server)
    return StateMemory(
        evicted_keys=sum(int(info.get("evicted_keys", 0)) for info in infos),
        may_evict=any(info.get("maxmemory_policy") != "noeviction" and _max_bytes(info) > 0 for info in infos),
        fullest=max(int(info.get("used_memory", 0)) / (_max_bytes(info) or float("inf")) for info in infos),
    )


def _max_bytes(info: Mapping[str, Any]) -> int:
    return int(info.get("maxmemory", 0))


def check_version(info: Mapping[str, Any]) -> None:
    version = str(info.get("redis_version", "0"))
    if tuple(int(part) for part in version.split(".")[:2]) < MIN_VERSION:
        raise ConfigError(f"checkpoint.redis_url: Redis {version} is too old; use 6.2 or newer")


def check_memory(info: Mapping[str, Any]) -> None:
    policy = str(info.get("maxmemory_policy", "noeviction"))
    if policy == "noeviction":
        return
    if int(info.get("maxmemory", 0)) > 0:
        raise ConfigError(
            f"checkpoint.redis_url: Redis may throw threads away when memory is short (maxmemory-policy {policy}); "
            f"run: CONFIG SET maxmemory-policy noeviction. {APART}"
        )
    log.warning(
        "checkpoint.redis_url: maxmemory-policy is %s and would throw threads away if maxmemory were set; "
        "run: CONFIG SET maxmemory-policy noeviction. %s",
        policy,
        APART,
    )
