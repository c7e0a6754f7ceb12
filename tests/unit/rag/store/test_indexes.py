"""Vector indexes: built beside writers, repaired, dropped, used by measured selectivity, and reported."""

import asyncio
import json
import logging
import uuid
from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import Any

import asyncpg
import numpy as np
import pytest

from ragents.errors import StoreUnavailable
from ragents.principal import Principal
from ragents.rag.store import SearchQuery, StoreConfig
from ragents.rag.store.pgvector import PgVectorStore, open_pgvector
from ragents.rag.store.pgvector.indexes import build_indexes
from ragents.rag.store.pgvector.stats import CollectionStats, store_stats
from ragents.rag.types import Chunk, Document
from tests.unit.rag.store.plans import plan_of

DIMENSION = 384
EXACT_BELOW = 200


@pytest.fixture
async def store(migrated: str) -> AsyncIterator[PgVectorStore]:
    """Without a role that could build indexes."""
    async with open_pgvector(migrated, StoreConfig(), exact_below=EXACT_BELOW) as opened:
        yield opened


def vectors(count: int, seed: int = 1) -> Any:
    found = np.random.default_rng(seed).normal(size=(count, DIMENSION)).astype(np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


async def fill(store: PgVectorStore, principal: Principal, documents: int, *, uri: str = "", chunks: int = 10) -> None:
    found = vectors(documents * chunks)
    for number in range(documents):
        await store.upsert(
            Document(f"{uri}{number}", "t", "md", str(uuid.uuid4()), metadata={"number": number, "half": number % 2}),
            [Chunk(n, f"text {number} {n}", 0, 1) for n in range(chunks)],
            found[number * chunks : (number + 1) * chunks],
            principal=principal,
            collection="c",
            embedding_model="m",
        )


async def stats_of(postgres: str, principal: Principal) -> CollectionStats:
    found = await store_stats(postgres, samples=5, exact_below=EXACT_BELOW)
    return next(each for each in found.collections if each.tenant == principal.tenant)


async def test_without_a_server_building_is_unavailable() -> None:
    with pytest.raises(StoreUnavailable, match=r"store\.migrate_dsn"):
        await build_indexes("postgresql://nobody@/x?host=/nowhere")


async def test_a_bulk_load_without_the_owners_role_says_what_to_run(
    store: PgVectorStore, principal: Principal, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        async with store.bulk(principal=principal, collection="c"):
            await fill(store, principal, 20)
    assert "ragents db index" in caplog.text


async def test_an_index_is_missing_then_built_then_kept_then_dropped(
    store: PgVectorStore, postgres: str, principal: Principal
) -> None:
    await fill(store, principal, 30)
    before = await stats_of(postgres, principal)
    assert (before.index, before.index_bytes, before.recall) == ("missing", 0, None)
    assert "built" in [change.action for change in await build_indexes(postgres, exact_below=EXACT_BELOW)]
    assert await build_indexes(postgres, exact_below=EXACT_BELOW) == []
    after = await stats_of(postgres, principal)
    assert (after.index, after.chunks, after.documents) == ("valid", 300, 30)
    assert after.index_bytes > 0
    assert after.bytes > 300 * DIMENSION * 4
    assert after.recall is not None
    assert after.recall >= 0.95
    for document in (await store.documents(principal=principal))[:15]:
        await store.delete(document.id, principal=principal)
    assert await build_indexes(postgres, exact_below=EXACT_BELOW) == []  # shrunk by half: kept
    for document in await store.documents(principal=principal):
        await store.delete(document.id, principal=principal)
    assert "dropped" in [change.action for change in await build_indexes(postgres, exact_below=EXACT_BELOW)]
    assert (await stats_of(postgres, principal)).index == "not needed"


async def test_the_planner_knows_what_was_loaded_and_is_not_told_twice(
    store: PgVectorStore, postgres: str, principal: Principal
) -> None:
    admin = await asyncpg.connect(postgres)
    written = "SELECT max(xmin::text::bigint) FROM pg_statistic WHERE starelid = 'ragents.chunk_vectors'::regclass"
    held = (
        "SELECT (SELECT sum(chunks)::float8 FROM ragents.collections), reltuples FROM pg_class WHERE oid = $1::regclass"
    )
    try:
        total = await admin.fetchval("SELECT coalesce(sum(chunks), 0)::int FROM ragents.collections")
        await fill(store, principal, 1 + total // 80)
        await build_indexes(postgres, exact_below=10**9)
        stored, counted = await admin.fetchrow(held, "ragents.chunk_vectors")
        assert counted == pytest.approx(stored, rel=0.1)
        before = await admin.fetchval(written)
        assert before is not None
        await build_indexes(postgres, exact_below=10**9)
        assert await admin.fetchval(written) == before
    finally:
        await admin.close()


async def test_an_index_that_was_cut_off_is_built_again(
    store: PgVectorStore, postgres: str, principal: Principal
) -> None:
    await fill(store, principal, 30)
    await build_indexes(postgres, exact_below=EXACT_BELOW)
    admin = await asyncpg.connect(postgres)
    key = await admin.fetchval("SELECT id FROM ragents.collections WHERE tenant = $1", principal.tenant)
    name = f"ragents.chunk_vectors_hnsw_{key}"
    await admin.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = $1::text::regclass", name)
    assert (await stats_of(postgres, principal)).index == "invalid"
    query = SearchQuery("", vectors(1)[0], "c", mode="dense")
    assert "dense exact over the collection" in await plan_of(store, query, principal)
    assert [change.action for change in await build_indexes(postgres, exact_below=EXACT_BELOW)] == ["rebuilt"]
    assert "dense by index" in await plan_of(store, query, principal)
    await admin.close()


async def test_writers_and_readers_go_on_while_an_index_is_built(
    store: PgVectorStore, postgres: str, principal: Principal
) -> None:
    await fill(store, principal, 60)
    admin = await asyncpg.connect(postgres)
    # An old snapshot keeps the building from its end, as a long backup would.
    old = admin.transaction(isolation="repeatable_read")
    await old.start()
    await admin.fetchval("SELECT count(*) FROM ragents.tenants")
    building = asyncio.create_task(build_indexes(postgres, exact_below=EXACT_BELOW))
    other = await asyncpg.connect(postgres)
    async with asyncio.timeout(20):
        while not await other.fetchval("SELECT count(*) FROM pg_stat_progress_create_index"):
            await asyncio.sleep(0.01)
        await fill(store, principal, 5, uri="late ")
        query = SearchQuery("text", vectors(1)[0], "c")
        assert len(await store.search(query, principal=principal)) == 5
        assert not building.done()
        await old.rollback()
        await building
    await admin.close()
    await other.close()
    assert "dense by index" in await plan_of(store, query, principal)
    assert (await store.search(query, principal=principal))[0].uri in {"0", "late 0"}


async def test_two_builders_at_once_build_once(store: PgVectorStore, postgres: str, principal: Principal) -> None:
    await fill(store, principal, 30)
    changes = await asyncio.gather(*(build_indexes(postgres, exact_below=EXACT_BELOW) for _ in range(3)))
    built = [change.index for each in changes for change in each]
    assert built
    assert len(built) == len(set(built))


@pytest.mark.parametrize(
    ("filters", "plan"),
    [
        ({}, "dense by index"),
        ({"number": 3}, "filter narrow, 1 documents; dense exact over the list"),
        ({"number": {"lt": 15}}, "filter narrow, 15 documents; dense exact over the list"),
        ({"number": {"gte": 5}}, "filter broad"),
        ({"half": 1}, "filter broad"),
    ],
)
async def test_the_plan_follows_the_measured_share(
    migrated: str, postgres: str, principal: Principal, filters: dict[str, Any], plan: str
) -> None:
    """60 documents of 10 chunks; up to 200 chunks are compared one by one."""
    async with open_pgvector(migrated, StoreConfig(), exact_below=EXACT_BELOW, migrate_dsn=postgres) as store:
        async with store.bulk(principal=principal, collection="c"):
            await fill(store, principal, 60)
        query = SearchQuery("text", vectors(1)[0], "c", top_k=10, filters=filters)
        assert plan in await plan_of(store, query, principal)
        exact = await PgVectorStore(store.connections, exact_below=10**9).search(query, principal=principal)
        found = await store.search(query, principal=principal)
        assert len(found) == 10
        assert len({each.id for each in found} & {each.id for each in exact}) >= 9


async def test_statistics_are_json_and_name_every_table(
    store: PgVectorStore, postgres: str, principal: Principal
) -> None:
    await fill(store, principal, 1)
    found = json.loads(json.dumps(asdict(await store_stats(postgres, samples=0))))
    tables = {each["name"]: each for each in found["tables"]}
    assert {"documents", "chunks", "chunk_vectors", "chunk_terms", "term_counts"} <= tables.keys()
    assert any(each["name"] == "chunk_terms_terms" for each in tables["chunk_terms"]["indexes"])
    assert found["database_bytes"] > 0
