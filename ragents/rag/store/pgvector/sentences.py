"""Vectors of chunks' sentences in Postgres."""

import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager

import asyncpg
import numpy as np

from ragents.embeddings.types import Vectors
from ragents.principal import Principal
from ragents.rag.store.pgvector.rows import chunk_uuid
from ragents.rag.store.pgvector.statements import SQL
from ragents.rag.store.text import clean

HALF = np.dtype("<f2")
FIRST = (uuid.UUID(int=0), -1)


class PgSentenceVectors:
    """`transaction` gives one that sees the tenant's rows only."""

    def __init__(self, transaction: Callable[[str], AbstractAsyncContextManager[asyncpg.Connection]]) -> None:
        self._transaction = transaction

    async def of_chunks(self, chunk_ids: Sequence[str], *, principal: Principal) -> dict[str, Vectors]:
        keys = [key for each in chunk_ids if (key := chunk_uuid(each)) is not None]
        async with self._transaction(principal.tenant) as db:
            rows = await db.fetch(SQL["sentence_vectors"], principal.tenant, keys)
        return {str(row["chunk_id"]): _vectors(row["vectors"], row["sentences"]) for row in rows}

    async def missing(
        self, *, principal: Principal, collection: str, page: int = 64
    ) -> AsyncIterator[Sequence[tuple[str, str]]]:
        document, position = FIRST
        while True:
            async with self._transaction(principal.tenant) as db:
                place = (principal.tenant, clean(collection), document, position)
                rows = await db.fetch(SQL["chunks_without_sentences"], *place, page)
            if not rows:
                return
            yield [(str(row["id"]), row["body"]) for row in rows]
            document, position = rows[-1]["document_id"], rows[-1]["position"]

    async def keep(self, vectors: Mapping[str, Vectors], *, principal: Principal) -> None:
        async with self._transaction(principal.tenant) as db:
            await db.execute(
                SQL["keep_sentence_vectors"],
                principal.tenant,
                [uuid.UUID(key) for key in vectors],
                [len(each) for each in vectors.values()],
                [each.astype(HALF).tobytes() for each in vectors.values()],
            )


def _vectors(data: bytes, sentences: int) -> Vectors:
    dimension = len(data) // HALF.itemsize // sentences if sentences else 0
    return np.frombuffer(data, HALF).astype(np.float32).reshape(sentences, dimension)
