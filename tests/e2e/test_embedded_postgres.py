"""The embedded Postgres as its users meet it: several processes, and any of them killed."""

import asyncio
import contextlib
import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import psutil
import psycopg
import pytest

from ragents.embedded import binaries, guardian, lease, open_postgres
from ragents.errors import StoreUnavailable

PATIENCE_S = 30.0
GONE_WITHIN_S = 30.0
USER = """
import asyncio, sys
from pathlib import Path
from ragents.embedded import open_postgres

async def main():
    async with open_postgres(Path(sys.argv[1])) as dsn:
        print(dsn, flush=True)
        await asyncio.to_thread(sys.stdin.read)

asyncio.run(main())
"""


class User:
    """Another process that has the server open until `leave`, or until it is killed."""

    def __init__(self, process: asyncio.subprocess.Process, dsn: str) -> None:
        self.process, self.dsn = process, dsn

    def kill(self) -> None:
        self.process.kill()

    async def leave(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        assert await asyncio.wait_for(self.process.wait(), PATIENCE_S) == 0


@asynccontextmanager
async def another_process(data_dir: Path, *command: str, **options: object) -> AsyncIterator[User]:
    process = await asyncio.create_subprocess_exec(
        *(command or (sys.executable, "-c", USER)),
        str(data_dir),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        **options,  # type: ignore[arg-type]  # subprocess options, passed through
    )
    try:
        assert process.stdout is not None
        dsn = (await asyncio.wait_for(process.stdout.readline(), PATIENCE_S)).decode().strip()
        assert dsn, "the user did not open the server; its error is on stderr"
        yield User(process, dsn)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def processes_of(data_dir: Path) -> list[psutil.Process]:
    """Guardian and servers, which work inside the data directory."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if is_alive(process) and Path(process.cwd()).is_relative_to(data_dir):
                found.append(process)
    return found


def is_alive(process: psutil.Process) -> bool:
    """A zombie is dead; when init reaps it is its own affair (2 s here)."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


async def until(condition: Callable[[], object], what: str, *, within_s: float = PATIENCE_S) -> None:
    """For what other processes do, which no event of ours tells."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {within_s:g} s"
        await asyncio.sleep(0.01)


async def gone(processes: list[psutil.Process]) -> None:
    assert processes
    await until(lambda: not any(map(is_alive, processes)), "all processes end", within_s=GONE_WITHIN_S)


async def idle(data_dir: Path) -> None:
    await until(lambda: not processes_of(data_dir), "nothing runs", within_s=GONE_WITHIN_S)


def start(*command: str | Path, **options: object) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(command, **options)  # type: ignore[call-overload,no-any-return]  # options, passed through


def postmaster_pid(data_dir: Path) -> int:
    found = guardian.postmaster(data_dir / guardian.PID_FILE)
    assert found is not None
    return found[0]


def guardian_of(data_dir: Path) -> psutil.Process:
    [found] = guardians_of(data_dir)
    return found


def guardians_of(data_dir: Path) -> list[psutil.Process]:
    return [process for process in processes_of(data_dir) if process.name() != "postgres"]


def shared_memory_id(data_dir: Path) -> str:
    return (data_dir / guardian.PID_FILE).read_text().splitlines()[6].split()[1]


def system_shared_memory() -> list[str]:
    return [line.split()[1] for line in Path("/proc/sysvipc/shm").read_text().splitlines()[1:]]


async def remember(dsn: str, value: int) -> None:
    connection = await asyncpg.connect(dsn)
    await connection.execute("CREATE TABLE IF NOT EXISTS kept (value int)")
    await connection.execute("INSERT INTO kept VALUES ($1)", value)
    await connection.close()


async def remembered(dsn: str) -> list[int]:
    connection = await asyncpg.connect(dsn)
    rows = await connection.fetch("SELECT value FROM kept ORDER BY value")
    await connection.close()
    return [row["value"] for row in rows]


async def recovered(dsn: str) -> None:
    """Until the server answers again, as a pool would find out."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            await (await asyncpg.connect(dsn)).close()
        except (OSError, asyncpg.PostgresError):
            assert time.monotonic() < deadline, "the server did not come back"
            await asyncio.sleep(0.02)
        else:
            return


@pytest.fixture(scope="module")
def shared_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("embedded") / "data"


@pytest.fixture
async def data_dir(shared_dir: Path) -> AsyncIterator[Path]:
    """One cluster for the tests that do not need a new one; nothing runs before a test or is left by it."""
    async with open_postgres(shared_dir) as dsn:
        connection = await asyncpg.connect(dsn)
        await connection.execute("DROP TABLE IF EXISTS kept")
        await connection.close()
    await idle(shared_dir)
    yield shared_dir
    await idle(shared_dir)


async def test_first_start_makes_a_private_utc_postgres_with_pgvector(tmp_path: Path) -> None:
    data_dir = tmp_path / "made" / "data"
    async with open_postgres(data_dir) as dsn:
        assert dsn.startswith("postgresql://postgres@/ragents?host=/")
        connection = await asyncpg.connect(dsn)
        await connection.execute("CREATE EXTENSION vector")
        assert await connection.fetchval("SELECT '[1,2]'::vector <-> '[1,4]'::vector") == 2
        settings = dict(await connection.fetch("SELECT name, setting FROM pg_settings"))
        await connection.close()
        with psycopg.connect(dsn) as other:
            assert other.info.dbname == "ragents"
    assert settings["listen_addresses"] == ""
    assert (settings["TimeZone"], settings["server_encoding"], settings["fsync"]) == ("UTC", "UTF8", "on")
    assert data_dir.stat().st_mode & 0o777 == 0o700
    assert (data_dir / "cluster").stat().st_mode & 0o777 == 0o700
    await idle(data_dir)


async def test_second_start_finds_the_data_of_the_first(data_dir: Path) -> None:
    async with open_postgres(data_dir) as dsn:
        await remember(dsn, 1)
    await idle(data_dir)
    async with open_postgres(data_dir) as dsn:
        assert await remembered(dsn) == [1]


async def test_processes_share_one_server_and_the_last_one_stops_it(data_dir: Path) -> None:
    async with another_process(data_dir) as first, another_process(data_dir) as second:
        assert first.dsn == second.dsn
        await remember(first.dsn, 1)
        server, everything = postmaster_pid(data_dir), processes_of(data_dir)
        await first.leave()
        assert await remembered(second.dsn) == [1]
        assert postmaster_pid(data_dir) == server
        await second.leave()
        await gone(everything)
    assert not (data_dir / guardian.PID_FILE).exists()


async def test_four_processes_may_open_first_at_once(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    async with contextlib.AsyncExitStack() as stack:
        users = await asyncio.gather(*(stack.enter_async_context(another_process(data_dir)) for _ in range(4)))
        assert len({user.dsn for user in users}) == 1
        await remember(users[0].dsn, 1)
        assert await remembered(users[3].dsn) == [1]
        assert guardian_of(data_dir)
        assert [path.name for path in data_dir.glob("cluster*")] == ["cluster"]
    await idle(data_dir)


async def test_a_killed_user_leaves_nothing_behind(data_dir: Path) -> None:
    async with another_process(data_dir) as user:
        everything, segment = processes_of(data_dir), shared_memory_id(data_dir)
        user.kill()
        await gone(everything)
    assert not (data_dir / guardian.PID_FILE).exists()
    if sys.platform == "linux":
        assert segment not in system_shared_memory()


async def test_the_server_outlives_what_ends_the_users_of_a_terminal(data_dir: Path) -> None:
    async with open_postgres(data_dir) as dsn:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            guardian_of(data_dir).send_signal(number)
        assert os.getsid(guardian_of(data_dir).pid) != os.getsid(0)
        await remember(dsn, 1)
        assert guardian_of(data_dir).is_running()


async def test_a_killed_server_comes_back_with_its_data_while_users_live(data_dir: Path) -> None:
    async with open_postgres(data_dir) as dsn:
        await remember(dsn, 1)
        os.kill(postmaster_pid(data_dir), signal.SIGKILL)
        await recovered(dsn)
        assert await remembered(dsn) == [1]
        async with open_postgres(data_dir) as again:  # in the same process
            assert again == dsn
            assert await remembered(again) == [1]


async def test_a_killed_server_and_user_leave_nothing_behind_but_the_data(data_dir: Path) -> None:
    async with another_process(data_dir) as user:
        await remember(user.dsn, 1)
        everything, segment = processes_of(data_dir), shared_memory_id(data_dir)
        os.kill(postmaster_pid(data_dir), signal.SIGKILL)
        user.kill()
        await gone(everything)
        await idle(data_dir)
    if sys.platform == "linux":
        assert segment not in system_shared_memory()
    async with open_postgres(data_dir) as dsn:
        assert await remembered(dsn) == [1]


async def test_after_all_are_killed_the_next_one_recovers(data_dir: Path) -> None:
    async with another_process(data_dir) as user:
        await remember(user.dsn, 1)
        everything = processes_of(data_dir)
        guardian_of(data_dir).kill()
        os.kill(postmaster_pid(data_dir), signal.SIGKILL)
        user.kill()
        await gone(everything)
    async with open_postgres(data_dir) as dsn:
        assert await remembered(dsn) == [1]


async def test_the_next_user_takes_over_a_server_whose_guardian_was_killed(data_dir: Path) -> None:
    async with another_process(data_dir) as user:
        server = postmaster_pid(data_dir)
        guardian_of(data_dir).kill()
        user.kill()
        await user.process.wait()
        async with open_postgres(data_dir) as dsn:
            assert postmaster_pid(data_dir) == server
            await remember(dsn, 1)
            everything = processes_of(data_dir)
        await gone(everything)


async def test_a_user_that_leaves_without_a_guardian_leaves_nothing_behind(data_dir: Path) -> None:
    async with open_postgres(data_dir) as dsn:
        await remember(dsn, 1)
        everything = processes_of(data_dir)
        killed = guardian_of(data_dir)
        killed.kill()
        await until(lambda: not is_alive(killed), "the guardian is dead")
    await gone(everything)


async def test_a_killed_guardian_is_replaced_by_a_user_that_stays(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ragents.embedded.WATCH_S", 0.05)
    async with open_postgres(data_dir) as dsn:
        killed = guardian_of(data_dir)
        killed.kill()
        await until(
            lambda: {process.pid for process in guardians_of(data_dir)} - {killed.pid}, "there is a new guardian"
        )
        os.kill(postmaster_pid(data_dir), signal.SIGKILL)
        await recovered(dsn)


async def test_a_stale_pid_file_whose_number_is_somebody_elses_is_no_obstacle(data_dir: Path) -> None:
    owner = (data_dir / guardian.CLUSTER).stat()
    # Same user as the server: that is when Postgres itself believes the file.
    options = {"user": owner.st_uid} if os.geteuid() == 0 else {}
    somebody = start("/bin/sleep", "60", cwd="/", **options)
    try:
        lines = [str(somebody.pid), str(data_dir / "cluster"), "1700000000", "5432", ".", "", "  1 1", "ready   "]
        for name in guardian.STALE_FILES:
            (data_dir / name).write_text("\n".join(lines) + "\n")
        (data_dir / "cluster" / ".s.PGSQL.5432").unlink(missing_ok=True)
        async with open_postgres(data_dir) as dsn:
            await remember(dsn, 1)
            assert postmaster_pid(data_dir) != somebody.pid
        await idle(data_dir)
        assert somebody.poll() is None
    finally:
        somebody.kill()
        somebody.wait()


async def test_a_server_that_was_started_by_hand_is_neither_used_nor_harmed(data_dir: Path) -> None:
    account = binaries.choose_account(data_dir)
    inside = "/proc/self/cwd" if sys.platform == "linux" else str(data_dir / "cluster")
    by_hand = start(
        *(binaries.install_for(account) / "bin" / "postgres", "-D", inside, "-h", "", "-k", ".", "-p", "5433"),
        cwd=data_dir / "cluster",
        stderr=subprocess.DEVNULL,
        **binaries.demotion(account),
    )
    try:
        await until(
            lambda: guardian.postmaster(data_dir / guardian.PID_FILE) == (by_hand.pid, "ready"), "the server is ready"
        )
        with pytest.raises(StoreUnavailable, match=r"runs on this cluster|shared memory block"):
            async with open_postgres(data_dir):
                pass
        assert by_hand.poll() is None
    finally:
        by_hand.send_signal(signal.SIGINT)
        by_hand.wait(PATIENCE_S)


async def test_an_initdb_killed_half_way_is_made_again(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", USER, str(data_dir))
    await until(lambda: list(data_dir.glob("cluster.new-*/PG_VERSION")), "initdb has begun")
    process.kill()
    await process.wait()
    assert not (data_dir / "cluster").exists()
    async with open_postgres(data_dir) as dsn:
        await remember(dsn, 1)
        assert [path.name for path in data_dir.glob("cluster*")] == ["cluster"]
    await idle(data_dir)


async def test_cancelling_an_opening_lets_go_of_it(data_dir: Path) -> None:
    async def use() -> None:
        async with open_postgres(data_dir):
            await asyncio.Event().wait()

    task = asyncio.create_task(use())
    await until(lambda: processes_of(data_dir), "the server is starting")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await idle(data_dir)
    assert guardian.is_free(data_dir / guardian.USERS)


async def test_deleting_the_data_of_a_running_server_ends_it(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    async with open_postgres(data_dir):
        everything = processes_of(data_dir)
        shutil.rmtree(data_dir, ignore_errors=True)
        await gone(everything)
        async with open_postgres(data_dir) as dsn:
            await remember(dsn, 1)
    await idle(data_dir)


async def test_a_lock_is_not_inherited_by_what_a_user_starts(data_dir: Path) -> None:
    async with open_postgres(data_dir):
        child = start("/bin/sleep", "60", close_fds=False)
        everything = processes_of(data_dir)
    try:
        await gone([process for process in everything if process.pid != child.pid])
    finally:
        child.kill()
        child.wait()


# -- as a normal user ------------------------------------------------------------------------------------------------


@pytest.fixture
def open_place() -> Iterator[Path]:
    """A directory of everybody; pytest's own are closed to others."""
    with tempfile.TemporaryDirectory(dir="/tmp", ignore_cleanup_errors=True) as directory:
        Path(directory).chmod(0o1777)
        yield Path(directory)


def python_for(account: binaries.Account, directory: Path) -> tuple[str, dict[str, str]]:
    """An interpreter with this code that `account` can run: this one, or a copy of it in `directory`."""
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(Path(lease.__file__).parents[2])}
    check = "import ragents.embedded.lease as lease; lease.install_for(None)"
    with contextlib.suppress(PermissionError):
        done = subprocess.run(
            [sys.executable, "-c", check],
            **binaries.demotion(account),
            env=environment,
            cwd="/",
            check=False,
            capture_output=True,
        )
        if done.returncode == 0:
            return sys.executable, environment
    return copied_python(directory)


def link_or_copy(source: str, target: str) -> None:
    """A link costs nothing; the file may be on another file system."""
    try:
        os.link(os.path.realpath(source), target)
    except OSError:
        shutil.copy2(source, target)


def copied_python(directory: Path) -> tuple[str, dict[str, str]]:
    """What the room imports, and the interpreter (/root is closed, say)."""
    home = directory / "python"
    left_out = shutil.ignore_patterns(
        "site-packages", "test", "tests", "idlelib", "ensurepip", "config-*", "__pycache__"
    )
    standard = Path(sysconfig.get_path("stdlib"))
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    shutil.copytree(standard, home / sys.platlibdir / version, ignore=left_out, copy_function=link_or_copy)
    (home / "bin").mkdir()
    executable = shutil.copy2(Path(sys.executable).resolve(), home / "bin" / "python3")
    for library in Path(sys.base_prefix, "lib").glob("libpython*"):
        shutil.copy2(library, home / "lib")
    packages = home / "packages"
    for module in (psycopg, sys.modules["psycopg_binary"]):
        assert module.__file__ is not None
        shutil.copytree(Path(module.__file__).parent, packages / module.__name__, copy_function=link_or_copy)
        libraries = Path(module.__file__).parent.with_name(f"{module.__name__}.libs")
        if libraries.is_dir():
            shutil.copytree(libraries, packages / libraries.name, copy_function=link_or_copy)
    shutil.copy2(str(sys.modules["typing_extensions"].__file__), packages)
    room = Path(lease.__file__).parent
    shutil.copytree(room, packages / "ragents" / "embedded")
    for name in ("__init__.py", "errors.py"):
        shutil.copy2(room.parent / name, packages / "ragents")
    install = binaries.find_install()
    shutil.copytree(install, packages / binaries.PACKAGE / install.name, copy_function=link_or_copy)
    libraries = install.parent.parent / f"{binaries.PACKAGE}.libs"
    if libraries.is_dir():
        shutil.copytree(libraries, packages / libraries.name, copy_function=link_or_copy)
    (packages / binaries.PACKAGE / "__init__.py").write_text("raise ImportError('its Python layer is not ours to use')")
    return str(executable), {
        "PATH": "/usr/bin:/bin",
        "PYTHONPATH": str(packages),
        "PYTHONHOME": str(home),
        "LD_LIBRARY_PATH": str(home / "lib"),
    }


async def test_a_normal_user_runs_it_and_root_may_visit(open_place: Path) -> None:
    data_dir = open_place / "home" / "data"
    (open_place / "home").mkdir(mode=0o700)
    command: tuple[str, ...] = ()
    options: dict[str, object] = {}
    if os.geteuid() == 0:
        other = next(entry for entry in pwd.getpwall() if entry.pw_uid != 0 and entry.pw_name != "nobody")
        os.chown(open_place / "home", other.pw_uid, other.pw_gid)
        account = binaries.Account(other.pw_uid, other.pw_gid)
        executable, environment = python_for(account, open_place)
        command = (executable, "-c", USER)
        options = {**binaries.demotion(account), "env": environment, "cwd": "/"}
    owner = (open_place / "home").stat().st_uid
    async with another_process(data_dir, *command, **options) as user:
        await remember(user.dsn, 1)
        assert {process.uids().real for process in processes_of(data_dir)} == {owner}
        await user.leave()
    await idle(data_dir)
    async with open_postgres(data_dir) as dsn:
        await remember(dsn, 2)
    await idle(data_dir)
    async with another_process(data_dir, *command, **options) as user:
        assert await remembered(user.dsn) == [1, 2]
        await user.leave()
    await idle(data_dir)


def test_the_guardian_gets_none_of_our_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAGENTS_LLM__API_KEY", "secret")
    held = lease.Lease(tmp_path / "data")
    try:
        held.open(PATIENCE_S)
        found = [process.environ() for process in processes_of(tmp_path / "data")]
    finally:
        held.close()
    assert len(found) > 2
    assert "secret" not in json.dumps(found)
