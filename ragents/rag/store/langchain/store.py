"""LangChainVectorStore: PgVectorStore, with the nearest vectors found by another store."""

import asyncio
import logging
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import asyncpg

from ragents.embeddings.types import Vectors
from ragents.errors import BackendUnavailable, NotFound, StoreUnavailable
from ragents.postgres.connections import Connections
from ragents.principal import Principal
from ragents.rag.store.langchain.index import BATCH, IN_MEMORY, VectorIndex
from ragents.rag.store.langchain.probing import Probing
from ragents.rag.store.langchain.rebuilding import rebuild
from ragents.rag.store.langchain.searching import search_index
from ragents.rag.store.langchain.statements import SQL, scope_of
from ragents.rag.store.pgvector import writing
from ragents.rag.store.pgvector.rows import document_uuid, stored_of
from ragents.rag.store.pgvector.statements import SQL as RECORD
from ragents.rag.store.pgvector.store import PING_TIMEOUT_S, PgVectorStore
from ragents.rag.store.text import check_names, clean, other_model
from ragents.rag.store.types import SearchQuery, Upserted
from ragents.rag.types import Chunk, Document, Source, StoredDocument

log = logging.getLogger(__name__)

GIVEN_UP_AFTER = 10
"""Time limits of a short write after which its writer has given up, and its ids may be swept."""
SWEEP = 2_000
"""Leftovers that one write removes."""


