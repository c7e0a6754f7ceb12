"""CachedEmbedder computes what is missing, once."""

from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from ragents.embeddings.cached import CachedEmbedder
from ragents.embeddings.hashing import HashingEmbedder
from ragents.embeddings.types import Vectors


class CountingEmbedder(HashingEmbedder):
    def __init__(self, *, dimension: int = 8) -> None:
        super().__init__(dimension=dimension)
        self.asked: list[str] = []

    async def embed_documents(self, texts: Sequence[str]) -> Vectors:
        self.asked += texts
        return await super().embed_documents(texts)

    async def embed_query(self, text: str) -> Vectors:
        self.asked.append(text)
        return await super().embed_query(text)


class DictCache:
    def __init__(self) -> None:
        self.held: dict[str, Vectors] = {}
        self.looked_up: list[str] = []

    async def get_many(self, keys: Sequence[str]) -> list[Vectors | None]:
        self.looked_up += keys
        return [self.held.get(key) for key in keys]

    async def put_many(self, vectors: Mapping[str, Vectors]) -> None:
        self.held.update(vectors)


@pytest.fixture
def inner() -> CountingEmbedder:
    return CountingEmbedder()


@pytest.fixture
def cache() -> DictCache:
    return DictCache()


async def test_a_cached_vector_of_another_shape_is_computed_again(inner: CountingEmbedder, cache: DictCache) -> None:
    embedder = CachedEmbedder(inner, cache)
    await embedder.embed_documents(["a"])
    cache.held = {key: np.ones(3, np.float32) for key in cache.held}
    assert (await embedder.embed_documents(["a"])).shape == (1, 8)
    assert inner.asked == ["a", "a"]


async def test_only_missing_texts_are_computed_and_each_once(inner: CountingEmbedder, cache: DictCache) -> None:
    embedder = CachedEmbedder(inner, cache)
    first = await embedder.embed_documents(["a", "b", "a"])
    second = await embedder.embed_documents(["b", "c", "a"])
    assert inner.asked == ["a", "b", "c"]
    assert np.array_equal(first, await HashingEmbedder(dimension=8).embed_documents(["a", "b", "a"]))
    assert np.array_equal(second, await HashingEmbedder(dimension=8).embed_documents(["b", "c", "a"]))


async def test_a_repeated_text_is_looked_up_once_so_that_hits_count_right(
    inner: CountingEmbedder, cache: DictCache
) -> None:
    await CachedEmbedder(inner, cache).embed_documents(["a", "a", "a"])
    assert len(cache.looked_up) == 1


async def test_a_query_is_found_again_but_not_as_a_document(inner: CountingEmbedder, cache: DictCache) -> None:
    embedder = CachedEmbedder(inner, cache)
    first = await embedder.embed_query("a")
    assert np.array_equal(await embedder.embed_query("a"), first)
    await embedder.embed_documents(["a"])
    assert inner.asked == ["a", "a"]


async def test_two_models_never_share_a_vector(inner: CountingEmbedder, cache: DictCache) -> None:
    other = CountingEmbedder(dimension=16)
    await CachedEmbedder(inner, cache).embed_query("a")
    await CachedEmbedder(other, cache).embed_query("a")
    assert other.asked == ["a"]


async def test_no_key_shows_the_text(inner: CountingEmbedder, cache: DictCache) -> None:
    await CachedEmbedder(inner, cache).embed_query("salary of the director")
    assert not [key for key in cache.held if "salary" in key]
