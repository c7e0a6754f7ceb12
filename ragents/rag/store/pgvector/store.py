"""PgVectorStore: the VectorStore on Postgres with pgvector, one tenant per transaction."""

import json
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg

from ragents.embeddings.types import Vectors
from ragents.errors import Conflict, NotFound
from ragents.postgres.connections import GRACE_S, Connections
from ragents.postgres.queries import load_queries
from ragents.principal import Principal
from ragents.rag.store.pgvector.codec import encode_vector
from ragents.rag.store.pgvector.rows import (
    chunk_uuid,
    clean_json,
    clean_name,
    document_uuid,
    excerpt_of,
    source_of,
    stored_of,
)
from ragents.rag.store.text import check_names, clean, other_model, unknown_collection
from ragents.rag.store.types import SearchQuery, Upserted
from ragents.rag.types import Chunk, Collection, Document, Excerpt, Source, StoredDocument

SQL = load_queries(Path(__file__).with_name("queries.sql"))
EXACT_BELOW = 20_000
"""Chunks of a collection below which every vector is compared: recall 1, and about as fast as the index."""
PING_TIMEOUT_S = 2.0
INDEX_TIMEOUT_S = 3_600.0
INSERT_CHUNKS = 1_000
"""Chunks per INSERT: a statement stays short, however long the document is."""


