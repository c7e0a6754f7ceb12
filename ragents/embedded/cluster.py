"""The cluster's directories and files: where they are, who may see them, and how they come to be."""

import hashlib
import os
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ragents.embedded.binaries import (
    MAJOR_VERSION,
    Account,
    find_account,
    find_installation,
    installation_for,
    reachable,
)
from ragents.errors import ConfigError

MIN_FREE_BYTES = 300 * 1024 * 1024
MAX_SOCKET_PATH = 107
SOCKET_NAME = ".s.PGSQL.5432.lock"
INITDB_TIMEOUT_S = 120
MAX_LOG_BYTES = 10 * 1024 * 1024
ROOT_BASE = Path("/var/lib")

SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "100",
    "shared_buffers": "128MB",
    "effective_cache_size": "1GB",
    "maintenance_work_mem": "256MB",
    "max_wal_size": "512MB",
    "min_wal_size": "80MB",
    "wal_compression": "on",
    "dynamic_shared_memory_type": "mmap",  # containers give /dev/shm 64 MB
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_min_messages": "warning",
    "log_min_error_statement": "panic",  # statements may hold what people ask
    "log_line_prefix": "%m ",
    "idle_in_transaction_session_timeout": "5min",
}


@dataclass(frozen=True, slots=True)
class Cluster:
    base: Path
    sockets: Path
    installation: Path
    account: Account | None

    @property
    def data(self) -> Path:
        return self.base / "cluster"

    @property
    def log(self) -> Path:
        return self.base / "postgres.log"

    @property
    def postgres(self) -> Path:
        return self.installation / "bin" / "postgres"

    def command(self) -> list[str]:
        options = [f"--{name}={value}" for name, value in SETTINGS.items()]
        return [str(self.postgres), "-D", str(self.data), "-k", str(self.sockets), *options]


def locate(data_dir: Path) -> Cluster:
    """Make the directories. Blocking. ConfigError when they cannot be made."""
    account = find_account()
    installation = find_installation()
    try:
        base = _make_base(data_dir, account)
        sockets = _make_sockets(base, data_dir, account)
        return Cluster(base, sockets, installation_for(installation, account, base), account)
    except OSError as error:
        raise ConfigError(_disk_error(f"{data_dir} cannot be used for the embedded Postgres", error)) from error


def prepare(cluster: Cluster, *, free_bytes: Callable[[Path], int] | None = None) -> None:
    """Make the cluster if there is none, under the caller's lock. Blocking. ConfigError names what is in the way."""
    _bound_log(cluster.log)
    version = cluster.data / "PG_VERSION"
    if version.is_file():
        found = version.read_text(encoding="ascii").strip()
        if found != MAJOR_VERSION:
            raise ConfigError(
                f"{cluster.data} was written by Postgres {found} and this is Postgres {MAJOR_VERSION}; move it away, "
                "or serve it with its own version and set RAGENTS_STORE__DSN"
            )
        return
    free = (free_bytes or (lambda path: shutil.disk_usage(path).free))(cluster.base)
    if free < MIN_FREE_BYTES:
        raise ConfigError(
            f"not enough disk space for the embedded Postgres: {free // 1024**2} MB free at {cluster.base}, "
            f"{MIN_FREE_BYTES // 1024**2} MB needed; free some, or set RAGENTS_HOME to another disk"
        )
    _initdb(cluster)


def _initdb(cluster: Cluster) -> None:
    """Into a directory beside, then renamed: a set-up that was interrupted is never taken for a cluster."""
    for leftover in cluster.base.glob("cluster.new-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    fresh = cluster.base / f"cluster.new-{os.getpid()}"
    fresh.mkdir(mode=0o700)
    _give(fresh, cluster.account)
    command = [
        str(cluster.installation / "bin" / "initdb"),
        "-D",
        str(fresh),
        "--username=postgres",
        "--auth=trust",  # only the socket exists, in a directory that only its owner may enter
        "--encoding=UTF8",
        "--locale=C.UTF-8",
        "--no-sync",  # synced below, once
    ]
    try:
        done = subprocess.run(  # noqa: S603  # our own arguments
            command,
            capture_output=True,
            timeout=INITDB_TIMEOUT_S,
            check=False,
            user=cluster.account.uid if cluster.account else None,
            group=cluster.account.gid if cluster.account else None,
            extra_groups=[] if cluster.account else None,
            cwd=fresh,
            env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "TZ": "UTC"},
        )
    except subprocess.TimeoutExpired:
        shutil.rmtree(fresh, ignore_errors=True)
        raise ConfigError(
            f"initdb did not end within {INITDB_TIMEOUT_S} s at {cluster.base}; is the disk hanging?"
        ) from None
    if done.returncode != 0:
        shutil.rmtree(fresh, ignore_errors=True)
        lines = [line for line in done.stderr.decode(errors="replace").splitlines() if line.strip()]
        raise ConfigError(f"initdb failed at {cluster.base}: {_first_error(lines)}")
    os.sync()
    fresh.rename(cluster.data)


def last_log_line(log: Path) -> str:
    """The last line that says what went wrong, for an error message."""
    try:
        with log.open("rb") as stream:
            stream.seek(max(0, log.stat().st_size - 8192))
            lines = stream.read().decode(errors="replace").splitlines()
    except OSError:
        return "no log was written"
    return _first_error(lines[::-1])


def _first_error(lines: list[str]) -> str:
    marked = [line for line in lines if any(word in line for word in ("FATAL", "PANIC", "error:", "No space left"))]
    return (marked or lines or ["it said nothing"])[0].strip()


def _make_base(data_dir: Path, account: Account | None) -> Path:
    data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    base = data_dir
    if account is not None and not reachable(data_dir.parent, account):
        # A closed home (/root has mode 0700): its modes are not ours to widen, so the data lives elsewhere.
        name = hashlib.sha256(str(data_dir).encode()).hexdigest()[:16]
        base = ROOT_BASE / f"ragents-{name}"
        base.mkdir(parents=True, exist_ok=True, mode=0o711)
    status = base.stat()
    if status.st_uid != os.geteuid():
        raise ConfigError(f"{base} belongs to another user; set RAGENTS_HOME to a directory of your own")
    # The other account must pass through to the cluster, which is its own and closed to everybody else.
    base.chmod(0o711 if account is not None else 0o700)
    return base


def _make_sockets(base: Path, data_dir: Path, account: Account | None) -> Path:
    sockets = base / "run"
    if len(str(sockets / SOCKET_NAME).encode()) > MAX_SOCKET_PATH:
        name = hashlib.sha256(str(data_dir).encode()).hexdigest()[:16]
        sockets = Path(tempfile.gettempdir()) / f"ragents-{os.geteuid()}-{name}"
    sockets.mkdir(exist_ok=True, mode=0o700)
    status = sockets.lstat()
    owner = account.uid if account else os.geteuid()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid not in (os.geteuid(), owner) or status.st_mode & 0o077:
        raise ConfigError(
            f"{sockets} is not a private directory of ours; remove it, or set RAGENTS_HOME to a shorter path"
        )
    _give(sockets, account)
    return sockets


def _give(path: Path, account: Account | None) -> None:
    if account is not None:
        os.chown(path, account.uid, account.gid)


def _bound_log(log: Path) -> None:
    if log.is_file() and log.stat().st_size > MAX_LOG_BYTES:
        log.replace(log.with_suffix(".log.1"))


def _disk_error(what: str, error: OSError) -> str:
    return (
        f"{what}: {os.strerror(error.errno) if error.errno else error}; free some space or set RAGENTS_HOME elsewhere"
    )
