"""The statements of queries.sql, the transactions they run in, and what both sides call a collection."""

import hashlib
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import asyncpg

from ragents.postgres.connections import Connections
from ragents.postgres.queries import load_queries
from ragents.rag.store.pgvector.statements import SQL as RECORD

SQL = load_queries(Path(__file__).with_name("queries.sql"))

Transactions = Callable[[str], AbstractAsyncContextManager[asyncpg.Connection]]
"""A transaction as a tenant."""


def scope_of(tenant: str, collection: str) -> str:
    named = json.dumps([tenant, collection]).encode()  # ("a", "bc") is not ("ab", "c")
    return hashlib.sha256(named).hexdigest()[:32]


@asynccontextmanager
async def snapshot(connections: Connections, tenant: str) -> AsyncIterator[asyncpg.Connection]:
    """Reads as a tenant that all see one state: a document that changes meanwhile is seen before or after."""
    async with connections.use() as db, db.transaction(isolation="repeatable_read", readonly=True):
        await db.execute(RECORD["set_tenant"], tenant)
        yield db
