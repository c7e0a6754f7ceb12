"""A collection moves to another model while it is searched and written, and a run that was killed is gone on with."""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import asyncpg
import numpy as np
import pytest

from ragents.embeddings.hashing import HashingEmbedder
from ragents.embeddings.types import Embedder, Vectors
from ragents.errors import ConfigError, Conflict, NotFound, TextTooLong
from ragents.ingestion import ingest
from ragents.ingestion.reembedding import reembed
from ragents.principal import Principal
from ragents.rag.engine import RAGEngine
from ragents.rag.store import SearchQuery, StoreConfig, VectorStore, open_store
from ragents.rag.store.memory import MemoryVectorStore
from ragents.rag.store.pgvector import PgVectorStore, open_pgvector
from ragents.rag.store.pgvector.indexes import build_indexes

OLD, NEW = HashingEmbedder(dimension=384), HashingEmbedder(dimension=64)
CHUNKS = 600
EXACT_BELOW = 100
PROGRAM = """
import asyncio, sys
from ragents.embeddings.hashing import HashingEmbedder
from ragents.ingestion.reembedding import reembed
from ragents.principal import Principal
from ragents.rag.store import StoreConfig, open_store

async def main(dsn, owner, tenant):
    async with open_store(StoreConfig(), dsn=dsn, migrate_dsn=owner) as store:
        await reembed(
            store, HashingEmbedder(dimension=64), principal=Principal(tenant=tenant), collection="default",
            on_progress=lambda done, of: print(done, flush=True),
        )

asyncio.run(main(*sys.argv[1:]))
"""


class Slow(HashingEmbedder):
    """Tells that it is at work, and goes on when it is told."""

    def __init__(self) -> None:
        super().__init__(dimension=64)
        self.at_work, self.go_on = asyncio.Event(), asyncio.Event()
        self.texts: list[str] = []

    async def embed_documents(self, texts: Sequence[str]) -> Vectors:
        self.texts += texts
        if len(texts) > 1:
            self.at_work.set()
            await self.go_on.wait()
        return await super().embed_documents(texts)


@pytest.fixture
async def store(migrated: str, postgres: str) -> AsyncIterator[PgVectorStore]:
    """With an index from 100 chunks on."""
    async with open_pgvector(migrated, StoreConfig(), exact_below=EXACT_BELOW, migrate_dsn=postgres) as opened:
        yield opened


@pytest.fixture
async def folder(tmp_path: Path, store: PgVectorStore, principal: Principal) -> Path:
    directory = tmp_path / "documents"
    directory.mkdir()
    lines = [json.dumps({"_id": str(n), "text": f"passage number{n} of theme{n % 7} speaks"}) for n in range(CHUNKS)]
    (directory / "many.jsonl").write_text("\n".join(lines))
    await ingest([directory], store=store, embedder=OLD, principal=principal)
    return directory


async def found(store: VectorStore, text: str, embedder: Embedder, principal: Principal) -> list[str]:
    query = SearchQuery(text, await embedder.embed_query(text), "default", top_k=3)
    return [source.text for source in await store.search(query, principal=principal)]


async def spaces(postgres: str, principal: Principal) -> dict[int, int]:
    """Vectors in each space."""
    db = await asyncpg.connect(postgres)
    rows = await db.fetch(
        "SELECT space, count(*) FROM ragents.chunk_vectors WHERE tenant = $1 GROUP BY 1", principal.tenant
    )
    await db.close()
    return {row["space"]: row["count"] for row in rows}


async def test_a_store_that_cannot_says_which_one_can(principal: Principal) -> None:
    with pytest.raises(ConfigError, match="postgres"):
        await reembed(MemoryVectorStore(), NEW, principal=principal, collection="default")


async def test_an_unknown_collection_and_the_same_model_are_refused(
    store: PgVectorStore, folder: Path, principal: Principal
) -> None:
    with pytest.raises(NotFound, match="'nothing'"):
        await reembed(store, NEW, principal=principal, collection="nothing")
    with pytest.raises(NotFound, match="'default'"):
        await reembed(store, NEW, principal=Principal(tenant="nobody"), collection="default")
    with pytest.raises(Conflict, match="nothing to do"):
        await reembed(store, OLD, principal=principal, collection="default")


