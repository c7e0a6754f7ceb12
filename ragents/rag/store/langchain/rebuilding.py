"""The index made again from the record: after a loss, another store, or writes of the postgres backend."""

import logging
import uuid

import asyncpg
import numpy as np

from ragents.rag.store.langchain.index import VectorIndex
from ragents.rag.store.langchain.statements import SQL, Transactions, scope_of
from ragents.rag.store.pgvector.statements import SQL as RECORD
from ragents.rag.store.text import clean

log = logging.getLogger(__name__)

PAGE = 1_000
PASSES = 3


async def rebuild(transactions: Transactions, index: VectorIndex, *, tenant: str, collection: str) -> None:
    """Put every chunk of the collection into the other store, unless it has them.

    Readers go on, exactly, in Postgres. Writers do too; when they change the collection meanwhile, it is gone through
    again, and after the third time left to the next ingest.
    """
    for _ in range(PASSES):
        async with transactions(tenant) as db:
            state = await db.fetchrow(SQL["state"], tenant, clean(collection), index.name)
        if state is None or state["indexed"] == state["epoch"]:
            return
        log.info("%d chunks of %r go into %s", state["chunks"], collection, index.name)
        await _fill(transactions, index, scope_of(tenant, clean(collection)), tenant=tenant, state=state)
        async with transactions(tenant) as db:
            await db.fetchrow(RECORD["lock_collection"], tenant, clean(collection))
            now = await db.fetchrow(SQL["state"], tenant, clean(collection), index.name)
            if now["epoch"] == state["epoch"]:
                await db.execute(SQL["set_indexed"], tenant, index.name, state["id"], now["epoch"])
                return
    log.warning("collection %r changed while it was put into %s; the next ingest goes on", collection, index.name)


async def _fill(
    transactions: Transactions, index: VectorIndex, scope: str, *, tenant: str, state: asyncpg.Record
) -> None:
    after: tuple[uuid.UUID, int] = (uuid.UUID(int=0), -1)
    while True:
        async with transactions(tenant) as db:
            rows = await db.fetch(SQL["vectors"], tenant, state["id"], *after, PAGE)
        if not rows:
            return
        ids = [str(row["id"]) for row in rows]
        await index.delete(ids, dimension=state["dimension"])  # some stores keep two rows of one id
        await index.add(ids, np.stack([row["embedding"] for row in rows]), scope=scope)
        after = (rows[-1]["document_id"], rows[-1]["position"])
