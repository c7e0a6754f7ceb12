"""Runs the Postgres server as its child: restarts it when it dies, stops it when the last user has gone.

A program of its own, in a session of its own, so that it outlives a kill -9 of whoever started it. It runs with
`python -I -S`, standard library only. Arguments: a JSON object (see `main`).

users.lock       held shared by every user for as long as it lives; taken exclusively here = no user is left
supervisor.lock  held exclusively by this program for as long as it lives
"""

import ctypes
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from typing import Any

POLL_S = 0.25
STOP_TIMEOUT_S = 30
MAX_RESTARTS, RESTART_WINDOW_S = 5, 60
PR_SET_PDEATHSIG = 1


def main(settings: dict[str, Any]) -> int:
    """settings: command (list), users_lock, supervisor_lock, log, pid_file, uid, gid (or null), directory."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it ends with its last user, not before
    mine = os.open(settings["supervisor_lock"], os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(mine, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return 0  # another one is at work
    users = os.open(settings["users_lock"], os.O_RDWR | os.O_CREAT, 0o600)
    restarts: list[float] = []
    while True:
        server = start(settings)
        while server.poll() is None:
            time.sleep(POLL_S)
            if nobody_left(users):
                stop(server)
                return 0
        now = time.monotonic()
        restarts = [t for t in restarts if now - t < RESTART_WINDOW_S] + [now]
        if len(restarts) > MAX_RESTARTS or nobody_left(users):
            return 1
        time.sleep(POLL_S)


def start(settings: dict[str, Any]) -> "subprocess.Popen[bytes]":
    reap_orphans(settings["pid_file"], settings["command"][0])
    with open(settings["log"], "ab") as log:
        return subprocess.Popen(  # noqa: S603  # our own arguments
            settings["command"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=settings["directory"],
            user=settings["uid"],
            group=settings["gid"],
            extra_groups=[] if settings["uid"] is not None else None,
            preexec_fn=die_with_parent,  # noqa: PLW1509  # this program has one thread
            env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "TZ": "UTC"},
        )


def die_with_parent() -> None:
    """Should this program be killed, the server shuts down fast instead of staying behind (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGINT, 0, 0, 0)


def nobody_left(users: int) -> bool:
    try:
        fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True  # and the lock stays held: a new user waits until this program is gone


def stop(server: "subprocess.Popen[bytes]") -> None:
    server.send_signal(signal.SIGINT)  # fast shutdown: disconnect, checkpoint
    try:
        server.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def reap_orphans(pid_file: str, program: str) -> None:
    """End a postmaster that lost its supervisor, and a postmaster.pid whose number belongs to another program now."""
    try:
        with open(pid_file) as lines:
            pid = int(lines.readline())
    except (OSError, ValueError):
        return
    if runs(pid, program):
        os.kill(pid, signal.SIGINT)
        deadline = time.monotonic() + STOP_TIMEOUT_S
        while runs(pid, program) and time.monotonic() < deadline:
            time.sleep(0.05)
        if runs(pid, program):
            os.kill(pid, signal.SIGKILL)
            time.sleep(0.5)
    elif os.path.exists(pid_file):
        os.unlink(pid_file)


def runs(pid: int, program: str) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as arguments:
            return os.path.basename(arguments.read().split(b"\0")[0]) == os.path.basename(program).encode()
    except OSError:
        return sys.platform != "linux"


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1])))
