"""What ragents.search says that it chose."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

from ragents.postgres import Connections
from ragents.principal import Principal
from ragents.rag.store import SearchQuery
from ragents.rag.store.pgvector import PgVectorStore
from ragents.rag.store.pgvector.searching import search


class Borrowed(Connections):
    """One connection as if it were a pool."""

    def __init__(self, db: asyncpg.Connection) -> None:
        self.db = db

    @asynccontextmanager
    async def use(self, limit_s: float | None = None) -> AsyncIterator[asyncpg.Connection]:
        yield self.db


async def plan_of(store: PgVectorStore, query: SearchQuery, principal: Principal) -> str:
    said: list[str] = []
    async with store.connections.use() as db:

        def hear(_: object, message: asyncpg.PostgresLogMessage) -> None:
            said.append(message.message)

        db.add_log_listener(hear)
        await db.execute("SET client_min_messages = debug1")
        await search(Borrowed(db), query, tenant=principal.tenant, exact_below=store._exact_below)
        await db.execute("RESET client_min_messages")
        db.remove_log_listener(hear)
    return next(line for line in said if line.startswith("plan: "))
