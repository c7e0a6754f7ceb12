"""Threads on Postgres, on asyncpg: saver, leases, ledger and the log of runs share one pool and one schema."""

from ragents.agents.checkpointing.postgres.migrate import migrate_threads
from ragents.agents.checkpointing.postgres.opening import open_thread_connections
from ragents.agents.checkpointing.postgres.run_log import PostgresRunLog
from ragents.agents.checkpointing.postgres.saver import PostgresCheckpointSaver
from ragents.agents.checkpointing.postgres.threads import PostgresLeases, PostgresLedger, sweeping

__all__ = [
    "PostgresCheckpointSaver",
    "PostgresLeases",
    "PostgresLedger",
    "PostgresRunLog",
    "migrate_threads",
    "open_thread_connections",
    "sweeping",
]
