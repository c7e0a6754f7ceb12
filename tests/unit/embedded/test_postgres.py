"""The local Postgres: shared, crash-proof, gone with its last user. Real servers throughout."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import psutil
import pytest

from ragents.embedded import open_postgres
from ragents.embedded.binaries import Account, find_account, reachable
from ragents.embedded.cluster import locate, prepare
from ragents.errors import ConfigError, StoreUnavailable

USER = """
import asyncio, sys
from pathlib import Path
from ragents.embedded import open_postgres
async def main():
    async with open_postgres(Path(sys.argv[1])) as dsn:
        print(dsn, flush=True)
        await asyncio.sleep(float(sys.argv[2]))
asyncio.run(main())
"""


@pytest.fixture
def directory() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="rpg-"))
    made.chmod(0o755)
    yield made / "postgres"
    wait_until_gone(made)
    shutil.rmtree(made, ignore_errors=True)


def running(directory: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter(["cmdline"]):
        line = " ".join(process.info["cmdline"] or [])
        if str(directory) in line and ("postgres -D" in line or "supervisor.py" in line):
            found.append(process)
    return found


def wait_until_gone(directory: Path, timeout_s: float = 10) -> None:
    deadline = time.monotonic() + timeout_s
    while running(directory):
        assert time.monotonic() < deadline, [p.cmdline() for p in running(directory)]
        time.sleep(0.05)


def start_user(directory: Path, seconds: float = 60) -> subprocess.Popen[str]:
    """Another process that uses the server; it has it when this returns."""
    user = subprocess.Popen(
        [sys.executable, "-c", USER, str(directory), str(seconds)], stdout=subprocess.PIPE, text=True
    )
    assert user.stdout is not None
    assert user.stdout.readline().startswith("postgresql://")
    return user


def finish(user: subprocess.Popen[str]) -> None:
    user.kill()
    user.communicate(timeout=10)


async def fetch(dsn: str, statement: str) -> object:
    connection = await asyncpg.connect(dsn, timeout=10)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


def server_of(directory: Path) -> psutil.Process:
    (server,) = (p for p in running(directory) if "supervisor.py" not in " ".join(p.cmdline()))
    return server


def supervisor_of(directory: Path) -> psutil.Process:
    (supervisor,) = (p for p in running(directory) if "supervisor.py" in " ".join(p.cmdline()))
    return supervisor


async def test_without_room_on_the_disk_it_says_how_much_is_needed(directory: Path) -> None:
    cluster = await asyncio.to_thread(locate, directory)
    with pytest.raises(ConfigError, match=r"not enough disk space.*100 MB free.*300 MB needed.*RAGENTS_HOME"):
        prepare(cluster, free_bytes=lambda _: 100 * 1024**2)
    assert not cluster.data.exists()


async def test_data_of_another_version_is_refused(directory: Path) -> None:
    cluster = await asyncio.to_thread(locate, directory)
    cluster.data.mkdir()
    (cluster.data / "PG_VERSION").write_text("15\n")
    with pytest.raises(ConfigError, match=r"written by Postgres 15.*Postgres 18.*RAGENTS_STORE__DSN"):
        async with open_postgres(directory):
            pass


async def test_a_file_in_the_way_is_one_clear_error(directory: Path) -> None:
    directory.write_text("in the way")
    with pytest.raises(ConfigError, match="RAGENTS_HOME"):
        async with open_postgres(directory):
            pass


async def test_a_cluster_that_cannot_start_gives_the_servers_own_words(directory: Path) -> None:
    async with open_postgres(directory):
        pass
    wait_until_gone(directory)
    (directory / "cluster" / "global" / "pg_control").unlink()
    with pytest.raises(StoreUnavailable, match=r"did not start.*postgres\.log"):
        async with open_postgres(directory, start_timeout_s=5):
            pass


async def test_it_keeps_its_data_from_one_start_to_the_next_and_stops_with_its_user(directory: Path) -> None:
    async with open_postgres(directory) as dsn:
        await fetch(dsn, "CREATE TABLE t AS SELECT 7 AS n")
    wait_until_gone(directory)
    async with open_postgres(directory) as dsn:
        assert await fetch(dsn, "SELECT n FROM t") == 7


async def test_it_listens_on_a_private_socket_alone(directory: Path) -> None:
    async with open_postgres(directory) as dsn:
        assert await fetch(dsn, "SHOW listen_addresses") == ""
        assert (directory / "run").stat().st_mode & 0o077 == 0
        assert (directory / "cluster").stat().st_mode & 0o077 == 0
        assert (directory.stat().st_mode & 0o066) == 0


async def test_several_users_share_one_server_and_the_last_one_stops_it(directory: Path) -> None:
    user = await asyncio.to_thread(start_user, directory)
    async with open_postgres(directory), open_postgres(directory):
        assert len(running(directory)) == 2
    await asyncio.sleep(1)
    assert len(running(directory)) == 2
    finish(user)
    wait_until_gone(directory)


async def test_first_opens_at_once_make_one_cluster(directory: Path) -> None:
    users = await asyncio.gather(*(asyncio.to_thread(start_user, directory) for _ in range(4)))
    assert len(running(directory)) == 2
    for user in users:
        finish(user)


async def test_kill_9_of_the_user_leaves_nothing_behind(directory: Path) -> None:
    user = await asyncio.to_thread(start_user, directory)
    user.send_signal(signal.SIGKILL)
    user.communicate(timeout=10)
    await asyncio.to_thread(wait_until_gone, directory)


async def test_kill_9_of_the_server_under_its_users_is_recovered_with_all_that_was_committed(directory: Path) -> None:
    async with open_postgres(directory) as dsn:
        await fetch(dsn, "CREATE TABLE t AS SELECT 7 AS n")
        server_of(directory).kill()
        for _ in range(100):
            try:
                assert await fetch(dsn, "SELECT n FROM t") == 7
                break
            except (OSError, asyncpg.PostgresError):
                await asyncio.sleep(0.1)
        else:
            raise AssertionError("the server did not come back")


async def test_kill_9_of_everything_at_once_is_recovered_at_the_next_start(directory: Path) -> None:
    user = await asyncio.to_thread(start_user, directory)
    dsn = f"postgresql://postgres@/ragents?host={directory}/run"
    await fetch(dsn, "CREATE TABLE t AS SELECT 7 AS n")
    processes = [supervisor_of(directory), server_of(directory)]
    for process in processes:
        process.kill()
    finish(user)
    await asyncio.to_thread(wait_until_gone, directory)
    async with open_postgres(directory) as dsn:
        assert await fetch(dsn, "SELECT n FROM t") == 7


async def test_a_stale_pid_file_of_another_program_is_no_obstacle(directory: Path) -> None:
    async with open_postgres(directory) as dsn:
        await fetch(dsn, "SELECT 1")
    await asyncio.to_thread(wait_until_gone, directory)
    pid_file = directory / "cluster" / "postmaster.pid"
    pid_file.write_text(f"{os.getpid()}\n{directory}/cluster\n0\n5432\n{directory}/run\n\n\nready\n")
    async with open_postgres(directory) as dsn:
        assert await fetch(dsn, "SELECT 1") == 1


async def test_an_interrupted_set_up_is_not_taken_for_a_cluster(directory: Path) -> None:
    cluster = await asyncio.to_thread(locate, directory)
    half = cluster.base / "cluster.new-99999"
    half.mkdir()
    (half / "PG_VERSION").write_text("18\n")
    async with open_postgres(directory) as dsn:
        assert await fetch(dsn, "SELECT 1") == 1
    assert not half.exists()


async def test_a_path_too_long_for_a_socket_is_served_from_a_short_one(directory: Path) -> None:
    long = directory / ("x" * 90)
    async with open_postgres(long) as dsn:
        assert await fetch(dsn, "SELECT 1") == 1
        assert str(long) not in dsn
    wait_until_gone(directory)
    shutil.rmtree(dsn.partition("host=")[2])


def test_it_works_for_an_ordinary_user(directory: Path) -> None:
    """As root the test lends the job to an account without rights, in a child that gives its own away."""
    account = find_account()
    directory.parent.chmod(0o777)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            if account is not None:
                os.setgroups([])
                os.setgid(account.gid)
                os.setuid(account.uid)
            assert find_account() is None
            status = asyncio.run(_use(directory))
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0


async def _use(directory: Path) -> int:
    """0 when the server answers. The supervisor needs an interpreter that this account may run."""
    import ragents.embedded.postgres as module

    if not os.access(sys.executable, os.X_OK):
        module.sys = type("sys", (), {"executable": "/usr/bin/python3"})  # type: ignore[attr-defined]
    async with open_postgres(directory) as dsn:
        return 0 if await fetch(dsn, "SELECT current_user") == "postgres" else 1


def test_a_directory_behind_a_closed_one_is_not_reachable_for_another_account(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    (closed / "inner").mkdir(parents=True)
    closed.chmod(0o700)
    stranger = Account(65_534, 65_534)
    assert not reachable(closed / "inner", stranger)
    assert reachable(closed / "inner", None)
