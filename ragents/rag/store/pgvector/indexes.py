"""HNSW indexes: one per collection that has outgrown exact search, built beside readers and writers.

Only the owner of the tables may build an index, and only outside of a transaction does CONCURRENTLY work: so this runs
on a connection of its own, as the role of store.migrate_dsn.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Literal

import asyncpg

from ragents.errors import StoreUnavailable
from ragents.postgres.connections import UNREACHABLE, reason_of
from ragents.rag.store.pgvector.statements import SQL

log = logging.getLogger(__name__)

EXACT_BELOW = 10_000
"""Chunks of 384 dimensions up to which every vector is compared: recall 1, and no slower than the index. (Of 100,000
chunks those that pass a filter: 10,000 cost 14 ms of CPU exactly and 10 by the index, 3,000 cost 7 and 30.) Vectors of
another length count in proportion."""
EXACT_DIMENSION, MAX_DIMENSION = 384, 4_000
LOCK = 7_210_431_002
TIMEOUT_S = 4 * 3_600.0
CONNECT_TIMEOUT_S = 10.0
MIN_MEMORY_MB, MAX_MEMORY_MB = 64, 4_096
PREFIX = "chunk_vectors_hnsw_"
M, EF_CONSTRUCTION = 24, 128
NODE_BYTES = 1_200
TABLES = ("collections", "documents", "chunks", "chunk_vectors", "chunk_terms", "term_counts")
STALE = 0.1
"""Share of the chunks that came or went since Postgres last counted, from which it counts anew. After a bulk load into
empty tables a hybrid search of 10,000 chunks took 189 ms of CPU, and 9.6 once they were analyzed."""

Action = Literal["built", "rebuilt", "dropped"]


@dataclass(frozen=True, slots=True)
class IndexChange:
    index: str
    action: Action
    chunks: int


async def build_indexes(
    migrate_dsn: str, *, exact_below: int = EXACT_BELOW, only: int | None = None, with_next: bool = False
) -> list[IndexChange]:
    """Build what is missing, build again what was left invalid or is of an older kind, drop what is not needed; `only`
    one collection's. `with_next`: of the space too that a move to another model has filled. Before that the planner's
    statistics are made anew where they are far from what is stored.

    Writers are never blocked. StoreUnavailable when the server is gone or another process builds for hours.
    """
    changes = []
    async with owner_connection(migrate_dsn) as db, _locked(db):
        async with all_tenants(db):
            chunks = await db.fetchval("SELECT coalesce(sum(chunks), 0)::float8 FROM ragents.collections")
            states = await db.fetch(SQL["index_states"], only, exact_below * EXACT_DIMENSION, MAX_DIMENSION, with_next)
        await _analyze(db, chunks)
        for state in states:
            name = f"{PREFIX}{int(state['id'])}" + ("_1" if state["space"] else "")
            if state["wanted"] and state["valid"] and state["outdated"]:
                await _replace(db, name, state)
            elif state["valid"] is not None and not (state["valid"] and state["wanted"]):
                await _drop(db, name)
            if state["wanted"] and not state["valid"]:
                await _build(db, name, state)
            action = _action(state)
            if action is not None:
                log.info("index %s %s (%d chunks)", name, action, state["chunks"])
                changes.append(IndexChange(name, action, state["chunks"]))
    return changes


@asynccontextmanager
async def owner_connection(migrate_dsn: str) -> AsyncIterator[asyncpg.Connection]:
    """Of the role that owns the tables; StoreUnavailable when the server is not there or goes away."""
    try:
        db = await asyncpg.connect(migrate_dsn, timeout=CONNECT_TIMEOUT_S, server_settings={"jit": "off"})
        try:
            yield db
        finally:
            await db.close(timeout=CONNECT_TIMEOUT_S)
    except UNREACHABLE as error:
        raise StoreUnavailable(f"store.migrate_dsn: {reason_of(error)}") from error


@asynccontextmanager
async def all_tenants(db: asyncpg.Connection) -> AsyncIterator[None]:
    """A transaction as the role whose policy shows every tenant's rows. The owner is a member of it."""
    async with db.transaction(readonly=True):
        await db.execute("SET LOCAL ROLE ragents_search")
        yield


