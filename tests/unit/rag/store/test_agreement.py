"""Any sequence of writes and searches: Postgres agrees with the store in memory, its statistics with a recount."""

import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any

import asyncpg
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragents.errors import NotFound
from ragents.principal import Principal
from ragents.rag.store import SearchQuery, StoreConfig
from ragents.rag.store.memory import MemoryVectorStore
from ragents.rag.store.pgvector import PgVectorStore, open_pgvector
from ragents.rag.types import Chunk, Document, Source

WORDS = ["zebra", "lion", "tiger", "walrus", "otter", "falcon", "salmon", "badger", "ferret", "gibbon"]
TABLES = ["documents", "chunks", "chunk_vectors", "chunk_terms", "term_counts", "term_deltas"]
DIMENSION = 8

texts = st.lists(st.sampled_from(WORDS), max_size=12).map(" ".join)
uris = st.sampled_from(["a", "b", "c"])
vectors = st.integers(0, 40)


@dataclass(frozen=True)
class Put:
    uri: str
    texts: list[str]
    seed: int
    year: int


@dataclass(frozen=True)
class Delete:
    uri: str


@dataclass(frozen=True)
class Find:
    text: str
    seed: int
    mode: Any
    filters: dict[str, Any]
    max_per_document: int | None


puts = st.builds(Put, uris, st.lists(texts, max_size=6), vectors, st.integers(2019, 2022))
finds = st.builds(
    Find,
    texts,
    vectors,
    st.sampled_from(["hybrid", "dense", "lexical"]),
    st.sampled_from([{}, {"year": 2020}, {"year": {"gte": 2020, "lt": 2022}}, {"year": {"in": [2019, 2021]}}]),
    st.sampled_from([None, 1, 2]),
)
steps = st.lists(st.one_of(puts, puts, st.builds(Delete, uris), finds, finds), min_size=1, max_size=14)


@pytest.fixture(scope="module")
async def stores(migrated: str, postgres: str) -> AsyncIterator[tuple[PgVectorStore, asyncpg.Connection]]:
    """Words as they are, which is how the memory store counts them; and a superuser who sees what is stored."""
    async with open_pgvector(migrated, StoreConfig(language="simple")) as store:
        admin = await asyncpg.connect(postgres)
        yield store, admin
        await admin.close()


