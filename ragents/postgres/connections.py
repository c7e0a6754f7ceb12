"""Connections: a pool whose every use ends in time, with one kind of error."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import asyncpg

from ragents.errors import BackendUnavailable, ConfigError, StoreUnavailable

log = logging.getLogger(__name__)

CLOSE_TIMEOUT_S = 5.0
RETRY_AFTER_S = 5.0
GRACE_S = 0.5
"""After the server's own statement_timeout, which gives the better error."""

SPILL = "SELECT count(*) FROM generate_series(1, 60000)"

UNREACHABLE = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # a connection that was cut while asyncpg prepared it (seen with 0.32)
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.TooManyConnectionsError,
    asyncpg.QueryCanceledError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.DiskFullError,
    asyncpg.ObjectNotInPrerequisiteStateError,  # a database that accepts no connections (ALLOW_CONNECTIONS false)
    asyncpg.ReadOnlySQLTransactionError,  # after a fail-over: this server is a replica now
)


@dataclass(frozen=True, slots=True)
class PoolUse:
    """Connections of a pool: in use, open and idle, and how many there may be."""

    in_use: int
    idle: int
    most: int


class Connections:
    """Made by `open_connections`. `component` names who is unavailable; `called` gives the same pool another name."""

    def __init__(
        self, pool: asyncpg.Pool, *, component: str, acquire_timeout_s: float, statement_timeout_s: float
    ) -> None:
        self._pool = pool
        self.component = component
        self.acquire_timeout_s = acquire_timeout_s
        self.statement_timeout_s = statement_timeout_s

    def called(self, component: str) -> "Connections":
        return Connections(
            self._pool,
            component=component,
            acquire_timeout_s=self.acquire_timeout_s,
            statement_timeout_s=self.statement_timeout_s,
        )

    def shares_pool_with(self, other: "Connections") -> bool:
        return self._pool is other._pool

    @property
    def pool_use(self) -> PoolUse:
        idle = self._pool.get_idle_size()
        return PoolUse(self._pool.get_size() - idle, idle, self._pool.get_max_size())

    @asynccontextmanager
    async def use(self, limit_s: float | None = None) -> AsyncIterator[asyncpg.Connection]:
        """A connection, for a bounded time. What says "not reachable" becomes BackendUnavailable, here only.

        A server that hangs answers neither the statement nor its cancelling nor a ROLLBACK: when the time is over the
        connection is cut on our side, and everything that waits for it fails at once.
        """
        limit_s = self.statement_timeout_s if limit_s is None else limit_s
        try:
            async with self._pool.acquire(timeout=self.acquire_timeout_s) as db:
                watchdog = asyncio.get_running_loop().call_later(limit_s + GRACE_S, db.terminate)
                try:
                    yield db
                except asyncpg.ReadOnlySQLTransactionError:
                    # A demoted primary: the pool must not hand this connection out again.
                    db.terminate()
                    raise
                finally:
                    watchdog.cancel()
        except UNREACHABLE as error:
            log.warning("%s: %s: %s", self.component, type(error).__name__, error)
            raise self._unavailable(error) from error

    async def check_disk(self) -> None:
        """BackendUnavailable while Postgres has no room: reading goes on then, so nothing else tells before a question.

        A list of numbers that is too large for its memory is written to the server's disk and thrown away: 103 blocks
        of 8 KB, no rights, no rows, no WAL. A server with `temp_tablespaces` writes them there instead.
        """
        async with self.use() as db, db.transaction(readonly=True):
            await db.execute("SET LOCAL work_mem = '64kB'")
            await db.execute(SPILL)

    def _unavailable(self, error: BaseException) -> BackendUnavailable:
        if self.component == "store":
            return StoreUnavailable(reason_of(error), retry_after_s=RETRY_AFTER_S)
        return BackendUnavailable(self.component, reason_of(error), retry_after_s=RETRY_AFTER_S)

    async def close(self) -> None:
        """Waits for what is running, then cuts off what goes on too long."""
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await self._pool.close()
        except TimeoutError:
            self._pool.terminate()


@asynccontextmanager
async def open_connections(
    dsn: str,
    *,
    component: str,
    pool_size: int,
    connect_timeout_s: float,
    acquire_timeout_s: float,
    statement_timeout_s: float,
    pooler: bool = False,
    check: Callable[[asyncpg.Connection], Awaitable[Callable[[asyncpg.Connection], Awaitable[None]] | None]],
    settings: dict[str, str] | None = None,
) -> AsyncIterator[Connections]:
    """A pool for `dsn`, once `check` has passed on a connection of its own; `check` may return what prepares each one.

    `pooler`: the address is PgBouncer's in transaction mode, which takes no start-up parameters and no prepared
    statements that outlive a transaction. BackendUnavailable without the server, ConfigError for a refused login.
    """
    try:
        checked = await asyncpg.connect(dsn, timeout=connect_timeout_s, statement_cache_size=0 if pooler else 100)
    except (asyncpg.InvalidCatalogNameError, asyncpg.InvalidAuthorizationSpecificationError) as error:
        raise ConfigError(
            f"the DSN of the {component} is refused by Postgres: {error}; correct user, password or database"
        ) from error
    except (OSError, TimeoutError, asyncpg.PostgresError) as error:
        reason = f"no connection to Postgres ({reason_of(error)})"
        unavailable = StoreUnavailable(reason) if component == "store" else BackendUnavailable(component, reason)
        raise unavailable from error
    try:
        prepare = await check(checked)
    finally:
        await checked.close(timeout=connect_timeout_s)
    parameters = {
        "statement_timeout": str(int(statement_timeout_s * 1000)),
        "application_name": "ragents",
        **(settings or {}),
    }
    pool = await asyncpg.create_pool(
        dsn,
        min_size=0,  # with a floor asyncpg logs a trace for every second of an outage
        max_size=pool_size,
        timeout=connect_timeout_s,
        max_inactive_connection_lifetime=300,
        init=prepare,
        reset=_keep,
        statement_cache_size=0 if pooler else 100,
        server_settings=None if pooler else parameters,
    )
    connections = Connections(
        pool, component=component, acquire_timeout_s=acquire_timeout_s, statement_timeout_s=statement_timeout_s
    )
    try:
        yield connections
    finally:
        await connections.close()


async def _keep(connection: asyncpg.Connection) -> None:
    """No reset when a connection comes back: every setting here is local to its transaction, and it saves a trip."""


def reason_of(error: BaseException) -> str:
    """For callers: what kind of failure, without addresses."""
    match error:
        case TimeoutError() | asyncpg.QueryCanceledError() | asyncpg.ConnectionDoesNotExistError():
            return "it did not answer in time"
        case asyncpg.TooManyConnectionsError():
            return "it has no free connection"
        case asyncpg.DiskFullError():
            return "its disk is full; free some space there"
        case asyncpg.ReadOnlySQLTransactionError():
            return "it is read-only; a fail-over may be under way"
        case _:
            return f"it cannot be reached ({type(error).__name__})"
