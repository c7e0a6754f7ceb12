"""Stored vectors of sentences, handed to who embeds sentences: the extractive model, through the embedder's cache."""

from collections.abc import Sequence

from ragents.embeddings.cached import CachedEmbedder
from ragents.embeddings.types import Embedder
from ragents.llm.asked import asked_by
from ragents.llm.sentences import split_sentences
from ragents.principal import Principal
from ragents.rag.store.types import VectorStore
from ragents.rag.types import Source


async def recall_sentences(
    sources: Sequence[Source], *, store: VectorStore, embedder: Embedder, principal: Principal
) -> None:
    """What is stored of these sources' sentences need not be embedded again. What is not is computed when asked."""
    if store.sentences is None or not isinstance(embedder, CachedEmbedder) or not sources:
        return
    stored = await store.sentences.of_chunks([source.id for source in sources], principal=principal)
    with asked_by(principal.tenant, read_along=False):
        for source in sources:
            if (vectors := stored.get(source.id)) is not None and len(vectors):
                await embedder.remember(split_sentences(source.text), vectors)
