"""CachedEmbedder: asks the inner embedder only for what the cache does not have."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from ragents.embeddings.types import Embedder, Vectors


class VectorCache(Protocol):
    """What this room needs of a cache; ragents.rag.cache.RAGCache is one."""

    async def get_many(self, keys: Sequence[str]) -> list[Vectors | None]: ...

    async def put_many(self, vectors: Mapping[str, Vectors]) -> None: ...


class CachedEmbedder:
    """An Embedder over another. Both are the caller's to close."""

    def __init__(self, inner: Embedder, cache: VectorCache) -> None:
        self._inner, self._cache = inner, cache

    @property
    def model(self) -> str:
        return self._inner.model

    @property
    def dimension(self) -> int:
        return self._inner.dimension

    @property
    def max_tokens(self) -> int:
        return self._inner.max_tokens

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return self._inner.count_tokens(texts)

    async def embed_query(self, text: str) -> Vectors:
        key = self._key("query", text)
        (found,) = await self._cache.get_many([key])
        if found is None:
            found = await self._inner.embed_query(text)
            await self._cache.put_many({key: found})
        return found

    async def embed_documents(self, texts: Sequence[str]) -> Vectors:
        keys = [self._key("document", text) for text in texts]
        known = {
            key: vector
            for key, vector in zip(keys, await self._cache.get_many(keys), strict=True)
            if vector is not None
        }
        missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in known}
        if missing:
            vectors = await self._inner.embed_documents(list(missing.values()))
            made = dict(zip(missing, vectors, strict=True))
            await self._cache.put_many(made)
            known |= made
        return np.stack([known[key] for key in keys]) if keys else np.zeros((0, self.dimension), np.float32)

    def _key(self, kind: str, text: str) -> str:
        """The kind is part of it: some models embed questions and passages differently."""
        content = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else repr(text).encode()
        return f"{self.model}\n{kind}\n{hashlib.sha256(content).hexdigest()}"