class LangChainVectorStore(PgVectorStore):
    """Made by `open_langchain`. Postgres is the record: documents, chunks, words and vectors, in one transaction each.

    The other store holds ids and vectors and is asked for the nearest ones; what it names is read from Postgres, where
    it must be live and of the tenant. A collection that it does not hold completely is searched exactly, in Postgres.
    """

    def __init__(self, connections: Connections, *, index: VectorIndex, language: str = "english") -> None:
        super().__init__(connections, language=language)
        self.move = None  # the other store would go on with the vectors of before
        self.index = index
        self.probing = Probing()
        self._rebuilding = asyncio.Lock()  # two at once would add what the other has just added
        self._loading: Counter[tuple[str, str]] = Counter()

    async def upsert(
        self,
        document: Document,
        chunks: Sequence[Chunk],
        embeddings: Vectors,
        *,
        principal: Principal,
        collection: str,
        embedding_model: str,
        force: bool = False,
    ) -> Upserted:
        if len(chunks) != len(embeddings):
            raise ValueError(f"{len(chunks)} chunks and {len(embeddings)} embeddings")
        check_names(document.uri, collection)
        tenant, dimension = principal.tenant, embeddings.shape[1]
        ids = [uuid.uuid4() for _ in chunks]
        async with self._as(tenant, statements=4) as db:
            state = await self._state(db, tenant, collection)
            if state is not None:
                if (state["embedding_model"], state["dimension"]) != (embedding_model, dimension):
                    known = (state["embedding_model"], state["dimension"])
                    raise other_model(collection, *known, embedding_model, dimension)
                found = await db.fetchrow(RECORD["find_document"], tenant, state["id"], clean(document.uri))
                if found is not None and found["content_hash"] == document.content_hash and not force:
                    return Upserted(str(found["id"]), found["version"], "unchanged", found["chunks"])
            kept_up = self._keeps_up(tenant, collection, state)
            if kept_up:
                await db.execute(SQL["pend"], tenant, self.index.name, ids, self._given_up_after_s(len(ids)))
        if kept_up:
            # Before the chunks are: what the store names and no chunk has is not seen.
            await self.index.add([str(each) for each in ids], embeddings, scope=scope_of(tenant, clean(collection)))
        async with self._as(tenant, statements=9 + 3 * (len(chunks) // writing.INSERT_CHUNKS + 1)) as db:
            row = await writing.lock_collection(
                db,
                tenant,
                collection,
                embedding_model=embedding_model,
                dimension=dimension,
                language=self._language,
            )
            found = await db.fetchrow(RECORD["find_document"], tenant, row["id"], clean(document.uri))
            if found is not None and found["content_hash"] == document.content_hash and not force:
                return Upserted(str(found["id"]), found["version"], "unchanged", found["chunks"])
            if kept_up and await db.fetchval(SQL["settle"], tenant, self.index.name, ids) != len(ids):
                raise StoreUnavailable("the write took so long that its vectors were swept; nothing was stored")
            state = await self._state(db, tenant, collection)
            old = await self._pend_chunks_of(db, tenant, found["id"]) if found else []
            document_id, version = await writing.write_document(
                db, tenant, row["id"], document, chunks=len(chunks), found=found
            )
            await writing.write_chunks(db, tenant, row, document_id, chunks, embeddings, ids=ids)
            more_chunks = len(chunks) - (found["chunks"] if found else 0)
            epoch = await writing.change_collection(
                db, tenant, row["id"], documents=0 if found else 1, chunks=more_chunks
            )
            if kept_up and _is_kept_up(state):
                await db.execute(SQL["set_indexed"], tenant, self.index.name, row["id"], epoch)
        await self._tidy(tenant, old, dimension=dimension)
        return Upserted(str(document_id), version, "replaced" if found else "created", len(chunks))

    async def search(self, query: SearchQuery, *, principal: Principal) -> list[Source]:
        if query.mode != "lexical" and query.embedding is not None:
            found = await search_index(
                self.connections, self.index, query, tenant=principal.tenant, probing=self.probing
            )
            if found is not None:
                return found
        return await super().search(query, principal=principal)

    async def delete(self, document_id: str, *, principal: Principal) -> StoredDocument:
        tenant, key = principal.tenant, document_uuid(document_id)
        async with self._as(tenant, statements=7) as db:
            row = await db.fetchrow(RECORD["get_document"], tenant, key)
            if row is None:
                raise NotFound("document", document_id)
            await db.fetchrow(RECORD["lock_collection"], tenant, row["collection"])
            row = await db.fetchrow(RECORD["get_document"], tenant, key)
            if row is None:
                raise NotFound("document", document_id)
            state = await self._state(db, tenant, row["collection"])
            old = await self._pend_chunks_of(db, tenant, key)
            await db.execute(RECORD["delete_document"], tenant, key)
            epoch = await writing.change_collection(
                db, tenant, row["collection_id"], documents=-1, chunks=-row["chunks"]
            )
            if _is_kept_up(state):
                await db.execute(SQL["set_indexed"], tenant, self.index.name, row["collection_id"], epoch)
        await self._tidy(tenant, old, dimension=state["dimension"])
        return stored_of(row)

    @asynccontextmanager
    async def bulk(self, *, principal: Principal, collection: str) -> AsyncIterator[None]:
        """On closing: scores made with an outdated average are made again, and a collection that the other store does
        not hold completely is put into it. A new collection is one: filled in large calls instead of one per document.
        """
        loading = (principal.tenant, clean(collection))
        self._loading[loading] += 1
        try:
            yield
        finally:
            self._loading[loading] -= 1
            self._loading += Counter()  # drops what has come to zero
        async with self._as(principal.tenant) as db:
            await db.execute(SQL["forget_processes"], principal.tenant, IN_MEMORY)
            state = await db.fetchrow(RECORD["states"], principal.tenant, clean(collection))
        if state is not None:
            await self._rescore(principal.tenant, state)
        async with self._rebuilding:
            await rebuild(self._as, self.index, tenant=principal.tenant, collection=collection)

    async def ping(self) -> None:
        await super().ping()
        await self.index.ping(PING_TIMEOUT_S)

    def _given_up_after_s(self, chunks: int) -> float:
        return (GIVEN_UP_AFTER + 2 * (chunks // BATCH)) * self.connections.statement_timeout_s

    def _keeps_up(self, tenant: str, collection: str, state: asyncpg.Record | None) -> bool:
        """Whether a document is put into the other store as it is written."""
        new = (state is None or state["indexed"] is None) and (tenant, clean(collection)) in self._loading
        return _is_kept_up(state) and not new

    async def _state(self, db: asyncpg.Connection, tenant: str, collection: str) -> asyncpg.Record:
        return await db.fetchrow(SQL["state"], tenant, clean(collection), self.index.name)

    async def _pend_chunks_of(self, db: asyncpg.Connection, tenant: str, document_id: uuid.UUID) -> list[uuid.UUID]:
        ids = [row["id"] for row in await db.fetch(SQL["chunk_ids"], tenant, document_id)]
        await db.execute(SQL["pend"], tenant, self.index.name, ids, 0.0)
        return ids

    async def _tidy(self, tenant: str, ids: Sequence[uuid.UUID], *, dimension: int) -> None:
        """Out of the other store: `ids`, and what was left behind before. What fails is left to the next write."""
        try:
            async with self._as(tenant) as db:
                due = await db.fetch(SQL["due"], tenant, self.index.name, SWEEP)
            gone = list({*ids, *(row["id"] for row in due)})
            if not gone:
                return
            await self.index.delete([str(each) for each in gone], dimension=dimension)
            async with self._as(tenant) as db:
                await db.execute(SQL["forget"], tenant, self.index.name, gone)
        except BackendUnavailable as error:
            log.warning("vectors of old versions stay behind until the next write: %s", error)


def _is_kept_up(state: asyncpg.Record | None) -> bool:
    """Whether the other store holds every chunk of the collection, which may have none yet."""
    return state is None or bool(state["indexed"] == state["epoch"] or state["chunks"] == 0)
