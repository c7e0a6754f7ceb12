"""LangGraph's Postgres saver on a pool of ours, in a schema of its own, with strict deserialization."""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import psycopg
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import ChannelVersions, Checkpoint, CheckpointMetadata, CheckpointTuple
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from psycopg import sql
from psycopg.rows import DictRow, dict_row
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from ragents.agents.checkpointing.serializer import strict_serializer
from ragents.agents.checkpointing.types import CheckpointConfig
from ragents.errors import BackendUnavailable, ConfigError

log = logging.getLogger(__name__)

SCHEMA = "ragents_threads"
MIGRATION_LOCK = 7_210_431_002
MIGRATION_WAIT_S = 60.0
RECONNECT_TIMEOUT_S = 5.0


async def migrate_checkpoints(migrate_dsn: str, *, app_role: str) -> None:
    """Make or update the saver's tables and let `app_role` use them. Several processes may run it at once."""
    async with await psycopg.AsyncConnection.connect(
        migrate_dsn, autocommit=True, row_factory=dict_row, prepare_threshold=0
    ) as connection:
        await _lock(connection)
        schema, role = sql.Identifier(SCHEMA), sql.Identifier(app_role)
        await connection.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(schema))
        await connection.execute(sql.SQL("SET search_path TO {}").format(schema))
        await AsyncPostgresSaver(connection).setup()
        await connection.execute(sql.SQL("GRANT USAGE ON SCHEMA {} TO {}").format(schema, role))
        await connection.execute(
            sql.SQL("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {} TO {}").format(schema, role)
        )


async def _lock(connection: psycopg.AsyncConnection[DictRow]) -> None:
    """Polls: a session waiting in pg_advisory_lock holds a snapshot, and CREATE INDEX CONCURRENTLY waits for it."""
    async with asyncio.timeout(MIGRATION_WAIT_S):
        while True:
            cursor = await connection.execute("SELECT pg_try_advisory_lock(%s) AS locked", (MIGRATION_LOCK,))
            row = await cursor.fetchone()
            if row is not None and row["locked"]:
                return
            await asyncio.sleep(0.1)


class BoundedPostgresSaver(AsyncPostgresSaver):
    """LangGraph's saver with a bound on every wait, and one kind of error.

    psycopg waits for a server that hangs as long as it hangs; the server's own statement_timeout does not help then.
    """

    def __init__(
        self,
        pool: AsyncConnectionPool[psycopg.AsyncConnection[DictRow]],
        *,
        serde: JsonPlusSerializer,
        timeout_s: float,
    ) -> None:
        super().__init__(pool, serde=serde)
        self._timeout_s = timeout_s

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        async with self._bounded():
            return await super().aget_tuple(config)

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        async with self._bounded():
            return await super().aput(config, checkpoint, metadata, new_versions)

    async def aput_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        async with self._bounded():
            await super().aput_writes(config, writes, task_id, task_path)

    @asynccontextmanager
    async def _bounded(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self._timeout_s):
                yield
        except TimeoutError as error:
            raise BackendUnavailable("checkpointer", f"no answer within {self._timeout_s:g} s") from error
        except (psycopg.OperationalError, PoolTimeout) as error:
            log.warning("checkpointer: %s: %s", type(error).__name__, error)
            raise BackendUnavailable("checkpointer", f"it cannot be reached ({type(error).__name__})") from error


@asynccontextmanager
async def open_postgres_saver(config: CheckpointConfig, dsn: str) -> AsyncIterator[BoundedPostgresSaver]:
    """The saver for the role of `dsn`. ConfigError without its tables, BackendUnavailable without the server."""
    pool: AsyncConnectionPool[psycopg.AsyncConnection[DictRow]] = AsyncConnectionPool(
        dsn,
        min_size=1,
        max_size=config.pool_size,
        timeout=config.connect_timeout_s,
        reconnect_timeout=RECONNECT_TIMEOUT_S,
        # A connection that died while idle is replaced before it is handed out.
        check=AsyncConnectionPool.check_connection,
        open=False,
        kwargs={
            "autocommit": True,
            "prepare_threshold": 0,
            "row_factory": dict_row,
            "connect_timeout": int(config.connect_timeout_s),
            "options": f"-csearch_path={SCHEMA} -cstatement_timeout={int(config.statement_timeout_s * 1000)}",
        },
    )
    try:
        await pool.open(wait=True, timeout=config.connect_timeout_s)
    except PoolTimeout as error:
        await pool.close()
        raise BackendUnavailable(
            "checkpointer", f"no connection to Postgres within {config.connect_timeout_s} s"
        ) from error
    try:
        await _check_tables(pool)
        yield BoundedPostgresSaver(pool, serde=strict_serializer(), timeout_s=config.statement_timeout_s)
    finally:
        await pool.close()


async def _check_tables(pool: AsyncConnectionPool[psycopg.AsyncConnection[DictRow]]) -> None:
    async with pool.connection() as connection:
        cursor = await connection.execute("SELECT to_regclass('checkpoints') IS NOT NULL AS present")
        row = await cursor.fetchone()
    if row is None or not row["present"]:
        raise ConfigError("the tables for conversation threads are missing; run: ragents db migrate")
