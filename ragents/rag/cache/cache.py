"""RAGCache: typed layers over a backend of bytes, with statistics that count what really happened."""

import asyncio
import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from typing import TypeVar

from ragents.embeddings.types import Vectors
from ragents.llm.asked import TENANT
from ragents.rag.cache.flights import Flight, Flights
from ragents.rag.cache.packing import (
    MAX_VALUE_BYTES,
    pack,
    read_response,
    read_texts,
    read_vector,
    unpack,
    write_response,
    write_texts,
    write_vector,
)
from ragents.rag.cache.types import LAYERS, CacheBackend, CacheConfig, CacheScope, Held, Layer, LayerStats
from ragents.rag.types import RAGResponse

T = TypeVar("T")


@dataclass(slots=True)
class LayerCounts:
    """Of this process, since it began."""

    hits: int = 0
    misses: int = 0
    evictions: int = 0


@dataclass(frozen=True, slots=True)
class CachedAnswer:
    """`due`: it lives on for a short time only, and one caller should compute it afresh."""

    response: RAGResponse
    age_s: float
    due: bool = False


class RAGCache:
    """One cache for all layers. A value that cannot be read back is dropped and counted as a miss, never served.

    A cache that is broken misses; it costs a request `timeout_s` at most, and fails none.
    """

    def __init__(self, config: CacheConfig, backend: CacheBackend, *, chunks: CacheBackend | None = None) -> None:
        """`chunks`: where the vectors of documents are kept, for they would push out what questions need."""
        self.config = config
        self._backend = backend
        self._chunks = chunks or backend
        self._flights: Flights[RAGResponse] = Flights(backend, timeout_s=config.timeout_s)
        self.counted: dict[Layer, LayerCounts] = {layer: LayerCounts() for layer in LAYERS}
        """what this process looked up and dropped, for its metrics"""
        self.since = time.time()

    @property
    def backend(self) -> str:
        return self.config.backend

    @property
    def shared(self) -> bool:
        """Whether other processes find what this one keeps."""
        return self.config.backend == "redis"

    @property
    def joined(self) -> int:
        """Questions that this process told the answer to an equal one: misses of the look-up, and no work."""
        return self._flights.joined

    @property
    def state(self) -> str | None:
        """What does not work; None when all does."""
        return self._backend.state

    async def initialize(self) -> None:
        """Nothing to open: a Redis that is not there yet is one that is away."""

    async def close(self) -> None:
        await self._backend.close()
        if self._chunks is not self._backend:
            await self._chunks.close()

    # Retrieval and answers

    async def get_retrieval(self, query: str, top_k: int, *, scope: CacheScope | None = None) -> RAGResponse | None:
        found = await self._get_response("retrieval", f"{top_k}\n{query}", scope or CacheScope())
        return found.response if found else None

    async def cache_retrieval(
        self, query: str, response: RAGResponse, top_k: int, *, scope: CacheScope | None = None
    ) -> None:
        await self._set_response("retrieval", f"{top_k}\n{query}", response, scope or CacheScope())

    async def get_answer(self, query: str, *, scope: CacheScope) -> CachedAnswer | None:
        """`due` in the last `refresh_share` of its time."""
        return await self._get_response("answer", query, scope)

    async def cache_answer(self, query: str, response: RAGResponse, *, scope: CacheScope) -> None:
        await self._set_response("answer", query, response, scope)

    def alone(
        self, query: str, *, scope: CacheScope, wait_s: float
    ) -> AbstractAsyncContextManager[Flight[RAGResponse]]:
        """Of equal questions at once, in whatever process, one is first (see Flights)."""
        return self._flights.alone(scope.key("answer", query), wait_s=wait_s)

    # What a model made of a question

    async def get_rewrite(self, question: str, *, scope: CacheScope) -> tuple[str, ...] | None:
        """`scope`: see rewrite_scope."""
        found = await self._get_value("query_rewrite", question, scope, read_texts)
        return found[0] if found else None

    async def cache_rewrite(self, question: str, rewritten: Sequence[str], *, scope: CacheScope) -> None:
        await self._set("query_rewrite", self._key_of("query_rewrite", question, scope), write_texts(tuple(rewritten)))

    # Embeddings: the store that CachedEmbedder is handed. A vector depends on no tenant, but how soon it is there would
    # tell one what another has asked: each finds its own. What is embedded on nobody's behalf (`asked_by`) is not kept.

    async def get_many(self, keys: Sequence[str]) -> list[Vectors | None]:
        tenant = TENANT.get()
        return await self._get_vectors("embedding", tenant, keys) if tenant else [None] * len(keys)

    async def put_many(self, vectors: Mapping[str, Vectors]) -> None:
        if tenant := TENANT.get():
            await self._set_vectors("embedding", tenant, vectors)

    def chunk_vectors(self, tenant: str) -> "ChunkVectors":
        """What an ingestion of this tenant is handed."""
        return ChunkVectors(self, tenant)

    # Statistics and clearing

    async def stats(self, *, tenant: str | None = None) -> dict[Layer, LayerStats]:
        """Of one tenant, or of all with None.

        A layer whose backend does not answer is left out.
        """
        found = await asyncio.gather(*(self._backend_of(layer).usage(_group(layer, tenant)) for layer in LAYERS))
        return {
            layer: LayerStats(use.hits, use.misses, use.entries, use.bytes, use.evictions, use.age_s)
            for layer, use in zip(LAYERS, found, strict=True)
            if use is not None
        }

    async def clear(self, layer: Layer | None = None, *, tenant: str | None = None) -> dict[Layer, int]:
        """Entries removed per layer. BackendUnavailable when what is to be erased may still be there."""
        layers = LAYERS if layer is None else (layer,)
        return {each: await self._backend_of(each).clear(f"{_group(each, tenant)}:") for each in layers}

    # The ways in and out

    async def _get_response(self, layer: Layer, text: str, scope: CacheScope) -> CachedAnswer | None:
        found = await self._get_value(layer, text, scope, read_response)
        if found is None:
            return None
        response, held = found
        due = held.left_s < self.config.refresh_share * self.config.ttl_s(layer)
        return CachedAnswer(response, held.age_s, due)

    async def _set_response(self, layer: Layer, text: str, response: RAGResponse, scope: CacheScope) -> None:
        await self._set(layer, self._key_of(layer, text, scope), write_response(response))

    async def _get_value(
        self, layer: Layer, text: str, scope: CacheScope, read: Callable[[bytes], T | None]
    ) -> tuple[T, Held] | None:
        key = self._key_of(layer, text, scope)
        (held,) = await self._get(layer, [key])
        value = read(held.value) if held else None
        self._count(layer, [value])
        if held is None:
            return None
        if value is None:
            await self._backend.reject(key)
            return None
        return value, held

    async def _get_vectors(self, layer: Layer, tenant: str, keys: Sequence[str]) -> list[Vectors | None]:
        found = await self._get(layer, [_key(layer, tenant, _digest(key)) for key in keys])
        vectors = [read_vector(held.value) if held else None for held in found]
        self._count(layer, vectors)
        return vectors

    async def _set_vectors(self, layer: Layer, tenant: str, vectors: Mapping[str, Vectors]) -> None:
        for key, vector in vectors.items():
            await self._set(layer, _key(layer, tenant, _digest(key)), write_vector(vector))

    async def _get(self, layer: Layer, keys: Sequence[str]) -> list[Held | None]:
        if self.config.ttl_s(layer) <= 0 or not keys:
            return [None] * len(keys)
        found = await self._backend_of(layer).get_many(keys)
        return [replace(held, value=unpack(held.value)) if held else None for held in found]

    async def _set(self, layer: Layer, key: str, value: bytes) -> None:
        ttl_s = self.config.ttl_s(layer)
        if ttl_s > 0 and len(value) <= MAX_VALUE_BYTES:
            packed = pack(value, compress=self.config.enable_compression and layer not in ("embedding", "chunk"))
            for dropped in await self._backend_of(layer).set(key, packed, ttl_s):
                self.counted[_layer_of(dropped)].evictions += 1

    def _backend_of(self, layer: Layer) -> CacheBackend:
        return self._chunks if layer == "chunk" else self._backend

    @staticmethod
    def _key_of(layer: Layer, text: str, scope: CacheScope) -> str:
        return _key(layer, scope.tenant, scope.key(layer, text))

    def _count(self, layer: Layer, found: Sequence[object | None]) -> None:
        if self.config.enable_stats and self.config.ttl_s(layer) > 0:
            hits = sum(each is not None for each in found)
            self.counted[layer].hits += hits
            self.counted[layer].misses += len(found) - hits


@dataclass(frozen=True, slots=True)
class ChunkVectors:
    """Vectors of the chunks of one tenant's documents, by what the encoder saw of them.

    Of one tenant, like all layers: how long an ingestion takes would tell what others have stored.
    """

    cache: RAGCache
    tenant: str

    async def get_many(self, keys: Sequence[str]) -> list[Vectors | None]:
        return await self.cache._get_vectors("chunk", self.tenant, keys)

    async def put_many(self, vectors: Mapping[str, Vectors]) -> None:
        await self.cache._set_vectors("chunk", self.tenant, vectors)

    async def clear(self) -> None:
        """BackendUnavailable when what is there may still be there."""
        await self.cache.clear("chunk", tenant=self.tenant)


def _group(layer: Layer, tenant: str | None) -> str:
    """A tenant's name is hashed, so that no name can reach into another's keys (a ":" in it, say)."""
    if tenant is None:
        return layer
    return f"{layer}:{_digest(tenant)[:32]}"


def _key(layer: Layer, tenant: str, digest: str) -> str:
    return f"{_group(layer, tenant)}:{digest}"


def _layer_of(key: str) -> Layer:
    name = key.partition(":")[0]
    return next(layer for layer in LAYERS if layer == name)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