class PgVectorStore:
    """Made by `open_pgvector`. Every method runs under row-level security as the principal's tenant."""

    def __init__(self, connections: Connections, *, exact_below: int = EXACT_BELOW) -> None:
        self.connections = connections
        self._exact_below = exact_below

    async def upsert(
        self,
        document: Document,
        chunks: Sequence[Chunk],
        embeddings: Vectors,
        *,
        principal: Principal,
        collection: str,
        embedding_model: str,
    ) -> Upserted:
        if len(chunks) != len(embeddings):
            raise ValueError(f"{len(chunks)} chunks and {len(embeddings)} embeddings")
        check_names(document.uri, collection)
        tenant, dimension = principal.tenant, embeddings.shape[1]
        async with self._as(tenant, statements=4 + 2 * (len(chunks) // INSERT_CHUNKS + 1)) as db:
            row = await self._lock_collection(db, tenant, collection, embedding_model, dimension)
            found = await db.fetchrow(SQL["find_document"], tenant, row["id"], clean(document.uri))
            if found is not None and found["content_hash"] == document.content_hash:
                return Upserted(str(found["id"]), found["version"], "unchanged", found["chunks"])
            words_before = await self._remove_chunks(db, tenant, row["id"], found["id"]) if found else 0
            document_id, version = await self._write_document(db, tenant, row["id"], document, len(chunks), found)
            words = 0
            for start in range(0, len(chunks), INSERT_CHUNKS):
                part = slice(start, start + INSERT_CHUNKS)
                words += await self._write_chunks(
                    db, tenant, row["id"], document_id, document.title, chunks[part], embeddings[part]
                )
            more_chunks = len(chunks) - (found["chunks"] if found else 0)
            await db.execute(
                SQL["change_collection"], tenant, row["id"], 0 if found else 1, more_chunks, words - words_before
            )
        return Upserted(str(document_id), version, "replaced" if found else "created", len(chunks))

    async def search(self, query: SearchQuery, *, principal: Principal) -> list[Source]:
        embedding = None if query.embedding is None else encode_vector(query.embedding)
        if embedding is None and query.mode != "lexical":
            raise ValueError(f"mode {query.mode!r} needs an embedding")
        async with self.connections.use() as db:
            try:
                rows = await db.fetch(
                    SQL["search"],
                    principal.tenant,
                    clean(query.collection),
                    clean(query.text),
                    embedding,
                    query.mode,
                    query.top_k,
                    max(query.candidates, query.top_k),
                    query.dense_weight,
                    json.dumps(clean_json(dict(query.filters))),
                    self._exact_below,
                )
            except asyncpg.NoDataFoundError:
                raise unknown_collection(query.collection) from None
            except asyncpg.DataError as error:
                raise Conflict(
                    f"collection {query.collection!r} holds vectors of another dimension than the encoder's "
                    f"({len(query.embedding) if query.embedding is not None else 0}); use the model it was made with"
                ) from error
        return [source_of(row) for row in rows]

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
            words = await db.fetchval(SQL["document_words"], tenant, row["collection_id"], key)
            await db.execute(SQL["delete_document"], tenant, key)
            await db.execute(SQL["change_collection"], tenant, row["collection_id"], -1, -row["chunks"], -words)
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

    async def content_hashes(self, *, principal: Principal, collection: str) -> dict[str, str]:
        async with self._as(principal.tenant) as db:
            rows = await db.fetch(SQL["content_hashes"], principal.tenant, clean(collection))
        return {row["uri"]: row["content_hash"] for row in rows}

    async def collections(self, *, principal: Principal) -> list[Collection]:
        async with self._as(principal.tenant) as db:
            rows = await db.fetch(SQL["collections"], principal.tenant, None)
        return [Collection(**row) for row in rows]

    async def collection(self, name: str, *, principal: Principal) -> Collection:
        async with self._as(principal.tenant) as db:
            row = await db.fetchrow(SQL["collections"], principal.tenant, clean(name))
        if row is None:
            raise unknown_collection(name)
        return Collection(**row)

    @asynccontextmanager
    async def bulk(self, *, principal: Principal, collection: str) -> AsyncIterator[None]:
        """On closing, a collection that has outgrown exact search gets its HNSW index."""
        yield
        try:
            stored = await self.collection(collection, principal=principal)
        except NotFound:
            return
        if stored.chunks >= self._exact_below:
            async with self.connections.use(INDEX_TIMEOUT_S) as db:
                await db.execute(f"SET statement_timeout = {int(INDEX_TIMEOUT_S * 1000)}")
                try:
                    await db.execute(SQL["ensure_vector_index"], stored.dimension, timeout=INDEX_TIMEOUT_S)
                finally:
                    await db.execute("RESET statement_timeout")

    async def ping(self) -> None:
        async with self.connections.use(PING_TIMEOUT_S - GRACE_S) as db:
            await db.execute("SELECT 1")

    async def close(self) -> None:
        await self.connections.close()

    async def _lock_collection(
        self, db: asyncpg.Connection, tenant: str, name: str, embedding_model: str, dimension: int
    ) -> asyncpg.Record:
        name = clean(name)
        row = await db.fetchrow(SQL["lock_collection"], tenant, name)
        if row is None:
            await db.execute(SQL["make_tenant"], tenant)
            await db.execute(SQL["make_collection"], tenant, name, embedding_model, dimension)
            row = await db.fetchrow(SQL["lock_collection"], tenant, name)
        if (row["embedding_model"], row["dimension"]) != (embedding_model, dimension):
            raise other_model(name, row["embedding_model"], row["dimension"], embedding_model, dimension)
        return row

    async def _remove_chunks(
        self, db: asyncpg.Connection, tenant: str, collection_id: int, document_id: uuid.UUID
    ) -> int:
        words: int = await db.fetchval(SQL["document_words"], tenant, collection_id, document_id)
        await db.execute(SQL["delete_chunks"], tenant, document_id)
        return words

    async def _write_document(
        self,
        db: asyncpg.Connection,
        tenant: str,
        collection_id: int,
        document: Document,
        chunks: int,
        found: asyncpg.Record | None,
    ) -> tuple[uuid.UUID, int]:
        common = (clean(document.title), document.format, document.content_hash, chunks, document.size_bytes)
        metadata = json.dumps(clean_json(dict(document.metadata)))
        if found is not None:
            version = await db.fetchval(SQL["replace_document"], tenant, found["id"], *common, metadata)
            return found["id"], version
        new = await db.fetchval(SQL["insert_document"], tenant, collection_id, clean(document.uri), *common, metadata)
        return new, 1

    async def _write_chunks(
        self,
        db: asyncpg.Connection,
        tenant: str,
        collection_id: int,
        document_id: uuid.UUID,
        title: str,
        chunks: Sequence[Chunk],
        embeddings: Vectors,
    ) -> int:
        """Words in these chunks."""
        ids = [uuid.uuid4() for _ in chunks]
        bodies = [clean(chunk.text) for chunk in chunks]
        headings = [clean(" > ".join(chunk.headings)) for chunk in chunks]
        await db.execute(
            SQL["insert_chunks"],
            tenant,
            document_id,
            ids,
            [chunk.position for chunk in chunks],
            bodies,
            [chunk.page for chunk in chunks],
            [json.dumps([clean(heading) for heading in chunk.headings]) for chunk in chunks],
            [chunk.start for chunk in chunks],
            [chunk.end for chunk in chunks],
        )
        lexical = [f"{clean(title)}\n{place}\n{body}" for place, body in zip(headings, bodies, strict=True)]
        vectors = [encode_vector(vector) for vector in embeddings]
        words: int = await db.fetchval(SQL["insert_index"], tenant, collection_id, document_id, ids, vectors, lexical)
        return words

    @asynccontextmanager
    async def _as(self, tenant: str, *, statements: int = 1) -> AsyncIterator[asyncpg.Connection]:
        """A transaction that sees and writes the tenant's rows only, and has the time for so many statements."""
        limit_s = self.connections.statement_timeout_s * statements
        async with self.connections.use(limit_s) as db, db.transaction():
            await db.execute(SQL["set_tenant"], tenant)
            yield db
