"""The guardian: keeps one embedded Postgres running while anybody uses it, stops it after the last user, and ends.

Run as `python -I -S guardian.py SPEC` inside the data directory, by ragents.embedded.lease. Standard library only, and
little of it: the process lives as long as the server does (measured: 9 MB resident).

Four locks, all flock(2): the kernel drops them with their last holder, so no crash can leave one behind.
    start.lock     one process at a time makes, starts or stops; whoever wants another lock besides takes this one first
    users.lock     shared, by every user for as long as it uses the server: exclusive means that nobody is left
    guardian.lock  held by the guardian, inherited from its starter, so that there is never a moment of doubt
    server.lock    inherited by every process of the server: free means that none runs, whatever postmaster.pid says
"""

import contextlib
import fcntl
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import TypedDict

START, USERS, GUARDIAN, SERVER = LOCKS = ("start.lock", "users.lock", "guardian.lock", "server.lock")
CLUSTER = "cluster"
LOG = "server.log"
PID_FILE = f"{CLUSTER}/postmaster.pid"
# postmaster.pid also holds back a start when its number now belongs to somebody else (after a reboot).
STALE_FILES = (PID_FILE, f"{CLUSTER}/.s.PGSQL.5432.lock")

POLL_S = 0.2
MAX_STARTS, STARTS_WINDOW_S = 5, 60.0
LOG_MAX_BYTES, LOG_KEEP_BYTES = 4 << 20, 1 << 20
# Fast (clients are sent away, one checkpoint), then immediate (the next start recovers), then the last resort.
STOP_SIGNALS = ((signal.SIGINT, 30.0), (signal.SIGQUIT, 10.0), (signal.SIGKILL, 10.0))
RECOVERY_S = 60.0


class Spec(TypedDict):
    command: list[str]
    environment: dict[str, str]
    uid: int | None
    gid: int | None
    link: str | None
    """A short path to the cluster, removed with the server."""
    lock_fd: int


