"""Vectors that were made before, of whatever document: what is in them again need not be embedded again."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Protocol

from ragents.embeddings.cached import VectorCache
from ragents.embeddings.types import Embedder, Vectors

LOOK_UP = 64
"""Vectors asked of the cache at once: a larger answer takes longer than it is waited for."""
SAME = 0.999
"""Cosine from which two vectors are of one text and one model: batches of other shapes move the last digits."""


class ChunkCache(VectorCache, Protocol):
    """What this room needs of a cache; ragents.rag.cache.ChunkVectors is one."""

    async def clear(self) -> None:
        """BackendUnavailable when what is there may still be there."""
        ...


class KnownVectors:
    """The cache of one ingestion. The first vector found is computed anew: if it is another, so is the encoder under
    its old name, and all are forgotten. `anew` forgets them at once.
    """

    def __init__(self, cache: ChunkCache, embedder: Embedder, *, anew: bool) -> None:
        self._cache, self._embedder = cache, embedder
        self._tried, self._anew = False, anew

    async def find(self, texts: Sequence[str]) -> dict[str, Vectors]:
        if self._anew:
            await self._cache.clear()
            self._anew, self._tried = False, True
            return {}
        found = dict[str, Vectors]()
        for start in range(0, len(texts), LOOK_UP):
            part = texts[start : start + LOOK_UP]
            for text, vector in zip(part, await self._cache.get_many([self._key(text) for text in part]), strict=True):
                if vector is not None and vector.shape == (self._embedder.dimension,):
                    found[text] = vector
        if found and not self._tried:
            self._tried = True
            if not await made_alike(found, self._embedder):
                await self._cache.clear()
                return {}
        return found

    async def keep(self, made: Mapping[str, Vectors]) -> None:
        await self._cache.put_many({self._key(text): vector for text, vector in made.items()})

    def _key(self, text: str) -> str:
        """How the document was cut is in the text, the precision in the model's name."""
        return f"{self._embedder.model}\n{hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()}"


async def made_alike(known: Mapping[str, Vectors], embedder: Embedder) -> bool:
    """Whether the encoder makes of the first text the vector that is known."""
    if not known:
        return True
    text, vector = next(iter(known.items()))
    return float((await embedder.embed_documents([text]))[0] @ vector) >= SAME
