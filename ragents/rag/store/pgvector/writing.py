"""Rows of one document: its chunks, their vectors, their terms. All within the caller's transaction."""

import json
import uuid
from collections.abc import Sequence

import asyncpg

from ragents.embeddings.types import Vectors
from ragents.rag.store.pgvector.codec import encode_vector
from ragents.rag.store.pgvector.rows import clean_json
from ragents.rag.store.pgvector.statements import SQL
from ragents.rag.store.text import clean, other_model
from ragents.rag.types import Chunk, Document

INSERT_CHUNKS = 1_000
"""Chunks per INSERT: a statement stays short, however long the document is."""
FIRST_AVERAGE = 100.0
"""Words per chunk, until a collection has chunks of its own; corrected in the same transaction."""
DRIFT = 0.1
"""How far the true average length may be from the one that scores were made with. At 20 % scifact loses .04 nDCG."""
RESCORE_AT_ONCE = 5_000
"""Chunks of a collection up to which a writer makes all scores again (1 s); above, maintenance does, in steps."""


async def lock_collection(
    db: asyncpg.Connection, tenant: str, name: str, *, embedding_model: str, dimension: int, language: str
) -> asyncpg.Record:
    """The collection, made when missing, with its writers' lock. Conflict for one of another model."""
    name = clean(name)
    row = await db.fetchrow(SQL["lock_collection"], tenant, name)
    if row is None:
        await db.execute(SQL["make_tenant"], tenant)
        await db.execute(SQL["make_collection"], tenant, name, embedding_model, dimension, language)
        row = await db.fetchrow(SQL["lock_collection"], tenant, name)
    if (row["embedding_model"], row["dimension"]) != (embedding_model, dimension):
        raise other_model(name, row["embedding_model"], row["dimension"], embedding_model, dimension)
    return row


async def write_document(
    db: asyncpg.Connection,
    tenant: str,
    collection_id: int,
    document: Document,
    *,
    chunks: int,
    found: asyncpg.Record | None,
) -> tuple[uuid.UUID, int]:
    """Its id and version, the old chunks gone."""
    common = (clean(document.title), document.format, document.content_hash, chunks, document.size_bytes)
    metadata = json.dumps(clean_json(dict(document.metadata)))
    if found is not None:
        await db.execute(SQL["delete_chunks"], tenant, collection_id, found["id"])
        version = await db.fetchval(SQL["replace_document"], tenant, found["id"], *common, metadata)
        return found["id"], version
    new = await db.fetchval(SQL["insert_document"], tenant, collection_id, clean(document.uri), *common, metadata)
    return new, 1


async def write_chunks(
    db: asyncpg.Connection,
    tenant: str,
    collection: asyncpg.Record,
    document_id: uuid.UUID,
    chunks: Sequence[Chunk],
    embeddings: Vectors,
    *,
    ids: Sequence[uuid.UUID] | None = None,
) -> None:
    """`ids`: of the chunks, where something else knows them already."""
    ids = ids or [uuid.uuid4() for _ in chunks]
    for start in range(0, len(chunks), INSERT_CHUNKS):
        part = chunks[start : start + INSERT_CHUNKS]
        positions = [chunk.position for chunk in part]
        await db.execute(
            SQL["insert_chunks"],
            tenant,
            document_id,
            list(ids[start : start + INSERT_CHUNKS]),
            positions,
            [clean(chunk.text) for chunk in part],
            [chunk.page for chunk in part],
            [json.dumps([clean(heading) for heading in chunk.headings]) for chunk in part],
            [chunk.start for chunk in part],
            [chunk.end for chunk in part],
        )
        place = (tenant, collection["id"], document_id)
        vectors = [encode_vector(vector) for vector in embeddings[start : start + INSERT_CHUNKS]]
        await db.execute(SQL["insert_vectors"], *place, positions, vectors, collection["space"])
        average = collection["average_words"] or FIRST_AVERAGE
        await db.execute(SQL["insert_terms"], *place, collection["language"], average, min(positions), max(positions))


async def change_collection(
    db: asyncpg.Connection, tenant: str, collection_id: int, *, documents: int, chunks: int
) -> int:
    """Count what was written and move the epoch on; the new epoch."""
    state = await db.fetchrow(SQL["change_collection"], tenant, collection_id, documents, chunks)
    if has_drifted(state) and state["chunks"] <= RESCORE_AT_ONCE:
        await db.execute(SQL["fix_average"], tenant, collection_id, state["true_average"], None)
        everything = (state["language"], state["true_average"], uuid.UUID(int=0), None)
        await db.execute(SQL["rescore"], tenant, collection_id, *everything)
    epoch: int = state["epoch"]
    return epoch


def has_drifted(state: asyncpg.Record) -> bool:
    average, true = state["average_words"], state["true_average"]
    return bool(state["chunks"]) and abs(true - average) > DRIFT * average
