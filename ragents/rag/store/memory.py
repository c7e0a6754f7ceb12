"""MemoryVectorStore: exact, in one process. The double that ships, and the oracle of the recall tests."""

import time
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import numpy as np

from ragents.embeddings.types import Vectors
from ragents.errors import Conflict, InputError, NotFound
from ragents.principal import Principal
from ragents.rag.filters import parse_filters
from ragents.rag.store.diversity import check_diversity, diversify, pool_size
from ragents.rag.store.exact import Row, bm25_scores, dense_scores, fused_scores, words_of
from ragents.rag.store.fusion import scaled
from ragents.rag.store.text import check_names, clean, other_model, unknown_collection
from ragents.rag.store.types import Neighbourhood, SearchQuery, StoredChunks, Upserted
from ragents.rag.types import Chunk, Collection, Document, Excerpt, Source, StoredDocument

MAX_CHUNKS = 200_000
DRIFT = 0.1
"""As in PgVectorStore: the average length that scores are made with is fixed until the true one is so far away."""


@dataclass(slots=True)
class _Collection:
    summary: Collection
    documents: dict[str, StoredDocument] = field(default_factory=dict)
    rows: dict[str, list[Row]] = field(default_factory=dict)
    average_words: float = 0.0

    def all_rows(self) -> Iterator[Row]:
        for rows in self.rows.values():
            yield from rows


