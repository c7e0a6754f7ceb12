"""CachedEmbedder: asks the inner embedder only for what the cache does not have."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from ragents.embeddings.texts import read_text, read_texts
from ragents.embeddings.types import Embedder, Vectors
from ragents.errors import TextTooLong


class VectorCache(Protocol):
    """What this room needs of a cache; ragents.rag.cache.RAGCache is one."""

    async def get_many(self, keys: Sequence[str]) -> list[Vectors | None]:
        """One vector or None per key, in their order."""
        ...

    async def put_many(self, vectors: Mapping[str, Vectors]) -> None: ...


class CachedEmbedder:
    """An Embedder over another; a text that comes twice in a call is computed once. Both are the caller's to close."""

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
        key = self._key("query", read_text(text))
        if (found := (await self._lookup([key])).get(key)) is None:
            found = await self._inner.embed_query(text)
            await self._cache.put_many({key: found})
        return found

    async def embed_documents(self, texts: Sequence[str]) -> Vectors:
        texts = read_texts(texts)
        if not texts:
            return await self._inner.embed_documents(texts)
        keys = [self._key("document", text) for text in texts]
        known = await self._lookup(list(dict.fromkeys(keys)))
        missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in known}
        if missing:
            made = await self._compute(missing, keys)
            await self._cache.put_many(made)
            known |= made
        return np.stack([known[key] for key in keys])

    async def remember(self, texts: Sequence[str], vectors: Vectors) -> None:
        """Vectors of documents that were computed elsewhere; those of another shape than the model's are left out."""
        if vectors.shape == (len(texts), self.dimension):
            keys = [self._key("document", text) for text in read_texts(texts)]
            await self._cache.put_many(dict(zip(keys, vectors, strict=True)))

    async def _lookup(self, keys: list[str]) -> dict[str, Vectors]:
        """A vector of another shape than the model's is as good as none."""
        found = zip(keys, await self._cache.get_many(keys), strict=True)
        return {key: vector for key, vector in found if vector is not None and vector.shape == (self.dimension,)}

    async def _compute(self, missing: dict[str, str], keys: list[str]) -> dict[str, Vectors]:
        try:
            vectors = await self._inner.embed_documents(list(missing.values()))
        except TextTooLong as error:
            # The inner one counts among the missing texts; the caller counts among the texts that it gave.
            index = keys.index(list(missing)[error.index])
            raise TextTooLong(tokens=error.tokens, max_tokens=error.max_tokens, index=index) from None
        return dict(zip(missing, vectors, strict=True))

    def _key(self, kind: str, text: str) -> str:
        """The kind is part of it: some models embed questions and passages differently."""
        return f"{self.model}\n{kind}\n{hashlib.sha256(text.encode()).hexdigest()}"