def try_lock(path: str | os.PathLike[str], mode: int) -> int | None:
    """The descriptor that holds the lock, or None while somebody else does."""
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        fcntl.flock(fd, mode | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    except OSError:
        os.close(fd)
        raise
    return fd


def is_free(path: str | os.PathLike[str]) -> bool:
    fd = try_lock(path, fcntl.LOCK_EX)
    if fd is not None:
        os.close(fd)
    return fd is not None


def postmaster(path: str | os.PathLike[str] = PID_FILE) -> tuple[int, str] | None:
    """Number and status ("starting", "ready", ...) of the server that wrote the file last; it may be long dead."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            lines = file.read().splitlines()
        return int(lines[0]), lines[7].strip() if len(lines) > 7 else "starting"
    except (FileNotFoundError, IndexError, ValueError):
        return None


def works_in_cluster(pid: int) -> bool | None:
    """Whether this number is a server of this cluster and not one that the system gave to somebody else since.

    None where there is no /proc to ask: there Postgres refuses by itself, since it finds its shared memory in use.
    """
    try:
        return os.path.samefile(f"/proc/{pid}/cwd", CLUSTER)
    except FileNotFoundError:
        return False if os.path.isdir("/proc/self") else None
    except OSError:
        return False  # not ours to ask about


class Guardian:
    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.child: int | None = None
        self.starts: list[float] = []

    def run(self) -> None:
        try:
            while not self._stopped_after_last_user() and self._keep_server():
                self._bound_log()
                time.sleep(POLL_S)
        except FileNotFoundError:
            if self.child is not None:
                os.kill(self.child, signal.SIGQUIT)  # the data directory was deleted: nothing to save
            self._remove_link()

    def _require_home(self) -> None:
        """FileNotFoundError if the data directory was deleted, or deleted and made again by somebody else."""
        if not os.path.samestat(os.stat(GUARDIAN), os.fstat(self.spec["lock_fd"])):
            raise FileNotFoundError(GUARDIAN)

    def _stopped_after_last_user(self) -> bool:
        self._require_home()
        start = try_lock(START, fcntl.LOCK_EX)
        if start is None:
            return False
        users = try_lock(USERS, fcntl.LOCK_EX)
        if users is None:
            os.close(start)
            return False
        self._stop()
        self._remove_link()
        os.close(users)
        os.close(self.spec["lock_fd"])  # before start.lock: the next one must not take us for alive
        os.close(start)
        return True

    def _keep_server(self) -> bool:
        """Start the server if none runs (first start, or it died). False: it does not stay up."""
        self._reap()
        if not is_free(SERVER):
            return True
        now = time.monotonic()
        self.starts = [when for when in self.starts if now - when < STARTS_WINDOW_S]
        if len(self.starts) >= MAX_STARTS:
            say(f"guardian: gave up after {MAX_STARTS} starts in {STARTS_WINDOW_S:g} s")
            return False
        self.starts.append(now)
        return self._start()

    def _start(self) -> bool:
        lock = try_lock(SERVER, fcntl.LOCK_EX)
        if lock is None:
            return True
        try:
            found = postmaster()
            if found and works_in_cluster(found[0]):
                say(f"FATAL:  a Postgres that is not ours (process {found[0]}) runs on this cluster; stop it first")
                return False
            for name in STALE_FILES:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(name)
            self.child = os.fork()
            if self.child == 0:
                self._become_postgres(lock)
        except BlockingIOError as error:  # fork: too many processes
            say(f"FATAL:  cannot start Postgres: {error}")
        finally:
            os.close(lock)
        return True

    def _become_postgres(self, lock: int) -> None:
        try:
            for number in IGNORED_SIGNALS:
                signal.signal(number, signal.SIG_DFL)
            os.setsid()
            os.chdir(CLUSTER)  # as root: the account that follows may not be able to walk to it
            if self.spec["uid"] is not None and self.spec["gid"] is not None:
                os.setgroups([])
                os.setgid(self.spec["gid"])
                os.setuid(self.spec["uid"])
            os.set_inheritable(lock, True)
            os.execve(self.spec["command"][0], self.spec["command"], self.spec["environment"])  # noqa: S606
        except OSError as error:
            say(f"FATAL:  cannot run {self.spec['command'][0]}: {error}")
        finally:
            os._exit(127)

    def _stop(self) -> None:
        if is_free(SERVER):
            if not os.path.exists(PID_FILE):
                return
            # It died. Only Postgres can free its shared memory safely, and it leaves a recovered cluster.
            if not self._start():
                return
            wait_until(lambda: is_free(SERVER) or (postmaster() or (0, ""))[1] == "ready", RECOVERY_S)
        for number, patience_s in STOP_SIGNALS:
            self._signal(number)
            if wait_until(self._server_gone, patience_s):
                return
        say("guardian: the server does not stop")

    def _server_gone(self) -> bool:
        self._reap()
        return is_free(SERVER)

    def _signal(self, number: int) -> None:
        pid, found = self.child, postmaster()
        if pid is None and found and works_in_cluster(found[0]) is not False:
            pid = found[0]
        if pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def _reap(self) -> None:
        if self.child is not None and os.waitpid(self.child, os.WNOHANG)[0] == self.child:
            self.child = None

    def _bound_log(self) -> None:
        """Keep the tail. The server appends (O_APPEND), so it goes on at the new end."""
        size = os.fstat(1).st_size
        if size > LOG_MAX_BYTES:
            tail = os.pread(1, LOG_KEEP_BYTES, size - LOG_KEEP_BYTES)
            os.ftruncate(1, 0)
            with contextlib.suppress(OSError):  # the disk is full
                os.write(1, tail)

    def _remove_link(self) -> None:
        if self.spec["link"] is None:
            return
        with contextlib.suppress(OSError):  # a cleaner of /tmp was here, or another server uses it
            os.unlink(self.spec["link"])
            os.rmdir(os.path.dirname(self.spec["link"]))


def say(message: str) -> None:
    """One line for the log, which is our standard output."""
    with contextlib.suppress(OSError):  # the disk is full: watching goes on without a line
        os.write(1, f"{message}\n".encode())


def wait_until(condition: Callable[[], bool], timeout_s: float) -> bool:
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


# What ends the users must not end the guardian before them: its end is that nobody is left.
IGNORED_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main() -> None:
    spec: Spec = json.loads(sys.argv[1])
    os.set_inheritable(spec["lock_fd"], False)
    for number in IGNORED_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    if os.fork():
        os._exit(0)  # our starter waits for this one, so that nobody inherits a zombie
    os.setsid()
    Guardian(spec).run()


if __name__ == "__main__":
    main()
