"""The cache: embeddings, retrievals and answers, each found again only by who may see it and while it is true."""

from ragents.rag.cache.cache import CachedAnswer, RAGCache
from ragents.rag.cache.memory import MemoryCache
from ragents.rag.cache.types import LAYERS, CacheBackend, CacheConfig, CacheScope, CacheUsage, Layer, LayerStats

__all__ = [
    "LAYERS",
    "CacheBackend",
    "CacheConfig",
    "CacheScope",
    "CacheUsage",
    "CachedAnswer",
    "Layer",
    "LayerStats",
    "MemoryCache",
    "RAGCache",
    "get_cache",
]


def get_cache(config: CacheConfig) -> RAGCache:
    """A new cache; close it when done."""
    match config.backend:
        case "redis":
            from ragents.rag.cache.redis import RedisCache  # noqa: PLC0415  # a process loads what it uses

            return RAGCache(config, RedisCache(config))
        case "memory":
            return RAGCache(config, MemoryCache(int(config.max_cache_size_mb * 1024 * 1024)))
