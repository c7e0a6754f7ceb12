"""PgVectorStore: the VectorStore on Postgres with pgvector, one tenant per transaction."""

import logging
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import asyncpg

from ragents.concurrency.shared_reads import SharedReads
from ragents.embeddings.types import Vectors
from ragents.errors import BackendUnavailable, NotFound
from ragents.postgres.connections import GRACE_S, Connections
from ragents.principal import Principal
from ragents.rag.store.optional import Move
from ragents.rag.store.pgvector import writing
from ragents.rag.store.pgvector.indexes import EXACT_BELOW, build_indexes
from ragents.rag.store.pgvector.moving import PgMove
from ragents.rag.store.pgvector.replica import Replica
from ragents.rag.store.pgvector.rows import (
    chunk_uuid,
    clean_name,
    document_uuid,
    excerpt_of,
    neighbourhoods_of,
    stored_chunks_of,
    stored_of,
)
from ragents.rag.store.pgvector.searching import ReplicaBehind, search
from ragents.rag.store.pgvector.sentences import PgSentenceVectors
from ragents.rag.store.pgvector.statements import SQL
from ragents.rag.store.text import check_names, clean, unknown_collection
from ragents.rag.store.types import Neighbourhood, SearchQuery, StoredChunks, Upserted
from ragents.rag.types import Chunk, Collection, Document, Excerpt, Source, StoredDocument

log = logging.getLogger(__name__)

PING_TIMEOUT_S = 2.0
RESCORE_DOCUMENTS = 100
"""Documents whose scores one step of maintenance makes again; other writers go between two steps."""


