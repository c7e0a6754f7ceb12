"""Connections for threads where the store's cannot be shared."""

from contextlib import AbstractAsyncContextManager

from ragents.agents.checkpointing.postgres.migrate import check_threads
from ragents.agents.checkpointing.types import CheckpointConfig
from ragents.postgres import Connections, open_connections


def open_thread_connections(config: CheckpointConfig, dsn: str) -> AbstractAsyncContextManager[Connections]:
    """A pool of its own. ConfigError without the schema, BackendUnavailable without the server."""
    return open_connections(
        dsn,
        component="checkpointer",
        pool_size=config.pool_size,
        connect_timeout_s=config.connect_timeout_s,
        acquire_timeout_s=config.acquire_timeout_s,
        statement_timeout_s=config.statement_timeout_s,
        pooler=config.pooler,
        check=check_threads,
    )