def _action(state: asyncpg.Record) -> Action | None:
    if state["wanted"] and state["valid"] and state["outdated"]:
        return "rebuilt"
    match state["wanted"], state["valid"]:
        case True, None:
            return "built"
        case True, False:
            return "rebuilt"
        case False, True | False:
            return "dropped"
        case _:
            return None


async def _analyze(db: asyncpg.Connection, chunks: int) -> None:
    counted = await db.fetchval("SELECT reltuples FROM pg_class WHERE oid = 'ragents.chunk_vectors'::regclass")
    if abs(chunks - counted) > STALE * max(counted, 0):  # -1: never
        for table in TABLES:
            await db.execute(f"ANALYZE ragents.{table}", timeout=TIMEOUT_S)


async def _replace(db: asyncpg.Connection, name: str, state: asyncpg.Record) -> None:
    """Searches use the old one until the new one is there, and are exact for a moment between the two."""
    await _drop(db, f"{name}_new")  # of a run that was cut off
    await _build(db, f"{name}_new", state)
    await _drop(db, name)
    await db.execute(f"ALTER INDEX ragents.{name}_new RENAME TO {name}")


async def _drop(db: asyncpg.Connection, name: str) -> None:
    await db.execute(f"DROP INDEX CONCURRENTLY IF EXISTS ragents.{name}", timeout=TIMEOUT_S)


async def _build(db: asyncpg.Connection, name: str, state: asyncpg.Record) -> None:
    collection, space, dimension = int(state["id"]), int(state["space"]), int(state["dimension"])
    memory = min(max(state["chunks"] * (2 * dimension + NODE_BYTES) * 5 // 4 // 2**20, MIN_MEMORY_MB), MAX_MEMORY_MB)
    schema = await db.fetchval(SQL["vector_schema"])
    await db.execute(f"SET maintenance_work_mem = '{int(memory)}MB'; SET search_path = pg_catalog, {schema}")
    statement = (
        f"CREATE INDEX CONCURRENTLY {name} ON ragents.chunk_vectors USING hnsw "
        f"((embedding::halfvec({dimension})) halfvec_cosine_ops) WITH (m = {M}, ef_construction = {EF_CONSTRUCTION}) "
        f"WHERE collection_id = {collection} AND space = {space}"
    )
    try:
        try:
            await db.execute(statement, timeout=TIMEOUT_S)
        except asyncpg.DiskFullError:
            # Parallel workers share memory in /dev/shm, of which containers have 64 MB.
            await _drop(db, name)
            await db.execute("SET max_parallel_maintenance_workers = 0")
            await db.execute(statement, timeout=TIMEOUT_S)
    except (asyncpg.PostgresError, TimeoutError, asyncio.CancelledError):
        if not db.is_closed():  # else the next run finds it invalid
            await _drop(db, name)
        raise


@asynccontextmanager
async def _locked(db: asyncpg.Connection) -> AsyncIterator[None]:
    """One builder at a time. Asked again and again: a session that waits for a lock holds a snapshot, and CREATE INDEX
    CONCURRENTLY waits for all snapshots.
    """
    try:
        async with asyncio.timeout(TIMEOUT_S):
            while not await db.fetchval("SELECT pg_try_advisory_lock($1)", LOCK):
                await asyncio.sleep(0.2)
    except TimeoutError:
        raise StoreUnavailable(f"another process has been building indexes for {TIMEOUT_S:g} s") from None
    try:
        yield
    finally:
        if not db.is_closed():
            await db.execute("SELECT pg_advisory_unlock($1)", LOCK)
