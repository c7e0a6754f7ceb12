"""Chunks that were embedded before are not embedded again, in whatever collection of their tenant."""

import uuid
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from ragents.embeddings.hashing import HashingEmbedder
from ragents.embeddings.types import Vectors
from ragents.errors import BackendUnavailable, StoreUnavailable
from ragents.ingestion import IngestReport, ingest
from ragents.llm.asked import asked_by
from ragents.principal import Principal
from ragents.rag.cache import CacheConfig, RAGCache, get_cache
from ragents.rag.store.memory import MemoryVectorStore

DOCUMENTS = 12
OURS, THEIRS = Principal(tenant="ours"), Principal(tenant="theirs")


class Counting(HashingEmbedder):
    def __init__(self, sign: float = 1.0, dimension: int = 384) -> None:
        super().__init__(dimension=dimension)
        self.texts = 0
        self._sign = np.float32(sign)

    async def embed_documents(self, texts: Sequence[str]) -> Vectors:
        self.texts += len(texts)
        return self._sign * await super().embed_documents(texts)


class Named(Counting):
    """Vectors as another precision would make them: of the same shape, under another name."""

    @property
    def model(self) -> str:
        return f"{super().model}#int8"


@pytest.fixture
async def cache(redis_url: str) -> AsyncIterator[RAGCache]:
    settings = {"backend": "redis", "redis_url": redis_url, "namespace": f"t{uuid.uuid4().hex[:8]}", "timeout_s": 5}
    opened = get_cache(CacheConfig.model_validate(settings))
    yield opened
    await opened.clear()
    await opened.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for n in range(DOCUMENTS):
        (tmp_path / f"{n}.md").write_text(f"# Part {n}\n\nThe text of part {n}.\n")
    return tmp_path


async def take(
    folder: Path,
    cache: RAGCache,
    embedder: Counting,
    *,
    store: MemoryVectorStore | None = None,
    collection: str = "default",
    principal: Principal = OURS,
    force: bool = False,
) -> IngestReport:
    return await ingest(
        [folder],
        store=store or MemoryVectorStore(),
        embedder=embedder,
        principal=principal,
        collection=collection,
        force=force,
        cache=cache.chunk_vectors(principal.tenant),
    )


async def test_another_collection_embeds_one_chunk_to_see_that_the_model_is_the_same(
    folder: Path, cache: RAGCache
) -> None:
    store, first, second = MemoryVectorStore(), Counting(), Counting()
    await take(folder, cache, first, store=store)
    report = await take(folder, cache, second, store=store, collection="another")
    assert first.texts == DOCUMENTS
    assert report.created == DOCUMENTS
    assert second.texts == 1
    for n in range(DOCUMENTS):
        one, other = [
            await store.stored_chunks(f"{folder.name}/{n}.md", principal=OURS, collection=name)
            for name in ("default", "another")
        ]
        assert one is not None
        assert other is not None
        assert np.array_equal(one.vectors, other.vectors)
    used = (await cache.stats(tenant=OURS.tenant))["chunk"]
    assert (used.entries, used.misses) == (DOCUMENTS, DOCUMENTS)
    assert used.hits == DOCUMENTS
    assert used.bytes > DOCUMENTS * 384 * 4


async def test_another_tenant_finds_nothing_and_sees_no_entries(folder: Path, cache: RAGCache) -> None:
    await take(folder, cache, Counting())
    theirs = Counting()
    await take(folder, cache, theirs, principal=THEIRS)
    assert theirs.texts == DOCUMENTS, "how long it took tells nothing of what others have stored"
    assert (await cache.stats(tenant="nobody"))["chunk"].entries == 0


@pytest.mark.parametrize("other", [Counting(dimension=64), Named(sign=-1.0)], ids=["dimension", "precision"])
async def test_another_model_embeds_all(folder: Path, cache: RAGCache, other: Counting) -> None:
    await take(folder, cache, Counting())
    other.texts = 0
    await take(folder, cache, other)
    assert other.texts == DOCUMENTS


async def test_vectors_that_the_encoder_would_not_make_any_more_are_not_taken(folder: Path, cache: RAGCache) -> None:
    await take(folder, cache, Counting())
    store, mended = MemoryVectorStore(), Counting(sign=-1.0)
    await take(folder, cache, mended, store=store)
    assert mended.texts == DOCUMENTS + 1
    stored = await store.stored_chunks(f"{folder.name}/0.md", principal=OURS, collection="default")
    assert stored is not None
    (true,) = await mended.embed_documents([stored.chunks[0].text])
    assert float(stored.vectors[0] @ true) == pytest.approx(1.0, abs=1e-3)


async def test_a_forced_run_embeds_all_and_what_it_made_takes_the_place_of_the_old(
    folder: Path, cache: RAGCache
) -> None:
    await take(folder, cache, Counting())
    mended, after = Counting(sign=-1.0), Counting(sign=-1.0)
    await take(folder, cache, mended, force=True)
    assert mended.texts == DOCUMENTS
    await take(folder, cache, after)
    assert after.texts == 1


async def test_the_vectors_stay_within_their_share_and_push_out_no_answer(folder: Path, redis_url: str) -> None:
    settings = {
        "backend": "redis",
        "redis_url": redis_url,
        "namespace": f"t{uuid.uuid4().hex[:8]}",
        "timeout_s": 5,
        "max_cache_size_mb": 0.05,
    }
    cache = get_cache(CacheConfig.model_validate(settings))
    with asked_by("t", read_along=False):
        await cache.put_many({"a question": np.ones(8, np.float32)})
    await take(folder, cache, Counting())
    stats = await cache.stats()
    assert stats["chunk"].bytes <= 0.2 * 0.05 * 1024 * 1024
    assert stats["chunk"].evictions > 0
    assert stats["embedding"].entries == 1
    await cache.clear()
    await cache.close()


async def test_without_its_redis_an_ingestion_embeds_and_does_not_fail(folder: Path) -> None:
    settings = {"backend": "redis", "redis_url": "unix:///nowhere/redis.sock"}
    cache = get_cache(CacheConfig.model_validate(settings))
    embedder = Counting()
    report = await take(folder, cache, embedder)
    assert (report.created, embedder.texts) == (DOCUMENTS, DOCUMENTS)
    await cache.close()


async def test_a_forced_run_is_refused_while_what_it_is_to_forget_cannot_be_reached(folder: Path) -> None:
    cache = get_cache(CacheConfig.model_validate({"backend": "redis", "redis_url": "unix:///nowhere/redis.sock"}))
    with pytest.raises(BackendUnavailable, match="Redis cannot be used"):
        await take(folder, cache, Counting(), force=True)
    await cache.close()


async def test_in_memory_nothing_is_kept_for_a_process_that_ends(folder: Path) -> None:
    cache = get_cache(CacheConfig())
    await take(folder, cache, Counting())
    assert (await cache.stats())["chunk"].entries == 0


async def test_a_store_that_is_gone_ends_the_run(folder: Path, cache: RAGCache) -> None:
    class Gone(MemoryVectorStore):
        async def upsert(self, *_: object, **__: object) -> None:  # type: ignore[override]  # raises
            raise StoreUnavailable("gone")

    with pytest.raises(StoreUnavailable):
        await take(folder, cache, Counting(), store=Gone())