class MemoryVectorStore:
    """Words are lowercase `\\w+` runs without stemming; everything else is as in PgVectorStore."""

    def __init__(self, *, max_chunks: int = MAX_CHUNKS) -> None:
        self._tenants: dict[str, dict[str, _Collection]] = {}
        self._max_chunks = max_chunks
        self.sentences = None
        self.move = None

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
        collection = clean(collection)
        stored = self._collection_for(principal.tenant, collection, embedding_model, embeddings.shape[1])
        uri = clean(document.uri)
        old = next((each for each in stored.documents.values() if each.uri == uri), None)
        if old is not None and old.content_hash == document.content_hash and not force:
            return Upserted(old.id, old.version, "unchanged", old.chunks)
        self._check_room(len(chunks))
        document_id, version = (old.id, old.version + 1) if old else (str(uuid.uuid4()), 1)
        title = clean(document.title)
        rows = [
            Row(str(uuid.uuid4()), document_id, _clean_chunk(chunk), embedding, words_of(title, chunk))
            for chunk, embedding in zip(chunks, embeddings, strict=True)
        ]
        stored.documents[document_id] = StoredDocument(
            id=document_id,
            collection=collection,
            uri=uri,
            title=title,
            format=document.format,
            version=version,
            chunks=len(chunks),
            size_bytes=document.size_bytes,
            content_hash=document.content_hash,
            metadata={clean(k): clean(v) if isinstance(v, str) else v for k, v in document.metadata.items()},
            updated_at=time.time(),
        )
        stored.rows[document_id] = rows
        self._changed(stored)
        return Upserted(document_id, version, "replaced" if old else "created", len(chunks))

    async def search(self, query: SearchQuery, *, principal: Principal) -> list[Source]:
        stored = self._find(query.collection, principal)
        if query.embedding is None and query.mode != "lexical":
            raise ValueError(f"mode {query.mode!r} needs an embedding")
        if query.embedding is not None and len(query.embedding) != stored.summary.dimension:
            raise Conflict(f"collection {query.collection!r} holds vectors of another dimension than the encoder's")
        check_diversity(query)
        checks = parse_filters(query.filters)
        passing = {key for key, each in stored.documents.items() if all(check.holds(each.metadata) for check in checks)}
        everything = list(stored.all_rows())
        rows = [row for row in everything if row.document_id in passing]
        dense = {} if query.mode == "lexical" else dense_scores(rows, query)
        average = stored.average_words
        lexical = (
            {} if query.mode == "dense" else bm25_scores(rows, query.text, among=everything, average_words=average)
        )
        fused = scaled(fused_scores(dense, lexical, query))
        by_id = {row.id: row for row in rows}
        best = [by_id[key] for key in sorted(fused, key=lambda key: (-fused[key], key))]
        sources = [_source(row, stored.documents[row.document_id], fused[row.id], query) for row in best]
        if query.mmr_lambda is not None:
            best, sources = best[: pool_size(query)], sources[: pool_size(query)]
        return diversify(sources, [row.embedding for row in best], query)

    async def delete(self, document_id: str, *, principal: Principal) -> StoredDocument:
        for stored in self._tenants.get(principal.tenant, {}).values():
            if (document := stored.documents.pop(document_id, None)) is not None:
                del stored.rows[document_id]
                self._changed(stored)
                return document
        raise NotFound("document", document_id)

    async def count(self, *, principal: Principal, collection: str | None = None) -> int:
        collections = self._tenants.get(principal.tenant, {})
        return sum(s.summary.chunks for name, s in collections.items() if collection in (None, name))

    async def documents(
        self,
        *,
        principal: Principal,
        collection: str | None = None,
        uri: str | None = None,
        limit: int = 100,
        after: str | None = None,
    ) -> list[StoredDocument]:
        last = _cursor(after)
        collections = self._tenants.get(principal.tenant, {})
        found = [d for name, s in collections.items() if collection in (None, name) for d in s.documents.values()]
        return [d for d in sorted(found, key=lambda d: d.id) if d.id > last and uri in (None, d.uri)][:limit]

    async def document(self, document_id: str, *, principal: Principal) -> StoredDocument:
        for stored in self._tenants.get(principal.tenant, {}).values():
            if document_id in stored.documents:
                return stored.documents[document_id]
        raise NotFound("document", document_id)

    async def read_document(
        self, document_id: str, *, principal: Principal, start: int = 0, around: str | None = None, limit: int = 20
    ) -> Excerpt:
        document = await self.document(document_id, principal=principal)
        rows = self._tenants[principal.tenant][document.collection].rows[document_id]
        positions = [n for n, row in enumerate(rows) if row.id == around]
        start = max(0, positions[0] - limit // 2 if positions else start)
        return Excerpt(document, start, tuple(_source(row, document) for row in rows[start : start + limit]))

    async def neighbours(
        self, chunk_ids: Sequence[str], *, principal: Principal, reach: int
    ) -> dict[str, Neighbourhood]:
        wanted, found = set(chunk_ids), {}
        for stored in self._tenants.get(principal.tenant, {}).values():
            for rows in stored.rows.values():
                for at, row in enumerate(rows):
                    if row.id in wanted:
                        around = [each.chunk for each in rows[max(0, at - reach) : at + reach + 1]]
                        found[row.id] = Neighbourhood(row.chunk.position, around)
        return found

    async def stored_chunks(self, uri: str, *, principal: Principal, collection: str) -> StoredChunks | None:
        stored = self._tenants.get(principal.tenant, {}).get(clean(collection))
        document = (
            next((each for each in stored.documents.values() if each.uri == clean(uri)), None) if stored else None
        )
        if stored is None or document is None:
            return None
        rows = stored.rows[document.id]
        vectors = np.array([row.embedding for row in rows], np.float32).reshape(len(rows), stored.summary.dimension)
        return StoredChunks(document.title, [row.chunk for row in rows], vectors)

    async def content_hashes(self, *, principal: Principal, collection: str) -> dict[str, str]:
        stored = self._tenants.get(principal.tenant, {}).get(collection)
        return {d.uri: d.content_hash for d in stored.documents.values()} if stored else {}

    async def collections(self, *, principal: Principal) -> list[Collection]:
        return [stored.summary for _, stored in sorted(self._tenants.get(principal.tenant, {}).items())]

    async def collection(self, name: str, *, principal: Principal) -> Collection:
        return self._find(name, principal).summary

    @asynccontextmanager
    async def bulk(self, *, principal: Principal, collection: str) -> AsyncIterator[None]:
        yield

    async def ping(self) -> None:
        """Always there."""

    async def close(self) -> None:
        self._tenants.clear()

    def _find(self, name: str, principal: Principal) -> _Collection:
        stored = self._tenants.get(principal.tenant, {}).get(clean(name))
        if stored is None:
            raise unknown_collection(name)
        return stored

    def _collection_for(self, tenant: str, name: str, model: str, dimension: int) -> _Collection:
        collections = self._tenants.setdefault(tenant, {})
        stored = collections.setdefault(name, _Collection(Collection(name, 0, 0, model, dimension, 0)))
        if (stored.summary.embedding_model, stored.summary.dimension) != (model, dimension):
            raise other_model(name, stored.summary.embedding_model, stored.summary.dimension, model, dimension)
        return stored

    def _check_room(self, chunks: int) -> None:
        held = sum(s.summary.chunks for collections in self._tenants.values() for s in collections.values())
        if held + chunks > self._max_chunks:
            raise Conflict(f"the memory store is full ({self._max_chunks} chunks); use store.backend = 'postgres'")

    def _changed(self, stored: _Collection) -> None:
        stored.summary = replace(
            stored.summary,
            documents=len(stored.documents),
            chunks=sum(map(len, stored.rows.values())),
            epoch=stored.summary.epoch + 1,
        )
        words = sum(row.words.total() for row in stored.all_rows())
        true_average = max(words / max(stored.summary.chunks, 1), 1.0)
        if stored.summary.chunks and abs(true_average - stored.average_words) > DRIFT * stored.average_words:
            stored.average_words = true_average


def _source(row: Row, document: StoredDocument, score: float = 0.0, query: SearchQuery | None = None) -> Source:
    return Source(
        id=row.id,
        document_id=document.id,
        uri=document.uri,
        title=document.title,
        text=row.chunk.text,
        score=score,
        page=row.chunk.page,
        headings=row.chunk.headings,
        similarity=None if query is None or query.embedding is None else float(np.dot(row.embedding, query.embedding)),
        metadata=document.metadata,
    )


def _clean_chunk(chunk: Chunk) -> Chunk:
    return replace(chunk, text=clean(chunk.text), headings=tuple(map(clean, chunk.headings)))


def _cursor(after: str | None) -> str:
    if after is None:
        return ""
    try:
        return str(uuid.UUID(after))
    except ValueError:
        raise InputError(f"after = {after!r}: expected the id of a document", field="after") from None
