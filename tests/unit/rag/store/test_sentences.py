"""Vectors of sentences are kept beside their chunk, go with it, and change no answer."""

import uuid
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import asyncpg
import numpy as np
import pytest

from ragents.config import RAGConfig
from ragents.embeddings.cached import CachedEmbedder
from ragents.embeddings.hashing import HashingEmbedder
from ragents.embeddings.types import Vectors
from ragents.ingestion import ingest
from ragents.llm.extractive import extractive_client
from ragents.principal import Principal
from ragents.rag.cache import CacheConfig, get_cache
from ragents.rag.engine import RAGEngine
from ragents.rag.store import StoreConfig, VectorStore, open_store
from ragents.rag.store.memory import MemoryVectorStore

TOPICS = ("lease", "encoder", "passage", "thread", "budget", "epoch")
CONFIG = RAGConfig(sentence_vectors=True, min_confidence=0.0)


class Counting(HashingEmbedder):
    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    async def embed_documents(self, texts: Sequence[str]) -> Vectors:
        self.texts += texts
        return await super().embed_documents(texts)


@pytest.fixture
async def store(migrated: str) -> AsyncIterator[VectorStore]:
    async with open_store(StoreConfig(), dsn=migrated) as opened:
        yield opened


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for topic in TOPICS:
        text = " ".join(f"The {topic} number {n} is kept by {TOPICS[n % 5]} {n * n}." for n in range(12))
        (tmp_path / f"{topic}.md").write_text(f"# About {topic}\n\n{text}\n")
    return tmp_path


async def kept(store: VectorStore, principal: Principal) -> dict[str, Vectors]:
    """By chunk, of all that the tenant has."""
    assert store.sentences is not None
    ids = []
    for document in await store.documents(principal=principal):
        ids += [source.id for source in (await store.read_document(document.id, principal=principal)).sources]
    return await store.sentences.of_chunks(ids, principal=principal)


async def test_a_chunk_that_is_gone_is_passed_over(store: VectorStore, principal: Principal) -> None:
    assert store.sentences is not None
    gone = str(uuid.uuid4())
    await store.sentences.keep({gone: np.ones((1, 4), np.float32)}, principal=principal)
    assert await store.sentences.of_chunks([gone, "no id"], principal=principal) == {}


async def test_a_store_that_keeps_none_is_ingested_into_as_before(folder: Path) -> None:
    report = await ingest([folder], store=MemoryVectorStore(), embedder=HashingEmbedder(), config=CONFIG)
    assert report.created == len(TOPICS)


async def test_nothing_is_kept_unless_it_is_asked_for(store: VectorStore, folder: Path, principal: Principal) -> None:
    await ingest([folder], store=store, embedder=HashingEmbedder(), principal=principal)
    assert await kept(store, principal) == {}


async def test_they_go_with_their_chunk_and_only_the_missing_are_made(
    store: VectorStore, folder: Path, principal: Principal, migrated: str
) -> None:
    first = folder / f"{TOPICS[0]}.md"
    await ingest([folder], store=store, embedder=HashingEmbedder(), config=CONFIG, principal=principal)
    whole = await kept(store, principal)
    assert len(whole) == await store.count(principal=principal)
    first.write_text("# About lease\n\nOnly one sentence is left here.\n")
    embedder = Counting()
    await ingest([folder], store=store, embedder=embedder, config=CONFIG, principal=principal)
    assert embedder.texts.count("Only one sentence is left here.") == 1
    assert not any("encoder" in text for text in embedder.texts), "what was there is not embedded again"
    for document in await store.documents(principal=principal):
        await store.delete(document.id, principal=principal)
    db = await asyncpg.connect(migrated)
    async with db.transaction():
        await db.execute("SELECT set_config('ragents.tenant', $1, true)", principal.tenant)
        assert await db.fetchval("SELECT count(*) FROM ragents.chunk_sentences") == 0
    await db.close()


async def test_another_tenant_sees_none(store: VectorStore, folder: Path, principal: Principal) -> None:
    await ingest([folder], store=store, embedder=HashingEmbedder(), config=CONFIG, principal=principal)
    assert store.sentences is not None
    ids = list(await kept(store, principal))
    assert ids
    other = Principal(tenant=f"{principal.tenant}-other")
    assert await store.sentences.of_chunks(ids, principal=other) == {}
    await store.sentences.keep({ids[0]: np.ones((1, 4), np.float32)}, principal=other)
    assert [page async for page in store.sentences.missing(principal=other, collection="default")] == []


async def test_answers_are_the_same_with_and_without_and_cost_no_embedding(
    store: VectorStore, folder: Path, principal: Principal
) -> None:
    await ingest([folder], store=store, embedder=HashingEmbedder(), config=CONFIG, principal=principal)
    answers: list[list[str | None]] = []
    for config in (CONFIG, CONFIG.model_copy(update={"sentence_vectors": False})):
        answers.append([])
        for n, topic in enumerate(TOPICS):
            encoder = Counting()
            embedder = CachedEmbedder(encoder, get_cache(CacheConfig()))
            llm = extractive_client(embedder.embed_documents)
            engine = RAGEngine(embedder=embedder, store=store, config=config, llm=llm)
            question = f"By what is {topic} number {n} kept?"
            answers[-1].append((await engine.query(question, principal=principal)).answer)
            sentences = [text for text in encoder.texts if text != question]
            assert (sentences == []) == config.sentence_vectors
    assert answers[0] == answers[1]
    assert len(set(answers[0])) == len(TOPICS)
