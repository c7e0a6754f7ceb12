"""The cache on Redis, shared by all processes that are given the same one."""

from ragents.rag.cache.redis.backend import RedisCache

__all__ = ["RedisCache"]
