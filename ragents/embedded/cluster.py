"""The data directory and the cluster in it: made once, whole or not at all."""

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from ragents.embedded.binaries import ENVIRONMENT, MAJOR_VERSION, OWN_DSN, Account, demotion
from ragents.embedded.guardian import CLUSTER, LOCKS, LOG, SERVER, try_lock
from ragents.errors import ConfigError, StoreUnavailable

MIN_FREE_BYTES = 300_000_000
"""A new cluster takes 40 MB; the rest is room for its write-ahead log and a first index."""
MAX_SOCKET_PATH = 103
"""sun_path has 108 bytes on Linux and 104 on macOS, its terminator included."""
SOCKET_NAME = ".s.PGSQL.5432"

SETTINGS = {
    "listen_addresses": "",  # no TCP: who may open the socket is decided by the modes of its directory
    "port": "5432",
    "unix_socket_directories": ".",  # the cluster itself (0700): one private place, and no directory of our own in /tmp
    "unix_socket_permissions": "0700",
    "max_connections": "100",
    "shared_buffers": "128MB",
    "fsync": "on",
    # posix is in /dev/shm: 64 MB in a container, and a kill -9 leaves its files there. mmap is inside the cluster.
    "dynamic_shared_memory_type": "mmap",
    "huge_pages": "off",  # "try" dies of SIGBUS where the machine has them and the container may not use them
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_wal_size": "512MB",
    "min_wal_size": "80MB",
    "autovacuum": "on",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "logging_collector": "off",  # stderr goes to server.log, which the guardian keeps within bounds
    "log_min_messages": "warning",
    "log_min_error_statement": "panic",  # statements may hold what people ask
    "cluster_name": "ragents",
}


def free_bytes(directory: Path) -> int:
    return shutil.disk_usage(directory).free