class PgVectorStore:
    """Made by `open_pgvector`. Every method runs under row-level security as the principal's tenant.

    `migrate_dsn`, where it is known, is the role that builds indexes at the end of `bulk`; the serving role owns none.
    """

    def __init__(
        self,
        connections: Connections,
        *,
        exact_below: int = EXACT_BELOW,
        language: str = "english",
        migrate_dsn: str | None = None,
        replica: Replica | None = None,
    ) -> None:
        self.connections = connections
        self._exact_below = exact_below
        self._language = language
        self._migrate_dsn = migrate_dsn
        self._replica = replica
        self._collections = SharedReads(self._find)
        self.sentences = PgSentenceVectors(self._as)
        self.move: Move | None = PgMove(self._as, exact_below=exact_below, migrate_dsn=migrate_dsn)

    @property
    def pools(self) -> list[Connections]:
        """Those that are open: the primary's, and the replica's once it has been used."""
        replica = self._replica.pool if self._replica is not None else None
        return [self.connections] if replica is None else [self.connections, replica]

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
        tenant = principal.tenant
        async with self._as(tenant, statements=6 + 3 * (len(chunks) // writing.INSERT_CHUNKS + 1)) as db:
            row = await writing.lock_collection(
                db,
                tenant,
                collection,
                embedding_model=embedding_model,
                dimension=embeddings.shape[1],
                language=self._language,
            )
            found = await db.fetchrow(SQL["find_document"], tenant, row["id"], clean(document.uri))
            if found is not None and found["content_hash"] == document.content_hash and not force:
                return Upserted(str(found["id"]), found["version"], "unchanged", found["chunks"])
            document_id, version = await writing.write_document(
                db, tenant, row["id"], document, chunks=len(chunks), found=found
            )
            await writing.write_chunks(db, tenant, row, document_id, chunks, embeddings)
            more_chunks = len(chunks) - (found["chunks"] if found else 0)
            epoch = await writing.change_collection(
                db, tenant, row["id"], documents=0 if found else 1, chunks=more_chunks
            )
        self._saw(tenant, collection, epoch)
        return Upserted(str(document_id), version, "replaced" if found else "created", len(chunks))

    async def search(self, query: SearchQuery, *, principal: Principal) -> list[Source]:
        tenant = principal.tenant
        if self._replica is not None and (connections := await self._replica.connections()) is not None:
            newest = self._replica.newest(tenant, clean(query.collection))
            try:
                return await search(connections, query, tenant=tenant, exact_below=self._exact_below, min_epoch=newest)
            except ReplicaBehind:
                log.debug("the replica is behind epoch %d of %r; asked the primary", newest, query.collection)
            except BackendUnavailable as error:
                self._replica.failed(error)
        return await search(self.connections, query, tenant=tenant, exact_below=self._exact_below)

    async def delete(self, document_id: str, *, principal: Principal) -> StoredDocument:
        tenant, key = principal.tenant, document_uuid(document_id)
        async with self._as(tenant, statements=4) as db:
            row = await db.fetchrow(SQL["get_document"], tenant, key)
            if row is None:
                raise NotFound("document", document_id)
            # Locked first, as in upsert: writers of one collection never wait for each other in a circle.
            await db.fetchrow(SQL["lock_collection"], tenant, row["collection"])
            row = await db.fetchrow(SQL["get_document"], tenant, key)
            if row is None:
                raise NotFound("document", document_id)
            await db.execute(SQL["delete_document"], tenant, key)
            epoch = await writing.change_collection(
                db, tenant, row["collection_id"], documents=-1, chunks=-row["chunks"]
            )
        self._saw(tenant, row["collection"], epoch)
        return stored_of(row)

    async def count(self, *, principal: Principal, collection: str | None = None) -> int:
        async with self._as(principal.tenant) as db:
            total: int = await db.fetchval(SQL["count_chunks"], principal.tenant, clean_name(collection))
        return total

    async def documents(
        self,
        *,
        principal: Principal,
        collection: str | None = None,
        uri: str | None = None,
        limit: int = 100,
        after: str | None = None,
    ) -> list[StoredDocument]:
        last = document_uuid(after, field="after") if after is not None else None
        async with self._as(principal.tenant) as db:
            rows = await db.fetch(
                SQL["list_documents"], principal.tenant, clean_name(collection), last, limit, clean_name(uri)
            )
        return [stored_of(row) for row in rows]

    async def document(self, document_id: str, *, principal: Principal) -> StoredDocument:
        async with self._as(principal.tenant) as db:
            row = await db.fetchrow(SQL["get_document"], principal.tenant, document_uuid(document_id))
        if row is None:
            raise NotFound("document", document_id)
        return stored_of(row)

    async def read_document(
        self, document_id: str, *, principal: Principal, start: int = 0, around: str | None = None, limit: int = 20
    ) -> Excerpt:
        key, chunk = document_uuid(document_id), chunk_uuid(around)
        async with self._as(principal.tenant) as db:
            rows = await db.fetch(SQL["read_document"], principal.tenant, key, start, chunk, limit)
        if not rows:
            raise NotFound("document", document_id)
        return excerpt_of(rows)

    async def neighbours(
        self, chunk_ids: Sequence[str], *, principal: Principal, reach: int
    ) -> dict[str, Neighbourhood]:
        keys = [key for each in chunk_ids if (key := chunk_uuid(each)) is not None]
        async with self._as(principal.tenant) as db:
            rows = await db.fetch(SQL["neighbours"], principal.tenant, keys, reach)
        return neighbourhoods_of(rows)

    async def stored_chunks(self, uri: str, *, principal: Principal, collection: str) -> StoredChunks | None:
        async with self._as(principal.tenant) as db:
            rows = await db.fetch(SQL["stored_chunks"], principal.tenant, clean(collection), clean(uri))
        return stored_chunks_of(rows) if rows else None

    async def content_hashes(self, *, principal: Principal, collection: str) -> dict[str, str]:
        async with self._as(principal.tenant) as db:
            rows = await db.fetch(SQL["content_hashes"], principal.tenant, clean(collection))
        return {row["uri"]: row["content_hash"] for row in rows}

    async def collections(self, *, principal: Principal) -> list[Collection]:
        async with self._as(principal.tenant) as db:
            rows = await db.fetch(SQL["collections"], principal.tenant, None)
        for row in rows:
            self._saw(principal.tenant, row["name"], row["epoch"])
        return [Collection(**row) for row in rows]

    async def collection(self, name: str, *, principal: Principal) -> Collection:
        row = await self._collections.get((principal.tenant, clean(name)))
        if row is None:
            raise unknown_collection(name)
        self._saw(principal.tenant, row["name"], row["epoch"])
        return Collection(**row)

    async def _find(self, tenant_and_name: tuple[str, str]) -> asyncpg.Record | None:
        async with self.connections.use() as db:
            return await db.fetchrow(SQL["collection"], *tenant_and_name)

    @asynccontextmanager
    async def bulk(self, *, principal: Principal, collection: str) -> AsyncIterator[None]:
        """On closing: scores made with an outdated average are made again, and a collection that has outgrown exact
        search gets its index, built beside readers and writers.
        """
        yield
        async with self._as(principal.tenant) as db:
            state = await db.fetchrow(SQL["states"], principal.tenant, clean(collection))
        if state is None:
            return
        await self._rescore(principal.tenant, state)
        if self._migrate_dsn is not None:
            await build_indexes(self._migrate_dsn, exact_below=self._exact_below, only=state["id"])
        elif state["chunks"] * state["dimension"] >= self._exact_below * 384:
            log.warning(
                "collection %r has %d chunks; when it has no index yet, run `ragents db index` (store.migrate_dsn is "
                "not set here, and the serving role may not build one)",
                collection,
                state["chunks"],
            )

    async def ping(self) -> None:
        async with self.connections.use(PING_TIMEOUT_S - GRACE_S) as db:
            await db.execute("SELECT 1")

    async def close(self) -> None:
        await self.connections.close()

    async def _rescore(self, tenant: str, state: asyncpg.Record) -> None:
        """In steps, each a transaction under the collection's lock; one cut off is gone on with the next time."""
        average, after = state["average_words"], state["rescore_after"]
        if writing.has_drifted(state):
            average, after = state["true_average"], uuid.UUID(int=0)
        while after is not None:
            async with self._as(tenant, statements=4) as db:
                await db.fetchrow(SQL["lock_collection"], tenant, state["name"])
                step = (state["language"], average, after, RESCORE_DOCUMENTS)
                after = await db.fetchval(SQL["rescore"], tenant, state["id"], *step)
                await db.execute(SQL["fix_average"], tenant, state["id"], average, after)

    def _saw(self, tenant: str, collection: str, epoch: int) -> None:
        if self._replica is not None:
            self._replica.saw(tenant, clean(collection), epoch)

    @asynccontextmanager
    async def _as(self, tenant: str, *, statements: int = 1) -> AsyncIterator[asyncpg.Connection]:
        """A transaction that sees and writes the tenant's rows only, and has the time for so many statements."""
        limit_s = self.connections.statement_timeout_s * statements
        async with self.connections.use(limit_s) as db, db.transaction():
            await db.execute(SQL["set_tenant"], tenant)
            yield db
