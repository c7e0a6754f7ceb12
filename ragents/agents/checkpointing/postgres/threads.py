"""Leases and the ledger of tool calls on Postgres, and the sweeper of expired threads."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from langgraph.checkpoint.serde.base import SerializerProtocol

from ragents.agents.checkpointing.codec import Codec, call_place
from ragents.agents.checkpointing.postgres.text import to_text
from ragents.agents.tools.ledger import Entry
from ragents.agents.types import ThreadKey
from ragents.errors import RAGentsError
from ragents.postgres import Connections

log = logging.getLogger(__name__)

SWEEP_BATCH = 50
"""Threads deleted in one transaction: short ones, so that nothing waits for the sweeper."""


class PostgresLeases:
    """See ragents.agents.checkpointing.leases. `ttl_s`: taking a thread is a use of it."""

    def __init__(self, connections: Connections, *, ttl_s: float | None = None) -> None:
        self._connections = connections
        self._ttl_s = ttl_s

    async def take(self, tenant: str, thread: str, *, ttl_s: float) -> int | None:
        async with self._connections.use() as db:
            fence: int | None = await db.fetchval(
                "SELECT ragents_threads.take($1, $2, $3, $4)", to_text(tenant), to_text(thread), ttl_s, self._ttl_s
            )
        return fence

    async def renew(self, tenant: str, thread: str, *, fence: int, ttl_s: float) -> bool:
        async with self._connections.use() as db:
            held: bool = await db.fetchval(
                "SELECT ragents_threads.renew($1, $2, $3, $4)", to_text(tenant), to_text(thread), fence, ttl_s
            )
        return held

    async def release(self, tenant: str, thread: str, *, fence: int) -> None:
        async with self._connections.use() as db:
            await db.fetchval("SELECT ragents_threads.release($1, $2, $3)", to_text(tenant), to_text(thread), fence)


class PostgresLedger:
    """See ragents.agents.tools.ledger. Results are compressed and encrypted like checkpoints."""

    def __init__(self, connections: Connections, *, serde: SerializerProtocol, codec: Codec) -> None:
        self._connections = connections
        self._serde = serde
        self._codec = codec

    async def begin(self, thread: ThreadKey, key: str) -> Entry:
        async with self._connections.use() as db:
            row = await db.fetchrow(
                "SELECT * FROM ragents_threads.begin_call($1, $2, $3)", *_where(thread), to_text(key)
            )
        if row["result"] is None:
            return Entry(row["state"])
        return Entry(row["state"], self._codec.decode(self._serde, row["result"], call_place(thread, key)))

    async def finish(self, thread: ThreadKey, key: str, result: str) -> None:
        sealed = self._codec.encode(self._serde, result, call_place(thread, key))
        async with self._connections.use() as db:
            await db.fetchval(
                "SELECT ragents_threads.finish_call($1, $2, $3, $4)", *_where(thread), to_text(key), sealed
            )

    async def forget(self, thread: ThreadKey) -> None:
        async with self._connections.use() as db:
            await db.fetchval("SELECT ragents_threads.forget_calls($1, $2)", *_where(thread))


@asynccontextmanager
async def sweeping(connections: Connections, *, every_s: float) -> AsyncIterator[None]:
    """Delete expired threads in the background; of all processes on the database one at a time."""
    task = asyncio.create_task(_sweep_forever(connections, every_s))
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def sweep(connections: Connections) -> int:
    """All threads that have expired, in batches; how many."""
    swept = 0
    while True:
        async with connections.use() as db:
            count = await db.fetchval("SELECT ragents_threads.sweep($1)", SWEEP_BATCH)
        swept += count or 0
        if not count or count < SWEEP_BATCH:  # None: another process is at it
            return swept


async def _sweep_forever(connections: Connections, every_s: float) -> None:
    while True:
        try:
            if swept := await sweep(connections):
                log.info("%d expired threads deleted", swept)
        except RAGentsError as error:
            log.warning("sweeping expired threads: %s", error)
        await asyncio.sleep(every_s)


def _where(thread: ThreadKey) -> tuple[str, str]:
    return to_text(thread.tenant), to_text(thread.thread)
