"""After everything can be searched: vectors of the sentences, so that extractive answers need not embed them."""

import asyncio
from collections.abc import Sequence

import numpy as np

from ragents.embeddings.types import Embedder, Vectors
from ragents.llm.sentences import split_sentences
from ragents.principal import Principal
from ragents.rag.store.types import VectorStore


async def embed_sentences(store: VectorStore, embedder: Embedder, *, principal: Principal, collection: str) -> int:
    """Of the chunks that have none yet, of earlier runs too; how many chunks those were. 0 where the store keeps none.

    What is done stays when a run is cut off.
    """
    if store.sentences is None:
        return 0
    chunks = 0
    async for page in store.sentences.missing(principal=principal, collection=collection):
        sentences = await asyncio.to_thread(lambda texts: [split_sentences(text) for _, text in texts], page)
        vectors = await _embed_all(sentences, embedder)
        await store.sentences.keep(dict(zip((key for key, _ in page), vectors, strict=True)), principal=principal)
        chunks += len(page)
    return chunks


async def _embed_all(sentences: Sequence[Sequence[str]], embedder: Embedder) -> list[Vectors]:
    """Together, the same sentence once."""
    texts = list(dict.fromkeys(text for some in sentences for text in some))
    known = dict(zip(texts, await embedder.embed_documents(texts), strict=True))
    empty = np.zeros((0, embedder.dimension), np.float32)
    return [np.stack([known[text] for text in some]) if some else empty for some in sentences]
