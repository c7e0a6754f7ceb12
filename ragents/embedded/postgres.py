"""open_postgres: a local Postgres with pgvector that any number of processes share and the last one stops."""

import asyncio
import fcntl
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import asyncpg

from ragents.embedded.cluster import Cluster, last_log_line, locate, prepare
from ragents.errors import StoreUnavailable

DATABASE = "ragents"
SUPERVISOR = Path(__file__).with_name("supervisor.py")
POLL_S = 0.05
CONNECT_TIMEOUT_S = 5.0


@asynccontextmanager
async def open_postgres(data_dir: Path, *, start_timeout_s: float = 60.0) -> AsyncIterator[str]:
    """The DSN of its superuser: `postgresql://postgres@/ragents?host=SOCKET_DIRECTORY`, for asyncpg and psycopg.

    ConfigError when this machine cannot run it (disk, platform, another version's data); StoreUnavailable when it does
    not come up in time. The first start makes the cluster in `data_dir`.
    """
    cluster = await asyncio.to_thread(locate, data_dir)
    deadline = time.monotonic() + start_timeout_s
    users = await _hold_users_lock(cluster, deadline)
    try:
        await asyncio.to_thread(_ensure_started, cluster, deadline)
        await _wait_until_it_answers(cluster, deadline)
        yield f"postgresql://postgres@/{DATABASE}?host={cluster.sockets}"
    finally:
        os.close(users)  # lets go of the lock; a kill -9 does the same


async def _hold_users_lock(cluster: Cluster, deadline: float) -> int:
    """Shared, for as long as this user lives. It waits while a supervisor that saw no user is stopping the server."""
    handle = os.open(cluster.base / "users.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise StoreUnavailable("the embedded Postgres is still stopping; try again") from None
                await asyncio.sleep(POLL_S)
            else:
                return handle
    except BaseException:
        os.close(handle)
        raise


def _ensure_started(cluster: Cluster, deadline: float) -> None:
    """Under the start lock, so that one of several openers makes the cluster and starts the supervisor."""
    with (cluster.base / "start.lock").open("w") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise StoreUnavailable("another process is still starting the embedded Postgres") from None
                time.sleep(POLL_S)
        prepare(cluster)
        if not _supervised(cluster):
            _start_supervisor(cluster)
            while not _supervised(cluster) and time.monotonic() < deadline:
                time.sleep(POLL_S)


def _supervised(cluster: Cluster) -> bool:
    with (cluster.base / "supervisor.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


def _start_supervisor(cluster: Cluster) -> None:
    settings = {
        "command": cluster.command(),
        "directory": str(cluster.data),
        "users_lock": str(cluster.base / "users.lock"),
        "supervisor_lock": str(cluster.base / "supervisor.lock"),
        "pid_file": str(cluster.data / "postmaster.pid"),
        "log": str(cluster.log),
        "uid": cluster.account.uid if cluster.account else None,
        "gid": cluster.account.gid if cluster.account else None,
    }
    with cluster.log.open("ab") as log:
        subprocess.Popen(  # noqa: S603  # our own program
            [sys.executable, "-I", "-S", str(SUPERVISOR), json.dumps(settings)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            start_new_session=True,  # ctrl-C and a kill of the service's process group pass it by
        )


async def _wait_until_it_answers(cluster: Cluster, deadline: float) -> None:
    while True:
        try:
            return await _make_database(cluster)
        except (OSError, asyncpg.PostgresError, TimeoutError) as error:
            gone = not await asyncio.to_thread(_supervised, cluster)
            if gone or time.monotonic() > deadline:
                line = await asyncio.to_thread(last_log_line, cluster.log)
                raise StoreUnavailable(
                    f"the embedded Postgres did not start ({line}); its log is {cluster.log}"
                ) from error
            await asyncio.sleep(POLL_S)


async def _make_database(cluster: Cluster) -> None:
    connection = await asyncpg.connect(
        user="postgres", database="postgres", host=str(cluster.sockets), timeout=CONNECT_TIMEOUT_S
    )
    try:
        exists = await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", DATABASE)
        if not exists:
            # Another process may be faster.
            with suppress(asyncpg.DuplicateDatabaseError, asyncpg.UniqueViolationError):
                await connection.execute(f'CREATE DATABASE "{DATABASE}"')
    finally:
        await connection.close(timeout=CONNECT_TIMEOUT_S)
