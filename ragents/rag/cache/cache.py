"""RAGCache: typed layers over a backend of bytes, with statistics that count what really happened."""

import asyncio
import hashlib
import logging
import struct
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace

import numpy as np
import zstandard
from pydantic import TypeAdapter, ValidationError

from ragents.embeddings.types import Vectors
from ragents.rag.cache.flights import Flight, Flights
from ragents.rag.cache.types import LAYERS, CacheBackend, CacheConfig, CacheScope, Held, Layer, LayerStats
from ragents.rag.types import RAGResponse

log = logging.getLogger(__name__)

COMPRESS_ABOVE_BYTES = 512
MAX_VALUE_BYTES = 16 * 1024 * 1024
_RAW, _ZSTD = b"\x00", b"\x01"
_RESPONSE: TypeAdapter[RAGResponse] = TypeAdapter(RAGResponse)
_SHARED_TENANT = ""  # vectors depend on the text alone, not on who asks


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

    def __init__(self, config: CacheConfig, backend: CacheBackend) -> None:
        self.config = config
        self._backend = backend
        self._flights: Flights[RAGResponse] = Flights(backend, timeout_s=config.timeout_s)
        self.counted: dict[Layer, LayerCounts] = {layer: LayerCounts() for layer in LAYERS}
        """what this process looked up and dropped, for its metrics"""
        self.since = time.time()

    @property
    def backend(self) -> str:
        return self.config.backend

    @property
    def state(self) -> str | None:
        """What does not work; None when all does."""
        return self._backend.state

    async def initialize(self) -> None:
        """Nothing to open: a Redis that is not there yet is one that is away."""

    async def close(self) -> None:
        await self._backend.close()

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

    # Embeddings: the store that CachedEmbedder is handed

    async def get_many(self, keys: Sequence[str]) -> list[Vectors | None]:
        found = await self._get("embedding", [_key("embedding", _SHARED_TENANT, _digest(key)) for key in keys])
        vectors = [_unpack_vector(held.value) if held else None for held in found]
        self._count("embedding", vectors)
        return vectors

    async def put_many(self, vectors: Mapping[str, Vectors]) -> None:
        for key, vector in vectors.items():
            await self._set("embedding", _key("embedding", _SHARED_TENANT, _digest(key)), _pack_vector(vector))

    # Statistics and clearing

    async def stats(self, *, tenant: str | None = None) -> dict[Layer, LayerStats]:
        """Of one tenant (and of the embeddings, which all tenants share), or of all with None."""
        found = await asyncio.gather(*(self._backend.usage(_group(layer, tenant)) for layer in LAYERS))
        return {
            layer: LayerStats(use.hits, use.misses, use.entries, use.bytes, use.evictions)
            for layer, use in zip(LAYERS, found, strict=True)
        }

    async def clear(self, layer: Layer | None = None, *, tenant: str | None = None) -> dict[Layer, int]:
        """Entries removed per layer. BackendUnavailable when what is to be erased may still be there."""
        layers = LAYERS if layer is None else (layer,)
        return {each: await self._backend.clear(f"{_group(each, tenant)}:") for each in layers}

    # The ways in and out

    async def _get_response(self, layer: Layer, text: str, scope: CacheScope) -> CachedAnswer | None:
        key = _key(layer, scope.tenant, scope.key(layer, text))
        (held,) = await self._get(layer, [key])
        response = _read_response(held.value) if held else None
        self._count(layer, [response])
        if held is None:
            return None
        if response is None:
            await self._backend.reject(key)
            return None
        due = held.left_s < self.config.refresh_share * self.config.ttl_s(layer)
        return CachedAnswer(response, held.age_s, due)

    async def _set_response(self, layer: Layer, text: str, response: RAGResponse, scope: CacheScope) -> None:
        await self._set(layer, _key(layer, scope.tenant, scope.key(layer, text)), _RESPONSE.dump_json(response))

    async def _get(self, layer: Layer, keys: Sequence[str]) -> list[Held | None]:
        if self.config.ttl_s(layer) <= 0 or not keys:
            return [None] * len(keys)
        found = await self._backend.get_many(keys)
        return [replace(held, value=_unpack(held.value)) if held else None for held in found]

    async def _set(self, layer: Layer, key: str, value: bytes) -> None:
        ttl_s = self.config.ttl_s(layer)
        if ttl_s > 0 and len(value) <= MAX_VALUE_BYTES:
            packed = _pack(value, compress=self.config.enable_compression and layer != "embedding")
            for dropped in await self._backend.set(key, packed, ttl_s):
                self.counted[_layer_of(dropped)].evictions += 1

    def _count(self, layer: Layer, found: Sequence[object | None]) -> None:
        if self.config.enable_stats and self.config.ttl_s(layer) > 0:
            hits = sum(each is not None for each in found)
            self.counted[layer].hits += hits
            self.counted[layer].misses += len(found) - hits


def _group(layer: Layer, tenant: str | None) -> str:
    """A tenant's name is hashed, so that no name can reach into another's keys (a ":" in it, say)."""
    if tenant is None:
        return layer
    shared = _SHARED_TENANT if layer == "embedding" else tenant
    return f"{layer}:{_digest(shared)[:32]}"


def _key(layer: Layer, tenant: str, digest: str) -> str:
    return f"{_group(layer, tenant)}:{digest}"


def _layer_of(key: str) -> Layer:
    name = key.partition(":")[0]
    return next(layer for layer in LAYERS if layer == name)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _pack(value: bytes, *, compress: bool) -> bytes:
    if compress and len(value) > COMPRESS_ABOVE_BYTES:
        return _ZSTD + zstandard.ZstdCompressor(level=1).compress(value)
    return _RAW + value


def _unpack(packed: bytes) -> bytes:
    """Nothing, for what cannot be unpacked: no value is empty."""
    tag, body = packed[:1], packed[1:]
    if tag == _RAW:
        return body
    try:
        return zstandard.ZstdDecompressor().decompress(body, max_output_size=MAX_VALUE_BYTES) if tag == _ZSTD else b""
    except zstandard.ZstdError:
        log.warning("a cache entry could not be decompressed and is ignored")
        return b""


def _read_response(value: bytes) -> RAGResponse | None:
    try:
        return _RESPONSE.validate_json(value)
    except ValidationError:
        log.warning("a cache entry is not a response of this version and is ignored")
        return None


def _pack_vector(vector: Vectors) -> bytes:
    return struct.pack("<I", vector.shape[0]) + np.ascontiguousarray(vector, dtype="<f4").tobytes()


def _unpack_vector(value: bytes) -> Vectors | None:
    if len(value) < 4 or len(value) != 4 + 4 * struct.unpack_from("<I", value)[0]:
        return None
    return np.frombuffer(value, dtype="<f4", offset=4).astype(np.float32)
