"""A search whose nearest vectors come from the other store, and everything else from Postgres."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import asyncpg

from ragents.errors import Conflict
from ragents.postgres.connections import Connections
from ragents.rag.filters import Check, parse_filters
from ragents.rag.store.diversity import check_diversity, diversify, pool_size
from ragents.rag.store.fusion import fuse, scaled
from ragents.rag.store.langchain.index import VectorIndex
from ragents.rag.store.langchain.probing import Probing
from ragents.rag.store.langchain.statements import SQL, scope_of, snapshot
from ragents.rag.store.pgvector.codec import encode_vector
from ragents.rag.store.pgvector.indexes import EXACT_BELOW
from ragents.rag.store.pgvector.rows import source_of
from ragents.rag.store.pgvector.searching import arguments
from ragents.rag.store.pgvector.statements import SQL as RECORD
from ragents.rag.store.text import clean, unknown_collection
from ragents.rag.store.types import SearchQuery
from ragents.rag.types import Scalar, Source

log = logging.getLogger(__name__)

TRIES = 3
OVER_FETCH = 4
"""Times as many, when a filter will take some away."""
MAX_FETCH = 4_000


async def search_index(
    connections: Connections, index: VectorIndex, query: SearchQuery, *, tenant: str, probing: Probing
) -> list[Source] | None:
    """None where the other store cannot give the whole answer, and an exact search in Postgres is to.

    That is: a collection that it does not hold completely, a filter that takes away most of what it found, or a
    collection that is changed at every try.
    """
    vector = query.embedding
    if vector is None:
        return None
    check_diversity(query)
    checks = [_as_read(check) for check in parse_filters(query.filters)]
    depth = _depth(query)
    fetch = min(depth * OVER_FETCH, MAX_FETCH) if checks else depth
    for _ in range(TRIES):
        async with snapshot(connections, tenant) as db:
            state = await _state(db, query, tenant, index)
        if len(vector) != state["dimension"]:
            raise Conflict(f"collection {query.collection!r} holds vectors of another dimension than the encoder's")
        if state["indexed"] != state["epoch"] or not state["chunks"]:
            return None
        scope = scope_of(tenant, clean(query.collection))
        if probing.due(scope) and not await probing.passes(
            connections, index, scope, tenant=tenant, collection_id=state["id"]
        ):
            await _lost(connections, index, tenant, state)
            return None
        ids = await index.search(vector, fetch, scope=scope)
        async with snapshot(connections, tenant) as db:
            now = await _state(db, query, tenant, index)
            diverse = query.mmr_lambda is not None
            found = await db.fetch(SQL["candidates"], tenant, state["id"], ids, encode_vector(vector), diverse)
            if len(found) < len(ids) and now["epoch"] != state["epoch"]:
                continue  # what the store found has been replaced: it would be missing
            passing = [row for row in found if _passes(row, checks)]
            enough = len(found) >= now["chunks"] or len(passing) >= (depth if checks else query.top_k)
            best = sorted(passing, key=_nearest)[:depth]
            lexical, bm25 = await _lexical(db, query, tenant, best) if enough and query.mode == "hybrid" else ([], {})
        if not enough:
            if not found:
                await _lost(connections, index, tenant, state)
            return None
        return _ranked({str(row["chunk_id"]): row for row in (*lexical, *best)}, bm25, query)
    return None


async def _state(db: asyncpg.Connection, query: SearchQuery, tenant: str, index: VectorIndex) -> asyncpg.Record:
    state = await db.fetchrow(SQL["state"], tenant, clean(query.collection), index.name)
    if state is None:
        raise unknown_collection(query.collection)
    return state


async def _lost(connections: Connections, index: VectorIndex, tenant: str, state: asyncpg.Record) -> None:
    """The store lacks what it should hold: emptied, or another one under the same address."""
    log.warning(
        "%s has lost vectors of a collection of %d chunks; until the next ingest into it, which fills the store again, "
        "it is searched exactly, in Postgres",
        index.name,
        state["chunks"],
    )
    async with connections.use() as db, db.transaction():
        await db.execute(RECORD["set_tenant"], tenant)
        await db.execute(SQL["unset_indexed"], tenant, index.name, state["id"])


def _depth(query: SearchQuery) -> int:
    """As ragents.search: how long the dense list is."""
    if query.mmr_lambda is not None:
        return max(query.candidates, query.top_k, pool_size(query))
    if query.mode == "dense" and query.max_per_document is None:
        return 2 * query.top_k + 10
    return max(query.candidates, query.top_k)


def _as_read(check: Check) -> Check:
    """With numbers as they come back from jsonb: 6.1e16 is the integer of these digits there, which no float equals."""
    if isinstance(check.value, tuple):
        return replace(check, value=tuple(map(_number_as_read, check.value)))
    return replace(check, value=_number_as_read(check.value))


def _number_as_read(value: Scalar) -> Scalar:
    return int(Decimal(repr(value))) if isinstance(value, float) and value.is_integer() else value


def _passes(row: asyncpg.Record, checks: Sequence[Check]) -> bool:
    metadata: Mapping[str, Any] = json.loads(row["metadata"]) if checks else {}
    return all(check.holds(metadata) for check in checks)


def _nearest(row: asyncpg.Record) -> tuple[float, bytes, int]:
    return -row["similarity"], row["document_id"].bytes, row["position"]


async def _lexical(
    db: asyncpg.Connection, query: SearchQuery, tenant: str, dense: Sequence[asyncpg.Record]
) -> tuple[list[asyncpg.Record], dict[str, float]]:
    """The lexical list, each with its similarity and its vector; and the BM25 of all that are in either list."""
    depth = max(query.candidates, query.top_k)
    deep = replace(query, mode="lexical", top_k=depth, mmr_lambda=None, max_per_document=None)
    asked = arguments(deep, tenant=tenant, exact_below=EXACT_BELOW, with_vectors=query.mmr_lambda is not None)
    rows = await db.fetch(RECORD["search"], *asked)
    ids = [row["chunk_id"] for row in (*rows, *dense)]
    scores = await db.fetch(SQL["bm25"], tenant, clean(query.collection), clean(query.text), ids)
    return list(rows), {str(row["chunk_id"]): row["bm25"] for row in scores}


def _ranked(rows: Mapping[str, asyncpg.Record], bm25: Mapping[str, float], query: SearchQuery) -> list[Source]:
    keys = list(rows)
    scores = [rows[key]["similarity"] for key in keys]
    if query.mode == "hybrid":
        scores = fuse(scores, [bm25.get(key, 0.0) for key in keys], dense_weight=query.dense_weight)
    of = scaled(dict(zip(keys, scores, strict=True)))
    best = sorted(keys, key=lambda key: (-of[key], rows[key]["document_id"].bytes, key))
    if query.mmr_lambda is not None:
        best = best[: pool_size(query)]
    sources = [replace(source_of(rows[key]), score=of[key]) for key in best]
    return diversify(sources, [rows[key]["embedding"] for key in best], query)
