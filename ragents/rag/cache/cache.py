"""RAGCache: typed layers over a backend of bytes, with statistics that count what really happened."""

import hashlib
import logging
import struct
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np
import zstandard
from pydantic import TypeAdapter, ValidationError

from ragents.embeddings.types import Vectors
from ragents.rag.cache.types import LAYERS, CacheBackend, CacheConfig, CacheScope, Layer, LayerStats
from ragents.rag.types import RAGResponse

log = logging.getLogger(__name__)
T = TypeVar("T")

COMPRESS_ABOVE_BYTES = 512
MAX_VALUE_BYTES = 16 * 1024 * 1024
_RAW, _ZSTD = b"\x00", b"\x01"
_RESPONSE: TypeAdapter[RAGResponse] = TypeAdapter(RAGResponse)
_SHARED_TENANT = ""  # vectors depend on the text alone, not on who asks


class RAGCache:
    """One cache for all layers. A value that cannot be read back is dropped and counted as a miss, never served."""

    def __init__(self, config: CacheConfig, backend: CacheBackend) -> None:
        self.config = config
        self._backend = backend
        self._lookups: defaultdict[tuple[str, Layer], list[int]] = defaultdict(lambda: [0, 0])  # hits, misses
        self.since = time.time()

    @property
    def backend(self) -> str:
        return self.config.backend

    async def initialize(self) -> None:
        """Nothing to open in memory; here so that callers need not know the backend."""

    async def close(self) -> None:
        await self._backend.close()

    # Retrieval and answers

    async def get_retrieval(self, query: str, top_k: int, *, scope: CacheScope | None = None) -> RAGResponse | None:
        return await self._get_response("retrieval", f"{top_k}\n{query}", scope or CacheScope())

    async def cache_retrieval(
        self, query: str, response: RAGResponse, top_k: int, *, scope: CacheScope | None = None
    ) -> None:
        await self._set_response("retrieval", f"{top_k}\n{query}", response, scope or CacheScope())

    async def get_answer(self, query: str, *, scope: CacheScope) -> RAGResponse | None:
        return await self._get_response("answer", query, scope)

    async def cache_answer(self, query: str, response: RAGResponse, *, scope: CacheScope) -> None:
        await self._set_response("answer", query, response, scope)

    # Embeddings: the store that CachedEmbedder is handed

    async def get_many(self, keys: Sequence[str]) -> list[Vectors | None]:
        values = [await self._get("embedding", _SHARED_TENANT, _digest(key)) for key in keys]
        vectors = [_unpack_vector(value) for value in values]
        for vector in vectors:
            self._count("embedding", _SHARED_TENANT, hit=vector is not None)
        return vectors

    async def put_many(self, vectors: Mapping[str, Vectors]) -> None:
        for key, vector in vectors.items():
            await self._set("embedding", _SHARED_TENANT, _digest(key), _pack_vector(vector))

    # Statistics and clearing

    def stats(self, *, tenant: str | None = None) -> dict[Layer, LayerStats]:
        """Of one tenant (and of the embeddings, which all tenants share), or of all with None."""
        return {layer: self._layer_stats(layer, tenant) for layer in LAYERS}

    async def clear(self, layer: Layer | None = None, *, tenant: str | None = None) -> dict[Layer, int]:
        """Entries removed per layer."""
        layers = LAYERS if layer is None else (layer,)
        return {each: await self._backend.clear(_prefix(each, tenant)) for each in layers}

    def _layer_stats(self, layer: Layer, tenant: str | None) -> LayerStats:
        counted = [
            c
            for (t, lay), c in self._lookups.items()
            if (lay == layer and tenant in (None, t)) or lay == layer == "embedding"
        ]
        usage = self._backend.usage(_prefix(layer, tenant))
        hits, misses = (sum(column) for column in zip(*counted, strict=True)) if counted else (0, 0)
        return LayerStats(hits, misses, usage.entries, usage.bytes, usage.evictions)

    # The ways in and out

    async def _get_response(self, layer: Layer, text: str, scope: CacheScope) -> RAGResponse | None:
        value = await self._get(layer, scope.tenant, scope.key(layer, text))
        response = _read_response(value)
        self._count(layer, scope.tenant, hit=response is not None)
        return response

    async def _set_response(self, layer: Layer, text: str, response: RAGResponse, scope: CacheScope) -> None:
        await self._set(layer, scope.tenant, scope.key(layer, text), _RESPONSE.dump_json(response))

    async def _get(self, layer: Layer, tenant: str, digest: str) -> bytes | None:
        if self.config.ttl_s(layer) <= 0:
            return None
        packed = await self._backend.get(_prefix(layer, tenant) + digest)
        return None if packed is None else _unpack(packed)

    async def _set(self, layer: Layer, tenant: str, digest: str, value: bytes) -> None:
        ttl_s = self.config.ttl_s(layer)
        if ttl_s > 0 and len(value) <= MAX_VALUE_BYTES:
            packed = _pack(value, compress=self.config.enable_compression and layer != "embedding")
            await self._backend.set(_prefix(layer, tenant) + digest, packed, ttl_s)

    def _count(self, layer: Layer, tenant: str, *, hit: bool) -> None:
        if self.config.enable_stats and self.config.ttl_s(layer) > 0:
            self._lookups[(tenant, layer)][0 if hit else 1] += 1


def _prefix(layer: Layer, tenant: str | None) -> str:
    """A tenant's name is hashed, so that no name can reach into another's keys (a ":" in it, say)."""
    if tenant is None:
        return f"{layer}:"
    shared = _SHARED_TENANT if layer == "embedding" else tenant
    return f"{layer}:{_digest(shared)[:32]}:"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _pack(value: bytes, *, compress: bool) -> bytes:
    if compress and len(value) > COMPRESS_ABOVE_BYTES:
        return _ZSTD + zstandard.ZstdCompressor(level=1).compress(value)
    return _RAW + value


def _unpack(packed: bytes) -> bytes | None:
    tag, body = packed[:1], packed[1:]
    if tag == _RAW:
        return body
    try:
        return zstandard.ZstdDecompressor().decompress(body, max_output_size=MAX_VALUE_BYTES) if tag == _ZSTD else None
    except zstandard.ZstdError:
        log.warning("a cache entry could not be decompressed and is ignored")
        return None


def _read_response(value: bytes | None) -> RAGResponse | None:
    if value is None:
        return None
    try:
        return _RESPONSE.validate_json(value)
    except ValidationError:
        log.warning("a cache entry is not a response of this version and is ignored")
        return None


def _pack_vector(vector: Vectors) -> bytes:
    return struct.pack("<I", vector.shape[0]) + np.ascontiguousarray(vector, dtype="<f4").tobytes()


def _unpack_vector(value: bytes | None) -> Vectors | None:
    if value is None or len(value) < 4 or len(value) != 4 + 4 * struct.unpack_from("<I", value)[0]:
        return None
    return np.frombuffer(value, dtype="<f4", offset=4).astype(np.float32)
