"""An engine over the doubles that ship, filled with a few documents."""

from collections.abc import Sequence

from ragents.config import RAGConfig
from ragents.embeddings.hashing import HashingEmbedder
from ragents.llm.client import LLMClient
from ragents.llm.extractive import ExtractiveChatModel
from ragents.principal import ANONYMOUS, Principal
from ragents.rag.cache import CacheConfig, RAGCache, get_cache
from ragents.rag.engine import RAGEngine
from ragents.rag.store.memory import MemoryVectorStore
from ragents.rag.types import Chunk, Document

TEXTS = {
    "batching.md": "Adaptive batching sits at the encoder because that is where the model is.",
    "store.md": "Postgres keeps documents and vectors in one transaction.",
    "cats.md": "The cat sleeps on the warm windowsill every afternoon.",
}


async def add_document(
    engine: RAGEngine,
    uri: str,
    texts: Sequence[str],
    *,
    principal: Principal = ANONYMOUS,
    collection: str = "default",
    metadata: dict[str, str] | None = None,
) -> str:
    """Store one document with one chunk per text; its id."""
    chunks = [Chunk(n, text, 0, len(text)) for n, text in enumerate(texts)]
    stored = await engine.store.upsert(
        Document(uri, uri, "md", f"hash of {texts}", metadata=metadata or {}),
        chunks,
        await engine.embedder.embed_documents(texts),
        principal=principal,
        collection=collection,
        embedding_model=engine.embedder.model,
    )
    return stored.document_id


async def make_engine(*, cache: RAGCache | None = None, llm: LLMClient | None = None) -> RAGEngine:
    """Hashing embedder, memory store, extractive model; TEXTS in the default collection of the anonymous tenant."""
    embedder = HashingEmbedder()
    engine = RAGEngine(
        embedder=embedder,
        store=MemoryVectorStore(),
        cache=cache,
        config=RAGConfig(min_confidence=0.0),  # the gate is calibrated for the real encoder
        llm=llm or LLMClient.of(ExtractiveChatModel(embed=embedder.embed_documents), name="extractive"),
    )
    for uri, text in TEXTS.items():
        await add_document(engine, uri, [text])
    return engine


def make_cache() -> RAGCache:
    return get_cache(CacheConfig())