async def test_an_encoder_that_fails_changes_nothing(
    store: PgVectorStore, folder: Path, principal: Principal, postgres: str
) -> None:
    class Gone(HashingEmbedder):
        async def embed_documents(self, texts: Sequence[str]) -> Vectors:
            raise ConnectionError("no encoder")

    with pytest.raises(ConnectionError):
        await reembed(store, Gone(dimension=64), principal=principal, collection="default")
    assert await spaces(postgres, principal) == {0: CHUNKS}
    assert (await reembed(store, NEW, principal=principal, collection="default")).embedded == CHUNKS


async def test_a_chunk_that_is_too_long_for_the_encoder_is_a_clear_refusal(
    store: PgVectorStore, folder: Path, principal: Principal
) -> None:
    class Short(HashingEmbedder):
        async def embed_documents(self, texts: Sequence[str]) -> Vectors:
            if len(texts) > 1:
                raise TextTooLong(tokens=99, max_tokens=8, index=1)
            return await super().embed_documents(texts)

    with pytest.raises(Conflict, match="99 tokens.*takes 8"):
        await reembed(store, Short(dimension=64), principal=principal, collection="default")
    assert await found(store, "number5", OLD, principal)


async def test_a_move_to_a_third_model_is_refused_until_it_is_begun_anew(
    store: PgVectorStore, folder: Path, principal: Principal, postgres: str
) -> None:
    assert store.move is not None
    third = HashingEmbedder(dimension=32)
    await store.move.begin("default", principal=principal, embedding_model=NEW.model, dimension=64)
    with pytest.raises(Conflict, match=r"being moved to 'hashing-64'.*--restart"):
        await reembed(store, third, principal=principal, collection="default")
    report = await reembed(store, third, principal=principal, collection="default", restart=True)
    assert (report.before, report.model, report.embedded) == (OLD.model, third.model, CHUNKS)
    with pytest.raises(Conflict, match="ended by another process"):
        await store.move.keep({}, principal=principal, collection="default", embedding_model=NEW.model)
    assert await spaces(postgres, principal) == {1: CHUNKS}


async def test_it_is_served_all_the_time_and_what_is_written_meanwhile_moves_too(
    store: PgVectorStore, folder: Path, principal: Principal, postgres: str
) -> None:
    before = await store.collection("default", principal=principal)
    expected = await found(store, "number17 theme3", OLD, principal)
    slow = Slow()
    moving = asyncio.create_task(reembed(store, slow, principal=principal, collection="default"))
    await slow.at_work.wait()
    assert await found(store, "number17 theme3", OLD, principal) == expected
    (folder / "late.md").write_text("# Late\n\nA walrus came late.\n")
    (folder / "many.jsonl").write_text('{"_id": "0", "text": "passage zero was replaced by an ibex"}\n')
    await ingest([folder], store=store, embedder=OLD, principal=principal)
    gone = await store.documents(principal=principal, limit=1, uri="documents/many.jsonl#1")
    if gone:
        await store.delete(gone[0].id, principal=principal)
    assert await found(store, "walrus", OLD, principal)
    slow.go_on.set()
    report = await moving
    after = await store.collection("default", principal=principal)
    assert (after.embedding_model, after.dimension) == (NEW.model, 64)
    assert after.epoch > before.epoch
    assert report.chunks == after.chunks == await store.count(principal=principal)
    assert await spaces(postgres, principal) == {1: after.chunks}, "the old vectors are gone, no chunk is without one"
    assert any("walrus" in text for text in await found(store, "walrus came late", NEW, principal))
    stored = await store.stored_chunks("documents/late.md", principal=principal, collection="default")
    assert stored is not None
    (vector,) = await NEW.embed_documents(["# Late\n\nA walrus came late."])
    assert float(stored.vectors[0] @ vector) > 0.9