def unit(seed: int, count: int) -> Any:
    found = np.random.default_rng(seed).normal(size=(count, DIMENSION)).astype(np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


async def put(store: Any, step: Put, principal: Principal) -> str:
    stored = await store.upsert(
        Document(step.uri, "", "md", str(uuid.uuid4()), metadata={"year": step.year}),
        [Chunk(n, text, 0, len(text)) for n, text in enumerate(step.texts)],
        unit(step.seed, len(step.texts)),
        principal=principal,
        collection="c",
        embedding_model="m",
    )
    return str(stored.document_id)


def seen(sources: list[Source]) -> dict[tuple[str, str, int], float]:
    """Scores by what was found; chunks of one document with equal text are told apart by rank only."""
    found: dict[tuple[str, str], list[float]] = {}
    for source in sources:
        found.setdefault((source.uri, source.text), []).append(source.score)
    return {(*key, rank): score for key, scores in found.items() for rank, score in enumerate(sorted(scores))}


async def recount(admin: asyncpg.Connection, tenant: str) -> None:
    counted = await admin.fetch(
        "SELECT u.term, count(*) AS chunks FROM ragents.chunk_terms t, unnest(t.terms) u(term) WHERE tenant = $1 "
        "GROUP BY 1 ORDER BY 1",
        tenant,
    )
    kept = await admin.fetch(
        "SELECT term, sum(chunks)::bigint AS chunks FROM ("
        "  SELECT term, chunks FROM ragents.term_counts WHERE tenant = $1 UNION ALL"
        "  SELECT split_part(pair, ':', 1)::int, split_part(pair, ':', 2)::int FROM ragents.term_deltas,"
        "         string_to_table(split_part(ltrim(counts::text, '{'), '}', 1), ',') pair WHERE tenant = $1"
        ") t GROUP BY 1 ORDER BY 1",
        tenant,
    )
    assert [tuple(row) for row in kept] == [tuple(row) for row in counted]
    words, chunks, average = await admin.fetchrow(
        "SELECT words, chunks, average_words FROM ragents.collections WHERE tenant = $1", tenant
    )
    true = await admin.fetchrow(
        "SELECT coalesce(sum(words), 0), (SELECT count(*) FROM ragents.chunks WHERE tenant = $1) "
        "FROM ragents.chunk_terms WHERE tenant = $1",
        tenant,
    )
    assert (words, chunks) == tuple(true)
    assert chunks == 0 or abs(max(words / chunks, 1) - average) <= 0.1 * average + 1e-9


@settings(max_examples=60)
@given(steps=steps)
async def test_any_sequence_agrees_with_the_exact_store(
    stores: tuple[PgVectorStore, asyncpg.Connection], steps: list[Put | Delete | Find]
) -> None:
    store, admin = stores
    oracle, principal = MemoryVectorStore(), Principal(tenant=f"tenant-{uuid.uuid4()}")
    ids: dict[str, tuple[str, str]] = {}
    for step in steps:
        match step:
            case Put():
                ids[step.uri] = (await put(store, step, principal), await put(oracle, step, principal))
                await recount(admin, principal.tenant)
            case Delete() if step.uri in ids:
                ours, theirs = ids.pop(step.uri)
                await store.delete(ours, principal=principal)
                await oracle.delete(theirs, principal=principal)
                await recount(admin, principal.tenant)
            case Find():
                query = SearchQuery(step.text, unit(step.seed, 1)[0], "c", top_k=50, mode=step.mode)
                query = replace(query, filters=step.filters, max_per_document=step.max_per_document)
                try:
                    expected = await oracle.search(query, principal=principal)
                except NotFound:
                    with pytest.raises(NotFound):
                        await store.search(query, principal=principal)
                    continue
                found = await store.search(query, principal=principal)
                assert len(found) == len(expected)
                if step.max_per_document is None:
                    assert seen(found) == pytest.approx(seen(expected), abs=2e-3)
            case _:
                pass


@settings(max_examples=15)
@given(documents=st.lists(puts, min_size=1, max_size=5))
async def test_after_a_delete_no_table_and_no_statistic_holds_anything(
    stores: tuple[PgVectorStore, asyncpg.Connection], documents: list[Put]
) -> None:
    store, admin = stores
    principal = Principal(tenant=f"tenant-{uuid.uuid4()}")
    for document_id in {await put(store, each, principal) for each in documents}:
        await store.delete(document_id, principal=principal)
    for table in TABLES:
        assert await admin.fetchval(f"SELECT count(*) FROM ragents.{table} WHERE tenant = $1", principal.tenant) == 0
    assert await admin.fetchval("SELECT words FROM ragents.collections WHERE tenant = $1", principal.tenant) == 0


async def test_many_small_writes_are_folded_and_still_counted(
    stores: tuple[PgVectorStore, asyncpg.Connection], principal: Principal
) -> None:
    store, admin = stores
    for number in range(70):
        await put(store, Put(str(number), [WORDS[number % 10], "lion"], number, 2020), principal)
        held = await admin.fetchval("SELECT count(*) FROM ragents.term_deltas WHERE tenant = $1", principal.tenant)
        assert held <= 32
    await recount(admin, principal.tenant)
    found = await store.search(SearchQuery("walrus", None, "c", mode="lexical", top_k=50), principal=principal)
    assert len(found) == 7


async def test_a_document_of_many_terms_is_counted_at_once(
    stores: tuple[PgVectorStore, asyncpg.Connection], principal: Principal
) -> None:
    store, admin = stores
    texts = [" ".join(f"word{part}x{n}" for n in range(1_500)) for part in range(3)]
    document = await put(store, Put("large", texts, 1, 2020), principal)
    await recount(admin, principal.tenant)
    assert await admin.fetchval("SELECT count(*) FROM ragents.term_counts WHERE tenant = $1", principal.tenant) == 4_500
    await store.delete(document, principal=principal)
    await recount(admin, principal.tenant)
