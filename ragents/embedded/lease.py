"""One user's hold on the server: opening it, and what every user does to keep it running."""

import contextlib
import errno
import fcntl
import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import psycopg

from ragents.embedded import cluster, guardian
from ragents.embedded.binaries import ENVIRONMENT, OWN_DSN, choose_account, install_for
from ragents.errors import ConfigError, RAGentsError, StoreUnavailable

DATABASE = "ragents"
MAX_GUARDIANS = 10
"""How many guardians one user starts in its life: a server that never stays up must not keep the machine busy."""

log = logging.getLogger(__name__)


class Lease:
    """Blocking; use it from a thread. `close` may be called at any time, by any thread: a running `open` gives up."""

    def __init__(self, data_dir: Path, *, free: Callable[[Path], int] = cluster.free_bytes) -> None:
        self.data_dir = data_dir
        self._free = free
        self._guardians = 0
        self._fd: int | None = None
        self._closed = threading.Event()
        self._mutex = threading.Lock()
        self._deadline, self._timeout_s = 0.0, 0.0

    def open(self, timeout_s: float) -> str:
        """Take part in the server, starting it if need be; its DSN."""
        self._deadline, self._timeout_s = time.monotonic() + timeout_s, timeout_s
        with _translated(self.data_dir):
            self.data_dir = cluster.prepare(self.data_dir)
            with self._start_lock():
                self._take_users_lock()
                account = choose_account(self.data_dir)
                if cluster.exists(self.data_dir):
                    cluster.hand_over(self.data_dir, account)
                else:
                    install = install_for(account)
                    cluster.make_cluster(self.data_dir, install, account, pause=self._pause, free=self._free)
                directory, _ = cluster.socket_directory(self.data_dir)
                self._wait_for_server(directory)
        return f"postgresql://postgres@/{DATABASE}?host={quote(str(directory))}&port={cluster.SETTINGS['port']}"

    def leave(self) -> None:
        """Close, having made sure that there is a guardian to stop the server."""
        try:
            self.keep_guardian()
        except RAGentsError as error:  # the data directory was deleted, say; whoever leaves has its own errors to tell
            log.warning("the embedded Postgres has no guardian to stop it: %s", error)
        finally:
            self.close()

    def close(self) -> None:
        """Let go at once. The guardian stops the server if this was the last user."""
        with self._mutex:
            self._closed.set()
            if self._fd is not None:
                os.close(self._fd)
                self._fd = None

    def keep_guardian(self) -> None:
        """Start a guardian if the last one was killed; it takes over the running server."""
        with _translated(self.data_dir):
            start = guardian.try_lock(self.data_dir / guardian.START, fcntl.LOCK_EX)
            if start is None:
                return  # somebody is at it
            try:
                cluster.socket_directory(self.data_dir)  # cleaners of /tmp take an old link away
                if self._guardians < MAX_GUARDIANS and not self._closed.is_set():
                    self._start_guardian()
            finally:
                os.close(start)

    @contextlib.contextmanager
    def _start_lock(self) -> Iterator[None]:
        while (fd := guardian.try_lock(self.data_dir / guardian.START, fcntl.LOCK_EX)) is None:
            self._pause(lambda: ": another process is still starting or stopping it")
        try:
            yield
        finally:
            os.close(fd)

    def _take_users_lock(self) -> None:
        # Free at once: whoever wants it exclusively must hold the start lock, which we do.
        while (fd := guardian.try_lock(self.data_dir / guardian.USERS, fcntl.LOCK_SH)) is None:
            self._pause()
        with self._mutex:
            if self._closed.is_set():
                os.close(fd)
                raise StoreUnavailable("closed while it was opening")
            self._fd = fd

    def _wait_for_server(self, directory: Path) -> None:
        printed = self.data_dir / guardian.LOG
        offset = printed.stat().st_size
        started = self._start_guardian()
        while not self._is_ready(directory):
            if guardian.is_free(self.data_dir / guardian.GUARDIAN):
                if started:
                    raise StoreUnavailable(
                        f"the embedded Postgres did not start: {_reason(printed, offset)} (log: {printed})"
                    )
                started = self._start_guardian()  # the one that we found had just given up
            self._pause(lambda: f": {_reason(printed, offset)} (log: {printed})")

    def _start_guardian(self) -> bool:
        """False if one lives. Needs the start lock."""
        lock = guardian.try_lock(self.data_dir / guardian.GUARDIAN, fcntl.LOCK_EX)
        if lock is None:
            return False
        try:
            self._guardians += 1
            self._spawn(lock)
        finally:
            os.close(lock)  # the guardian's copy holds it on
        return True

    def _spawn(self, lock: int) -> None:
        account = choose_account(self.data_dir)
        _, link = cluster.socket_directory(self.data_dir)
        spec: guardian.Spec = {
            "command": cluster.server_command(self.data_dir, install_for(account), account),
            "environment": ENVIRONMENT,
            "uid": account.uid if account else None,
            "gid": account.gid if account else None,
            "link": str(link) if link else None,
            "lock_fd": lock,
        }
        # Some interpreters find their own library only by this one.
        libraries = {name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ}
        # Read and write: the guardian shortens the log through it. Append: the server then goes on at the new end.
        output = os.open(self.data_dir / guardian.LOG, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            subprocess.run(  # noqa: S603
                [sys.executable, "-I", "-S", guardian.__file__, json.dumps(spec)],
                cwd=self.data_dir,
                env=ENVIRONMENT | libraries,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=(lock,),
                timeout=30,
                check=True,
            )
        except subprocess.SubprocessError as error:
            raise StoreUnavailable(f"the guardian of the embedded Postgres did not start: {error}") from error
        finally:
            os.close(output)

    def _is_ready(self, directory: Path) -> bool:
        # Asked before connecting: every attempt on a starting server would be a FATAL line in its log.
        found = guardian.postmaster(self.data_dir / guardian.PID_FILE)
        if found is None or found[1] != "ready":
            return False
        try:
            with psycopg.connect(
                host=str(directory),
                port=cluster.SETTINGS["port"],
                user="postgres",
                dbname="postgres",
                connect_timeout=5,
                autocommit=True,
            ) as connection:
                if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone():
                    connection.execute("CREATE DATABASE ragents")
        except psycopg.errors.DiskFull as error:
            raise StoreUnavailable(f"no disk space left in {str(self.data_dir)!r}; free some") from error
        except psycopg.OperationalError:
            return False  # the file was left by a server that was killed, or it is just going down
        except psycopg.Error as error:
            raise StoreUnavailable(f"the embedded Postgres answers: {str(error).splitlines()[0]}") from error
        return True

    def _pause(self, detail: Callable[[], str] = lambda: "") -> None:
        if self._closed.wait(0.02):
            raise StoreUnavailable("closed while it was opening")
        if time.monotonic() > self._deadline:
            raise StoreUnavailable(f"the embedded Postgres did not start within {self._timeout_s:g} s{detail()}")


def _reason(log: Path, offset: int) -> str:
    """Why, from what was logged since `offset` (from all of it, if it was shortened meanwhile)."""
    size = log.stat().st_size
    with log.open("rb") as file:
        file.seek(max(offset if offset <= size else 0, size - guardian.LOG_KEEP_BYTES))
        return cluster.reason(file.read().decode(errors="replace"))


@contextlib.contextmanager
def _translated(data_dir: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        where = f"{str(data_dir)!r}"
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise StoreUnavailable(f"no disk space left in {where}; free some, or {OWN_DSN}") from error
        raise ConfigError(
            f"user {os.geteuid()} cannot keep the embedded Postgres in {where} ({error}); "
            f"make it writable, set RAGENTS_HOME to another place, or {OWN_DSN}"
        ) from error
