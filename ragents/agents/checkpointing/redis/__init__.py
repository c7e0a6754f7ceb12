"""Threads, leases, the tools' ledger and the log of runs on plain Redis."""

from ragents.agents.checkpointing.redis.leases import RedisLeases
from ragents.agents.checkpointing.redis.ledger import RedisLedger
from ragents.agents.checkpointing.redis.opening import memory_of, open_redis
from ragents.agents.checkpointing.redis.run_log import RedisRunLog
from ragents.agents.checkpointing.redis.saver import RedisCheckpointSaver
from ragents.agents.checkpointing.redis.scripts import Server

__all__ = ["RedisCheckpointSaver", "RedisLeases", "RedisLedger", "RedisRunLog", "Server", "memory_of", "open_redis"]
