"""The cache: embeddings, retrievals and answers, each found again only by who may see it and while it is true."""

from ragents.rag.cache.cache import CachedAnswer, ChunkVectors, RAGCache
from ragents.rag.cache.memory import MemoryCache
from ragents.rag.cache.types import (
    LAYERS,
    OF_DOCUMENTS,
    CacheBackend,
    CacheConfig,
    CacheScope,
    CacheUsage,
    Layer,
    LayerStats,
    rewrite_scope,
)
from ragents.rag.cache.version import code_version

__all__ = [
    "LAYERS",
    "OF_DOCUMENTS",
    "CacheBackend",
    "CacheConfig",
    "CacheScope",
    "CacheUsage",
    "CachedAnswer",
    "ChunkVectors",
    "Layer",
    "LayerStats",
    "MemoryCache",
    "RAGCache",
    "get_cache",
    "rewrite_scope",
]


def get_cache(config: CacheConfig) -> RAGCache:
    """A new cache; close it when done."""
    code_version()  # read before the first question comes
    match config.backend:
        case "redis":
            from ragents.rag.cache.redis import RedisCache  # noqa: PLC0415  # a process loads what it uses

            if config.chunk_ttl <= 0:
                return RAGCache(config, RedisCache(config))
            for_chunks = {
                "namespace": f"{config.namespace}-chunks",
                "max_cache_size_mb": config.max_cache_size_mb * config.chunk_share,
            }
            rest = {"max_cache_size_mb": config.max_cache_size_mb * (1 - config.chunk_share)}
            return RAGCache(
                config,
                RedisCache(config.model_copy(update=rest)),
                chunks=RedisCache(config.model_copy(update=for_chunks)),
            )
        case "memory":
            return RAGCache(config, MemoryCache(int(config.max_cache_size_mb * 1024 * 1024)))
