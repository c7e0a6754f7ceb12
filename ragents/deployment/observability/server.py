"""Metrics of the process and its neighbours: workers, memory, disk, connections, the Redis of state, the backup.

A gauge without labels is on /metrics, as 0, from the moment it is made. Those of things that a server may lack are
made when the thing is first looked at, so that its absence is no value.
"""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from prometheus_client import Counter, Gauge

from ragents.agents.checkpointing.types import StateMemory
from ragents.deployment.observability.machine import Room, container_memory, process_memory
from ragents.postgres import PoolUse


class ServerMetrics:
    """Gauges that `sampling` fills. Ratios are 0..1."""

    def __init__(self) -> None:
        self._starts = Counter("rag_worker_starts_total", "Workers started, the first ones included")
        self._pool = Gauge(
            "rag_db_pool_connections",
            "Connections to Postgres; unopened ones are opened when they are needed",
            ["state"],
            multiprocess_mode="livesum",
        )
        self._pool_use = Gauge(
            "rag_db_pool_usage_ratio", "Of the fullest pool of any worker", multiprocess_mode="livemax"
        )
        self._container = container_memory()
        # In a container its own account holds for all workers together; else each worker knows its own part.
        self._memory = Gauge(
            "rag_memory_used_bytes",
            "Memory in use",
            multiprocess_mode="livesum" if self._container is None else "livemax",
        )
        self._memory_limit = Gauge(
            "rag_memory_limit_bytes", "The container's limit, or the machine's memory", multiprocess_mode="livemax"
        )

    def started(self) -> None:
        self._starts.inc()

    def memory(self) -> None:
        room = (self._container.room() if self._container else None) or process_memory()
        self._memory.set(room.used)
        self._memory_limit.set(room.size)

    def pools(self, pools: Sequence[PoolUse]) -> None:
        in_use, idle = sum(each.in_use for each in pools), sum(each.idle for each in pools)
        self._pool.labels("in_use").set(in_use)
        self._pool.labels("idle").set(idle)
        self._pool.labels("unopened").set(sum(each.most for each in pools) - in_use - idle)
        self._pool_use.set(max((each.in_use / each.most for each in pools), default=0.0))

    def disk(self, room: Room) -> None:
        used, size = self._disk
        used.set(room.used)
        size.set(room.size)

    def state_redis(self, memory: StateMemory) -> None:
        evicted, may_evict, ratio = self._state_redis
        evicted.set(memory.evicted_keys)
        may_evict.set(memory.may_evict)
        ratio.set(memory.fullest)

    def backup(self, stamp: Path) -> None:
        """The time of the stamp; 0 when it is not there: no backup has succeeded yet."""
        try:
            self._backup.set(stamp.stat().st_mtime)
        except OSError:
            self._backup.set(0.0)

    @cached_property
    def _disk(self) -> tuple[Gauge, Gauge]:
        return (
            Gauge("rag_disk_used_bytes", "Of the embedded Postgres's disk", multiprocess_mode="livemax"),
            Gauge("rag_disk_size_bytes", "Size of that disk", multiprocess_mode="livemax"),
        )

    @cached_property
    def _state_redis(self) -> tuple[Gauge, Gauge, Gauge]:
        return (
            Gauge("rag_state_redis_evicted_keys", "Keys the Redis of threads threw away", multiprocess_mode="livemax"),
            Gauge(
                "rag_state_redis_may_evict", "1: its settings let it throw threads away", multiprocess_mode="livemax"
            ),
            Gauge("rag_state_redis_memory_ratio", "Of maxmemory; 0 without one", multiprocess_mode="livemax"),
        )

    @cached_property
    def _backup(self) -> Gauge:
        return Gauge(
            "rag_backup_last_success_timestamp_seconds",
            "When observability.backup_stamp was last touched; 0 without it",
            multiprocess_mode="livemax",
        )
