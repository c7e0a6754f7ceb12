"""The cache: embeddings, retrievals and answers, each found again only by who may see it and while it is true."""

from ragents.rag.cache.cache import RAGCache
from ragents.rag.cache.memory import MemoryCache
from ragents.rag.cache.types import LAYERS, CacheBackend, CacheConfig, CacheScope, CacheUsage, Layer, LayerStats

__all__ = [
    "LAYERS",
    "CacheBackend",
    "CacheConfig",
    "CacheScope",
    "CacheUsage",
    "Layer",
    "LayerStats",
    "MemoryCache",
    "RAGCache",
    "get_cache",
]


def get_cache(config: CacheConfig) -> RAGCache:
    """A new cache; close it when done."""
    match config.backend:
        case "memory":
            return RAGCache(config, MemoryCache(int(config.max_cache_size_mb * 1024 * 1024)))
