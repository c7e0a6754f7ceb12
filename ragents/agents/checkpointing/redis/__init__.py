"""Threads, leases and the tools' ledger on plain Redis."""

from ragents.agents.checkpointing.redis.leases import RedisLeases
from ragents.agents.checkpointing.redis.ledger import RedisLedger
from ragents.agents.checkpointing.redis.opening import open_redis
from ragents.agents.checkpointing.redis.saver import RedisCheckpointSaver
from ragents.agents.checkpointing.redis.scripts import Server

__all__ = ["RedisCheckpointSaver", "RedisLeases", "RedisLedger", "Server", "open_redis"]