async def test_questions_and_documents_of_the_old_model_are_then_told_what_to_do(
    store: PgVectorStore, folder: Path, principal: Principal
) -> None:
    await reembed(store, NEW, principal=principal, collection="default")
    with pytest.raises(Conflict, match="ragents reembed"):
        await found(store, "number5", OLD, principal)
    with pytest.raises(Conflict, match="ragents reembed"):
        await RAGEngine(embedder=OLD, store=store).retrieve("number5", principal=principal)
    with pytest.raises(Conflict, match="ragents reembed"):
        await ingest([folder], store=store, embedder=OLD, principal=principal)
    assert (await RAGEngine(embedder=NEW, store=store).retrieve("number5", principal=principal)).sources
    assert (await ingest([folder], store=store, embedder=NEW, principal=principal)).failures == []


async def test_there_and_back_again_with_an_index_each_time(
    store: PgVectorStore, folder: Path, principal: Principal, postgres: str
) -> None:
    db = await asyncpg.connect(postgres)
    key = await db.fetchval("SELECT id FROM ragents.collections WHERE tenant = $1", principal.tenant)
    names = f"SELECT relname FROM pg_class WHERE relname ~ 'chunk_vectors_hnsw_{key}(_|$)'"
    expected = await found(store, "number99", OLD, principal)
    assert await db.fetchval(names) == f"chunk_vectors_hnsw_{key}"
    for embedder, name in (
        (HashingEmbedder(dimension=128), f"chunk_vectors_hnsw_{key}_1"),
        (OLD, f"chunk_vectors_hnsw_{key}"),
    ):
        report = await reembed(store, embedder, principal=principal, collection="default")
        assert report.indexed
        assert [row["relname"] for row in await db.fetch(names)] == [name]
        assert (await found(store, "number99", embedder, principal))[0] == expected[0]
    await db.close()


async def test_an_index_of_before_two_spaces_is_made_anew_first(
    store: PgVectorStore, folder: Path, principal: Principal, postgres: str
) -> None:
    db = await asyncpg.connect(postgres)
    key = await db.fetchval("SELECT id FROM ragents.collections WHERE tenant = $1", principal.tenant)
    schema = await db.fetchval("SELECT extnamespace::regnamespace::text FROM pg_extension WHERE extname = 'vector'")
    await db.execute(
        f"DROP INDEX ragents.chunk_vectors_hnsw_{key}; SET search_path = pg_catalog, {schema};"
        f"CREATE INDEX chunk_vectors_hnsw_{key} ON ragents.chunk_vectors USING hnsw "
        f"((embedding::halfvec(384)) halfvec_cosine_ops) WHERE collection_id = {key}"
    )
    expected = await found(store, "number7", OLD, principal)
    async with open_store(StoreConfig(), dsn=store_dsn(postgres)) as serving:
        with pytest.raises(Conflict, match="ragents db index"):
            await reembed(serving, NEW, principal=principal, collection="default")
    changes = await build_indexes(postgres, exact_below=EXACT_BELOW, only=key)
    assert [(each.index, each.action) for each in changes] == [(f"chunk_vectors_hnsw_{key}", "rebuilt")]
    assert (await found(store, "number7", OLD, principal))[0] == expected[0]
    await reembed(store, NEW, principal=principal, collection="default")
    assert await found(store, "number7", NEW, principal)
    await db.close()


def store_dsn(postgres: str) -> str:
    return postgres.replace("postgres@", "ragents_app@", 1)


async def test_a_run_that_is_killed_is_gone_on_with_and_serves_meanwhile(
    store: PgVectorStore, folder: Path, principal: Principal, postgres: str, migrated: str
) -> None:
    expected = await found(store, "number17 theme3", OLD, principal)
    command = [sys.executable, "-c", PROGRAM, migrated, postgres, principal.tenant]
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    assert process.stdout is not None
    first = int(await process.stdout.readline())
    process.kill()
    await process.wait()
    assert 0 < first < CHUNKS
    assert await found(store, "number17 theme3", OLD, principal) == expected
    assert (await store.collection("default", principal=principal)).embedding_model == OLD.model
    report = await reembed(store, NEW, principal=principal, collection="default")
    assert report.embedded <= CHUNKS - first, "what was embedded before the kill is not embedded again"
    assert await spaces(postgres, principal) == {1: CHUNKS}
    best = await found(store, "number17 theme3", NEW, principal)
    assert np.intersect1d(best, expected).size, "the words of the question decide as before"