def prepare(data_dir: Path) -> Path:
    """Make the directory (0700) and its lock files; the real path, so that all spellings share one server."""
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    data_dir = data_dir.resolve()
    owner = data_dir.stat()
    if owner.st_mode & stat.S_IWOTH:
        raise ConfigError(f"everybody may write to {str(data_dir)!r}, where Postgres is to keep its data; chmod 700 it")
    for name in (*LOCKS, LOG):
        with contextlib.suppress(FileExistsError):
            fd = os.open(data_dir / name, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            if os.geteuid() == 0:  # root visits a user's directory: the user must be able to come back
                os.fchown(fd, owner.st_uid, owner.st_gid)
            os.close(fd)
        # Root must not be led by a user's link to a file of somebody else.
        if (found := (data_dir / name).lstat()).st_uid != owner.st_uid or not stat.S_ISREG(found.st_mode):
            raise ConfigError(f"{str(data_dir / name)!r} is not a file of user {owner.st_uid}; remove it")
    return data_dir


def exists(data_dir: Path) -> bool:
    """Whether there is a cluster; ConfigError if it is one that these binaries cannot run."""
    cluster = data_dir / CLUSTER
    if not cluster.is_dir():
        return False
    try:
        version = (cluster / "PG_VERSION").read_text(encoding="ascii").strip()
    except FileNotFoundError:
        raise ConfigError(f"{str(cluster)!r} is not a Postgres cluster; move it away") from None
    if version != str(MAJOR_VERSION):
        raise ConfigError(
            f"{str(cluster)!r} was written by Postgres {version} and this is {MAJOR_VERSION}; "
            f"dump it with the old version, or move it away and ingest again"
        )
    return True


def hand_over(data_dir: Path, account: Account | None) -> None:
    """A cluster that root copied or restored belongs to root, and Postgres would refuse it."""
    if account is None or (data_dir / CLUSTER).stat().st_uid == account.uid:
        return
    for path in (data_dir / CLUSTER, *(data_dir / CLUSTER).rglob("*")):
        os.chown(path, account.uid, account.gid, follow_symlinks=False)


def make_cluster(
    data_dir: Path,
    install: Path,
    account: Account | None,
    *,
    pause: Callable[[], None],
    free: Callable[[Path], int] = free_bytes,
) -> None:
    """initdb into a directory of its own, then rename: an interrupted one is never taken for a cluster.

    `pause` sleeps a little and raises when time is up.
    """
    while (lock := try_lock(data_dir / SERVER, fcntl.LOCK_EX)) is None:
        pause()  # the initdb of a process that was killed is still at work
    try:
        for leftover in data_dir.glob(f"{CLUSTER}.new-*"):
            shutil.rmtree(leftover)
        if (available := free(data_dir)) < MIN_FREE_BYTES:
            raise StoreUnavailable(
                f"{available / 1e6:.0f} MB of disk space are left in {str(data_dir)!r} and a new Postgres needs "
                f"{MIN_FREE_BYTES / 1e6:.0f}; free some, or {OWN_DSN}"
            )
        new = Path(tempfile.mkdtemp(dir=data_dir, prefix=f"{CLUSTER}.new-"))
        try:
            if account:
                os.chown(new, account.uid, account.gid)
            _initdb(new, install, account, lock=lock, pause=pause)
            new.rename(data_dir / CLUSTER)
        except BaseException:
            shutil.rmtree(new, ignore_errors=True)
            raise
        _sync_directory(data_dir)
    finally:
        os.close(lock)


def _initdb(cluster: Path, install: Path, account: Account | None, *, lock: int, pause: Callable[[], None]) -> None:
    command = [
        *(str(install / "bin" / "initdb"), "-D", _own_path(cluster, account), "-U", "postgres", "-A", "trust"),
        # The builtin provider sorts the same on every machine and after every upgrade of the C library; lc_ctype is
        # what the text search parser asks whether a character is a letter.
        *("--encoding=UTF8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--lc-collate=C"),
        f"--lc-ctype={'C.UTF-8' if sys.platform == 'linux' else 'en_US.UTF-8'}",
        # Measured on a busy disk: 4.1 s with an fsync per file, 2.0 s with one syncfs.
        f"--sync-method={'syncfs' if sys.platform == 'linux' else 'fsync'}",
        "--no-instructions",
    ]
    process = subprocess.Popen(  # noqa: S603
        command,
        cwd=cluster,
        env=ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        pass_fds=(lock,),
        start_new_session=True,
        **demotion(account),
    )
    try:
        while True:
            try:
                output, _ = process.communicate(timeout=0.05)
                break
            except subprocess.TimeoutExpired:
                pause()
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        raise
    if "could not look up effective user ID" in output:
        raise ConfigError(
            f"user {os.geteuid()} has no entry in /etc/passwd, and Postgres wants one; add it, or {OWN_DSN}"
        )
    if process.returncode != 0:
        raise StoreUnavailable(f"cannot make a new Postgres in {str(cluster.parent)!r}: {reason(output)}")


def server_command(data_dir: Path, install: Path, account: Account | None) -> list[str]:
    settings = [word for name, value in SETTINGS.items() for word in ("-c", f"{name}={value}")]
    return [str(install / "bin" / "postgres"), "-D", _own_path(data_dir / CLUSTER, account), *settings]


def _own_path(cluster: Path, account: Account | None) -> str:
    """How a process that root started inside the cluster names it, though it may not walk there (/root is 0700)."""
    if account is not None and Path("/proc/self/cwd").exists():
        return "/proc/self/cwd"
    return str(cluster)


def reason(output: str) -> str:
    """The line that says why, out of what initdb or the server printed."""
    if "No space left on device" in output:
        return "no disk space left; free some"
    found: list[str] = re.findall(r"(?:FATAL|PANIC|initdb: error):\s+(.+)", output)
    return found[-1].strip() if found else "it left no reason"


def socket_directory(data_dir: Path) -> tuple[Path, Path | None]:
    """Where clients find the socket, and the link to it where its own path is too long for a socket or odd in a DSN."""
    cluster = data_dir / CLUSTER
    if len(os.fsencode(cluster / SOCKET_NAME)) <= MAX_SOCKET_PATH and re.fullmatch(r"[\w/.@ +~%-]+", str(cluster)):
        return cluster, None
    owner = data_dir.stat()
    name = hashlib.sha256(f"{owner.st_dev}:{owner.st_ino}:{data_dir}".encode(errors="surrogateescape")).hexdigest()[:12]
    private = Path(tempfile.gettempdir()) / f"ragents-{name}"
    link = private / "s"
    if len(os.fsencode(link / SOCKET_NAME)) > MAX_SOCKET_PATH:
        raise ConfigError(
            f"{str(cluster)!r} and {tempfile.gettempdir()!r} are both too long for a socket; set a shorter RAGENTS_HOME"
        )
    _make_private(private, owner.st_uid, owner.st_gid)
    if link.is_symlink() and link.readlink() != cluster:
        link.unlink()
    if not link.is_symlink():
        link.symlink_to(cluster)
    return link, link


def _make_private(directory: Path, uid: int, gid: int) -> None:
    """Everybody may write to /tmp: take the directory only if it belongs to the owner of the data alone."""
    try:
        directory.mkdir(mode=0o700)
        if os.geteuid() == 0:
            os.chown(directory, uid, gid, follow_symlinks=False)
    except FileExistsError:
        pass
    found = directory.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != uid or stat.S_IMODE(found.st_mode) & 0o077:
        raise ConfigError(f"{str(directory)!r} is not a private directory of user {uid}; remove it")


def _sync_directory(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
