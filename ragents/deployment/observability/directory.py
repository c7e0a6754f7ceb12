"""The directory of a server's metrics: its own from its start to its end.

BentoML has one for all servers of a BENTOML_HOME, which each of them empties when it starts. Ours is held by a lock,
which ends with the process however that ends; what nobody holds any more goes when the next server starts.
"""

import atexit
import fcntl
import os
import shutil
import tempfile
from pathlib import Path


def open_directory(parent: Path) -> Path:
    """A new directory in `parent`, until this process exits. Raises OSError."""
    parent.mkdir(parents=True, exist_ok=True)
    entrance = _open(parent)
    try:
        fcntl.flock(entrance, fcntl.LOCK_EX)  # nobody takes a directory for left over that is not locked yet
        for other in parent.glob("server-*"):
            _remove_if_left(other)
        own = Path(tempfile.mkdtemp(prefix="server-", dir=parent))
        fcntl.flock(_open(own), fcntl.LOCK_EX)  # stays open: only the end of the process lets it go
    finally:
        os.close(entrance)
    atexit.register(shutil.rmtree, own, ignore_errors=True)
    return own


def _remove_if_left(directory: Path) -> None:
    try:
        found = _open(directory)
    except OSError:  # of another user, or no directory
        return
    try:
        fcntl.flock(found, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(directory, ignore_errors=True)
    except OSError:  # held
        pass
    finally:
        os.close(found)


def _open(directory: Path) -> int:
    return os.open(directory, os.O_RDONLY | os.O_DIRECTORY)  # a worker does not inherit it
