"""Open what a thread's state needs, for the backend that the settings name."""

# Backends are imported where they are opened: reading the settings must not load LangGraph or a driver.
# ruff: noqa: PLC0415

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from ragents.agents.checkpointing.types import CheckpointConfig, StateMemory
from ragents.errors import ConfigError

if TYPE_CHECKING:
    from langgraph.checkpoint.base import BaseCheckpointSaver

    from ragents.agents.checkpointing.codec import Codec
    from ragents.agents.checkpointing.leases import Leases
    from ragents.agents.checkpointing.run_log import RunLog
    from ragents.agents.tools.ledger import Ledger
    from ragents.postgres import Connections

OnWrite = Callable[[str, int], None]
"""Told the backend's name and the bytes of a checkpoint, or of a task's writes."""


@dataclass(frozen=True, slots=True)
class ThreadState:
    """Everything that is kept of threads: in one store, so that it lives, expires and is deleted together."""

    saver: "BaseCheckpointSaver[str]"
    leases: "Leases"
    ledger: "Ledger"
    runs: "RunLog | None" = None
    """None in memory, where no other server could read it"""
    memory: Callable[[], Awaitable[StateMemory]] | None = None
    """Redis only: how full it is"""

    async def forget(self, tenant: str, thread: str) -> None:
        """Erase a thread: checkpoints, writes, ledger and lease."""
        from ragents.agents.checkpointing.base import DurableSaver
        from ragents.agents.types import ThreadKey

        saver = self.saver.for_tenant(tenant) if isinstance(self.saver, DurableSaver) else self.saver
        await saver.adelete_thread(thread)
        await self.ledger.forget(ThreadKey(tenant, thread))


@asynccontextmanager
async def open_thread_state(
    config: CheckpointConfig, *, shared: "Connections | None" = None, on_write: OnWrite | None = None
) -> AsyncIterator[ThreadState]:
    """`shared`: connections of the store to use when `postgres_url` is not set. `on_write` is told of what was stored,
    on Postgres and Redis.

    ConfigError for settings that cannot work (an evicting Redis, a schema that was not migrated), BackendUnavailable
    for a server that is down.
    """
    match config.backend:
        case "memory":
            yield _memory(config)
        case "postgres":
            async with _postgres(config, shared) as state:
                yield _watched(state, on_write)
        case "redis":
            async with _redis(config) as state:
                yield _watched(state, on_write)


@asynccontextmanager
async def open_checkpoint_saver(config: CheckpointConfig) -> "AsyncIterator[BaseCheckpointSaver[str]]":
    """The saver alone. On Postgres it makes its schema when it may and finds none."""
    if config.backend == "postgres" and config.postgres_url is not None:
        await _migrate_if_allowed(config.postgres_url.get_secret_value())
    async with open_thread_state(config) as state:
        yield state.saver


async def create_checkpoint_saver(config: CheckpointConfig) -> "BaseCheckpointSaver[str]":
    """As `open_checkpoint_saver`, for programs that hold it for life; `close_checkpoint_saver` closes it."""
    async with AsyncExitStack() as stack:
        saver = await stack.enter_async_context(open_checkpoint_saver(config))
        saver.ragents_resources = stack.pop_all()  # type: ignore[attr-defined]  # it rides along until it is closed
        return saver


async def close_checkpoint_saver(saver: "BaseCheckpointSaver[str]") -> None:
    """Close what `create_checkpoint_saver` opened; other savers are left alone."""
    resources: AsyncExitStack | None = getattr(saver, "ragents_resources", None)
    if resources is not None:
        await resources.aclose()


@contextmanager
def checkpoint_saver(config: CheckpointConfig) -> "Iterator[BaseCheckpointSaver[str]]":
    """For programs without an event loop (graph.invoke): the saver runs on a loop in a thread of its own."""
    from anyio.from_thread import start_blocking_portal

    with start_blocking_portal() as portal, portal.wrap_async_context_manager(open_checkpoint_saver(config)) as saver:
        yield saver


def _memory(config: CheckpointConfig) -> ThreadState:
    from langgraph.checkpoint.memory import InMemorySaver

    from ragents.agents.checkpointing.leases import MemoryLeases
    from ragents.agents.checkpointing.serializer import strict_serializer
    from ragents.agents.tools.ledger import MemoryLedger

    return ThreadState(InMemorySaver(serde=strict_serializer(config.allowed_types)), MemoryLeases(), MemoryLedger())


@asynccontextmanager
async def _postgres(config: CheckpointConfig, shared: "Connections | None") -> AsyncIterator[ThreadState]:
    from ragents.agents.checkpointing import postgres
    from ragents.agents.checkpointing.postgres.migrate import check_threads
    from ragents.agents.checkpointing.serializer import strict_serializer

    async with AsyncExitStack() as stack:
        if config.postgres_url is not None:
            opened = postgres.open_thread_connections(config, config.postgres_url.get_secret_value())
            connections = await stack.enter_async_context(opened)
        elif shared is not None:
            connections = shared.called("checkpointer")
            async with connections.use() as db:
                await check_threads(db)
        else:
            raise ConfigError("checkpoint.postgres_url is not set and the store has no Postgres; set it")
        if config.ttl_s is not None:
            await stack.enter_async_context(postgres.sweeping(connections, every_s=config.sweep_every_s))
        codec, serde = _codec(config), strict_serializer(config.allowed_types)
        saver = postgres.PostgresCheckpointSaver(
            connections,
            serde=serde,
            codec=codec,
            keep=config.max_checkpoints_per_thread,
            ttl_s=config.ttl_s,
        )
        yield ThreadState(
            saver,
            postgres.PostgresLeases(connections, ttl_s=config.ttl_s),
            postgres.PostgresLedger(connections, serde=serde, codec=codec),
            postgres.PostgresRunLog(connections, serde=serde, codec=codec),
        )


@asynccontextmanager
async def _redis(config: CheckpointConfig) -> AsyncIterator[ThreadState]:
    from ragents.agents.checkpointing import redis
    from ragents.agents.checkpointing.serializer import strict_serializer

    codec, serde = _codec(config), strict_serializer(config.allowed_types)
    async with redis.open_redis(config) as client:
        server = redis.Server(client, timeout_s=config.statement_timeout_s, at_once=config.pool_size)
        saver = redis.RedisCheckpointSaver(
            server, serde=serde, codec=codec, ttl_s=config.ttl_s, max_checkpoints=config.max_checkpoints_per_thread
        )
        ledger = redis.RedisLedger(server, serde=serde, codec=codec, ttl_s=config.ttl_s)
        runs = redis.RedisRunLog(server, serde=serde, codec=codec)
        yield ThreadState(saver, redis.RedisLeases(server), ledger, runs, partial(redis.memory_of, server))


def _watched(state: ThreadState, on_write: OnWrite | None) -> ThreadState:
    from ragents.agents.checkpointing.base import DurableSaver

    if on_write is not None and isinstance(state.saver, DurableSaver):
        state.saver.on_write = on_write
    return state


def _codec(config: CheckpointConfig) -> "Codec":
    from ragents.agents.checkpointing.codec import Codec

    return Codec(compress=config.enable_compression, keys=config.keys)


async def _migrate_if_allowed(dsn: str) -> None:
    """A role that may make the schema makes it; for one that may not, the check that follows says what to run."""
    import asyncpg

    from ragents.agents.checkpointing.postgres import migrate_threads

    try:
        await migrate_threads(dsn)
    except ConfigError as error:
        if not isinstance(error.__cause__, asyncpg.InsufficientPrivilegeError):
            raise
