"""A collection's move to another model in Postgres: its other space is filled while the one of now is searched."""

import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import asyncpg

from ragents.embeddings.types import Vectors
from ragents.errors import Conflict
from ragents.principal import Principal
from ragents.rag.store.optional import Moved, Unmoved
from ragents.rag.store.pgvector.codec import encode_vector
from ragents.rag.store.pgvector.indexes import build_indexes
from ragents.rag.store.pgvector.rows import chunk_of
from ragents.rag.store.pgvector.statements import SQL
from ragents.rag.store.text import clean, unknown_collection

PAGE = 256
EMPTIED_AT_ONCE = 5_000
"""Vectors that one step deletes; writers go between two steps."""
LONG_S, LONG = 120.0, 20
"""Seconds for a statement that reads a whole collection, and for its transaction the time of so many usual ones."""
START = (uuid.UUID(int=0), -1)
Transactions = Callable[..., AbstractAsyncContextManager[asyncpg.Connection]]


class PgMove:
    """`transaction(tenant, statements=n)` gives one that sees the tenant's rows only and has the time for n statements.

    `migrate_dsn` is the role that builds the index of the space to come, where it is known.
    """

    def __init__(self, transaction: Transactions, *, exact_below: int, migrate_dsn: str | None) -> None:
        self._transaction, self._exact_below, self._migrate_dsn = transaction, exact_below, migrate_dsn

    async def begin(
        self, collection: str, *, principal: Principal, embedding_model: str, dimension: int, restart: bool = False
    ) -> int:
        tenant = principal.tenant
        async with self._transaction(tenant) as db:
            state = await self._locked(db, tenant, collection)
        if state["embedding_model"] == embedding_model:
            await self._empty(tenant, state)  # what a run that was cut off left of the model before
            raise Conflict(f"collection {collection!r} has been made with {embedding_model!r} already; nothing to do")
        wanted = (embedding_model, dimension)
        under_way = (state["next_model"], state["next_dimension"])
        if state["next_model"] is not None and under_way != wanted and not restart:
            raise Conflict(
                f"collection {collection!r} is being moved to {state['next_model']!r} ({state['next_dimension']} "
                "dimensions); finish that with rag.embedding_model set to it, or begin anew with --restart"
            )
        if under_way != wanted or restart:
            await self._prepare(tenant, collection, state, wanted)
        async with self._long(tenant) as db:
            left: int = await db.fetchval(SQL["count_to_move"], tenant, state["id"], 1 - state["space"])
        return left

    async def unmoved(self, collection: str, *, principal: Principal) -> AsyncIterator[Sequence[Unmoved]]:
        tenant, after = principal.tenant, START
        while True:
            async with self._long(tenant) as db:
                state = await self._state(db, tenant, collection)
                rows = await db.fetch(SQL["chunks_to_move"], tenant, state["id"], 1 - state["space"], *after, PAGE)
            if not rows:
                return
            yield [Unmoved(str(row["id"]), row["title"], chunk_of(row)) for row in rows]
            after = (rows[-1]["document_id"], rows[-1]["position"])

    async def keep(
        self, vectors: Mapping[str, Vectors], *, principal: Principal, collection: str, embedding_model: str
    ) -> None:
        tenant = principal.tenant
        async with self._transaction(tenant) as db:
            state = _there(await db.fetchrow(SQL["hold_collection"], tenant, clean(collection)), collection)
            _check_under_way(state, collection, embedding_model)
            given = ([uuid.UUID(key) for key in vectors], [encode_vector(vector) for vector in vectors.values()])
            await db.execute(SQL["insert_moved"], tenant, state["id"], 1 - state["space"], *given)

    async def finish(self, collection: str, *, principal: Principal, embedding_model: str) -> Moved | None:
        tenant = principal.tenant
        async with self._long(tenant) as db:
            state = await self._state(db, tenant, collection)
            if await self._is_left(db, tenant, state):
                return None
        if self._migrate_dsn is not None:
            await build_indexes(self._migrate_dsn, exact_below=self._exact_below, only=state["id"], with_next=True)
        async with self._long(tenant) as db:
            state = await self._locked(db, tenant, collection)
            _check_under_way(state, collection, embedding_model)
            if await self._is_left(db, tenant, state):
                return None  # written meanwhile
            await db.execute(SQL["forget_sentences"], tenant, state["id"])
            epoch: int = await db.fetchval(SQL["end_move"], tenant, state["id"])
            state = await self._locked(db, tenant, collection)
        await self._empty(tenant, state)
        indexed = self._migrate_dsn is not None or state["chunks"] * state["dimension"] < self._exact_below * 384
        return Moved(epoch, state["chunks"], indexed)

    async def _prepare(self, tenant: str, collection: str, state: asyncpg.Record, wanted: tuple[str, int]) -> None:
        """The other space empty and without an index, and the index of now without the other space's rows."""
        await self._empty(tenant, state)
        async with self._transaction(tenant) as db:
            await self._locked(db, tenant, collection)
            if await db.fetchval(SQL["indexed_as_one"], state["id"], 1 - state["space"]):
                raise Conflict(
                    f"the vector index of {collection!r} holds both spaces or is of another move; run `ragents db "
                    "index` with store.migrate_dsn set, then this again"
                )
            await db.execute(SQL["begin_move"], tenant, state["id"], *wanted)

    async def _empty(self, tenant: str, state: asyncpg.Record) -> None:
        """All of the space that is not searched, in steps, and its index."""
        if state["next_model"] is not None:
            async with self._transaction(tenant) as db:
                await db.execute(SQL["begin_move"], tenant, state["id"], None, None)
        gone = 1
        while gone:
            async with self._transaction(tenant) as db:
                gone = await db.fetchval(SQL["empty_space"], tenant, state["id"], 1 - state["space"], EMPTIED_AT_ONCE)
        if self._migrate_dsn is not None:
            await build_indexes(self._migrate_dsn, exact_below=self._exact_below, only=state["id"])

    async def _is_left(self, db: asyncpg.Connection, tenant: str, state: asyncpg.Record) -> bool:
        """Counted first: that reads one index, where the list of what is missing reads two and compares them."""
        place = (tenant, state["id"], 1 - state["space"])
        if await db.fetchval(SQL["count_to_move"], *place) == 0:
            return False
        return bool(await db.fetch(SQL["chunks_to_move"], *place, *START, 1))

    @asynccontextmanager
    async def _long(self, tenant: str) -> AsyncIterator[asyncpg.Connection]:
        """For statements that read a whole collection."""
        async with self._transaction(tenant, statements=LONG) as db:
            await db.execute(f"SET LOCAL statement_timeout = {int(LONG_S * 1000)}")
            yield db

    async def _locked(self, db: asyncpg.Connection, tenant: str, collection: str) -> asyncpg.Record:
        return _there(await db.fetchrow(SQL["lock_collection"], tenant, clean(collection)), collection)

    async def _state(self, db: asyncpg.Connection, tenant: str, collection: str) -> asyncpg.Record:
        return _there(await db.fetchrow(SQL["move_state"], tenant, clean(collection)), collection)


def _there(row: asyncpg.Record | None, collection: str) -> asyncpg.Record:
    if row is None:
        raise unknown_collection(collection)
    return row


def _check_under_way(state: asyncpg.Record, collection: str, embedding_model: str) -> None:
    if state["next_model"] != embedding_model:
        raise Conflict(f"the move of {collection!r} to {embedding_model!r} was ended by another process")
