"""A collection moved to the encoder's model while it is served: what is stored is embedded again, then switched."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from ragents.embeddings.types import Embedder
from ragents.errors import ConfigError, Conflict, TextTooLong
from ragents.ingestion.embedding import texts_to_embed
from ragents.principal import Principal
from ragents.rag.store.types import VectorStore

PROBE = "Is the encoder there?"
OnMoved = Callable[[int, int], None]
"""Chunks that have their new vector, of how many."""


@dataclass(frozen=True, slots=True)
class ReembedReport:
    """`embedded`: in this run; fewer than `chunks` when it went on with one that was cut off. `indexed`: see Moved."""

    collection: str
    before: str
    model: str
    chunks: int
    embedded: int
    indexed: bool
    seconds: float


async def reembed(
    store: VectorStore,
    embedder: Embedder,
    *,
    principal: Principal,
    collection: str,
    restart: bool = False,
    on_progress: OnMoved | None = None,
) -> ReembedReport:
    """New vectors beside the old; when none is missing, one commit makes them those that are searched.

    Until then the collection is searched and written with its old model. A run that is cut off, even killed, is gone on
    with by the next; `restart` begins anew. Raises ConfigError for a store that cannot, NotFound for an unknown
    collection, Conflict for one that has the model already, is on its way to another, or holds chunks that are too long
    for the encoder, and what the encoder raises, before anything is changed.
    """
    if store.move is None:
        raise ConfigError(
            "this store cannot move a collection to another model (store.backend = 'postgres' can); ingest the "
            "documents into another collection"
        )
    started = time.perf_counter()
    before = (await store.collection(collection, principal=principal)).embedding_model
    await embedder.embed_documents([PROBE])
    model = embedder.model
    left = await store.move.begin(
        collection, principal=principal, embedding_model=model, dimension=embedder.dimension, restart=restart
    )
    embedded, moved = 0, None
    while moved is None:
        async for page in store.move.unmoved(collection, principal=principal):
            texts = await asyncio.to_thread(
                lambda some: [texts_to_embed(each.title, [each.chunk], embedder)[0] for each in some], page
            )
            try:
                vectors = await embedder.embed_documents(texts)
            except TextTooLong as error:
                chunk = page[error.index]
                raise Conflict(
                    f"chunk {chunk.chunk.position} of {chunk.title!r} has {error.tokens} tokens and {model!r} takes "
                    f"{error.max_tokens}; ingest the documents into another collection, which cuts them anew"
                ) from error
            ids = [each.id for each in page]
            new = dict(zip(ids, vectors, strict=True))
            await store.move.keep(new, principal=principal, collection=collection, embedding_model=model)
            embedded += len(page)
            if on_progress is not None:
                on_progress(embedded, max(left, embedded))
        moved = await store.move.finish(collection, principal=principal, embedding_model=model)
    seconds = time.perf_counter() - started
    return ReembedReport(collection, before, model, moved.chunks, embedded, moved.indexed, seconds)
